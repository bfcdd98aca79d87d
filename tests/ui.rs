//! What does not compile, and what the compiler says of it. The texts are those of the pinned
//! toolchain; `TRYBUILD=overwrite` writes them anew.

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("*.rs");
}
