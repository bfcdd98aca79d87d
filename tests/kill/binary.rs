//! The program under test: an example, which cargo names to no test of another package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds an example beside this test, with the same profile, and says where it is.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    // <target>/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("a test lies in a folder of its profile");
    let target = profile.parent().expect("a profile lies in the target folder");
    let profile = profile.file_name().and_then(|name| name.to_str()).expect("a profile is text");
    // Packages are built with the features that all of the workspace asks for, as for the tests.
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()))
        .args(["build", "--quiet", "--workspace", "--example", name])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "failed to build the example: {}", output.status);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo says where it put the example")
}
