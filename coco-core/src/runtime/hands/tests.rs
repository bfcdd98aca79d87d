use std::task::Waker;

use serde::de::Error as _;
use tokio::sync::mpsc;

use super::*;
use crate::command::{Descriptor, Spec};
use crate::context::{CancelFlag, Resources};
use crate::erased::{Call, Round};
use crate::lock::LockProperties;
use crate::machine::{Run, RunKind};
use crate::runtime::body::{Outside, World, leaf_asks};
use crate::runtime::clock::Clock;
use crate::runtime::intercept::{Answer, Intercept, Interceptor, Occasion};
use crate::runtime::outages::Outages;
use crate::store::MemoryStore;
use crate::testing::simulator::commands::spec_of;

/// Panics where the kit for tests has a word, for commands with this name.
struct Panics(&'static str);

impl Intercept for Panics {
    fn asked(&self, _: Occasion, spec: &Spec) -> Answer {
        assert!(spec.name != self.0, "it is asked");
        Answer::Run
    }

    fn happened(&self, _: Occasion, _: &Reply) {}
}

/// A round that cannot be read, so that it fails at once.
fn round(number: u128, spec: &str) -> Body {
    let id = CommandId::from_uuid(uuid::Uuid::from_u128(number));
    let (inputs, _) = mpsc::unbounded_channel();
    let mut resources = Resources::default();
    resources.insert(Interceptor(Arc::new(Panics("tried"))));
    let world = World {
        store: Arc::new(MemoryStore::default()),
        resources: Arc::new(resources),
        leaf_asks: leaf_asks(inputs.clone()),
        inputs,
        outages: Outages::new(Clock::default()),
    };
    let descriptor = Descriptor {
        spec: *spec_of(spec),
        rust_path: "",
        file: "",
        line: 0,
        needs: &[],
        decode: |_| Err(serde_json::Error::custom("it is none")),
    };
    let call = Round {
        executed: Ok("null".into()),
        outcomes: Default::default(),
        events: Vec::new(),
        last_event: None,
    };
    let run = Run {
        at: Address { root: id, command: id },
        name: descriptor.spec.name,
        fields: "null".into(),
        attempt: 1,
        hook_attempt: 0,
        parent: None,
        locks: Arc::new(LockProperties::default()),
        next_position: 0,
        kind: RunKind::Round(Call::Round(Box::new(call))),
    };
    let outside =
        Outside { before: None, world: Arc::new(world), cancel: Arc::new(CancelFlag::default()) };
    Body {
        outside,
        run: Box::new(run),
        descriptor: Box::leak(Box::new(descriptor)),
        outcomes: None,
        grace: Duration::ZERO,
    }
}

/// One hand that has begun with the first of so many rounds, and is played by the test.
fn at_the_first_of(rounds: u128) -> (Hands, Address) {
    let mut hands = Hands::new();
    (0..rounds).for_each(|number| hands.take(round(number, "pair")));
    hands.begin();
    let first = hands.shared.next(1, None).expect("there is one");
    (hands, first.run.at)
}

fn said(at: Address) -> Said {
    (at, escaped(at, "it"))
}

fn is_woken(hands: &Hands) -> bool {
    pin!(hands.heard()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn heard(hands: &Hands) -> usize {
    let mut heard = Vec::new();
    hands.take_said(&mut heard);
    heard.len()
}

#[tokio::test]
async fn the_engine_is_woken_when_a_hand_pauses_and_not_before() {
    let (hands, at) = at_the_first_of(4);
    assert!(hands.shared.next(1, Some(said(at))).is_some());
    assert!(!is_woken(&hands), "the hand goes on");
    assert_eq!(heard(&hands), 1, "it may be asked for");
    assert!(hands.shared.pauses(1, said(at)));
    assert!(is_woken(&hands), "the hand steps back");
    assert!(hands.shared.next(1, None).is_some() && hands.shared.stays(1));
    assert_eq!((is_woken(&hands), heard(&hands)), (true, 1), "its round waits for something");
    hands.shared.over(1, said(at));
    assert_eq!((is_woken(&hands), heard(&hands)), (true, 1), "that is over");
    assert!(hands.shared.next(2, None).is_some() && hands.shared.next(2, Some(said(at))).is_none());
    assert_eq!((is_woken(&hands), heard(&hands)), (true, 1), "nothing waits");
}

#[tokio::test]
async fn a_hand_that_is_found_at_the_same_round_again_is_left_alone() {
    let (mut hands, at) = at_the_first_of(2);
    for still_work in [1, 0] {
        let deadline = hands.deadline().expect("a hand works");
        hands.look_after(deadline - Duration::from_millis(1));
        assert_eq!(hands.shared.lock().working, 1, "it is not time");
        hands.look_after(deadline);
        assert_eq!(hands.shared.lock().working, still_work);
    }
    assert_eq!(hands.deadline(), None);
    hands.begin();
    assert!(hands.shared.next(1, Some(said(at))).is_none(), "another one has what waits");
    assert!(is_woken(&hands) && hands.shared.next(2, None).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_panic_around_the_code_of_a_command_fails_that_command_alone() {
    let mut hands = Hands::new();
    ["pair", "tried", "pair"].iter().zip(0..).for_each(|(spec, n)| hands.take(round(n, spec)));
    hands.begin();
    tokio::time::timeout(LOOK_AFTER, hands.heard()).await.expect("something is said");
    let mut said = Vec::new();
    hands.take_said(&mut said);
    let kinds = said.into_iter().map(|(_, over)| match over {
        Happened::RoundOver(Reply { result: Err(failure), .. }) => failure.kind,
        other => panic!("{other:?}"),
    });
    let (panicked, unreadable) = (FailureKind::Panicked, FailureKind::Undecodable);
    assert_eq!(kinds.collect::<Vec<_>>(), [unreadable, panicked, unreadable]);
    assert_eq!(hands.shared.lock().working, 0);
}
