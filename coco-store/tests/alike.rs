//! Random batches leave the same in the file and in memory, and are told the same.

mod support;

use std::sync::Arc;

use coco_core::entity::{Audit, Compensation, OnceResult, Progress, Sleep, TreeRows, Undo};
use coco_core::lock::{HeldLock, Lock, LockMode, LockRequest};
use coco_core::store::{Lease, MemoryStore, Outcome, Step, Store, Write};
use coco_core::{CommandId, CommandStatus, Timestamp};
use sea_orm::sqlx::sqlite::SqliteRow;
use sea_orm::sqlx::{self, Row};

use self::support::{Place, apply, id, insert, progress, run, step};

/// Roots that are stored before the first batch.
const OLD: u128 = 5;

/// Random numbers that a seed gives again: splitmix64.
struct Dice {
    state: u64,
    next_root: u128,
}

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn old(&mut self) -> u128 {
        1 + u128::from(self.below(5))
    }

    fn at(&mut self) -> Timestamp {
        Timestamp::from_micros(self.below(1000).cast_signed())
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

    fn request(&mut self, owner: u128) -> Arc<LockRequest> {
        let lock = |dice: &mut Self| Lock {
            group: "disk".into(),
            key: dice.below(4).to_string(),
            mode: if dice.one_in(2) { LockMode::Shared } else { LockMode::Exclusive },
        };
        Arc::new(LockRequest {
            owner: id(owner),
            command_type: owner.to_string().into(),
            ancestors: (0..self.below(3)).map(|_| id(self.old())).collect(),
            locks: (0..self.below(3)).map(|_| lock(self)).collect(),
            at: self.at(),
        })
    }

    fn write(&mut self, root: u128) -> Write {
        let (command_id, root_command_id) = (id(root), id(root));
        let (position, at) = (self.position(), self.at());
        match self.below(14) {
            0..=2 => Write::Release(id(self.old())),
            3..=6 => {
                let to = self.old();
                let from = id(1 + u128::from(self.below(8)));
                Write::Pass { from, to: id(to), command_type: to.to_string().into() }
            }
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

    fn step(&mut self) -> Step {
        let (mut made, root) = if self.one_in(4) {
            self.next_root += 1;
            let mut made = insert(self.next_root);
            if let [Write::Insert(entity)] = &mut made.writes[..] {
                entity.submit_key = self.text();
                entity.progress.started_at = self.one_in(2).then(|| self.at());
            }
            (made, self.next_root)
        } else if self.one_in(12) {
            let offends = self.old();
            (insert(offends), offends)
        } else {
            let root = self.old();
            (Step { writes: Vec::new(), ..step(root, Write::Release(id(root))) }, root)
        };
        if self.one_in(2) {
            made.request = Some(self.request(root));
        }
        for _ in 0..self.below(3) {
            made.writes.push(self.write(root));
        }
        made
    }
}

fn held_lock(row: &SqliteRow) -> HeldLock {
    let mode: String = row.get("mode");
    let mode = mode.parse().unwrap();
    let group: String = row.get("lock_group");
    HeldLock {
        owner: CommandId::from_uuid(row.get("command_id")),
        command_type: row.get::<String, _>("command_type").into(),
        lock: Lock { group: group.into(), key: row.get("lock_key"), mode },
        since: Timestamp::from_micros(row.get("since")),
    }
}

fn sorted_locks(mut locks: Vec<HeldLock>) -> Vec<HeldLock> {
    locks.sort_by(|a, b| (a.owner, &a.lock.key).cmp(&(b.owner, &b.lock.key)));
    locks
}

fn sorted(mut tree: TreeRows) -> TreeRows {
    tree.commands.sort_by_key(|row| row.command_id);
    tree.once_results.sort_by_key(|row| row.position);
    tree.sleeps.sort_by_key(|row| row.position);
    tree.compensations.sort_by_key(|row| row.position);
    tree
}

/// Without the reasons, which each store words as it likes.
async fn commit(store: &impl Store, lease: &Lease, steps: Arc<[Step]>) -> Vec<Outcome> {
    let outcomes = store.commit(lease, steps).await.expect("failed to commit");
    let plain = |outcome| match outcome {
        Outcome::Rejected(_) => Outcome::Rejected(String::new()),
        other => other,
    };
    outcomes.into_iter().map(plain).collect()
}

#[tokio::test]
async fn random_batches_leave_the_same_as_in_memory() {
    for seed in 0..20 {
        let mut dice = Dice { state: seed, next_root: OLD };
        let place = Place::new();
        let file = place.open().await;
        let memory = MemoryStore::default();
        let (of_file, of_memory) = (file.acquire().await.unwrap(), memory.acquire().await.unwrap());
        let mut reader = place.stranger().await;
        run(&mut reader, "PRAGMA query_only = ON").await;
        let old: Vec<Step> = (1..=OLD).map(insert).collect();
        apply(&file, &of_file, old.clone()).await;
        commit(&memory, &of_memory, old.into()).await;
        for batch in 0..25 {
            let steps: Arc<[Step]> = (0..=dice.below(9)).map(|_| dice.step()).collect();
            let expected = commit(&memory, &of_memory, Arc::clone(&steps)).await;
            let found = commit(&file, &of_file, Arc::clone(&steps)).await;
            assert_eq!(found, expected, "seed {seed}, batch {batch}: {steps:#?}");
            let rows = sqlx::query("SELECT * FROM command_locks").fetch_all(&mut reader).await;
            let found = rows.unwrap().iter().map(held_lock).collect();
            let expected = sorted_locks(memory.held_locks());
            assert_eq!(sorted_locks(found), expected, "seed {seed}, batch {batch}: {steps:#?}");
        }
        for root in (1..=dice.next_root).map(id) {
            let expected = memory.tree(root).await.unwrap().map(sorted);
            assert_eq!(file.tree(root).await.unwrap().map(sorted), expected, "seed {seed}");
            let expected = memory.audit(root).await.unwrap();
            assert_eq!(file.audit(root).await.unwrap(), expected, "seed {seed}");
        }
    }
}
