//! Crash limits: a tree during which the engine dies again and again is found out and parked.
//!
//! A death counts only while nothing of the tree ends in between; that something of it is undone
//! counts as an end. After two, a tree is a suspect: suspects run one at a time, each until
//! something of it ends or nothing of it runs, and while it is on trial its third death is stored
//! already. So when the engine dies then, the next one knows who it was: that tree alone is stuck,
//! and the others go on.
//!
//! ```text
//! deaths  0 ─died─► 1 ─died─► 2: suspect ─its turn─► 3: on trial ─died─► stuck
//!         ▲                              ◄──clean stop── │
//!         └── something of it ends, or nothing runs ─────┘
//! ```

use std::collections::VecDeque;

use super::Trees;
use super::input::{Effect, Load, Loaded};
use super::load::read_failure;
use super::reject::{Lost, Skipped};
use super::step::Write;
use super::tree::{Gate, Tree, Turn};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

/// As many deaths make a suspect.
const SUSPECT: i32 = 2;
/// As many deaths are stored of one that is on trial.
const ON_TRIAL: i32 = 3;

/// The trees that wait for their trial, and the one that is on trial.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    waiting: VecDeque<CommandId>,
    on_trial: Option<CommandId>,
    /// The one that is on trial was forgotten, and is to come back.
    is_read_again: bool,
}

impl Suspects {
    /// Takes a tree that was read from the store.
    pub(super) fn load(&mut self, trees: &mut Trees, turn: &mut Turn<'_>, mut load: Load) {
        let root = load.root;
        debug_assert!(!trees.contains(root), "{root} is here already");
        let cause = std::mem::replace(&mut load.cause, Loaded::Start { crashed: false });
        let mut tree = Tree::read(&mut load);
        match cause {
            // Nothing of it runs: what was rejected was an order, and is refused.
            Loaded::Rejected { .. } if self.waiting.contains(&root) => tree.gate = Gate::Trial,
            Loaded::Rejected { .. } if tree.is_convicted() => {
                tree.gate = Gate::Frozen;
                tree.tell_stuck(turn);
            }
            Loaded::Rejected { step, reason, skipped, started, running } => {
                self.is_read_again &= self.on_trial != Some(root);
                let skipped = Skipped { steps: skipped, started };
                let lost = tree.replace_rejected(turn, step, &reason, skipped, running);
                tree.resume_all(turn, lost);
            }
            Loaded::Admitted => match tree.judge_admitted() {
                Verdict::Stuck => tree.tell_stuck(turn),
                _ => {
                    let rested = Lost { has_rested: true, engine_lives: true, ..Lost::default() };
                    tree.resume_all(turn, rested);
                }
            },
            Loaded::Cancelled { ticket, reason } => {
                tree.cancel(turn, root, ticket, reason);
            }
            Loaded::Start { crashed } => match tree.judge(turn, crashed) {
                Verdict::GoesOn => tree.resume_all(turn, Lost::default()),
                Verdict::Suspect => {
                    tree.gate = Gate::Trial;
                    self.waiting.push_back(root);
                }
                Verdict::Stuck => tree.tell_stuck(turn),
                // Told when it is stored.
                Verdict::Convicted => {}
            },
        }
        trees.insert(root, tree);
        trees.settle(turn, root);
    }

    /// A tree was forgotten, to be read again.
    pub(super) fn forgot(&mut self, root: CommandId) {
        self.is_read_again |= self.on_trial == Some(root);
    }

    /// Ends a trial that is over, and begins the next one.
    pub(super) fn next_trial(&mut self, trees: &mut Trees, turn: &mut Turn<'_>) {
        loop {
            if let Some(root) = self.on_trial {
                if let Some(tree) = trees.get_mut(root) {
                    if !tree.has_passed() {
                        return;
                    }
                    // What shows that it has passed is stored before the next trial begins.
                    tree.flush(turn);
                    trees.settle(turn, root);
                } else if self.is_read_again {
                    return;
                }
                self.on_trial = None;
            }
            let Some(root) = self.waiting.pop_front() else { return };
            if let Some(tree) = trees.get_mut(root) {
                self.on_trial = Some(root);
                tree.begin_trial(turn);
                trees.settle(turn, root);
            }
        }
    }
}

/// What a start does with a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoesOn,
    Suspect,
    Convicted,
    Stuck,
}

impl Tree {
    /// Counts a death, if the engine before has crashed, and says what becomes of the tree.
    pub(super) fn judge(&mut self, turn: &mut Turn<'_>, crashed: bool) -> Verdict {
        let before = self.deaths();
        let verdict = match (crashed, before) {
            (true, ON_TRIAL..) => Verdict::Convicted,
            (true, SUSPECT) | (false, SUSPECT..) => Verdict::Suspect,
            (true, _) if before + 1 == SUSPECT => Verdict::Suspect,
            _ => Verdict::GoesOn,
        };
        let root = self.nodes.get(&self.root).map(|node| &node.progress);
        match root {
            None => return Verdict::GoesOn,
            Some(root) if root.status == CommandStatus::NotStarted => return Verdict::GoesOn,
            Some(_) if self.is_convicted() => {
                self.gate = Gate::Frozen;
                return Verdict::Stuck;
            }
            Some(_) => {}
        }
        let after = match verdict {
            Verdict::GoesOn => before + i32::from(crashed),
            Verdict::Suspect => SUSPECT,
            Verdict::Convicted | Verdict::Stuck => ON_TRIAL,
        };
        if verdict == Verdict::Convicted {
            self.convict(turn);
        } else if crashed || after != before {
            self.store_deaths(after);
        }
        verdict
    }

    /// The same of a tree that rested in the life of this engine: no death has to be counted.
    fn judge_admitted(&mut self) -> Verdict {
        if !self.is_convicted() {
            return Verdict::GoesOn;
        }
        self.gate = Gate::Frozen;
        Verdict::Stuck
    }

    /// Whether its root is stored as stuck because of the crash limit.
    pub(super) fn is_convicted(&self) -> bool {
        let reason =
            self.nodes.get(&self.root).and_then(|node| node.progress.stuck_reason.as_deref());
        reason.is_some_and(|reason| read_failure(reason).kind == FailureKind::Crashed)
    }

    /// The deaths since something of it has ended.
    fn deaths(&self) -> i32 {
        let root = self.nodes.get(&self.root).map(|node| &node.progress);
        root.filter(|root| root.deaths_end_order >= self.end_order).map_or(0, |root| root.deaths)
    }

    fn store_deaths(&mut self, deaths: i32) {
        self.rest = None;
        let (id, end_order) = (self.root, self.end_order);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        (node.progress.deaths, node.progress.deaths_end_order) = (deaths, end_order);
        let write = Write::Update(id, Box::new(node.progress.clone()));
        self.emit(id, None, vec![write], Vec::new());
    }

    /// Something of it was undone, which shows progress as an end does: what to store of that.
    pub(super) fn forget_deaths(&mut self) -> Option<Write> {
        if self.deaths() == 0 {
            return None;
        }
        let (id, end_order) = (self.root, self.end_order);
        let node = self.nodes.get_mut(&id)?;
        (node.progress.deaths, node.progress.deaths_end_order) = (0, end_order);
        Some(Write::Update(id, Box::new(node.progress.clone())))
    }

    /// Parks the whole tree: nothing in it goes on until its root is retried.
    fn convict(&mut self, turn: &mut Turn<'_>) {
        let message = format!(
            "the engine died {ON_TRIAL} times while this tree ran, the last time while it ran alone"
        );
        self.gate = Gate::Frozen;
        self.park(turn, self.root, Failure::new(FailureKind::Crashed, message));
    }

    /// It goes on alone: its next death is stored before.
    pub(super) fn begin_trial(&mut self, turn: &mut Turn<'_>) {
        self.gate = Gate::Open;
        self.store_deaths(ON_TRIAL);
        self.resume_all(turn, Lost::default());
    }

    /// Whether its trial is over: it has shown progress, or nothing of it runs.
    pub(super) fn has_passed(&mut self) -> bool {
        if self.deaths() == 0 {
            return true;
        }
        if self.runs_code() {
            return false;
        }
        self.store_deaths(0);
        true
    }

    /// A frozen tree goes on, after `writes`.
    pub(super) fn thaw(&mut self, turn: &mut Turn<'_>, mut writes: Vec<Write>, ticket: u64) {
        self.gate = Gate::Open;
        let (id, end_order) = (self.root, self.end_order);
        let node = self.node(id);
        node.unpark();
        (node.progress.deaths, node.progress.deaths_end_order) = (0, end_order);
        writes.push(Write::Update(id, Box::new(node.progress.clone())));
        let effects = vec![Effect::Accept { ticket }, self.standing()];
        self.emit(id, None, writes, effects);
        self.resume_all(turn, Lost::default());
    }

    /// Whether code of it runs, or is about to. What waits for a place does not: who has the place
    /// may wait for an operator.
    fn runs_code(&self) -> bool {
        self.nodes.values().any(|node| match (node.progress.status, &node.flow) {
            (CommandStatus::NotStarted, _) => node.asked_at.is_some(),
            (CommandStatus::Active, _) if node.progress.wake_at.is_some() => false,
            // Who has the lock may wait for its trial.
            (_, None) if node.late.values().any(|late| late.in_line.is_some()) => false,
            _ if node.is_in_rounds() => node.is_in_round(),
            (CommandStatus::Active, None) => true,
            (CommandStatus::Active, Some(flow)) => flow.runs_code(),
            _ => node.ending.is_some(),
        })
    }
}
