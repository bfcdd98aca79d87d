//! The messages of the rules about callbacks.

use syn::parse_quote;

use crate::check::tests::mistakes;

#[test]
fn nothing_wrong() {
    for input in [
        parse_quote!(
            #[command(callback = ConcurrentChildren, idempotent, retry(attempts = 2))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = NextOperation, idempotent, poll(every = "250ms"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, retry(attempts = 2), timeout = "10m")]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(max = "1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(every = "10s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(max = "1h", every = "1h"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = AnyOf, idempotent, poll(every = "1s", max = "10s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = crate::callbacks::AnyOf<3>)]
            struct A;
        ),
        parse_quote!(
            #[command(callback = ::callbacks::Serial)]
            struct A;
        ),
        parse_quote!(
            #[command(callback = self::Poling)]
            struct A;
        ),
        parse_quote!(
            #[command(callback = own::Polling)]
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
                #[command(callback = None)]
                struct A;
            ),
            "a command without a callback has none to name",
        ),
        (
            parse_quote!(
                #[command(callback = SerialChild)]
                struct A;
            ),
            "unknown callback `SerialChild`; did you mean `SerialChildren`?",
        ),
        (
            parse_quote!(
                #[command(callback = ConcurrentChildern)]
                struct A;
            ),
            "unknown callback `ConcurrentChildern`; did you mean `ConcurrentChildren`?",
        ),
        (
            parse_quote!(
                #[command(callback = NextOperations)]
                struct A;
            ),
            "unknown callback `NextOperations`; did you mean `NextOperation`?",
        ),
        (
            parse_quote!(
                #[command(callback = polling)]
                struct A;
            ),
            "unknown callback `polling`; did you mean `Polling`?",
        ),
        (
            parse_quote!(
                #[command(callback = Polling<3>)]
                struct A;
            ),
            "write only the word: `callback = Polling`",
        ),
        (
            parse_quote!(
                #[command(callback = ::coco_core::NextOperation)]
                struct A;
            ),
            "write only the word: `callback = NextOperation`",
        ),
        (
            parse_quote!(
                #[command(callback = SerialChildren, idempotent)]
                struct A;
            ),
            "the code of a flow always runs again",
        ),
        (
            parse_quote!(
                #[command(callback = SerialChildren, retry(attempts = 2))]
                struct A;
            ),
            "a flow is not retried",
        ),
        (
            parse_quote!(
                #[command(poll(every = "1s"))]
                struct A;
            ),
            "a command without a callback is not polled",
        ),
        (
            parse_quote!(
                #[command(callback = SerialChildren, poll(every = "1s"))]
                struct A;
            ),
            "a flow is not polled",
        ),
        (
            parse_quote!(
                #[command(callback = ConcurrentChildren, poll(every = "1s"))]
                struct A;
            ),
            "this callback is called when all children have ended",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll())]
                struct A;
            ),
            "`poll()` says nothing",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(every = "0s"))]
                struct A;
            ),
            "an interval of zero",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(max = "0s"))]
                struct A;
            ),
            "an interval of zero",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(every = "0s", max = "1s"))]
                struct A;
            ),
            "an interval of zero",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(every = "1s", max = "0s"))]
                struct A;
            ),
            "an interval of zero",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(every = "2s", max = "1s"))]
                struct A;
            ),
            "the first interval is longer than the longest one: make",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(every = "10001ms"))]
                struct A;
            ),
            "the first interval is longer than the longest one, which",
        ),
        (
            parse_quote!(
                #[command(callback = Polling, poll(max = "999ms"))]
                struct A;
            ),
            "the longest interval is shorter",
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
            #[command(callback = SerialChild, idempotent)]
            struct A;
        ),
        parse_quote!(
            #[command(callback = SerialChild, poll(every = "1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(calback = Polling, poll(every = "1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll)]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll = "1s")]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll("1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(evry = "1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(every))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(every = "1x", max = "1ms"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Polling, poll(every = "1h", max = 5))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = "Polling", poll(every = "1s"))]
            struct A;
        ),
        parse_quote!(
            #[command(callback = Any Of, poll(every = "1s"))]
            struct A;
        ),
    ] {
        let found = mistakes(&input);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
