//! What every store takes: one check, at the door, before anything is written.

/// Largest JSON text of one value, in bytes.
pub const LARGEST_VALUE: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects in one value.
pub const DEEPEST_VALUE: usize = 64;

/// Why a value cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotStorable {
    /// Keep large things outside and store where they are.
    #[error("the value takes {size} bytes of JSON, and {LARGEST_VALUE} are allowed")]
    TooLarge {
        /// Bytes of JSON.
        size: usize,
    },
    /// Flatten it.
    #[error("the value nests deeper than {DEEPEST_VALUE} levels")]
    TooDeep,
    /// PostgreSQL text has no NUL, so no store takes one.
    #[error("the value contains a NUL character")]
    Nul,
    /// Its `Deserialize` does not read what its `Serialize` wrote.
    #[error("what is written of the value cannot be read back: {0}")]
    Decode(String),
    /// Its `Serialize` failed.
    #[error("the value cannot be written as JSON: {0}")]
    Encode(String),
}

/// Checks a JSON text that serde_json has written.
///
/// # Errors
/// The first reason why no store would take it.
pub fn storable(json: &str) -> Result<(), NotStorable> {
    if json.len() > LARGEST_VALUE {
        return Err(NotStorable::TooLarge { size: json.len() });
    }
    let (mut depth, mut in_string, mut bytes) = (0_usize, false, json.bytes().enumerate());
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => {
                if json[at..].starts_with("\\u0000") {
                    return Err(NotStorable::Nul);
                }
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > DEEPEST_VALUE {
                    return Err(NotStorable::TooDeep);
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// The same for a text that is stored as it is.
pub(crate) fn storable_text(text: &str) -> Result<(), NotStorable> {
    if text.len() > LARGEST_VALUE {
        return Err(NotStorable::TooLarge { size: text.len() });
    }
    if text.contains('\0') { Err(NotStorable::Nul) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &serde_json::Value) -> Result<(), NotStorable> {
        storable(&value.to_string())
    }

    #[test]
    fn size_depth_and_nul_are_refused_at_the_limit() {
        assert_eq!(check(&"x".repeat(LARGEST_VALUE - 2).into()), Ok(()));
        let size = LARGEST_VALUE + 1;
        assert_eq!(
            check(&"x".repeat(LARGEST_VALUE - 1).into()),
            Err(NotStorable::TooLarge { size })
        );

        let nested = |depth| (0..depth).fold(1.into(), |inner, _| serde_json::json!([inner]));
        assert_eq!(check(&nested(DEEPEST_VALUE)), Ok(()));
        assert_eq!(check(&nested(DEEPEST_VALUE + 1)), Err(NotStorable::TooDeep));

        assert_eq!(check(&"a\0b".into()), Err(NotStorable::Nul));
    }

    #[test]
    fn what_only_looks_like_it_is_taken() {
        assert_eq!(check(&"\\u0000".into()), Ok(()));
        assert_eq!(check(&"[".repeat(100).into()), Ok(()));
        assert_eq!(check(&"\"[\\".repeat(100).into()), Ok(()));
    }

    #[test]
    fn every_reason_says_what_is_wrong() {
        for (reason, text) in [
            (
                NotStorable::TooLarge { size: 1_048_577 },
                "the value takes 1048577 bytes of JSON, and 1048576 are allowed",
            ),
            (NotStorable::TooDeep, "the value nests deeper than 64 levels"),
            (NotStorable::Nul, "the value contains a NUL character"),
            (NotStorable::Encode("odd".to_owned()), "the value cannot be written as JSON: odd"),
            (
                NotStorable::Decode("odd".to_owned()),
                "what is written of the value cannot be read back: odd",
            ),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }

    #[test]
    fn a_value_that_cannot_be_written_is_refused() {
        use crate::command::Stored;
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(odd.encode(), Err(NotStorable::Encode("key must be a string".to_owned())));
    }
}
