//! User code of the model: leaves and hooks that end when it is their turn, flows that follow
//! their script.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::dice::Dice;
use super::script::{self, Script};
use crate::context::requests::{Ask, Ended};
use crate::erased::{Hooks, Reply};
use crate::failure::{Failure, FailureKind};
use crate::machine::tests::{failure, json, text};
use crate::machine::{Address, FlowEnd, Happened, Polled, Run, RunKind};

/// Code that runs.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) at: Address,
    pub(super) attempt: i32,
    /// It is over, and the runtime has not heard of it.
    pub(super) is_over: bool,
    parameters: Value,
    code: Code,
}

#[derive(Debug)]
enum Code {
    Leaf,
    Hook,
    Flow(Box<Flow>),
}

#[derive(Debug)]
struct Flow {
    script: Script,
    has_begun: bool,
    is_replaying: bool,
    mail: VecDeque<Mail>,
    /// The `once` steps that run.
    onces: BTreeSet<i32>,
    /// The positions of what it was given.
    given: Vec<i32>,
}

/// What a flow is told.
#[derive(Debug)]
pub(super) enum Mail {
    Give { outcomes: Vec<(i32, Ended)>, replay_is_over: bool },
    LetRun { position: i32 },
}

impl Task {
    pub(super) fn new(run: &Run) -> Self {
        let parameters = json(&run.fields);
        let code = match run.kind {
            RunKind::Leaf => Code::Leaf,
            RunKind::Hook(_) => Code::Hook,
            RunKind::Flow { replaying, .. } => Code::Flow(Box::new(Flow {
                script: Script::new(&parameters),
                has_begun: false,
                is_replaying: replaying,
                mail: VecDeque::new(),
                onces: BTreeSet::new(),
                given: Vec::new(),
            })),
        };
        Self { at: run.at, attempt: run.attempt, is_over: false, parameters, code }
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.code, Code::Flow(_))
    }

    /// True when it can go on.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_over
            && match &self.code {
                Code::Leaf | Code::Hook => true,
                Code::Flow(flow) => {
                    !flow.has_begun || !flow.mail.is_empty() || !flow.onces.is_empty()
                }
            }
    }

    pub(super) fn tell(&mut self, mail: Mail) {
        if let Code::Flow(flow) = &mut self.code {
            flow.mail.push_back(mail);
        }
    }

    /// The positions of all that a flow was given, also what it has not taken yet.
    pub(super) fn given(&self) -> Vec<i32> {
        let Code::Flow(flow) = &self.code else { return Vec::new() };
        let waits = flow.mail.iter().flat_map(|mail| match mail {
            Mail::Give { outcomes, .. } => outcomes.as_slice(),
            Mail::LetRun { .. } => &[],
        });
        flow.given.iter().copied().chain(waits.map(|(position, _)| *position)).collect()
    }

    /// Goes on, and says what the runtime hears of it.
    pub(super) fn go_on(&mut self, dice: &mut Dice, may_diverge: bool) -> Option<Happened> {
        let (attempt, of) = (self.attempt, self.at.command);
        let hooks = script::hooks(&self.parameters);
        match &mut self.code {
            Code::Leaf => {
                self.is_over = true;
                let result = match dice.below(16) {
                    0 | 1 => Err(failure(format!("leaf {}", dice.roll())).of(of)),
                    2 => return Some(Happened::Ran { attempt, reply: refused(dice, self.at) }),
                    _ => Ok(text(&json!(dice.roll()))),
                };
                let state = dice.one_in(4).then(|| text(&self.parameters));
                let reply = Reply { result, state, refused: false, hooks };
                Some(Happened::Ran { attempt, reply })
            }
            Code::Hook => {
                self.is_over = true;
                let result = match dice.below(10) {
                    0 => Err(failure("the hook").of(of)),
                    _ => Ok("null".into()),
                };
                Some(Happened::Hooked(Reply { result, state: None, refused: false, hooks }))
            }
            Code::Flow(flow) => {
                let polled = if may_diverge && dice.one_in(200) {
                    let end = Some(FlowEnd::Diverged("of its own will".to_owned()));
                    Polled { end, ..Polled::default() }
                } else if !flow.has_begun && !flow.is_replaying && dice.one_in(25) {
                    let reply = Box::new(refused(dice, self.at));
                    Polled {
                        end: Some(FlowEnd::Returned { reply, unseen: None }),
                        ..Polled::default()
                    }
                } else {
                    flow.go_on(dice, self.at, hooks)?
                };
                self.is_over = polled.end.is_some();
                Some(Happened::Polled { attempt, polled })
            }
        }
    }
}

fn refused(dice: &mut Dice, at: Address) -> Reply {
    let failure = Failure::new(FailureKind::Refused, format!("no {}", dice.roll()));
    Reply { refused: true, ..Reply::failed(failure.of(at.command)) }
}

impl Flow {
    fn go_on(&mut self, dice: &mut Dice, at: Address, hooks: Hooks) -> Option<Polled> {
        if !self.has_begun {
            self.has_begun = true;
            return Some(self.poll(false, hooks));
        }
        if !self.onces.is_empty() && (self.mail.is_empty() || dice.one_in(2)) {
            let position = self.onces.pop_first()?;
            let result = match dice.below(12) {
                0 => Err(failure(format!("once {}", dice.roll())).of(at.command)),
                _ => Ok(text(&json!(dice.roll()))),
            };
            let ask = Ask::OnceEnded { position, result };
            return self
                .script
                .waits_for(position)
                .then(|| Polled { asks: vec![ask], ..Polled::default() });
        }
        match self.mail.pop_front()? {
            Mail::LetRun { position } => {
                if self.script.waits_for(position) {
                    self.onces.insert(position);
                }
                None
            }
            Mail::Give { outcomes, replay_is_over } => {
                self.is_replaying &= !replay_is_over;
                let mut all = Polled { given: true, ..Polled::default() };
                for (position, ended) in outcomes {
                    if let Some(FlowEnd::Returned { unseen, .. }) = &mut all.end {
                        *unseen = unseen.take().or(ended.result.err());
                        continue;
                    }
                    self.given.push(position);
                    self.script.answer(position, ended);
                    let polled = self.poll(true, hooks);
                    all.asks.extend(polled.asks);
                    all.end = polled.end;
                }
                Some(all)
            }
        }
    }

    fn poll(&mut self, given: bool, hooks: Hooks) -> Polled {
        let mut asks = Vec::new();
        let returned = self.script.poll(self.is_replaying, &mut asks);
        let end = returned.map(|result| {
            let reply = Box::new(Reply { result, state: None, refused: false, hooks });
            FlowEnd::Returned { reply, unseen: self.script.unseen.take() }
        });
        Polled { given, asks, end }
    }
}
