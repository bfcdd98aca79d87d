//! Random batches leave the same in every database as in memory, and are told the same.

#[path = "support/forest.rs"]
mod forest;
#[allow(dead_code, reason = "nothing else is done to the file")]
mod support;

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coco_core::entity::{
    Audit, Compensation, Delivery, OnceResult, Progress, Published, Sleep, Subscription, Task,
    TreeRows, Undo,
};
use coco_core::lock::{ConflictReason, Lock, LockMode, LockRequest};
use coco_core::store::{Committed, Lease, LockRows, MemoryStore, Outcome, Step, Store, Write};
use coco_core::{CommandId, CommandStatus, Timestamp};
use coco_store::{Durability, Options, SeaOrmStore};

use self::forest::{COMMANDS, Dice, Forest, ancestors, brief, brief_steps, root, sorted_locks};
use self::support::{Place, id, insert, progress};

/// Random steps of the forest, and of roots that they insert.
struct Steps<'r> {
    forest: Forest<'r>,
    next_root: &'r mut u128,
    /// What waits in the inboxes in memory: whose, and its number.
    inboxes: Vec<(CommandId, i64)>,
}

impl Steps<'_> {
    fn below(&mut self, end: u64) -> u64 {
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

    fn step(&mut self) -> Step {
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

fn insert_of_forest(n: u128) -> Step {
    let mut step = insert(n);
    step.root = root(n);
    if let [Write::Insert(entity)] = &mut step.writes[..] {
        entity.parent_command_id = ancestors(n).first().copied();
        entity.root_command_id = root(n);
    }
    step
}

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
