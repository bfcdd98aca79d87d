//! The messages of the rules.

use syn::{DeriveInput, parse_quote};

use super::*;

pub(super) fn mistakes(input: &DeriveInput) -> Vec<String> {
    let mut errors = Errors::default();
    check(&Command::read(input, &mut errors), &mut errors);
    errors.texts()
}

#[test]
fn nothing_wrong() {
    for input in [
        parse_quote!(
            struct A;
        ),
        parse_quote!(
            struct A(u8);
        ),
        parse_quote!(
            #[command]
            struct A {}
        ),
        parse_quote!(
            #[command(lock = None)]
            struct A;
        ),
        parse_quote!(
            #[command(lock = Command)]
            struct A(#[lock(shared)] u8);
        ),
        parse_quote!(
            #[command(lock = Execution, wait)]
            struct A(#[lock(shared, group = "a b | ∀ \n")] Vec<u8>);
        ),
        parse_quote!(
            #[command(wait = "1ms", lock = Command)]
            struct A(#[lock(exclusive)] u8, #[lock(shared)] Option<u8>);
        ),
        parse_quote!(
            #[command(name = "a_1", needs(u8, u16), idempotent)]
            struct Ä;
        ),
        parse_quote!(
            #[command(retry(attempts = 2), timeout = "365d", concurrency = 1)]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = 1000, backoff = "5m"))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = 2, max_backoff = "1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(backoff = "1h", max_backoff = "1h", attempts = 3))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = 2, backoff = "0s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = SerialChildren, timeout = "1ms", concurrency = 4294967295)]
            struct A;
        ),
    ] {
        assert_eq!(mistakes(&input), [""; 0]);
    }
}

#[test]
fn one_message_a_mistake() {
    for (input, start) in [
        (
            parse_quote!(
                enum A {}
            ),
            "a command is a struct; put the enum",
        ),
        (parse_quote!(union A { a: u8 }), "a command is a struct"),
        (
            parse_quote!(
                struct A<'a>(&'a u8);
            ),
            "a command cannot be generic",
        ),
        (
            parse_quote!(
                struct A<const N: usize>;
            ),
            "a command cannot be generic",
        ),
        (
            parse_quote!(
                #[command(name = "")]
                struct A;
            ),
            "the stored name is empty",
        ),
        (
            parse_quote!(
                #[command(name = "a-b")]
                struct A;
            ),
            "the stored name `a-b` may",
        ),
        (
            parse_quote!(
                struct Größe;
            ),
            "`größe` cannot be a stored name",
        ),
        (
            parse_quote!(
                #[command(needs())]
                struct A;
            ),
            "`needs()` names nothing",
        ),
        (
            parse_quote!(
                #[command(needs(Vec<u8>, Vec<u8>))]
                struct A;
            ),
            "`Vec<u8>` is given",
        ),
        (
            parse_quote!(
                #[command(lock = Command)]
                struct A;
            ),
            "`lock = Command` has nothing",
        ),
        (
            parse_quote!(
                struct A(#[lock(shared)] u8);
            ),
            "this lock is never taken",
        ),
        (
            parse_quote!(
                #[command(lock = None)]
                struct A(#[lock(shared)] u8);
            ),
            "`lock = None` takes no locks",
        ),
        (
            parse_quote!(
                #[command(lock = Command)]
                struct A(#[lock] u8);
            ),
            "write `#[lock(exclusive)]`",
        ),
        (
            parse_quote!(
                #[command(lock = Command)]
                struct A(#[lock(shared, exclusive)] u8);
            ),
            "a lock is either",
        ),
        (
            parse_quote!(
                #[command(lock = Command)]
                struct A(#[lock(shared, group = "")] u8);
            ),
            "the group is empty",
        ),
        (
            parse_quote!(
                #[command(lock = Command)]
                struct A(#[lock(shared, group = "a\0b")] u8);
            ),
            "the group has a NUL character",
        ),
        (
            parse_quote!(
                #[command(wait)]
                struct A(#[lock(shared)] u8);
            ),
            "`wait` has no locks to wait for: say how long",
        ),
        (
            parse_quote!(
                #[command(wait = "30s")]
                struct A;
            ),
            "`wait` has no locks to wait for: write `lock = Execution` and mark",
        ),
        (
            parse_quote!(
                #[command(lock = None, wait)]
                struct A;
            ),
            "`wait` has no locks to wait for: write `lock = Execution` and mark",
        ),
        (
            parse_quote!(
                #[command(lock = None, wait)]
                struct A(#[lock(shared)] u8);
            ),
            "`lock = None` takes no locks",
        ),
        (
            parse_quote!(
                #[command(lock = Command, wait)]
                struct A;
            ),
            "`lock = Command` has nothing",
        ),
        (
            parse_quote!(
                #[command(lock = Command, wait = "0.0s")]
                struct A(#[lock(shared)] u8);
            ),
            "a wait of zero is none",
        ),
        (
            parse_quote!(
                #[command(retry())]
                struct A;
            ),
            "say how often",
        ),
        (
            parse_quote!(
                #[command(retry(backoff = "2s"))]
                struct A;
            ),
            "say how often",
        ),
        (
            parse_quote!(
                #[command(retry(attempts = 0))]
                struct A;
            ),
            "`attempts` counts the first one",
        ),
        (
            parse_quote!(
                #[command(retry(attempts = 1))]
                struct A;
            ),
            "`attempts` counts the first one",
        ),
        (
            parse_quote!(
                #[command(retry(attempts = 1001))]
                struct A;
            ),
            "1001 attempts are too many",
        ),
        (
            parse_quote!(
                #[command(retry(attempts = 2, backoff = "2s", max_backoff = "1s"))]
                struct A;
            ),
            "the first pause is longer than the longest one: make",
        ),
        (
            parse_quote!(
                #[command(retry(attempts = 2, backoff = "301s"))]
                struct A;
            ),
            "the first pause is longer than the longest one, which",
        ),
        (
            parse_quote!(
                #[command(retry(attempts = 2, max_backoff = "999ms"))]
                struct A;
            ),
            "the longest pause is shorter",
        ),
        (
            parse_quote!(
                #[command(timeout = "0s")]
                struct A;
            ),
            "a time-out of zero",
        ),
        (
            parse_quote!(
                #[command(timeout = "400d")]
                struct A;
            ),
            "`400d` is longer",
        ),
        (
            parse_quote!(
                #[command(concurrency = 0)]
                struct A;
            ),
            "none could run",
        ),
        (
            parse_quote!(
                #[lock(shared)]
                struct A;
            ),
            "`#[lock(…)]` belongs on a field",
        ),
        (
            parse_quote!(
                struct A(#[command(secret)] u8);
            ),
            "`#[command(…)]` belongs on",
        ),
    ] {
        let found = mistakes(&input);
        assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
    }
}

#[test]
fn one_mistake_is_not_two() {
    for input in [
        parse_quote!(
            #[command(lock = Exec)]
            struct A(#[lock(shared)] u8);
        ),
        parse_quote!(
            #[command(lock = Command)]
            struct A(#[lock(exclusve)] u8);
        ),
        parse_quote!(
            #[command(lock = Command)]
            struct A(
                #[lock(shared)]
                #[lock(shared)]
                u8,
            );
        ),
        parse_quote!(
            #[command(lok = Command)]
            struct A(#[lock(shared)] u8);
        ),
        parse_quote!(
            #[command(lok = Command, wait)]
            struct A(#[lock(shared)] u8);
        ),
        parse_quote!(
            #[command(lock = Exec, wait)]
            struct A;
        ),
        parse_quote!(
            #[command(wiat, lock = Command)]
            struct A(#[lock(shared)] u8);
        ),
        parse_quote!(
            #[command(lock = Command, wait = 0)]
            struct A(#[lock(shared)] u8);
        ),
        parse_quote!(
            #[command(lock = Command, wait)]
            enum A {
                B(#[lock(shared)] u8),
            }
        ),
        parse_quote!(
            #[command(name = 5)]
            struct Größe;
        ),
        parse_quote!(
            #[command(needs)]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attemps = 5))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = "5"))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(5))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = 2, backoff = "1x", max_backoff = "1ms"))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = 2, backoff = "1h", max_backoff = 5))]
            struct A;
        ),
        parse_quote!(
            #[command(retry(attempts = 2, backoff = "1ms", max_backoff = 5))]
            struct A;
        ),
        parse_quote!(
            #[command(concurrency = -1)]
            struct A;
        ),
        parse_quote!(
            #[command(timeout = "0")]
            struct A;
        ),
    ] {
        let found = mistakes(&input);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn all_mistakes_of_the_locks() {
    let found = mistakes(&parse_quote!(
        #[command(wait = "0s")]
        struct A(#[lock] Vec<u8>, #[lock(shared, exclusive)] u8, #[lock(shared, group = "")] u8);
    ));
    let starts = [
        "`wait` has no locks",
        "a wait of zero",
        "write `#[lock(exclusive)]`",
        "a lock is either",
        "the group is empty",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (text, start) in found.iter().zip(starts) {
        assert!(text.starts_with(start), "{start}: {text}");
    }
}
