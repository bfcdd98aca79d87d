//! What the derives make of a type.

#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic)]

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use coco_core::callback::{CallbackKind, Pace};
use coco_core::lock::{Lock, LockMode, LockProperties, LockScope, LockWait};
use coco_core::prelude::*;
use coco_core::{Declaration, DynCommand, Retry, Spec};
use serde::{Deserialize, Serialize};

/// A crate of somebody else who hands ours on.
mod facade {
    pub(crate) use coco_core as commands;
}

macro_rules! does_nothing {
    ($($command:ty),*) => {$(
        impl Execute for $command {
            type Output = ();

            async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

#[derive(LockKey, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[lock_key(group = "disk")]
struct DiskId(u32);

#[derive(LockKey, Serialize, Deserialize)]
#[lock_key(group = "path", crate = facade::commands)]
struct Path {
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Vm(u8);

impl fmt::Display for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm {}", self.0)
    }
}

struct Storage;
struct Network;

const LINE_BEFORE_PLAIN: u32 = line!();
#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
struct Plain {
    number: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(
    name = "move_disk_1",
    lock = Command,
    callback = SerialChildren,
    needs(Storage, Vec<Network>),
    timeout = "1h30m",
    concurrency = 4,
    crate = facade::commands,
)]
struct MoveDisk {
    #[lock(exclusive)]
    disk: DiskId,
    #[lock(shared, group = "vm")]
    vm: Vm,
    #[lock(shared)]
    target: Path,
    unlocked: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, retry(backoff = "1.5s", attempts = 5, max_backoff = "250d"))]
#[command(lock = Execution, timeout = "500ms")]
struct HTTPFetch2(#[lock(group = "url", exclusive)] String, u8);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait, crate = facade::commands)]
struct CopyDisks {
    #[lock(shared)]
    sources: Vec<DiskId>,
    #[lock(exclusive)]
    target: Option<DiskId>,
    #[lock(shared)]
    set: BTreeSet<DiskId>,
    #[lock(shared, group = "vm")]
    vms: Vec<Vm>,
    #[lock(exclusive, group = "name")]
    name: Option<String>,
}

/// The `self` of a `macro_rules` is not that of the types that it is given.
macro_rules! locks_a {
    ($command:ident, $field:ty, $key:ident, $text:ident) => {
        #[derive(LockKey, Serialize, Deserialize)]
        #[lock_key(group = "captured")]
        struct $key($text);

        #[derive(Command, Serialize, Deserialize)]
        #[command(lock = Command, wait = "1m30s")]
        struct $command(#[lock(exclusive)] $field, #[lock(shared)] $key);
    };
}

locks_a!(CopyMany, Vec<DiskId>, Captured, String);

#[derive(Command, Serialize, Deserialize)]
struct Unit;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(Storage))]
struct Flow(u8);

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 2), crate = facade::commands)]
struct r#Async {
    r#type: u8,
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, idempotent, retry(attempts = 2))]
struct Upgrade;

impl ConcurrentChildren for Upgrade {}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, poll(every = "250ms"))]
struct Merge;

impl NextOperation for Merge {
    async fn perform_next_operation(
        &mut self,
        (): &mut (),
        _: &Outcomes,
        _: &Context<Self>,
    ) -> Result<bool> {
        Ok(false)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "2s", max = "1m"), crate = facade::commands)]
struct Reboot;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(max = "10s"))]
struct Shutdown;

macro_rules! is_ready_at_once {
    ($($command:ty),*) => {$(
        impl Polling for $command {
            async fn poll(&mut self, _: &mut (), _: &Context<Self>) -> Result<Poll> {
                Ok(Poll::Ready)
            }
        }
    )*};
}

is_ready_at_once!(Reboot, Shutdown);

mod own {
    use super::*;

    pub(super) struct AnyOf<const N: usize>;

    impl<C: Execute, const N: usize> CommandCallback<C> for AnyOf<N> {
        async fn do_polling(
            _: &mut C,
            _: &mut C::Output,
            outcomes: &Outcomes,
            _: &Context<C>,
        ) -> Result<Poll> {
            Ok(if outcomes.len() < N { Poll::Pending } else { Poll::Ready })
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = own::AnyOf<3>, poll(max = "1s"), idempotent)]
struct FindHost;

/// A callback may come from a macro, by its word or by its path.
macro_rules! has_a {
    ($callback:path, $command:ident) => {
        #[derive(Command, Serialize, Deserialize)]
        #[command(callback = $callback, crate = facade::commands)]
        struct $command;
    };
}

has_a!(ConcurrentChildren, UpgradeAll);
has_a!(own::AnyOf<1>, FindAny);

impl ConcurrentChildren for UpgradeAll {}

does_nothing!(Plain, MoveDisk, HTTPFetch2, CopyDisks, CopyMany, Unit, r#Async);
does_nothing!(Upgrade, Merge, Reboot, Shutdown, FindHost, UpgradeAll, FindAny);

impl Execute for Flow {
    type Output = u8;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u8> {
        cx.child(Plain { number: self.0 }).await?;
        cx.children([Unit, Unit]).await?;
        let stored =
            cx.once("reach", async |cx| Ok(std::ptr::from_ref::<Storage>(cx.get()) as usize));
        drop(stored);
        Ok(self.0)
    }
}

const fn spec<C: Command>() -> (&'static str, CallbackKind, bool, LockScope) {
    let spec = C::DESCRIPTOR.spec;
    (spec.name, spec.callback, spec.idempotent, spec.scope)
}

fn lock(group: &'static str, key: &str, mode: LockMode) -> Lock {
    Lock { group: group.into(), key: key.to_owned(), mode }
}

#[test]
fn every_key_arrives() {
    let flow = CallbackKind::SerialChildren;
    assert_eq!(spec::<Plain>(), ("plain", CallbackKind::None, false, LockScope::None));
    assert_eq!(spec::<Unit>(), ("unit", CallbackKind::None, false, LockScope::None));
    assert_eq!(spec::<MoveDisk>(), ("move_disk_1", flow, false, LockScope::Command));
    assert_eq!(
        spec::<HTTPFetch2>(),
        ("http_fetch2", CallbackKind::None, true, LockScope::Execution)
    );
    assert_eq!(spec::<Flow>(), ("flow", flow, false, LockScope::None));
    assert_eq!(MoveDisk::DESCRIPTOR.needs.len(), 2);
}

#[test]
fn callbacks_and_their_intervals_arrive() {
    let said = |spec: Spec| (spec.callback, spec.poll);
    let ms = Duration::from_millis;
    for (spec, callback, pace) in [
        (Plain::DESCRIPTOR.spec, CallbackKind::None, Pace::DEFAULT),
        (Flow::DESCRIPTOR.spec, CallbackKind::SerialChildren, Pace::DEFAULT),
        (Upgrade::DESCRIPTOR.spec, CallbackKind::ConcurrentChildren, Pace::DEFAULT),
        (UpgradeAll::DESCRIPTOR.spec, CallbackKind::ConcurrentChildren, Pace::DEFAULT),
        (Merge::DESCRIPTOR.spec, CallbackKind::NextOperation, Pace::new(ms(250), ms(10_000))),
        (Reboot::DESCRIPTOR.spec, CallbackKind::Polling, Pace::new(ms(2_000), ms(60_000))),
        (Shutdown::DESCRIPTOR.spec, CallbackKind::Polling, Pace::DEFAULT),
        (FindHost::DESCRIPTOR.spec, CallbackKind::Custom, Pace::new(ms(1_000), ms(1_000))),
        (FindAny::DESCRIPTOR.spec, CallbackKind::Custom, Pace::DEFAULT),
    ] {
        assert_eq!(said(spec), (callback, pace), "{}", spec.name);
    }
    let upgrade = Upgrade::DESCRIPTOR.spec;
    assert_eq!((upgrade.idempotent, upgrade.retry), (true, Some(Retry::new(2))));
    assert!(FindHost::DESCRIPTOR.spec.idempotent);
}

#[test]
fn retries_and_limits_arrive() {
    let limits = |spec: Spec| (spec.retry, spec.timeout, spec.concurrency);
    assert_eq!(limits(Plain::DESCRIPTOR.spec), (None, None, None));
    assert_eq!(
        limits(MoveDisk::DESCRIPTOR.spec),
        (None, Some(Duration::from_mins(90)), NonZeroU32::new(4))
    );
    let patient =
        Retry::new(5).backoff(Duration::from_millis(1500)).max_backoff(Duration::from_hours(6000));
    assert_eq!(
        limits(HTTPFetch2::DESCRIPTOR.spec),
        (Some(patient), Some(Duration::from_millis(500)), None)
    );
    assert_eq!(limits(r#Async::DESCRIPTOR.spec), (Some(Retry::new(2)), None, None));
}

#[test]
fn the_defaults_that_the_derive_checks_by_are_those_of_the_policy() {
    #[derive(Command, Serialize, Deserialize)]
    #[command(retry(attempts = 3, backoff = "1s", max_backoff = "5m"))]
    struct Defaults;
    does_nothing!(Defaults);
    assert_eq!(Defaults::DESCRIPTOR.spec.retry, Some(Retry::new(3)));
}

#[test]
fn a_raw_identifier_is_stored_without_its_mark() {
    assert_eq!(spec::<r#Async>().0, "async");
    assert_eq!(r#Async::DESCRIPTOR.rust_path, "derive::Async");
}

#[test]
fn the_descriptor_knows_the_place() {
    assert_eq!(Plain::DESCRIPTOR.rust_path, "derive::Plain");
    assert_eq!(Plain::DESCRIPTOR.file, file!());
    assert_eq!(Plain::DESCRIPTOR.line, LINE_BEFORE_PLAIN + 1);
}

#[test]
fn locks_of_every_form_of_field() {
    let command = MoveDisk {
        disk: DiskId(7),
        vm: Vm(2),
        target: Path { text: "/a".to_owned() },
        unlocked: 0,
    };
    assert_eq!(
        command.locks(),
        [
            lock("disk", "7", LockMode::Exclusive),
            lock("vm", "vm 2", LockMode::Shared),
            lock("path", "/a", LockMode::Shared),
        ]
    );
    assert_eq!(HTTPFetch2("u".to_owned(), 1).locks(), [lock("url", "u", LockMode::Exclusive)]);
    assert_eq!(Unit.locks(), []);
}

fn properties(command: impl DynCommand + 'static) -> LockProperties {
    let command: Box<dyn DynCommand> = Box::new(command);
    command.lock_properties()
}

fn copy_disks() -> CopyDisks {
    CopyDisks {
        target: None,
        sources: Vec::new(),
        set: BTreeSet::new(),
        vms: Vec::new(),
        name: None,
    }
}

#[test]
fn a_field_of_several_keys_is_a_lock_for_each() {
    let command = CopyDisks {
        target: Some(DiskId(1)),
        sources: vec![DiskId(3), DiskId(2)],
        set: BTreeSet::from([DiskId(5), DiskId(4)]),
        vms: vec![Vm(1), Vm(2)],
        name: Some("a|b".to_owned()),
    };
    assert_eq!(
        command.locks(),
        [
            lock("disk", "3", LockMode::Shared),
            lock("disk", "2", LockMode::Shared),
            lock("disk", "1", LockMode::Exclusive),
            lock("disk", "4", LockMode::Shared),
            lock("disk", "5", LockMode::Shared),
            lock("vm", "vm 1", LockMode::Shared),
            lock("vm", "vm 2", LockMode::Shared),
            lock("name", "a|b", LockMode::Exclusive),
        ]
    );
}

#[test]
fn types_may_come_from_a_macro() {
    let command = CopyMany(vec![DiskId(1), DiskId(2)], Captured("a".to_owned()));
    assert_eq!(
        command.locks(),
        [
            lock("disk", "1", LockMode::Exclusive),
            lock("disk", "2", LockMode::Exclusive),
            lock("captured", "a", LockMode::Shared),
        ]
    );
}

#[test]
fn a_field_without_a_key_is_no_lock() {
    assert_eq!(copy_disks().locks(), []);
}

#[test]
fn a_key_of_two_fields_is_locked_once_in_the_stronger_mode() {
    let (one, two) = (DiskId(1), DiskId(2));
    let (exclusive, shared) =
        (lock("disk", "1", LockMode::Exclusive), lock("disk", "2", LockMode::Shared));
    for command in [
        CopyDisks { sources: vec![one, two, one, two], target: Some(one), ..copy_disks() },
        CopyDisks { target: Some(one), set: [one, two].into(), ..copy_disks() },
    ] {
        assert_eq!(properties(command).locks(), [exclusive.clone(), shared.clone()]);
    }
    let command = CopyDisks { sources: vec![two], set: [two].into(), ..copy_disks() };
    assert_eq!(properties(command).locks(), [shared]);
}

#[test]
fn scope_and_wait_arrive() {
    let said = |spec: Spec| (spec.scope, spec.wait);
    let longest = LockWait::AtMost(Duration::from_secs(90));
    assert_eq!(said(MoveDisk::DESCRIPTOR.spec), (LockScope::Command, LockWait::No));
    assert_eq!(said(CopyDisks::DESCRIPTOR.spec), (LockScope::Execution, LockWait::Yes));
    assert_eq!(said(CopyMany::DESCRIPTOR.spec), (LockScope::Command, longest));
    assert_eq!(said(Plain::DESCRIPTOR.spec), (LockScope::None, LockWait::No));

    let properties = properties(CopyMany(vec![DiskId(1)], Captured(String::new())));
    assert_eq!((properties.scope(), properties.wait()), (LockScope::Command, longest));
}

#[test]
fn names_are_listed_and_sound() {
    coco_core::assert_registry();
    assert_eq!(
        coco_core::stored_names(),
        [
            "async",
            "copy_disks",
            "copy_many",
            "defaults",
            "find_any",
            "find_host",
            "flow",
            "http_fetch2",
            "local",
            "merge",
            "move_disk_1",
            "plain",
            "reboot",
            "shutdown",
            "unit",
            "upgrade",
            "upgrade_all"
        ]
    );
}

#[test]
fn a_command_may_be_local_to_a_function() {
    #[derive(Command, Serialize, Deserialize)]
    struct Local;
    does_nothing!(Local);
    assert_eq!(spec::<Local>().0, "local");
}

#[test]
fn a_dyn_command_stands_inside_other_values() {
    #[derive(Serialize, Deserialize)]
    struct Plan {
        steps: Vec<Box<dyn DynCommand>>,
    }
    let plan =
        Plan { steps: vec![Box::new(Plain { number: 3 }), Box::new(Unit), Box::new(Flow(1))] };
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(
        json,
        r#"{"steps":[{"command":"plain","parameters":{"number":3}},{"command":"unit","parameters":null},{"command":"flow","parameters":1}]}"#
    );
    let read: Plan = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let unknown = r#"{"steps":[{"command":"plane","parameters":null}]}"#;
    let error = serde_json::from_str::<Plan>(unknown).err().unwrap().to_string();
    assert!(
        error.starts_with("unknown variant `plane`, expected one of `async`, `copy_disks`"),
        "{error}"
    );
}
