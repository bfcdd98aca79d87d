//! What is stored of a tree, without what differs between two runs: identities and times.

use std::collections::HashMap;

use coco_core::CommandId;
use coco_core::entity::TreeRows;
use serde_json::Value;

/// A row of a command, of a `once` or of a registered undo, named by the positions that lead to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) path: Vec<i32>,
    pub(crate) name: String,
    pub(crate) parameters: String,
    pub(crate) status: String,
    pub(crate) executed: bool,
    pub(crate) state: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) failure: Option<String>,
    pub(crate) order: Option<i64>,
    pub(crate) compensated: bool,
}

/// The rows of a tree, by path. `ordered`: with the order in which they ended.
pub(crate) fn picture(rows: &TreeRows, ordered: bool) -> Vec<Row> {
    let paths = paths(rows);
    let plain = |json: &str| plain(json, &paths);
    let order = |order: Option<i64>| order.filter(|_| ordered);
    let commands = rows.commands.iter().map(|row| {
        let progress = &row.progress;
        Row {
            path: paths[&row.command_id].clone(),
            name: row.command_type.clone().into_owned(),
            parameters: plain(&row.command_parameters),
            status: progress.status.to_string(),
            executed: progress.executed,
            state: progress.state.as_deref().map(plain),
            output: progress.return_value.as_deref().map(plain),
            failure: progress.failure.as_deref().map(plain),
            order: order(progress.end_order),
            compensated: progress.compensated_at.is_some(),
        }
    });
    let steps = rows.once_results.iter().map(|once| {
        let mut path = paths[&once.command_id].clone();
        path.push(once.position);
        Row {
            path,
            name: format!("once {}", once.name),
            parameters: String::new(),
            status: String::new(),
            executed: once.failure.is_none(),
            state: None,
            output: once.return_value.as_deref().map(plain),
            failure: once.failure.as_deref().map(plain),
            order: order(Some(once.end_order)),
            compensated: false,
        }
    });
    let entries = rows.compensations.iter().map(|entry| {
        let mut path = paths[&entry.command_id].clone();
        path.push(entry.position);
        Row {
            path,
            name: format!("undo by {}", entry.command_type),
            parameters: plain(&entry.command_parameters),
            status: String::new(),
            executed: false,
            state: None,
            output: None,
            failure: None,
            order: order(Some(entry.end_order)),
            compensated: entry.compensated_at.is_some(),
        }
    });
    let mut all: Vec<_> = commands.chain(steps).chain(entries).collect();
    all.sort();
    all
}

/// The positions that lead from the root to each command.
fn paths(rows: &TreeRows) -> HashMap<CommandId, Vec<i32>> {
    let by_id: HashMap<_, _> = rows.commands.iter().map(|row| (row.command_id, row)).collect();
    let path = |id: &CommandId| {
        let lineage = std::iter::successors(by_id.get(id), |row| {
            row.parent_command_id.as_ref().and_then(|parent| by_id.get(parent))
        });
        let mut path: Vec<_> =
            lineage.filter(|row| row.parent_command_id.is_some()).map(|row| row.position).collect();
        path.reverse();
        path
    };
    by_id.keys().map(|id| (*id, path(id))).collect()
}

fn plain(json: &str, paths: &HashMap<CommandId, Vec<i32>>) -> String {
    let mut value: Value = serde_json::from_str(json).expect("JSON is stored");
    strip(&mut value, paths);
    value.to_string()
}

fn strip(value: &mut Value, paths: &HashMap<CommandId, Vec<i32>>) {
    match value {
        Value::String(text) => {
            if let Ok(id) = text.parse::<CommandId>() {
                *text = match paths.get(&id) {
                    Some(path) => format!("command {path:?}"),
                    None => "a uuid".to_owned(),
                };
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| strip(value, paths)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "time" | "world" => *value = Value::Null,
                    _ => strip(value, paths),
                }
            }
        }
        _ => {}
    }
}
