//! Rounds: what comes of one, and of one for events.

use serde_json::{Value, json};

use super::super::commands::{failure, json, spec_of, text};
use super::super::dice::Dice;
use super::super::events;
use super::super::launches;
use super::super::rounds::{self, Said};
use super::super::script;
use super::{Leaf, NO_HOOKS};
use crate::callback::CallbackKind;
use crate::erased::{Hooks, Next, Reply, Round};
use crate::failure::{Failure, FailureKind};
use crate::machine::Address;
use crate::retry::Again;

impl Leaf {
    pub(super) fn round(
        &self,
        dice: &mut Dice,
        name: &str,
        at: Address,
        fields: &Value,
        round: &Round,
        position: i32,
    ) -> Reply {
        let hooks = script::hooks(fields);
        let dropped = |what: &str| Failure::new(FailureKind::Cancelled, what).of(at.command);
        if self.is_cancelled && dice.one_in(3) {
            return Reply::failed(dropped("the round did not end, and was dropped"));
        }
        let Ok(output) = &round.executed else { return failed_round(dice, at, fields, hooks) };
        let output = json(output);
        let (ended, seen) = round.outcomes.parts();
        let callback = spec_of(name).callback;
        if callback == CallbackKind::NextOperation {
            let mut new = ended.iter().skip(seen).filter_map(|child| child.result.as_ref().err());
            if let Some(failure) = new.find(|failure| !rounds::ignores(fields, failure)) {
                return Reply::failed(failure.clone());
            }
        }
        if round.last_event.is_some() {
            return hear(dice, name, at, fields, round, position);
        }
        let gets_nowhere = callback != CallbackKind::ConcurrentChildren && dice.one_in(3);
        if gets_nowhere {
            return said(dice, Said::nothing(fields, output), fields, position);
        }
        match rounds::round(name, at.command, fields, &output, ended) {
            Ok(next) => said(dice, next, fields, position),
            Err(failure) => {
                // What it has changed until then is dropped.
                let mut half = fields.clone();
                half["half"] = true.into();
                Reply { state: Some(text(&half)), ..Reply::failed(failure) }
            }
        }
    }
}

/// A round for events: some of them make it do what a poll would.
fn hear(
    dice: &mut Dice,
    name: &str,
    at: Address,
    before: &Value,
    round: &Round,
    position: i32,
) -> Reply {
    let output = json(round.executed.as_deref().expect("it was executed"));
    let (ended, _) = round.outcomes.parts();
    let mut next = Said::nothing(before, output);
    let (mut handled, mut is_polled) = (round.last_event, false);
    for (number, event) in &round.events {
        next.fields = events::hears(&next.fields, &event.id);
        if is_polled || !dice.one_in(3) {
            continue;
        }
        is_polled = true;
        match rounds::round(name, at.command, &next.fields, &next.output, ended) {
            Ok(polled) => next = polled,
            Err(failure) => {
                return Reply { state: Some(text(&next.fields)), ..Reply::failed(failure) };
            }
        }
        if next.is_ready || !next.started.is_empty() || !next.launched.is_empty() {
            handled = Some(*number);
            break;
        }
    }
    let mut reply = said(dice, next, before, position);
    if let Some(next) = &mut reply.next {
        next.handled = handled;
    }
    reply
}

/// A round of a command that has failed to execute.
fn failed_round(dice: &mut Dice, at: Address, fields: &Value, hooks: Hooks) -> Reply {
    let before = rounds::log(fields).len();
    let mut next = Said::nothing(fields, Value::Null);
    next.is_ready = before >= 3 || dice.one_in(4);
    if hooks.failed_round {
        match dice.below(8) {
            0 => return Reply::failed(failure("a failed round").of(at.command)),
            1..5 => next.fields["log"] = json!(vec![0; before + 1]),
            // What it starts is not heard.
            5 => {
                let begun = rounds::begin("custom", fields);
                (next.started, next.launched) = (begun.started, begun.launched);
            }
            _ => {}
        }
    } else {
        next.is_ready = true;
    }
    Reply { hooks, ..said(dice, next, fields, 0) }
}

/// What a leaf says that launches these.
pub(super) fn launching(launched: &[rounds::Started], dice: &mut Dice) -> Option<Box<Next>> {
    let launched = launches::said(launched, dice);
    (!launched.is_empty()).then(|| Box::new(Next { launched, ..Next::default() }))
}

/// What the runtime makes of that.
pub(super) fn said(dice: &mut Dice, said: Said, before: &Value, first: i32) -> Reply {
    let Said { fields, output, started, launched, is_ready } = said;
    let launched = launches::said(&launched, dice);
    let started = (first..).zip(started.iter().map(rounds::Started::asked)).collect();
    let state = (fields != *before).then(|| text(&fields));
    let (hooks, again) = (NO_HOOKS, Again::AsDeclared);
    let next = Some(Box::new(Next { started, launched, is_ready, handled: None }));
    Reply { result: Ok(text(&output)), state, refused: false, hooks, again, next }
}
