//! What a store has to do: one case for each promise of [`Store`].
//!
//! [`store_conformance!`](crate::store_conformance) makes a test of each case. It takes an
//! expression that makes an empty [`Fixture`] and is evaluated anew for every case; it may await.
//! The crate that uses it needs tokio, with its features `macros` and `rt`.
//!
//! ```
//! # mod example {
//! use coco_core::store::MemoryStore;
//! use coco_core::testing::conformance::Fixture;
//!
//! struct Memory(MemoryStore);
//!
//! impl Fixture for Memory {
//!     type Store = MemoryStore;
//!
//!     async fn open(&self) -> MemoryStore {
//!         self.0.clone()
//!     }
//! }
//!
//! coco_core::store_conformance!(Memory(MemoryStore::default()));
//! # }
//! ```

mod audit;
mod data;
pub(crate) mod decisions;
mod hostile;
mod inbox;
mod keys;
mod lines;
mod locks;
mod ownership;
mod passes;
mod rows;
mod sample;
mod tasks;
mod trees;
mod undo;
mod unreadable;

use std::future::Future;

pub use self::audit::*;
pub use self::data::*;
pub use self::decisions::requests_are_decided_by_the_table;
pub use self::hostile::*;
pub use self::inbox::*;
pub use self::keys::*;
pub use self::lines::*;
pub use self::locks::*;
pub use self::ownership::*;
pub use self::passes::*;
pub use self::rows::*;
pub use self::tasks::*;
pub use self::trees::*;
pub use self::undo::*;
pub use self::unreadable::*;
use crate::id::CommandId;
use crate::store::Store;

/// One place where things are stored, empty at first, for one case of the suite.
pub trait Fixture: Sync {
    /// The store under test.
    type Store: Store;

    /// Opens it, the first time as well as later, as another process would.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Lets the next engine acquire it though one owns it, as when the lock of the owner was
    /// lost. A store where the next engine always can has nothing to do.
    fn evict(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Writes `status` into the row of a command, behind the back of the store. False where
    /// nobody can.
    fn write_status(
        &self,
        command: CommandId,
        status: &'static str,
    ) -> impl Future<Output = bool> + Send {
        let _ = (command, status);
        std::future::ready(false)
    }

    /// Puts what is not of its type into a column of the rows of a command, behind the back of the
    /// store, and leaves the columns that say whose they are. `table`: one of those that
    /// [`entity`](crate::entity) names. False where nobody can.
    fn spoil(&self, table: &'static str, command: CommandId) -> impl Future<Output = bool> + Send {
        let _ = (table, command);
        std::future::ready(false)
    }
}

/// Makes a `#[tokio::test]` of every case of [the suite](crate::testing::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::store_conformance! { @each ($fixture)
            a_full_and_a_small_update_in_one_batch
            absent_columns_come_back_absent
            an_insert_and_updates_of_it_in_one_batch
            an_update_keeps_what_it_does_not_name
            an_update_replaces_the_rest
            every_column_comes_back
            every_status_comes_back
            once_results_come_back
            sleeps_come_back
            the_greatest_numbers_come_back
            the_last_of_many_updates_wins
            the_start_is_remembered
            updates_touch_their_own_row_only

            a_second_compensation_is_rejected_alone
            compensated_changes_its_column_only
            compensations_come_back
            undone_among_other_writes_of_one_batch
            undone_changes_its_column_only
            what_is_absent_was_not_undone

            a_child_of_an_absent_parent_is_rejected
            a_rejected_step_leaves_nothing
            a_rejected_step_takes_and_frees_no_lock
            a_second_insert_is_rejected_alone
            a_second_once_result_is_rejected_alone
            a_second_sleep_is_rejected_alone
            an_update_of_an_absent_command_is_rejected
            later_steps_of_a_rejected_tree_are_skipped
            one_offender_of_many
            several_offenders
            what_belongs_to_an_absent_command_is_rejected

            a_conflict_inside_one_batch
            a_conflict_leaves_nothing_of_its_step
            a_conflict_names_the_holder
            a_release_frees_its_owner_only
            a_request_before_the_release_is_refused
            a_request_without_locks_is_granted
            all_locks_or_none
            an_ancestor_does_not_stand_in_the_way
            an_owner_may_ask_again
            grant_release_and_grant_in_one_batch
            keys_of_two_groups_never_meet
            locks_survive_the_engine
            release_and_grant_in_one_batch
            shared_locks_are_shared
            siblings_stand_in_the_way

            a_pass_merges_with_what_the_new_owner_holds
            a_pass_moves_all_locks
            a_pass_of_nothing
            a_pass_to_an_absent_command_is_rejected
            a_refused_step_passes_nothing
            many_passes_in_one_batch
            passed_locks_let_descendants_through
            passes_and_releases_in_one_batch
            passes_and_requests_in_one_batch
            passes_in_a_chain
            passes_in_a_ring

            requests_are_decided_by_the_table

            a_start_that_has_a_lock_closes_no_cycle
            what_a_command_has_is_not_asked_for_again
            who_waits_for_an_ancestor_is_passed_on_all_its_keys
            who_is_behind_one_that_is_passed_is_ahead
            who_waits_is_passed_with_none_that_it_may_pass
            a_cycle_is_refused
            a_line_survives_the_engine
            a_pass_lets_in_a_sibling
            a_rejected_step_leaves_the_line_as_it_is
            a_request_waits_on_any_of_its_keys
            a_step_that_waits_stores_nothing_else
            another_request_of_the_same_number_takes_its_place
            hostile_text_waits
            one_lock_is_taken_away
            the_answer_to_a_late_request_comes_back
            the_line_moves_in_its_order
            the_locks_in_the_way_of_one_command
            who_ends_leaves_the_line
            who_is_not_stored_does_not_wait

            a_command_is_a_duplicate_of_itself
            a_conflict_takes_no_key
            a_duplicate_takes_no_lock
            a_key_is_taken_for_good
            a_key_is_taken_inside_one_batch
            a_nul_in_a_key_is_never_cut_off
            a_rejected_step_takes_no_key
            a_taken_key_names_its_command
            keys_are_compared_to_the_byte
            many_keys_in_one_batch

            a_clean_release_is_remembered
            a_dropped_commit_leaves_a_sound_store
            a_release_under_an_old_lease_changes_nothing
            an_empty_batch
            an_old_lease_is_lost
            the_epoch_grows
            what_is_committed_outlives_the_engine

            a_thousand_steps_in_one_batch
            absent_trees_and_commands
            ended_roots_are_not_open
            open_trees_bring_sleeps_and_compensations
            open_trees_bring_their_ended_children
            open_trees_come_page_by_page
            trees_keep_apart

            a_refused_step_is_not_audited
            audit_comes_back_oldest_first
            audits_keep_apart

            a_refused_step_says_nothing
            a_star_stands_for_any_segment
            a_subscription_of_an_absent_command_is_rejected
            a_subscription_of_the_same_batch_counts
            an_event_beside_a_rejected_step
            an_event_for_nobody
            an_event_goes_to_who_listens
            an_event_is_delivered_once
            an_inbox_survives_the_engine
            events_are_numbered_in_their_order
            subscriptions_come_back
            ten_thousand_events_for_one_command
            two_subscriptions_deliver_once
            what_is_handled_waits_no_more
            who_listens_no_more_is_forgotten

            a_second_task_is_rejected_alone
            a_task_that_is_over_in_its_batch
            tasks_come_back
            the_end_of_a_task_changes_its_columns_only
            what_is_absent_is_not_over
            what_keeps_a_task_changes_its_column_only

            a_mebibyte_of_parameters
            a_nul_in_an_event_is_never_cut_off
            a_nul_is_never_cut_off
            a_status_of_a_newer_program_is_unknown
            hostile_text_as_submit_keys
            hostile_text_comes_back
            hostile_text_in_events
            hostile_text_locks

            an_unreadable_row_is_its_trees_only
            an_unreadable_row_is_told_as_such
        }
    };
    (@each ($fixture:expr) $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::testing::conformance::$case(&$fixture).await;
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use crate::store::MemoryStore;

    struct Memory(MemoryStore);

    impl super::Fixture for Memory {
        type Store = MemoryStore;

        async fn open(&self) -> MemoryStore {
            self.0.clone()
        }
    }

    crate::store_conformance!(Memory(MemoryStore::default()));

    #[test]
    fn every_case_is_listed() {
        let list = include_str!("conformance.rs");
        let cases = [
            include_str!("conformance/audit.rs"),
            include_str!("conformance/data.rs"),
            include_str!("conformance/decisions.rs"),
            include_str!("conformance/hostile.rs"),
            include_str!("conformance/inbox.rs"),
            include_str!("conformance/keys.rs"),
            include_str!("conformance/lines.rs"),
            include_str!("conformance/locks.rs"),
            include_str!("conformance/ownership.rs"),
            include_str!("conformance/passes.rs"),
            include_str!("conformance/rows.rs"),
            include_str!("conformance/tasks.rs"),
            include_str!("conformance/trees.rs"),
            include_str!("conformance/undo.rs"),
            include_str!("conformance/unreadable.rs"),
        ];
        for line in cases.iter().flat_map(|file| file.lines()) {
            let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
            let name = rest.split(['<', '(']).next().unwrap();
            let entry = format!("\n            {name}\n");
            assert!(list.contains(&entry), "`{name}` is not in the list of `store_conformance!`");
        }
    }
}
