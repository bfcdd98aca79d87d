//! What a [`Write::Update`](super::Write::Update) changes, the same for all stores.

use crate::entity::Progress;

impl Progress {
    /// Lays `newer` over what is stored: `state`, `return_value`, `failure`, `end_order`,
    /// `ended_at`, `started_at`, `cancelled`, `seen`, `undo` and `compensated_at` stay where `newer` has
    /// none, and everything else is replaced.
    pub fn overlay(&mut self, newer: &Self) {
        let stored = std::mem::replace(self, newer.clone());
        self.state = self.state.take().or(stored.state);
        self.return_value = self.return_value.take().or(stored.return_value);
        self.failure = self.failure.take().or(stored.failure);
        self.end_order = self.end_order.or(stored.end_order);
        self.ended_at = self.ended_at.or(stored.ended_at);
        self.started_at = self.started_at.or(stored.started_at);
        self.cancelled = self.cancelled.take().or(stored.cancelled);
        self.seen = self.seen.or(stored.seen);
        self.undo = self.undo.or(stored.undo);
        self.compensated_at = self.compensated_at.or(stored.compensated_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Undo;
    use crate::status::CommandStatus;
    use crate::time::Timestamp;

    #[test]
    fn the_last_update_wins_but_what_was_said_once_stays() {
        let mut stored = Progress {
            stuck_reason: Some("old".into()),
            hook_attempt: 2,
            wake_at: Some(Timestamp::from_micros(9)),
            started_at: Some(Timestamp::from_micros(1)),
            cancelled: Some("5".into()),
            undo: Some(Undo::Own),
            compensated_at: Some(Timestamp::from_micros(8)),
            state: Some("1".into()),
            return_value: Some("2".into()),
            failure: Some("3".into()),
            end_order: Some(4),
            ended_at: Some(Timestamp::from_micros(5)),
            ..Progress::new(CommandStatus::Active)
        };
        let before = stored.clone();
        stored.overlay(&Progress::new(CommandStatus::Failed));
        let kept = Progress {
            status: CommandStatus::Failed,
            stuck_reason: None,
            hook_attempt: 0,
            wake_at: None,
            ..before
        };
        assert_eq!(stored, kept);

        let newer = Progress { state: Some("6".into()), end_order: Some(7), ..kept };
        stored.overlay(&newer);
        assert_eq!(stored, newer);
    }
}
