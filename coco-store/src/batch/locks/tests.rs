//! However a row of grants, passes and releases is cut into batches, the table that comes of it is
//! the one that comes of them one by one.

use std::borrow::Cow;
use std::sync::Arc;

use coco_core::Timestamp;
use coco_core::lock::Lock;
use uuid::Uuid;

use super::*;

/// Random numbers that a seed gives again: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }

    fn owner(&mut self) -> CommandId {
        id(1 + u128::from(self.below(4)))
    }

    fn request(&mut self) -> LockRequest {
        let owner = self.owner();
        let lock = |dice: &mut Self| Lock {
            group: "disk".into(),
            key: dice.below(3).to_string(),
            mode: if dice.below(2) == 0 { LockMode::Shared } else { LockMode::Exclusive },
        };
        LockRequest {
            owner,
            command_type: type_of(owner),
            ancestors: (0..self.below(3)).map(|_| self.owner()).collect(),
            locks: (0..self.below(4)).map(|_| lock(self)).collect(),
            at: Timestamp::from_micros(self.below(100).cast_signed()),
        }
    }

    fn step(&mut self) -> Step {
        let request = (self.below(2) == 0).then(|| Arc::new(self.request()));
        let write = |dice: &mut Self| match dice.below(3) {
            0 => Write::Release(dice.owner()),
            _ => {
                let to = dice.owner();
                Write::Pass { from: dice.owner(), to, command_type: type_of(to) }
            }
        };
        let writes = (0..self.below(3)).map(|_| write(self)).collect();
        Step { root: id(0), command: id(0), request, writes }
    }
}

fn id(n: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n))
}

fn type_of(owner: CommandId) -> Cow<'static, str> {
    format!("type {owner}").into()
}

/// The steps one by one, as the memory store applies them.
fn one_by_one(table: &mut HeldLocks, steps: &[Step]) -> Vec<Result<(), LockConflict>> {
    let apply = |step: &Step| {
        if let Some(request) = &step.request {
            lock::decide(table, request)?;
            request.granted().for_each(|held| table.insert(held));
        }
        for write in &step.writes {
            match write {
                Write::Release(owner) => table.release(*owner),
                Write::Pass { from, to, command_type } => table.pass(*from, *to, command_type),
                other => unreachable!("{other:?}"),
            }
        }
        Ok(())
    };
    steps.iter().map(apply).collect()
}

/// The steps as one batch, with no more of the table than the statements read.
fn as_a_batch(table: &mut HeldLocks, steps: &[Step]) -> Vec<Result<(), LockConflict>> {
    let steps: Vec<&Step> = steps.iter().collect();
    let asked = asked_keys(&steps);
    let decides = |held: &&HeldLock| {
        asked.iter().any(|(group, key, exclusive)| {
            (*group, *key) == (&*held.lock.group, held.lock.key.as_str())
                && (*exclusive || held.lock.mode == LockMode::Exclusive)
        })
    };
    let passing = passing(&steps);
    let passes = |held: &&HeldLock| passing.contains(&held.owner);
    let mut changes = LockChanges::new(
        table.iter().filter(decides).cloned().collect(),
        table.iter().filter(passes).cloned().collect(),
    );
    let apply = |step: &&Step| {
        if let Some(request) = &step.request {
            changes.grant(request)?;
        }
        step.writes.iter().for_each(|write| changes.apply(write));
        Ok(())
    };
    let outcomes = steps.iter().map(apply).collect();
    let released: BTreeSet<CommandId> = changes.released().collect();
    let mut left = HeldLocks::default();
    for held in table.iter().filter(|held| !released.contains(&held.owner)) {
        left.insert(held.clone());
    }
    changes.granted().for_each(|held| left.insert(held.clone()));
    *table = left;
    outcomes
}

fn rows(table: &HeldLocks) -> Vec<&HeldLock> {
    let mut rows: Vec<&HeldLock> = table.iter().collect();
    rows.sort_by(|a, b| (a.owner, &a.lock.key).cmp(&(b.owner, &b.lock.key)));
    rows
}

#[test]
fn batches_come_to_the_same_as_single_steps() {
    for seed in 0..3000 {
        let mut dice = Dice(seed);
        let (mut expected, mut found) = (HeldLocks::default(), HeldLocks::default());
        for batch in 0..8 {
            let steps: Vec<Step> = (0..=dice.below(7)).map(|_| dice.step()).collect();
            let outcomes = one_by_one(&mut expected, &steps);
            assert_eq!(as_a_batch(&mut found, &steps), outcomes, "seed {seed}, batch {batch}");
            assert_eq!(rows(&found), rows(&expected), "seed {seed}, batch {batch}: {steps:#?}");
        }
    }
}
