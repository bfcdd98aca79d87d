//! Where a store lies, as the user writes it.

use std::path::PathBuf;

use coco_core::store::StoreError;

/// Whether it is a database of PostgreSQL that `address` names.
pub(crate) fn is_postgres(address: &str) -> bool {
    address.starts_with("postgres:") || address.starts_with("postgresql:")
}

/// The file that `address` names: `sqlite://relative.db`, `sqlite:///absolute.db`.
pub(crate) fn parse(address: &str) -> Result<PathBuf, StoreError> {
    let refused = |reason: &str| {
        let (address, reason) = (address.to_owned(), reason.to_owned());
        Err(StoreError::Address { address, reason })
    };
    let Some((scheme, rest)) = address.split_once(':') else {
        return refused("it has no scheme; write `sqlite://coco.db` for a file");
    };
    if is_postgres(address) {
        return refused(
            "the feature `postgres` of coco-store is off; switch it on in `Cargo.toml`",
        );
    }
    if scheme != "sqlite" {
        return refused(
            "only SQLite and PostgreSQL are known; write `sqlite://coco.db` for a file, or \
             `postgres://user@host/database`",
        );
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path == ":memory:" {
        return refused(
            "a database in memory belongs to one connection, and a store needs several; \
             give it a file, or use `coco_core::store::MemoryStore`",
        );
    }
    if path.contains('?') {
        return refused("options do not stand in the address; give them to `connect_with`");
    }
    if path.is_empty() || path.ends_with(['/', std::path::MAIN_SEPARATOR]) {
        return refused("it names no file; write `sqlite://coco.db`");
    }
    if path.contains('\0') {
        return refused("the name of a file has no NUL");
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_as_they_are_written() {
        for (address, path) in [
            ("sqlite://coco.db", "coco.db"),
            ("sqlite:coco.db", "coco.db"),
            ("sqlite:///var/lib/coco.db", "/var/lib/coco.db"),
            ("sqlite:/var/lib/coco.db", "/var/lib/coco.db"),
            ("sqlite://a dir/100%20 é.db", "a dir/100%20 é.db"),
            ("sqlite://../coco.db", "../coco.db"),
        ] {
            assert_eq!(parse(address).unwrap(), PathBuf::from(path), "{address}");
        }
    }

    #[test]
    fn everything_else_is_told_what_to_write() {
        for (address, hint) in [
            ("coco.db", "`sqlite://coco.db`"),
            ("", "`sqlite://coco.db`"),
            ("postgres://localhost/coco", "the feature `postgres`"),
            ("mysql://localhost/coco", "`postgres://user@host/database`"),
            ("SQLite://coco.db", "only SQLite and PostgreSQL"),
            ("sqlite::memory:", "MemoryStore"),
            ("sqlite://:memory:", "MemoryStore"),
            ("sqlite://", "names no file"),
            ("sqlite:///var/lib/", "names no file"),
            ("sqlite://coco.db?mode=rwc", "connect_with"),
            ("sqlite://co\0co.db", "NUL"),
        ] {
            let error = parse(address).unwrap_err().to_string();
            assert!(error.contains(hint), "{address}: {error}");
        }
    }
}
