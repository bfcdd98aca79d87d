//! Commands that would wait for each other for ever: one of them is told so, and the others go on.

use coco_core::lock::{ConflictReason, LockConflict};
use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};

use super::home::{Home, failure_of, on_every_store};
use super::turns::{
    Part, Plan, TwoPlans, alone, close, data_of, deadlock_of, free, line, mark, nothing_is_locked,
    plan, queued, shared, take,
};
use super::world::World;

on_every_store!(
    two_flows,
    two_flows_one_of_which_handles_it,
    three_flows,
    over_a_restart,
    an_upgrade_beside_a_stranger,
    an_upgrade_of_its_own,
    children_in_opposite_order,
    children_of_one_flow_who_lock_more,
    a_root_waits_for_nobody_who_waits_for_it,
);

/// Holds `own`, passes the gate `go <own>`, and then wants `other` as well.
fn reaches(own: u32, other: u32) -> Plan {
    let kept = close(format!("kept {own}"), free());
    let child = take(format!("child of {own}"), alone([other]));
    plan(alone([own]), [kept.into(), mark(&format!("go {own}")), child.into()])
}

/// Starts flows that each hold a disk and go no further.
async fn holding<const N: usize>(
    coordinator: &Coordinator,
    world: &World,
    flows: [(u32, Plan); N],
) -> Vec<CommandHandle<Plan>> {
    let mut handles = Vec::new();
    for (own, flow) in flows {
        world.close(&format!("go {own}"));
        handles.push(coordinator.submit(flow).await.unwrap());
        world.noted(&format!("go {own}")).await;
    }
    handles
}

async fn child_of(home: &Home, handle: &CommandHandle<Plan>) -> CommandId {
    let rows = home.tree(handle.id()).await.commands;
    let child = rows.iter().find(|row| row.position == 2 && row.parent_command_id.is_some());
    child.expect("it has asked for its child").command_id
}

async fn two_flows(home: Home) {
    let world = World::new();
    world.close("child of 1");
    let coordinator = home.start(&world).await;
    let flows = holding(&coordinator, &world, [(1, reaches(1, 2)), (2, reaches(2, 1))]).await;
    world.open("go 1");
    queued(&home, 1).await;
    assert_eq!(world.count("child of 1"), 0);
    world.open("go 2");
    // The one that closes the cycle undoes what it did, ends, and lets the other one in.
    let failure = failure_of(flows[1].output().await);
    assert_eq!(failure.kind, FailureKind::WouldDeadlock);
    let (one, other) = (child_of(&home, &flows[0]).await, child_of(&home, &flows[1]).await);
    assert_eq!(
        failure.message,
        format!(
            "to wait for it would never end: take `{other}` waits for turn `1` of `{}`, \
             take `{one}` waits for turn `2` of `{}`",
            flows[0].id(),
            flows[1].id()
        )
    );
    let cycle = deadlock_of(&failure).cycle;
    let path: Vec<_> = cycle.iter().map(|link| (link.command, &*link.key, link.holder)).collect();
    assert_eq!(path, [(other, "1", flows[0].id()), (one, "2", flows[1].id())]);
    assert_eq!(failure.command, Some(other));
    world.noted("child of 1").await;
    assert_eq!((world.count("undo done kept 2"), world.count("undo done kept 1")), (1, 0));
    world.open("child of 1");
    flows[0].output().await.unwrap();
    assert_eq!(world.count("child of 2"), 0);
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|other| other == deed).unwrap();
    assert!(at("undo done kept 2") < at("child of 1"), "{deeds:?}");
    let row = home.entity(other).await.progress;
    assert_eq!((row.status, row.attempt), (CommandStatus::EndedWithFailure, 0));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// It goes on without what it cannot have, and then the other has its turn.
async fn two_flows_one_of_which_handles_it(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let parts = [mark("go 2"), Part::Try(take("child of 2", alone([1]))), mark("after")];
    let handles = plan(alone([2]), parts);
    let flows = holding(&coordinator, &world, [(1, reaches(1, 2)), (2, handles)]).await;
    world.open("go 1");
    queued(&home, 1).await;
    world.open("go 2");
    let failures = flows[1].output().await.unwrap();
    let failure = failures[0].as_ref().expect("the child has failed");
    assert_eq!(failure.kind, FailureKind::WouldDeadlock);
    assert_eq!(deadlock_of(failure).cycle.len(), 2);
    flows[0].output().await.unwrap();
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|other| other == deed).unwrap();
    assert!(at("after done") < at("child of 1"), "{deeds:?}");
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn three_flows(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let all = [(1, reaches(1, 2)), (2, reaches(2, 3)), (3, reaches(3, 1))];
    let flows = holding(&coordinator, &world, all).await;
    for (n, own) in [1, 2].into_iter().enumerate() {
        world.open(&format!("go {own}"));
        queued(&home, n + 1).await;
    }
    world.open("go 3");
    let failure = failure_of(flows[2].output().await);
    assert_eq!(failure.kind, FailureKind::WouldDeadlock);
    let cycle = deadlock_of(&failure).cycle;
    let holders: Vec<_> = cycle.iter().map(|link| link.holder).collect();
    assert_eq!(holders, [&flows[0], &flows[1], &flows[2]].map(CommandHandle::id));
    flows[0].output().await.unwrap();
    flows[1].output().await.unwrap();
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|other| other == deed).unwrap();
    assert!(at("child of 2") < at("child of 1"), "{deeds:?}");
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// Who waits is stored, so the cycle is found by a later process as well.
async fn over_a_restart(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let flows = holding(&coordinator, &world, [(1, reaches(1, 2)), (2, reaches(2, 1))]).await;
    world.open("go 1");
    queued(&home, 1).await;
    let ids = [flows[0].id(), flows[1].id()];
    drop((flows, coordinator));
    let coordinator = home.start(&world).await;
    world.noted_times("go 2", 2).await;
    assert_eq!(line(&home).await.len(), 1);
    world.open("go 2");
    let [one, other] = [
        coordinator.handle::<Plan>(ids[0]).await.unwrap(),
        coordinator.handle::<Plan>(ids[1]).await.unwrap(),
    ];
    assert_eq!(failure_of(other.output().await).kind, FailureKind::WouldDeadlock);
    one.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn an_upgrade_beside_a_stranger(home: Home) {
    let world = World::new();
    world.close("stranger");
    let coordinator = home.start(&world).await;
    let stranger = coordinator.submit(take("stranger", shared([1]))).await.unwrap();
    world.noted("stranger").await;
    let parts = [Part::Try(take("upgrade", alone([1]))), mark("after")];
    let flow = coordinator.submit(plan(shared([1]), parts)).await.unwrap();
    let failures = flow.output().await.unwrap();
    let failure = failures[0].as_ref().expect("it is refused, though it would wait");
    assert_eq!(failure.kind, FailureKind::LockConflict);
    let conflict: LockConflict = data_of(failure);
    assert_eq!((conflict.holder, conflict.reason), (stranger.id(), ConflictReason::Shared));
    assert_eq!(
        failure.message,
        format!(
            "turn `1` is held shared here and also by take `{}`, so it cannot be locked exclusive \
             now",
            stranger.id()
        )
    );
    assert_eq!((world.count("upgrade"), world.count("after")), (0, 1));
    world.open("stranger");
    stranger.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// The only holder may have it alone, also where others wait for it.
async fn an_upgrade_of_its_own(home: Home) {
    let world = World::new();
    world.close("before");
    let coordinator = home.start(&world).await;
    let parts = [mark("before"), take("upgrade", alone([1])).into()];
    let flow = coordinator.submit(plan(shared([1]), parts)).await.unwrap();
    world.noted("before").await;
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    queued(&home, 1).await;
    world.open("before");
    flow.output().await.unwrap();
    next.output().await.unwrap();
    let deeds = world.deeds();
    assert_eq!(deeds[2..], ["upgrade", "upgrade done", "next", "next done"], "{deeds:?}");
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// All or none: nobody holds one key and waits for the other.
async fn children_in_opposite_order(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut flows = Vec::new();
    for n in 0..20 {
        let takes =
            vec![take(format!("a {n}"), alone([1, 2])), take(format!("b {n}"), alone([2, 1]))];
        flows.push(coordinator.submit(plan(free(), [Part::Together(takes)])).await.unwrap());
    }
    // The same below one that holds both.
    let takes = vec![take("a", alone([1, 2])), take("b", alone([2, 1]))];
    let family = plan(alone([1, 2]), [Part::Together(takes)]);
    flows.push(coordinator.submit(family).await.unwrap());
    for flow in flows {
        assert_eq!(flow.output().await.unwrap(), [None, None]);
    }
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// Two branches of one flow that each hold a disk, and want the other's.
async fn children_of_one_flow_who_lock_more(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    ["go 1", "go 2"].iter().for_each(|gate| world.close(gate));
    let branches =
        coordinator.submit(TwoPlans { plans: [reaches(1, 2), reaches(2, 1)] }).await.unwrap();
    world.noted("go 1").await;
    world.noted("go 2").await;
    world.open("go 1");
    queued(&home, 1).await;
    world.open("go 2");
    let failures = branches.output().await.unwrap();
    assert_eq!(failures[0], None);
    let failure = failures[1].as_ref().expect("the one that closes the cycle");
    assert_eq!(failure.kind, FailureKind::WouldDeadlock);
    assert_eq!(deadlock_of(failure).cycle.len(), 2);
    assert_eq!((world.count("child of 1"), world.count("child of 2")), (1, 0));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// A cycle needs trees that hold and wait: however roots wait, they never do both.
async fn a_root_waits_for_nobody_who_waits_for_it(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut handles = Vec::new();
    for n in 0..60_u32 {
        let disks = [n % 7, (n * 3 + 1) % 7, (n * 5 + 2) % 7];
        let locks = if n % 2 == 0 { alone(disks) } else { shared(disks).and(alone([7])) };
        handles.push(coordinator.submit(take(format!("n {n}"), locks)).await.unwrap());
    }
    for handle in handles {
        handle.output().await.unwrap();
    }
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}
