//! Rules of the house that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 500;
const NAMES_THAT_SAY_NOTHING: [&str; 5] = ["utils", "util", "helpers", "common", "misc"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The source without comments and strings that only mention a word.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn files_are_short_and_their_names_say_something() {
    let sources = sources(root());
    assert!(sources.len() > 50, "only {} files were found", sources.len());
    for path in sources {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines; split it by idea", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(!NAMES_THAT_SAY_NOTHING.contains(&name), "{} says nothing", path.display());
    }
}

#[test]
fn the_machine_is_pure() {
    let machine = root().join("coco-core/src/machine");
    let mut files = sources(&machine);
    files.push(root().join("coco-core/src/machine.rs"));
    let forbidden = [
        "tokio",
        "async ",
        ".await",
        "SystemTime",
        "Instant",
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::thread",
        "now_v7",
        "new_v4",
        "rand::",
        "RandomState",
        "println!",
        "tracing",
    ];
    for path in files {
        let tests =
            path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        let code = code(&path);
        for word in forbidden.iter().filter(|_| !tests) {
            assert!(!code.contains(word), "{} uses `{word}`", path.display());
        }
    }
}

#[test]
fn the_core_knows_no_database() {
    let manifest = fs::read_to_string(root().join("coco-core/Cargo.toml")).unwrap();
    for word in ["sea-orm", "sqlx", "coco-store", "rusqlite"] {
        assert!(!manifest.contains(word), "coco-core depends on {word}");
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"sqlx-sqlite\""));
    let store = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!store.contains("sqlx-mysql"));
}

#[test]
fn the_clock_is_read_in_the_runtime_only() {
    let core = root().join("coco-core/src");
    for path in sources(&core) {
        let code = code(&path);
        let may = path.starts_with(core.join("runtime")) || path.ends_with("coordinator.rs");
        for word in ["SystemTime::now", "Instant::now", "Uuid::now_v7", "Uuid::new_v4"] {
            let in_tests =
                code.find("#[cfg(test)]").is_some_and(|tests| code.find(word) > Some(tests));
            let is_test = path.components().any(|part| {
                ["tests", "tests.rs", "testing"].map(AsRef::as_ref).contains(&part.as_os_str())
            });
            assert!(
                may || in_tests || is_test || !code.contains(word),
                "{} says {word}",
                path.display()
            );
        }
    }
}

#[test]
fn the_readme_shows_the_example_that_runs_and_the_commands_that_ci_runs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let hello = fs::read_to_string(root().join("examples/hello.rs")).unwrap();
    assert!(hello.lines().count() <= 40);
    assert!(readme.contains(&format!("```rust\n{hello}```")), "README.md shows another hello.rs");
    assert!(
        readme.contains("$ cargo run --example move_disk\n") && readme.contains("$ tests/run\n")
    );
    let run = fs::read_to_string(root().join("tests/run")).unwrap();
    assert!(run.contains("cargo run --example move_disk\n"));
    assert!(fs::read_to_string(root().join(".ci/run")).unwrap().contains("tests/run"));
}

#[test]
fn every_test_runs() {
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).unwrap();
    let of_its_own = fs::read_to_string(root().join("tests/ui/Cargo.toml")).unwrap();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let target = format!("path = \"{name}\"");
        if path.extension().is_some_and(|extension| extension == "rs") {
            let is_target =
                manifest.contains(&target) || of_its_own.contains(&format!("../{name}"));
            assert!(is_target, "tests/{name} is no target");
        }
    }
}

#[test]
fn every_example_is_short_says_how_to_run_it_and_runs() {
    let tests = fs::read_to_string(root().join("tests/examples.rs")).unwrap();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "rs") || name == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() < 90, "{name} is long");
        assert!(text.starts_with(&format!("//! `cargo run --example {name}`")), "{name}");
        assert!(
            tests.contains(&format!("run(\"{name}\"")),
            "tests/examples.rs does not run {name}"
        );
    }
}

#[test]
fn the_architecture_page_is_short() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(page.lines().count() < 200);
}
