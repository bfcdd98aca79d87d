//! Rows that no engine of this program would have written.

use coco_core::CommandId;
use coco_core::entity::CommandEntity;
use coco_core::store::{Outcome, Step, Store, Write};

use super::home::Home;

/// Stores a copy of a tree, with other identities and as `change` has changed its rows. Gives its
/// root, and the rows for which `change` said so.
pub(crate) async fn copy(
    home: &Home,
    root: CommandId,
    mut change: impl FnMut(&mut CommandEntity) -> bool,
) -> (CommandId, Vec<CommandEntity>) {
    let mut rows = home.tree(root).await.commands;
    rows.sort_by_key(|row| (row.parent_command_id.is_some(), row.created_at));
    let mut changed = Vec::new();
    for row in &mut rows {
        row.command_id = beside(row.command_id);
        row.root_command_id = beside(row.root_command_id);
        row.parent_command_id = row.parent_command_id.map(beside);
        if change(row) {
            changed.push(row.clone());
        }
    }
    insert(home, rows).await;
    (beside(root), changed)
}

/// An identity that differs in its last digit.
fn beside(id: CommandId) -> CommandId {
    let mut text = id.to_string();
    let last = if text.pop() == Some('0') { '1' } else { '0' };
    text.push(last);
    text.parse().expect("an identity")
}

/// Inserts rows, as an engine that dies right after.
async fn insert(home: &Home, rows: Vec<CommandEntity>) {
    let store = home.open().await;
    let lease = loop {
        match store.acquire().await {
            Ok(lease) => break lease,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let step = |row: CommandEntity| Step {
        root: row.root_command_id,
        command: row.command_id,
        request: None,
        writes: vec![Write::Insert(Box::new(row))],
    };
    let steps: Vec<_> = rows.into_iter().map(step).collect();
    let committed = store.commit(&lease, steps.into()).await.expect("the rows are stored");
    let all_applied = committed.outcomes.iter().all(|outcome| *outcome == Outcome::Applied);
    assert!(all_applied, "{committed:?}");
    store.release(lease, false).await.expect("the store is released");
}
