//! How keys and values are read, and the messages of those that cannot be.

use syn::parse_quote;

use super::*;

const ATTR: Attr = Attr {
    name: "command",
    keys: &["name", "lock", "needs", "number", "pause", "list", "patient", "route", "idempotent"],
};
const LIST: Attr = Attr { name: "list", keys: &["number", "pause"] };

#[derive(Default)]
struct Read {
    name: Slot<LitStr>,
    lock: Slot<u8>,
    needs: Slot<Vec<Type>>,
    number: Slot<u32>,
    pause: Slot<Duration>,
    list: Slot<(Slot<u32>, Slot<Duration>)>,
    patient: Slot<Option<Duration>>,
    route: Slot<String>,
    idempotent: Slot<()>,
    errors: Errors,
}

fn read(attribute: &Attribute) -> Read {
    let mut read = Read::default();
    let Read { name, lock, needs, number, pause, list, patient, route, idempotent, errors } =
        &mut read;
    ATTR.read(attribute, errors, |key_name, key| match key_name {
        "name" => key.text(name),
        "lock" => key.word("lock scope", &[("None", 0), ("Execution", 1)], lock),
        "needs" => key.types(needs),
        "number" => key.number(5, number),
        "pause" => key.duration(pause),
        "list" => key.list("number = 5", list, |list, errors| {
            let mut inner = (Slot::default(), Slot::default());
            LIST.read_list(list, errors, |name, key| match name {
                "number" => key.number(5, &mut inner.0),
                _ => key.duration(&mut inner.1),
            })?;
            Ok(inner)
        }),
        "patient" => key.flag_or_duration(patient),
        "route" => key.path_of(&["North"], route, |path, errors| {
            if path.is_ident("South") {
                errors.push(path.span(), "not south");
                return None;
            }
            Some(written(&path))
        }),
        _ => key.flag(idempotent),
    });
    read
}

#[test]
fn every_form() {
    let read = read(&parse_quote!(#[command(
        name = "a", lock = Execution, needs(u8, Vec<u8>), number = 7, pause = "2s",
        list(pause = "1s", number = 8,), idempotent
    )]));
    assert_eq!(read.errors.texts(), [""; 0]);
    assert_eq!(read.name.value().map(LitStr::value).as_deref(), Some("a"));
    assert_eq!(read.lock.value(), Some(&1));
    assert_eq!(read.needs.value().map(Vec::len), Some(2));
    assert_eq!(read.number.value(), Some(&7));
    assert_eq!(read.pause.value(), Some(&Duration::from_secs(2)));
    let (number, pause) = read.list.value().unwrap();
    assert_eq!(number.value(), Some(&8));
    assert_eq!(pause.value(), Some(&Duration::from_secs(1)));
    assert!(read.idempotent.value().is_some());
}

#[test]
fn a_flag_that_may_have_a_duration() {
    for (attribute, expected) in [
        (parse_quote!(#[command(patient)]), Some(None)),
        (parse_quote!(#[command(patient, name = "a")]), Some(None)),
        (parse_quote!(#[command(patient = "1m30s")]), Some(Some(Duration::from_secs(90)))),
        (parse_quote!(#[command(name = "a")]), None),
    ] {
        let attribute: Attribute = attribute;
        let read = read(&attribute);
        assert_eq!(read.errors.texts(), [""; 0]);
        assert_eq!(read.patient.value(), expected.as_ref());
    }
}

#[test]
fn a_path_may_have_arguments() {
    for path in ["North", "a::B", "::a::B", "crate::a::B<3>", "B<'static, Vec<u8>, { 1 + 1 }>"] {
        let tokens: proc_macro2::TokenStream = path.parse().unwrap();
        let read = read(&parse_quote!(#[command(route = #tokens, name = "a")]));
        assert_eq!(read.errors.texts(), [""; 0]);
        assert_eq!(read.route.value(), Some(&path.replace(' ', "")));
        assert!(read.name.value().is_some());
    }
}

#[test]
fn all_mistakes_of_one_attribute() {
    let read = read(&parse_quote!(
        #[command(lok = Execution, lock = Exec, name = 5, wait(a, b), name = "b", needs)]
    ));
    assert_eq!(
        read.errors.texts(),
        [
            "unknown key `lok` in `#[command(…)]`; did you mean `lock`?",
            "unknown lock scope `Exec`; expected one of `None`, `Execution`",
            "write `name = \"…\"`",
            "unknown key `wait` in `#[command(…)]`; expected one of `name`, `lock`, `needs`, \
             `number`, `pause`, `list`, `patient`, `route`, `idempotent`",
            "`name` is given twice",
            "write `needs(Type, …)`",
        ]
    );
    assert!(read.lock.key().is_some() && read.lock.value().is_none());
}

#[test]
fn values_of_the_wrong_form() {
    for (attribute, text) in [
        (parse_quote!(#[command(idempotent = true)]), "`idempotent` takes no value"),
        (parse_quote!(#[command(name)]), "write `name = \"…\"`"),
        (parse_quote!(#[command(name("a"))]), "write `name = \"…\"`"),
        (parse_quote!(#[command(lock = "None")]), "write `lock = None|Execution`"),
        (parse_quote!(#[command(needs = u8)]), "write `needs(Type, …)`"),
        (parse_quote!(#[command(number = "5")]), "write `number = 5`"),
        (parse_quote!(#[command(number = 5s)]), "write `number = 5`"),
        (parse_quote!(#[command(number = -5)]), "write `number = 5`"),
        (parse_quote!(#[command(number = 5.0)]), "write `number = 5`"),
        (parse_quote!(#[command(number = 4294967296)]), "write `number = 5`"),
        (parse_quote!(#[command(number(5))]), "write `number = 5`"),
        (parse_quote!(#[command(pause = 30s)]), "write `pause = \"30s\"`"),
        (parse_quote!(#[command(pause = 30)]), "write `pause = \"30s\"`"),
        (parse_quote!(#[command(patient = true)]), "write `patient = \"30s\"`, or only `patient`"),
        (parse_quote!(#[command(patient("30s"))]), "write `patient = \"30s\"`, or only `patient`"),
        (parse_quote!(#[command(patient, patient = "1s")]), "`patient` is given twice"),
        (parse_quote!(#[command(route)]), "write `route = North|some::path`"),
        (parse_quote!(#[command(route = "North")]), "write `route = North|some::path`"),
        (parse_quote!(#[command(route(North))]), "write `route = North|some::path`"),
        (parse_quote!(#[command(route = South)]), "not south"),
        (parse_quote!(#[command(list)]), "write `list(number = 5)`"),
        (parse_quote!(#[command(list = 5)]), "write `list(number = 5)`"),
    ] {
        let attribute: Attribute = attribute;
        assert_eq!(read(&attribute).errors.texts(), [text]);
    }
}

#[test]
fn mistakes_in_a_list_end_neither_it_nor_the_attribute() {
    let read = read(&parse_quote!(
        #[command(list(numbr = 1, pause = "1x", number), name = 5, list(5), lock = Exec)]
    ));
    assert_eq!(
        read.errors.texts(),
        [
            "unknown key `numbr` in `list(…)`; did you mean `number`?",
            "unknown unit `x`: write it as \"500ms\", \"30s\", \"10m\", \"2h\" or \"1d\"",
            "write `number = 5`",
            "write `name = \"…\"`",
            "write `list(number = 5)`",
            "`list` is given twice",
            "unknown lock scope `Exec`; expected one of `None`, `Execution`",
        ]
    );
}

#[test]
fn a_path_is_no_key() {
    let read = read(&parse_quote!(#[command(my::name = "a")]));
    assert_eq!(
        read.errors.texts(),
        ["unknown key `my::name` in `#[command(…)]`; expected one of `name`, `lock`, \
          `needs`, `number`, `pause`, `list`, `patient`, `route`, `idempotent`"]
    );
}

#[test]
fn the_nearest_word() {
    let known = ["SerialChildren", "ConcurrentChildren", "Polling"];
    for (written, expected) in [
        ("SerialChild", Some("SerialChildren")),
        ("serial_children", Some("SerialChildren")),
        ("ConcurrentChildern", Some("ConcurrentChildren")),
        ("Poling", Some("Polling")),
        ("Serial", None),
        ("ParallelChildren", None),
        ("Poller", None),
        ("AnyOf", None),
        ("", None),
    ] {
        assert_eq!(nearest(written, &known), expected, "{written}");
    }
}

#[test]
fn distances() {
    for (a, b, expected) in
        [("lock", "lock", 0), ("lok", "lock", 1), ("", "ab", 2), ("abc", "xyz", 3)]
    {
        assert_eq!(distance(a, b), expected, "{a} {b}");
        assert_eq!(distance(b, a), expected, "{b} {a}");
    }
}
