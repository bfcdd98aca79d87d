//! The trees of their own that commands launch.

use serde_json::Value;

use super::dice::{Dice, mix};
use super::rounds::Started;
use super::script::{self, DEEPEST, Locking};
use crate::context::requests::AskedChild;
use crate::id::CommandId;

/// A root that is launched: it is no deeper than a child, so that launches come to an end.
pub(super) fn root(dice: &mut Dice, depth: u64, locking: Locking) -> Started {
    let (name, parameters) = script::command(dice, depth, locking);
    Started { name, parameters: Some(parameters), retry: None }
}

/// What a leaf launches in this attempt, if that succeeds.
pub(super) fn of_leaf(parameters: &Value, attempt: i32) -> Vec<Started> {
    let Some(depth) = parameters["depth"].as_u64().filter(|depth| *depth < DEEPEST) else {
        return Vec::new();
    };
    let seed = mix(parameters["seed"].as_u64().unwrap_or(0) ^ 0x1A57);
    let mut dice = Dice::new(seed.wrapping_add(u64::try_from(attempt).unwrap_or(0)));
    let some = if dice.one_in(12) { 1 + dice.below(2) } else { 0 };
    (0..some).map(|_| root(&mut dice, depth, Locking::of(parameters))).collect()
}

/// What a round that gets somewhere launches, or `execute` before the first.
pub(super) fn of_round(fields: &Value, digest: u64) -> Vec<Started> {
    let Some(depth) = fields["depth"].as_u64().filter(|depth| *depth < DEEPEST) else {
        return Vec::new();
    };
    let mut dice = Dice::new(mix(digest ^ 0x1A57));
    let some = usize::from(dice.one_in(10));
    (0..some).map(|_| root(&mut dice, depth, Locking::of(fields))).collect()
}

/// As a reply says it: with identities that no other has.
pub(super) fn said(launched: &[Started], dice: &mut Dice) -> Vec<(CommandId, AskedChild)> {
    let new_id = |dice: &mut Dice| {
        let (high, low) = (dice.roll() | 1 << 63, dice.roll());
        CommandId::from_uuid(uuid::Uuid::from_u64_pair(high, low))
    };
    launched.iter().map(|root| (new_id(dice), root.asked())).collect()
}
