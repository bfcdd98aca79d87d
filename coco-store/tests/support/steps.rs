//! Random steps of everything that a step may do.

use std::sync::Arc;

use coco_core::entity::{
    Audit, Compensation, OnceResult, Progress, Published, Sleep, Subscription, Task, Undo,
};
use coco_core::lock::{Lock, LockMode, LockRequest};
use coco_core::store::{Step, Write};
use coco_core::{CommandId, CommandStatus, Timestamp};

use crate::forest::{Forest, ancestors, root};
use crate::support::{id, insert, progress};

/// Random steps of the forest, and of roots that they insert.
pub(crate) struct Steps<'r> {
    pub(crate) forest: Forest<'r>,
    pub(crate) next_root: &'r mut u128,
    /// What waits in the inboxes in memory: whose, and its number.
    pub(crate) inboxes: Vec<(CommandId, i64)>,
}

impl Steps<'_> {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.forest.dice.below(end)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.forest.dice.one_in(times)
    }

    fn at(&mut self) -> Timestamp {
        self.forest.dice.at()
    }

    fn position(&mut self) -> i32 {
        i32::try_from(self.below(6)).unwrap()
    }

    fn text(&mut self) -> Option<Arc<str>> {
        (!self.one_in(3)).then(|| self.below(100).to_string().into())
    }

    /// At times one that says little, so that a batch of such ones goes the short way.
    fn progress(&mut self) -> Progress {
        let started_at = self.one_in(2).then(|| self.at());
        let ends = self.one_in(2).then(|| self.at());
        let small = Progress {
            attempt: self.position(),
            started_at,
            return_value: self.text(),
            ended_at: ends,
            end_order: ends.map(Timestamp::as_micros),
            ..progress(CommandStatus::Succeeded)
        };
        if self.one_in(2) {
            return small;
        }
        Progress {
            hook_attempt: self.position(),
            wake_at: self.one_in(2).then(|| self.at()),
            cancelled: self.text(),
            undo: [None, Some(Undo::Own), Some(Undo::Inner)][self.below(3) as usize],
            compensated_at: self.one_in(2).then(|| self.at()),
            stuck_reason: self.text(),
            state: self.text(),
            failure: self.text(),
            deaths: self.position(),
            ..small
        }
    }

    fn write(&mut self, n: u128) -> Write {
        let (command_id, root_command_id) = (id(n), root(n));
        let (position, at) = (self.position(), self.at());
        match self.below(26) {
            14..=22 => self.about_events(n),
            23 => Write::Task(Box::new(Task {
                command_id,
                root_command_id,
                position,
                task: self.below(100).to_string().into(),
                created_at: at,
                kept: self.one_in(2),
                ended_at: None,
                failure: None,
            })),
            24 => Write::TaskEnded(command_id, position, at, self.text()),
            25 => Write::TaskKept(command_id, position),
            0..=6 => self.forest.lets_go(),
            7 => Write::Compensated(command_id, at),
            8 => Write::Undone(command_id, position, at),
            9 => Write::Register(Box::new(Compensation {
                command_id,
                root_command_id,
                position,
                command_type: "delete_disk".into(),
                command_parameters: "{}".into(),
                end_order: 1,
                created_at: at,
                compensated_at: None,
            })),
            10 => Write::Sleep(Box::new(Sleep {
                command_id,
                root_command_id,
                position,
                micros: 1,
                wake_at: at,
            })),
            11 => Write::Once(Box::new(OnceResult {
                command_id,
                root_command_id,
                position,
                name: "reserve".into(),
                end_order: 1,
                ended_at: at,
                return_value: self.text(),
                failure: None,
                lock: self.one_in(2).then(|| Lock {
                    group: "disk".into(),
                    key: "a".to_owned(),
                    mode: LockMode::Shared,
                }),
            })),
            12 => Write::Audit(Box::new(Audit {
                at,
                action: "cancel".into(),
                command_id,
                root_command_id,
                status: CommandStatus::Active,
                reason: self.below(1000).to_string().into(),
                linked: None,
            })),
            _ => Write::Update(command_id, Box::new(self.progress())),
        }
    }

    fn about_events(&mut self, n: u128) -> Write {
        let (command_id, root_command_id) = (id(n), root(n));
        match self.below(9) {
            0..=2 => Write::Subscribe(Box::new(Subscription {
                command_id,
                root_command_id,
                key: self.key(&["a", "b", "*"]),
                created_at: self.at(),
            })),
            3..=5 => Write::Publish(Box::new(Published {
                event_id: self.below(60).to_string().into(),
                key: self.key(&["a", "b"]),
                payload: self.below(100).to_string().into(),
                published_at: self.at(),
            })),
            6 | 7 => match self.forest.dice.pick(&self.inboxes) {
                Some((command, number)) => Write::Handled(command, number),
                None => Write::Handled(command_id, i64::MAX),
            },
            _ => Write::Unsubscribe(if self.one_in(2) { command_id } else { id(self.command()) }),
        }
    }

    fn command(&mut self) -> u128 {
        self.forest.dice.command()
    }

    /// One to three of these segments.
    fn key(&mut self, segments: &[&str]) -> Arc<str> {
        let key: Vec<_> =
            (0..=self.below(3)).filter_map(|_| self.forest.dice.pick(segments)).collect();
        key.join("|").into()
    }

    pub(crate) fn step(&mut self) -> Step {
        let (mut made, n) = if self.one_in(5) {
            *self.next_root += 1;
            let mut made = insert(*self.next_root);
            if let [Write::Insert(entity)] = &mut made.writes[..] {
                entity.submit_key = self.text();
                entity.progress.started_at = self.one_in(2).then(|| self.at());
            }
            if self.one_in(3) {
                made.request = Some(self.start(*self.next_root));
            }
            (made, *self.next_root)
        } else if self.one_in(15) {
            // It is stored already.
            let n = self.forest.dice.command();
            (insert_of_forest(n), n)
        } else {
            let made = self.forest.step();
            let n = made.command.as_uuid().as_u128();
            (made, n)
        };
        for _ in 0..self.below(3) {
            made.writes.push(self.write(n));
        }
        made
    }

    /// The request of a new root, which is stored with its step, or else in vain.
    fn start(&mut self, n: u128) -> Arc<LockRequest> {
        let (owner, number, ancestors) = (id(n), 0, Vec::new());
        let waits = self.one_in(4);
        Arc::new(LockRequest { owner, number, ancestors, waits, ..self.forest.request() })
    }
}

/// Stores a command of the forest.
pub(crate) fn insert_of_forest(n: u128) -> Step {
    let mut step = insert(n);
    step.root = root(n);
    if let [Write::Insert(entity)] = &mut step.writes[..] {
        entity.parent_command_id = ancestors(n).first().copied();
        entity.root_command_id = root(n);
    }
    step
}
