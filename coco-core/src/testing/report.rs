//! What a helper has done.

/// The cases that a helper has run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What went wrong in each case, in the order in which they were run: that the process died
    /// after its third commit, that the second leaf failed. The life without any fault, which is
    /// the first one, is not among them.
    pub cases: Vec<String>,
}
