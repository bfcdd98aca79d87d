//! What a command with rounds does, derived from its fields and from the outcomes that it is given.
//!
//! The fields keep how many children had ended at each round that got somewhere, so the oracle can
//! go through the same rounds again. A round that gets nowhere is up to the dice.

use serde_json::{Value, json};

use super::commands::{failure, locks_of, spec_of, text};
use super::dice::{Dice, mix};
use super::launches;
use super::script::{self, DEEPEST, Locking};
use crate::callback::{CallbackKind, EndedChild};
use crate::context::requests::AskedChild;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::retry::Retry;

/// A child that it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Started {
    pub(super) name: &'static str,
    /// None where no store takes them.
    pub(super) parameters: Option<Value>,
    pub(super) retry: Option<Retry>,
}

/// What comes out of one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) fields: Value,
    pub(super) output: Value,
    pub(super) started: Vec<Started>,
    pub(super) launched: Vec<Started>,
    pub(super) is_ready: bool,
}

impl Said {
    /// What a round says that gets nowhere.
    pub(super) fn nothing(fields: &Value, output: Value) -> Self {
        let (fields, started, launched) = (fields.clone(), Vec::new(), Vec::new());
        Self { fields, output, started, launched, is_ready: false }
    }
}

impl Started {
    pub(super) fn asked(&self) -> AskedChild {
        let Self { name, parameters, retry } = self;
        let unstorable = || Failure::new(FailureKind::NotStorable, "too large");
        AskedChild {
            spec: spec_of(name),
            locks: parameters.as_ref().map(|fields| locks_of(name, fields)).unwrap_or_default(),
            parameters: parameters.as_ref().map(text).ok_or_else(unstorable),
            canonical: None,
            retry: *retry,
        }
    }
}

/// How many rounds have got somewhere, and how many children had ended at each.
pub(super) fn log(fields: &Value) -> Vec<usize> {
    let log = fields["log"].as_array().into_iter().flatten();
    let lengths = log.map(|length| length.as_u64().and_then(|n| usize::try_from(n).ok()));
    lengths.map(|length| length.expect("a small number")).collect()
}

/// What `execute` makes where it succeeds.
pub(super) fn begin(name: &str, parameters: &Value) -> Said {
    let mut dice = Dice::new(seed(parameters) ^ 0xBE61);
    let most = if dice.one_in(8) { 9 } else { 4 };
    let some = dice.below(most);
    let started = start(name, parameters, &mut dice, some);
    let mut fields = parameters.clone();
    if dice.one_in(2) {
        fields["begun"] = true.into();
    }
    let launched = launches::of_round(parameters, seed(parameters));
    Said { fields, output: json!(dice.roll() >> 12), started, launched, is_ready: false }
}

/// What a round makes that gets somewhere.
///
/// # Errors
/// When the script says that it fails.
pub(super) fn round(
    name: &str,
    id: CommandId,
    fields: &Value,
    output: &Value,
    ended: &[EndedChild],
) -> Result<Said, Failure> {
    let mut rounds = log(fields);
    let answers =
        format!("{output} {:?}", ended.iter().map(|child| &child.result).collect::<Vec<_>>());
    let digest = digest(seed(fields), &answers);
    let digest = digest ^ mix(u64::try_from(rounds.len()).expect("a small number"));
    let mut dice = Dice::new(digest);
    let last = usize::try_from(seed(fields) % 4).expect("a small number");
    let is_last = rounds.len() >= last;
    let callback = spec_of(name).callback;
    let first_failure = ended.iter().find_map(|child| child.result.as_ref().err());
    match (callback, first_failure) {
        (CallbackKind::ConcurrentChildren, Some(first)) if seed(fields).is_multiple_of(3) => {
            return Err(first.clone());
        }
        _ if dice.one_in(15) => {
            let failed = failure(format!("round {}", dice.roll())).of(id);
            let kind = if dice.one_in(3) { FailureKind::Panicked } else { failed.kind };
            return Err(Failure { kind, ..failed });
        }
        _ => {}
    }
    let some = if is_last || dice.one_in(4) { 0 } else { dice.below(3) };
    let started = start(name, fields, &mut dice, some);
    let is_ready = match callback {
        CallbackKind::ConcurrentChildren => true,
        _ => is_last || dice.one_in(4),
    };
    let (mut fields, mut output) = (fields.clone(), output.clone());
    let launched = launches::of_round(&fields, digest);
    let is_quiet = is_ready && started.is_empty() && launched.is_empty() && dice.one_in(2);
    if !is_quiet {
        rounds.push(ended.len());
        fields["log"] = json!(rounds);
        if dice.one_in(2) {
            output = json!(dice.roll() >> 12);
        }
    }
    Ok(Said { fields, output, started, launched, is_ready })
}

/// Whether a command that does one thing after the other goes on though this child has failed.
pub(super) fn ignores(fields: &Value, failure: &Failure) -> bool {
    !digest(seed(fields), &failure.to_string()).is_multiple_of(4)
}

fn start(name: &str, fields: &Value, dice: &mut Dice, some: usize) -> Vec<Started> {
    let spec = spec_of(name);
    let depth = fields["depth"].as_u64().expect("a depth");
    if spec.callback == CallbackKind::Polling {
        return Vec::new();
    }
    let locking = Locking::of(fields);
    // What has a place waits for nothing that has one.
    let depth = if spec.concurrency.is_some() { DEEPEST } else { depth };
    let started = (0..some).map(|_| {
        if dice.one_in(20) {
            return Started { name: "leaf", parameters: None, retry: None };
        }
        let (name, parameters) = loop {
            let (name, parameters) = script::command(dice, depth, locking);
            if spec.concurrency.is_none() || spec_of(name).concurrency.is_none() {
                break (name, parameters);
            }
        };
        Started {
            name,
            parameters: Some(parameters),
            retry: dice.one_in(8).then_some(Retry::new(2)),
        }
    });
    started.collect()
}

fn seed(fields: &Value) -> u64 {
    fields["seed"].as_u64().expect("a seed")
}

fn digest(seed: u64, text: &str) -> u64 {
    text.bytes()
        .fold(mix(seed), |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
        >> 12
}
