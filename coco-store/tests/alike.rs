//! Random batches leave the same in every database as in memory, and are told the same.

#[path = "support/forest.rs"]
mod forest;
#[path = "support/steps.rs"]
mod steps;
#[allow(dead_code, reason = "nothing else is done to the file")]
mod support;

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coco_core::CommandId;
use coco_core::entity::{Delivery, TreeRows};
use coco_core::lock::ConflictReason;
use coco_core::store::{Committed, Lease, LockRows, MemoryStore, Outcome, Step, Store, Write};
use coco_store::{Durability, Options, SeaOrmStore};

use self::forest::{COMMANDS, Dice, Forest, brief, brief_steps, sorted_locks};
use self::steps::{Steps, insert_of_forest};
use self::support::{Place, id};

fn sorted(mut tree: TreeRows) -> TreeRows {
    tree.commands.sort_by_key(|row| row.command_id);
    tree.once_results.sort_by_key(|row| (row.command_id, row.position));
    tree.sleeps.sort_by_key(|row| (row.command_id, row.position));
    tree.compensations.sort_by_key(|row| (row.command_id, row.position));
    tree.subscriptions.sort_by(|a, b| (a.command_id, &a.key).cmp(&(b.command_id, &b.key)));
    tree.tasks.sort_by_key(|row| (row.command_id, row.position));
    tree
}

/// Without the reasons, which each store words as it likes, and in an order of its own.
async fn commit(store: &impl Store, lease: &Lease, steps: Arc<[Step]>) -> Committed {
    let mut committed = store.commit(lease, steps).await.expect("failed to commit");
    for outcome in &mut committed.outcomes {
        if let Outcome::Rejected(reason) = outcome {
            reason.clear();
        }
    }
    committed.delivered.sort_by_key(|delivered| (delivered.step, delivered.command));
    committed
}

/// A memory and databases that are given the same.
struct Stores {
    memory: MemoryStore,
    lease: Lease,
    databases: Vec<Database>,
}

/// A database, and where it is.
struct Database {
    store: SeaOrmStore,
    lease: Lease,
    /// The numbers of deliveries in memory, and those that it has given.
    numbers: RefCell<BTreeMap<i64, i64>>,
    _place: Box<dyn Any>,
}

impl Database {
    async fn new(store: SeaOrmStore, place: impl Any) -> Self {
        let lease = store.acquire().await.unwrap();
        Self { store, lease, numbers: RefCell::default(), _place: Box::new(place) }
    }

    async fn file() -> Self {
        let place = Place::new();
        let file = place.open_with(Options::default().durability(Durability::Relaxed)).await;
        Self::new(file, place).await
    }

    #[cfg(feature = "postgres")]
    async fn server() -> Self {
        let database = coco_store::TestDatabase::create().await;
        let store = SeaOrmStore::connect(database.address()).await.expect("failed to connect");
        Self::new(store, database).await
    }

    /// These steps, with the numbers that it has given.
    fn numbered(&self, steps: &[Step]) -> Arc<[Step]> {
        let numbers = self.numbers.borrow();
        let mut steps = steps.to_vec();
        for write in steps.iter_mut().flat_map(|step| &mut step.writes) {
            if let Write::Handled(_, number) = write {
                *number = numbers.get(number).copied().unwrap_or(*number);
            }
        }
        steps.into()
    }

    async fn locks(&self, behind: Option<CommandId>) -> LockRows {
        sorted_locks(self.store.locks(behind).await.unwrap())
    }
}

impl Stores {
    async fn new() -> Self {
        let memory = MemoryStore::default();
        let lease = memory.acquire().await.unwrap();
        let databases = vec![
            Database::file().await,
            #[cfg(feature = "postgres")]
            Database::server().await,
        ];
        let stores = Self { memory, lease, databases };
        stores.commit(COMMANDS.map(insert_of_forest).into(), "the forest").await;
        stores
    }

    /// All come to the same.
    async fn commit(&self, steps: Arc<[Step]>, which: &str) -> Committed {
        let before = brief(&self.locks(None).await);
        let what = format!("{which}\nBefore:\n{before}\nThen:\n{}", brief_steps(&steps));
        let expected = commit(&self.memory, &self.lease, Arc::clone(&steps)).await;
        let locks = self.locks(None).await;
        for database in &self.databases {
            let steps = database.numbered(&steps);
            let found = commit(&database.store, &database.lease, steps).await;
            assert_eq!(found, expected, "{what}");
            assert_eq!(database.locks(None).await, locks, "{what}");
        }
        let delivered: BTreeSet<_> = expected.delivered.iter().map(|one| one.command).collect();
        for command in delivered {
            self.compare_inboxes(command, &what).await;
        }
        expected
    }

    /// The same, but for the numbers, which all count as they like.
    async fn compare_inboxes(&self, command: CommandId, what: &str) -> Vec<Delivery> {
        let expected = self.memory.inbox(command, 1000).await.unwrap();
        let events = |inbox: &[Delivery]| {
            inbox.iter().map(|delivery| delivery.event.clone()).collect::<Vec<_>>()
        };
        for database in &self.databases {
            let found = database.store.inbox(command, 1000).await.unwrap();
            assert_eq!(events(&found), events(&expected), "{what}");
            assert!(found.is_sorted_by(|a, b| a.number < b.number), "{what}");
            let both = expected.iter().zip(&found);
            let both = both.map(|(memory, found)| (memory.number, found.number));
            database.numbers.borrow_mut().extend(both);
        }
        expected
    }

    /// What is stored of the tree of a root, and beside it.
    async fn compare(&self, root: CommandId, what: &str) -> usize {
        let waiting = self.compare_inboxes(root, what).await;
        let tree = self.memory.tree(root).await.unwrap().map(sorted);
        let audit = self.memory.audit(root).await.unwrap();
        let locks = self.locks(Some(root)).await;
        for database in &self.databases {
            assert_eq!(database.store.tree(root).await.unwrap().map(sorted), tree, "{what}");
            assert_eq!(database.store.audit(root).await.unwrap(), audit, "{what}");
            assert_eq!(database.locks(Some(root)).await, locks, "{what}");
        }
        waiting.len()
    }

    /// What waits in the inboxes in memory.
    async fn inboxes(&self, last_root: u128) -> Vec<(CommandId, i64)> {
        let mut inboxes = Vec::new();
        for command in all(last_root) {
            let inbox = self.memory.inbox(command, 1000).await.unwrap();
            inboxes.extend(inbox.iter().map(|delivery| (command, delivery.number)));
        }
        inboxes
    }

    async fn locks(&self, behind: Option<CommandId>) -> LockRows {
        sorted_locks(self.memory.locks(behind).await.unwrap())
    }
}

fn all(last_root: u128) -> impl Iterator<Item = CommandId> {
    COMMANDS.into_iter().chain(1001..=last_root).map(id)
}

fn seeds(usual: u64) -> u64 {
    let seeds = std::env::var("COCO_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    seeds.unwrap_or(usual)
}

#[tokio::test]
async fn random_batches_leave_the_same_as_in_memory() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..seeds(10) {
        let (mut dice, mut next_root) = (Dice(seed), 1000);
        let stores = Stores::new().await;
        for batch in 0..40 {
            let rows = stores.locks(None).await;
            let forest = Forest::new(&mut dice, &rows);
            let inboxes = stores.inboxes(next_root).await;
            let mut random = Steps { forest, next_root: &mut next_root, inboxes };
            let steps: Arc<[Step]> = (0..=random.below(9)).map(|_| random.step()).collect();
            let committed = stores.commit(steps, &format!("seed {seed}, batch {batch}")).await;
            *seen.entry("delivered").or_default() += committed.delivered.len();
            let is_rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(_));
            if committed.outcomes.iter().any(is_rejected) {
                *seen.entry("delivered apart").or_default() += committed.delivered.len();
            }
        }
        for command in all(next_root) {
            let waiting = stores.compare(command, &format!("seed {seed}")).await;
            *seen.entry("waiting").or_default() += waiting;
        }
    }
    for kind in ["delivered", "delivered apart", "waiting"] {
        assert!(seen.get(kind).is_some_and(|times| *times > 20), "{seen:?}");
    }
}

/// Locks alone, so that lines grow long, and every kind of answer comes often.
#[tokio::test]
async fn random_requests_are_decided_as_in_memory() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..seeds(15) {
        let mut dice = Dice(seed);
        let stores = Stores::new().await;
        for batch in 0..40 {
            let rows = stores.locks(None).await;
            let mut forest = Forest::new(&mut dice, &rows);
            let steps: Arc<[Step]> = (0..=forest.dice.below(9)).map(|_| forest.step()).collect();
            let committed = stores.commit(steps, &format!("seed {seed}, batch {batch}")).await;
            *seen.entry("granted").or_default() += committed.granted.len();
            for outcome in &committed.outcomes {
                let kind = match outcome {
                    Outcome::Applied => "applied",
                    Outcome::Conflict(conflict) => match conflict.reason {
                        ConflictReason::Held => "held",
                        ConflictReason::Ahead => "ahead",
                        _ => "shared",
                    },
                    Outcome::WouldDeadlock(_) => "would deadlock",
                    Outcome::Queued { .. } => "queued",
                    Outcome::Rejected(_) => "rejected",
                    _ => "other",
                };
                *seen.entry(kind).or_default() += 1;
            }
        }
    }
    for kind in
        ["granted", "applied", "held", "ahead", "shared", "would deadlock", "queued", "rejected"]
    {
        assert!(seen.get(kind).is_some_and(|times| *times > 5), "{seen:?}");
    }
}
