//! What a run of the simulator was.

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What the machine was told.
    pub inputs: usize,
    /// Trees that were stored.
    pub trees: usize,
    /// Commands that were stored.
    pub commands: usize,
    /// Commands that ended with failure.
    pub failures: usize,
    /// Rounds of callbacks that were over.
    pub rounds: usize,
    /// Commits.
    pub commits: usize,
    /// Deaths of the engine.
    pub deaths: usize,
    /// Clean stops of the engine.
    pub stops: usize,
    /// Steps that the store rejected.
    pub rejections: usize,
    /// Cancels that were accepted.
    pub cancels: usize,
    /// Retries that were accepted.
    pub retries: usize,
    /// Abandons that were accepted.
    pub abandons: usize,
    /// Submits that met a key that is taken.
    pub duplicates: usize,
    /// Commands that were undone, by a `compensate` of their own or an undo command.
    pub compensations: usize,
    /// Commands that took longer than their time-out.
    pub timeouts: usize,
    /// Commands that became stuck.
    pub stuck: usize,
    /// Trees that were parked because the engine died while they ran alone.
    pub convictions: usize,
    /// Events that were published, also again.
    pub events: u64,
    /// Events that commands have heard.
    pub heard: usize,
    /// Trees that commands have launched.
    pub launches: usize,
    /// Tasks outside that were over.
    pub tasks: usize,
    /// Requests for locks that waited in line, also anew.
    pub queued: usize,
    /// Requests for locks that were granted after they had waited.
    pub grants: usize,
    /// Requests for locks that would have waited for themselves.
    pub deadlocks: usize,
    /// Requests for locks that waited too long.
    pub lock_timeouts: usize,
    /// A digest of all that is stored in the end.
    pub digest: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.trees += other.trees;
        self.commands += other.commands;
        self.failures += other.failures;
        self.rounds += other.rounds;
        self.commits += other.commits;
        self.deaths += other.deaths;
        self.stops += other.stops;
        self.rejections += other.rejections;
        self.cancels += other.cancels;
        self.retries += other.retries;
        self.abandons += other.abandons;
        self.duplicates += other.duplicates;
        self.compensations += other.compensations;
        self.timeouts += other.timeouts;
        self.stuck += other.stuck;
        self.convictions += other.convictions;
        self.events += other.events;
        self.heard += other.heard;
        self.launches += other.launches;
        self.tasks += other.tasks;
        self.queued += other.queued;
        self.grants += other.grants;
        self.deadlocks += other.deadlocks;
        self.lock_timeouts += other.lock_timeouts;
        self.digest = self.digest.rotate_left(7) ^ other.digest;
    }
}
