//! Rounds that are due together: what one of them does holds no other up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use coco_core::prelude::*;
use coco_core::testing::FaultyStore;
use coco_core::{Builder, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{AnyStore, Home, failure_of, in_no_time, in_time, start, start_with, stuck_of};
use super::leaves::{Mark, Nothing};
use super::world::World;

in_no_time!(
    what_one_does_harms_no_other,
    many_polls_beside_a_leaf,
    a_stop_waits_for_what_is_due,
    a_stop_drops_what_is_due,
    a_cancel_is_told_to_a_poll,
    a_tree_that_is_given_up,
);

/// Is polled with all others of its time. It does what the world says of its number: `panic`,
/// `wait` at the gate of that name, or until it is told that it is cancelled, and longer.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), timeout = "1h")]
struct Due {
    number: usize,
}

impl Execute for Due {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Polling for Due {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        let (world, number) = (cx.get::<World>(), self.number);
        world.note(cx.id(), "due", 1);
        world.note(cx.id(), format!("due {number}"), 1);
        match world.word(&format!("due {number}")).as_deref() {
            Some("panic") => panic!("oh"),
            Some("wait") => {
                let _left = Left(world.clone(), cx.id());
                world.pass(&format!("due {number}")).await;
            }
            Some("cancel") => {
                cx.cancelled().await;
                world.note(cx.id(), "told", 1);
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        Ok(if world.is_said("pending") { Poll::Pending } else { Poll::Ready })
    }
}

/// Notes that it is dropped.
struct Left(World, CommandId);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.note(self.1, "left", 1);
    }
}

/// Has two children, of which one is polled.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Both {}

impl Execute for Both {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (due, mark) = tokio::join!(cx.child(Due { number: 0 }), cx.child(Mark::new("beside")));
        due.and(mark.map(drop))
    }
}

/// What the rounds of a world on several threads share.
#[derive(Clone)]
struct Threads {
    /// How many have come.
    come: Arc<AtomicUsize>,
    both: Arc<Barrier>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Threads {
    fn of(world: &World) -> Self {
        static ALL: Mutex<BTreeMap<u64, Threads>> = Mutex::new(BTreeMap::new());
        let new =
            || Self { come: Arc::default(), both: Arc::new(Barrier::new(2)), gate: Arc::default() };
        ALL.lock().unwrap().entry(world.number()).or_insert_with(new).clone()
    }

    fn block(&self) {
        let (is_open, opened) = &*self.gate;
        drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        let (is_open, opened) = &*self.gate;
        *is_open.lock().unwrap() = true;
        opened.notify_all();
    }
}

/// Opens the gate whatever happens: a runtime waits for its threads.
struct Opens(Threads);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Has a round behind its `execute`, with all others that are let go together. Of those that block
/// their threads, the first two meet, and the third waits for the gate; of those that block in place,
/// and let tokio know, the first three wait.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, needs(World))]
struct Together {
    in_place: bool,
}

impl Execute for Together {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), "begins", 1);
        world.pass("together").await;
        Ok(())
    }

    async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "ended", 1);
        Ok(())
    }
}

impl ConcurrentChildren for Together {
    async fn children_ended(
        &mut self,
        (): &mut (),
        _: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        let threads = Threads::of(cx.get());
        match (self.in_place, threads.come.fetch_add(1, Ordering::SeqCst)) {
            (true, 0..3) => tokio::task::block_in_place(|| threads.block()),
            (false, 0..2) => _ = threads.both.wait(),
            (false, 2) => threads.block(),
            _ => {}
        }
        Ok(())
    }
}

/// Rounds of which so many block: all others end, and so does a leaf that is submitted meanwhile.
async fn others_end(in_place: bool, block: usize) {
    const ALL: usize = 20;
    let world = World::new();
    let threads = Threads::of(&world);
    let _opens = Opens(threads.clone());
    let store: FaultyStore<AnyStore> = Home::memory().faulty().await;
    let coordinator = start(store.clone(), &world).await;
    world.close("together");
    let mut handles = Vec::new();
    for _ in 0..ALL {
        handles.push(coordinator.submit(Together { in_place }).await.unwrap());
    }
    world.noted_times("begins", ALL).await;
    // What ends while a commit is held back makes one commit behind it.
    store.hold();
    let other = coordinator.clone();
    let first = tokio::spawn(async move { other.submit(Nothing {}).await });
    store.held().await;
    world.open("together");
    store.let_go();
    first.await.unwrap().unwrap().output().await.unwrap();
    world.noted_times("ended", ALL - block).await;
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    assert_eq!(world.count("ended"), ALL - block);
    threads.open();
    for handle in handles {
        handle.output().await.unwrap();
    }
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_blocks_its_thread() {
    in_time(others_end(false, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_there_are_threads_that_block_in_place() {
    in_time(others_end(true, 3)).await;
}

mod scenario {
    use super::*;

    async fn start(home: &Home, world: &World) -> Coordinator {
        let chosen = |builder: Builder| builder.on_tokio_time().cancel_grace(MINUTE);
        home.start_with(world, chosen).await
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// So many that are due at the same time.
    async fn due(coordinator: &Coordinator, many: usize) -> Vec<CommandHandle<Due>> {
        let mut handles = Vec::new();
        for number in 0..many {
            handles.push(coordinator.submit(Due { number }).await.unwrap());
        }
        handles
    }

    pub(super) async fn what_one_does_harms_no_other(home: Home) {
        let world = World::new();
        world.say("due 3", "panic");
        world.say("due 5", "wait");
        world.close("due 5");
        let coordinator = start(&home, &world).await;
        let mut handles = due(&coordinator, 100).await;
        let (waits, panics) = (handles.remove(5), handles.remove(3));
        for handle in handles {
            handle.output().await.unwrap();
        }
        let failure = failure_of(panics.output().await);
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Panicked, "it panicked: oh"));
        assert_eq!(world.count("left"), 0);
        assert!(world.age() < Duration::from_millis(1_002), "none has waited");
        world.open("due 5");
        waits.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn many_polls_beside_a_leaf(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let (other, noted) = (coordinator.clone(), world.clone());
        let leaf = tokio::spawn(async move {
            noted.noted("due 0").await;
            other.submit(Nothing {}).await.unwrap().output().await.unwrap();
            noted.count("due")
        });
        for handle in due(&coordinator, 10_000).await {
            handle.output().await.unwrap();
        }
        assert_eq!(world.count("due"), 10_000);
        let polls = leaf.await.unwrap();
        assert!(polls < 10_000, "the leaf waited for all");
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_stop_waits_for_what_is_due(home: Home) {
        let world = World::new();
        world.say("due 0", "wait");
        world.close("due 0");
        let coordinator = start(&home, &world).await;
        let handles = due(&coordinator, 100).await;
        world.noted("due 5").await;
        let stop = tokio::spawn(coordinator.shutdown());
        world.noted_times("due", 100).await;
        assert!(!stop.is_finished());
        world.open("due 0");
        stop.await.unwrap().unwrap();
        for handle in handles {
            assert!(home.entity(handle.id()).await.progress.status.is_terminal());
        }
    }

    pub(super) async fn a_stop_drops_what_is_due(home: Home) {
        const MANY: usize = 5_000;
        let world = World::new();
        world.say("pending", "");
        world.say("due 0", "wait");
        world.close("due 0");
        let coordinator = start(&home, &world).await;
        due(&coordinator, MANY).await;
        let noted = world.clone();
        let stop = tokio::spawn(async move {
            noted.noted("due 5").await;
            coordinator.shutdown_within(Duration::ZERO).await
        });
        stop.await.unwrap().unwrap();
        let polls = world.count("due");
        assert!(polls < MANY, "what waits is run after the stop");
        assert_eq!(world.count("left"), 1, "it is gone when the engine is");
        tokio::time::sleep(MINUTE).await;
        assert_eq!(world.count("due"), polls);
    }

    pub(super) async fn a_cancel_is_told_to_a_poll(home: Home) {
        let world = World::new();
        world.say("due 0", "cancel");
        let coordinator = start(&home, &world).await;
        let handle = due(&coordinator, 1).await.remove(0);
        world.noted("due 0").await;
        handle.cancel().await.unwrap();
        world.noted("told").await;
        assert_eq!(world.age().as_secs(), 1);
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
        assert_eq!(world.age().as_secs(), 61, "it had its time of grace");
        coordinator.shutdown().await.unwrap();
    }

    /// The store takes nothing of its sibling: the tree rests, and its poll is dropped.
    pub(super) async fn a_tree_that_is_given_up(home: Home) {
        let world = World::new();
        world.say("due 0", "wait");
        ["due 0", "beside"].iter().for_each(|gate| world.close(gate));
        let store = home.faulty().await;
        let coordinator = start_with(store.clone(), &world, Builder::on_tokio_time).await;
        let handle = coordinator.submit(Both {}).await.unwrap();
        world.noted("due 0").await;
        let ledger = world.ledger();
        let beside = ledger.iter().find(|entry| entry.deed == "beside").unwrap().id;
        store.reject(move |step| step.command == beside);
        world.open("beside");
        let (stuck, reason) = stuck_of(handle.output().await);
        assert_eq!((stuck, reason.kind), (beside, FailureKind::Rejected));
        tokio::time::timeout(MINUTE, world.noted("left")).await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}
