//! The ancestors of a command as one text: their identities in hexadecimal digits with a space
//! between them, the parent first. Empty for a root.

use coco_core::CommandId;
use uuid::Uuid;

/// The text that is stored.
pub(crate) fn text(ancestors: &[CommandId]) -> String {
    let mut text = String::with_capacity(ancestors.len() * 33);
    for ancestor in ancestors {
        if !text.is_empty() {
            text.push(' ');
        }
        let mut buffer = [0; 32];
        text.push_str(ancestor.as_uuid().simple().encode_lower(&mut buffer));
    }
    text
}

/// What is stored as this text.
pub(crate) fn parse(text: &str) -> Result<Vec<CommandId>, uuid::Error> {
    let identities = text.split(' ').filter(|identity| !identity.is_empty());
    identities.map(|identity| Uuid::try_parse(identity).map(CommandId::from_uuid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read() {
        for count in 0..3 {
            let ancestors: Vec<_> =
                (0..count).map(|n| CommandId::from_uuid(Uuid::from_u128(n))).collect();
            assert_eq!(parse(&text(&ancestors)).unwrap(), ancestors);
        }
        assert!(parse("nobody").is_err());
    }
}
