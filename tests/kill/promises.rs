//! What is promised of a move, by what is stored of it and the ledger of what was done.

use std::collections::{BTreeMap, BTreeSet};

use super::stored::{Row, Stored};

/// What a whole move puts down: three leaves for each extent, five for the image, and its end.
pub(crate) const WHOLE: usize = 3 * super::EXTENTS + 6;
/// The commands that have something to undo.
const UNDOABLE: [&str; 4] = ["make_room", "copy_group", "switch", "set_aside"];

/// What was done, in order: by which command, and what.
pub(crate) struct Ledger<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Ledger<'a> {
    /// Reads lines of `command-id extent attempt`.
    pub(crate) fn read(text: &'a str) -> Self {
        assert!(text.is_empty() || text.ends_with('\n'), "a line was written in part");
        let deed = |line: &'a str| {
            let mut words = line.split(' ');
            (words.next().unwrap_or_default(), words.next().unwrap_or_default())
        };
        Self(text.lines().map(deed).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What was executed from the n-th line on.
    pub(crate) fn executed_from(&self, n: usize) -> impl Iterator<Item = &'a str> {
        self.0[n..].iter().filter(|(_, what)| !is_at_the_end(what)).map(|(id, _)| *id)
    }

    fn of(&self, wanted: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(id, _)| *id == wanted).map(|(_, what)| *what)
    }
}

/// Whether that is nothing that `execute` does.
fn is_at_the_end(what: &str) -> bool {
    matches!(what, "undo" | "end")
}

fn has_failed(row: &Row) -> bool {
    matches!(row.status.as_str(), "failed" | "ended_with_failure")
}

/// What holds at any time: nothing is stuck, nothing is undone before that is decided, and what is
/// undone is not done again.
pub(crate) fn hold_always(stored: &Stored, ledger: &Ledger<'_>) {
    for (id, row) in &stored.commands {
        assert_ne!(row.status, "stuck", "{} {id}: {row:?}", row.name);
    }
    let mut undone = BTreeSet::new();
    for (id, what) in &ledger.0 {
        let row = stored.commands.get(*id).unwrap_or_else(|| panic!("{id} is not stored: {what}"));
        let root = &stored.commands[&row.root];
        match *what {
            "undo" => {
                assert!(has_failed(row) || has_failed(root), "undone, but not decided: {row:?}");
                undone.insert(if has_failed(row) { *id } else { row.root.as_str() });
            }
            "end" => assert!(!has_failed(root) && root.status != "active", "{root:?}"),
            _ => {
                let is_late = undone.contains(id) || undone.contains(row.root.as_str());
                assert!(!is_late, "done after it was undone: {row:?}");
            }
        }
    }
}

/// What holds when every move has ended: each is done whole, or undone whole. Gives the failures.
pub(crate) fn hold_at_the_end(stored: &Stored, ledger: &Ledger<'_>) -> Vec<String> {
    hold_always(stored, ledger);
    assert_eq!(stored.locks, 0, "locks are left");
    let mut failures = Vec::new();
    for (root, row) in stored.roots() {
        let tree: BTreeMap<_, _> =
            stored.commands.iter().filter(|(_, one)| one.root == *root).collect();
        match row.status.as_str() {
            "ended_successfully" => is_whole(&tree, ledger),
            "ended_with_failure" => {
                is_undone(&tree, ledger);
                failures.push(row.failure.clone().expect("it says why"));
            }
            status => panic!("{root} is {status}"),
        }
    }
    failures
}

fn is_whole(tree: &BTreeMap<&String, &Row>, ledger: &Ledger<'_>) {
    let mut work = BTreeSet::new();
    for (id, row) in tree {
        assert_eq!(row.status, "ended_successfully", "{row:?}");
        assert!(!row.is_compensated, "undone, but kept: {row:?}");
        for what in ledger.of(id) {
            assert_ne!(what, "undo", "undone, but kept: {row:?}");
            work.insert((*id, what));
        }
    }
    assert_eq!(work.len(), WHOLE, "each piece of work has one name over all restarts");
    assert_eq!(tree.len(), WHOLE, "the leaves and the flow");
}

fn is_undone(tree: &BTreeMap<&String, &Row>, ledger: &Ledger<'_>) {
    let mut undone = Vec::new();
    for (id, row) in tree {
        let deeds: Vec<_> = ledger.of(id).collect();
        let is_undoable = UNDOABLE.contains(&row.name.as_str());
        let was_undone = deeds.last() == Some(&"undo");
        assert_eq!(was_undone, deeds.contains(&"undo"), "done after it was undone: {row:?}");
        if is_undoable && !deeds.is_empty() {
            assert!(row.is_compensated && was_undone, "not undone: {row:?}, {deeds:?}");
        }
        assert!(row.is_compensated || !was_undone, "undone, and not stored: {row:?}");
        assert!(is_undoable || !row.is_compensated, "nothing to undo: {row:?}");
        if row.status == "ended_successfully" && is_undoable {
            undone.push((id.as_str(), row.end_order));
        }
    }
    undone.sort_by_key(|(_, end_order)| std::cmp::Reverse(*end_order));
    let first = |id: &str| ledger.0.iter().position(|deed| *deed == (id, "undo"));
    assert!(undone.is_sorted_by_key(|(id, _)| first(id)), "not the newest first: {undone:?}");
}
