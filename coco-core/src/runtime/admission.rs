//! Which trees the machine holds: open trees come from the store page by page while there is room.
//!
//! A scan goes over the open roots in their order. What the machine has, what rests and what has
//! left since the page was asked for is passed over: the page may be older than that. Roots that
//! are submitted while there is no room are met by the scan, or by the next one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::engine::Engine;
use super::reload::{Read, ReadWhy, Reloading, read_again};
use crate::entity::TreeRows;
use crate::error::Result;
use crate::failure::Failure;
use crate::id::CommandId;
use crate::machine::{Address, Happened, Input, Loaded, Why};
use crate::recovery::{self, Quarantine, StartReport};
use crate::status::CommandStatus;
use crate::store::StoreError;

/// Open trees that are read at a time. The first page is smaller, so that the first tree goes on
/// soon.
const PAGE: usize = 500;
const FIRST_PAGE: usize = 50;

/// What is known of the open trees that the machine does not hold.
pub(super) struct Admission {
    /// Roots before it were submitted to an engine before this one, which died or not.
    boundary: CommandId,
    crashed: bool,
    after: Option<CommandId>,
    /// There may be roots behind `after` that the machine does not hold.
    more: bool,
    /// There may be such roots before it.
    again: bool,
    /// The first root that was stored without room since the last page was looked at.
    passed: Option<CommandId>,
    is_reading: bool,
    /// While a page is read, the roots that it may show as they were before they left the machine:
    /// those that have left since, and those of which not all was stored when it was asked for.
    left: HashSet<CommandId>,
    /// Roots that rest, and those that cannot be read.
    resting: HashSet<CommandId>,
    /// Of those that cannot be read: which command it is, and why.
    quarantined: HashMap<CommandId, (CommandId, Failure)>,
    /// Who waits to hear what was found.
    starting: Option<Starting>,
}

/// What was found in the store so far.
struct Starting {
    reply: oneshot::Sender<Result<StartReport>>,
    report: StartReport,
}

/// A page that was read.
pub(super) struct Page {
    trees: Result<Vec<TreeRows>, StoreError>,
    limit: usize,
}

impl Admission {
    pub(super) fn new(
        boundary: CommandId,
        crashed: bool,
        reply: oneshot::Sender<Result<StartReport>>,
    ) -> Self {
        Self {
            boundary,
            crashed,
            after: None,
            more: true,
            again: false,
            passed: None,
            is_reading: false,
            left: HashSet::new(),
            resting: HashSet::new(),
            quarantined: HashMap::new(),
            starting: Some(Starting { reply, report: StartReport::default() }),
        }
    }

    /// A root is stored that found no room.
    pub(super) fn passes_by(&mut self, root: CommandId) {
        self.more = true;
        self.passed = self.passed.map_or(Some(root), |first| Some(first.min(root)));
    }

    /// A page was looked at; it was the last one, or not.
    fn is_looked_at(&mut self, is_last: bool) {
        let passed = self.passed.take();
        let is_before = |root| self.after.is_some_and(|after| root <= after);
        self.again |= passed.is_some_and(is_before);
        if is_last {
            self.more = self.again || passed.is_some();
            if std::mem::take(&mut self.again) {
                self.after = None;
            }
        }
    }

    pub(super) fn rests(&mut self, root: CommandId) {
        self.resting.insert(root);
    }

    fn is_not_resting(&mut self, root: CommandId) {
        self.resting.remove(&root);
        self.quarantined.remove(&root);
    }

    pub(super) fn has_rested(&self, root: CommandId) -> bool {
        self.resting.contains(&root)
    }

    /// Why nothing of this tree goes on, if it cannot be read.
    pub(super) fn why_quarantined(&self, root: CommandId) -> Option<Why> {
        let (command, reason) = self.quarantined.get(&root)?;
        Some(Why::Quarantined { command: *command, reason: reason.clone() })
    }

    pub(super) fn left(&mut self, roots: impl Iterator<Item = CommandId>) {
        if self.is_reading {
            self.left.extend(roots);
        }
    }

    /// True while there may be open trees that the machine does not hold.
    fn knows_not_all(&self) -> bool {
        self.more || self.again || self.is_reading || !self.resting.is_empty()
    }
}

impl Engine {
    /// Reads the next page, if there is room for it.
    pub(super) fn admit(&mut self) {
        let room = self.machine.room();
        let admission = &mut self.admission;
        if admission.is_reading || !admission.more || room == 0 || self.stopping.is_some() {
            return;
        }
        admission.is_reading = true;
        admission.left = self.queue.unstored().collect();
        let page = if admission.starting.is_some() && admission.after.is_none() {
            FIRST_PAGE
        } else {
            PAGE
        };
        let limit = page.min(room);
        let (store, pages, after) = (Arc::clone(&self.store), self.pages.clone(), admission.after);
        let (own, outages) = (Some(self.lease.engine_id), self.world.outages.clone());
        let is_first = admission.starting.is_some() && after.is_none();
        tokio::spawn(async move {
            let trees = if is_first {
                store.open_trees(own, after, limit).await
            } else {
                let read = || store.open_trees(own, after, limit);
                // What was read before runs already: stopping for this would interrupt it.
                tokio::select! {
                    trees = read_again(&outages, "open trees", read) => trees,
                    () = pages.closed() => return,
                }
            };
            let _ = pages.send(Page { trees, limit });
        });
    }

    pub(super) fn page_was_read(&mut self, Page { trees, limit }: Page) {
        self.admission.is_reading = false;
        let trees = match trees {
            Ok(trees) => trees,
            Err(error) => {
                return match self.admission.starting.take() {
                    Some(Starting { reply, .. }) => {
                        self.admission.more = false;
                        drop(reply.send(Err(error.into())));
                    }
                    None => self.damage = Some(error),
                };
            }
        };
        let is_last = trees.len() < limit;
        for rows in trees {
            let Some(root) = rows.root() else { continue };
            // What finds no room is met again: the scan goes on behind the last that found some.
            if self.machine.room() == 0 {
                self.admission.is_looked_at(false);
                return self.page_is_over();
            }
            self.admission.after = self.admission.after.max(Some(root));
            self.admit_tree(root, rows);
        }
        self.admission.is_looked_at(is_last);
        self.page_is_over();
    }

    /// Tells what was found, once that is all, or as many trees as there is room for.
    fn page_is_over(&mut self) {
        let (more, most) = (self.admission.more, self.settings.machine.most_trees);
        let is_enough = |report: &StartReport| report.resumed.len() >= most;
        let starting = self
            .admission
            .starting
            .take_if(|starting| !more || self.machine.room() == 0 || is_enough(&starting.report));
        if let Some(Starting { reply, report }) = starting {
            let _ = reply.send(Ok(StartReport { more, ..report }));
        }
    }

    fn admit_tree(&mut self, root: CommandId, rows: TreeRows) {
        let Admission { left, resting, .. } = &self.admission;
        let is_known = self.machine.has(root)
            || self.reloading.contains_key(&root)
            || left.contains(&root)
            || resting.contains(&root);
        if is_known {
            return;
        }
        match recovery::decode(&self.registry, root, rows) {
            Ok(tree) => {
                if let Some(Starting { report, .. }) = &mut self.admission.starting {
                    report.resumed.push(root);
                    report.failed.extend(tree.interrupted());
                }
                let cause = self.cause_of_load(root);
                self.tell(Input::Load(Box::new(tree.because(cause))));
            }
            Err(quarantine) => {
                if let Some(Starting { report, .. }) = &mut self.admission.starting {
                    report.quarantined.push((*quarantine).clone());
                }
                self.quarantine(*quarantine);
            }
        }
    }

    /// Why a tree is read: an engine that has not had it before counts the death of the one before.
    fn cause_of_load(&self, root: CommandId) -> Loaded {
        let Admission { boundary, crashed, resting, .. } = &self.admission;
        if root < *boundary && !resting.contains(&root) {
            Loaded::Start { crashed: *crashed }
        } else {
            Loaded::Admitted
        }
    }

    pub(super) fn quarantine(&mut self, quarantine: Quarantine) {
        let Quarantine { root, command, reason } = quarantine;
        tracing::error!(%root, %command, %reason, "a tree is quarantined");
        self.admission.rests(root);
        self.admission.quarantined.insert(root, (command, reason.clone()));
        self.watchers.stuck(root, command, reason);
    }

    /// Whether `what` may be about an open tree that the machine does not hold.
    pub(super) fn is_about_absent(&self, at: Address, what: &Happened) -> bool {
        let is_for_absent = matches!(
            what,
            Happened::Due(_)
                | Happened::HasLocks { .. }
                | Happened::HasEvents
                | Happened::Retry { .. }
                | Happened::Cancel { .. }
                | Happened::Abandon { .. }
        );
        // What is granted or in an inbox stays there: the next engine hears it when it asks.
        let stays = matches!(what, Happened::HasLocks { .. } | Happened::HasEvents);
        let is_late = self.stopping.is_some() && stays;
        let may_be = is_for_absent
            && !is_late
            && !self.machine.has(at.root)
            && self.admission.knows_not_all();
        may_be && !self.has_ended(at.root)
    }

    /// Whether a tree that the machine does not hold has ended, though that is not stored yet: it
    /// has left, and does not rest.
    pub(super) fn has_ended(&self, root: CommandId) -> bool {
        let rests = self.admission.resting.contains(&root);
        !rests && self.queue.unstored().any(|unstored| unstored == root)
    }

    /// Reads a tree that the machine does not hold; `what` happens to it when it is back.
    pub(super) fn bring_back(&mut self, at: Address, what: Happened) {
        self.reloading.insert(at.root, Reloading::absent(at, what));
        self.read(at.root, ReadWhy::Absent);
    }

    /// A tree that was brought back.
    pub(super) fn is_back(&mut self, read: Read) {
        let Some(mut reloading) = self.reloading.remove(&read.root) else { return };
        let root = read.root;
        let is_open = read.rows.is_open(root);
        let row = read.rows.commands.iter().find(|row| row.command_id == root);
        let has_begun = row.is_none_or(|row| row.progress.status != CommandStatus::NotStarted);
        // What has not begun waits for its turn, whatever an operator asks; but it has had its turn
        // when it was granted locks, and others may wait for them.
        let rests = self.admission.resting.contains(&root) || reloading.is_granted();
        let waits = is_open && !has_begun && !rests;
        let cause =
            if waits { reloading.take_cancel() } else { is_open.then(|| self.cause_of_load(root)) };
        match cause {
            None if waits => self.admission.passes_by(root),
            None => {}
            Some(cause) => match recovery::decode(&self.registry, root, read.rows) {
                Ok(tree) => {
                    self.admission.is_not_resting(root);
                    self.tell(Input::Load(Box::new(tree.because(cause))));
                }
                Err(quarantine) => self.quarantine(*quarantine),
            },
        }
        for (at, what) in reloading.happened {
            self.tell(Input::Of { at, what });
        }
    }
}
