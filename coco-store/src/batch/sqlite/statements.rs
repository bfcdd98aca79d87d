//! The texts of the statements. `?1` is the JSON array of their rows, `?2` the identities in them
//! that are not in the JSON, 16 bytes each.

/// Takes the turn to write; says whose it is, and the last rank in the line, if somebody waits. Two
/// statements in one text go to the connection's thread and back once.
pub(crate) const BEGIN: &str = "\
BEGIN IMMEDIATE; \
SELECT epoch, (SELECT CAST(max(place) AS INTEGER) FROM lock_waiters \
WHERE place < 4611686018427387904) AS last_rank \
FROM engines WHERE engine_id = zeroblob(16)";

pub(super) const RELEASE: &str = "\
UPDATE engines SET clean = ?1 ->> '$[0]' WHERE engine_id = zeroblob(16)";

pub(crate) const READ_TAKEN_KEYS: &str = "\
SELECT taken.submit_key, taken.command_id \
FROM json_each(?1) AS asked CROSS JOIN command_entities AS taken \
ON taken.submit_key = asked.value";

/// `?2` has the command, its parent and its root for each row; in the place of no parent stands the
/// command itself.
pub(super) const INSERT_STARTS: &str = "\
INSERT INTO command_entities (\
command_id, parent_command_id, root_command_id, command_type, position, command_parameters, \
created_at, callback_enabled, status, attempt, executed, callback_notified, \
hook_attempt, deaths, deaths_end_order) \
SELECT \
substr(?2, 1 + 48 * key, 16), \
nullif(substr(?2, 17 + 48 * key, 16), substr(?2, 1 + 48 * key, 16)), \
substr(?2, 33 + 48 * key, 16), \
value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]', \
value ->> '$[5]', value ->> '$[6]', false, false, 0, 0, 0 \
FROM jsonb_each(?1)";

/// `?2` as in `INSERT_STARTS`.
pub(super) const INSERT_COMMANDS: &str = "\
INSERT INTO command_entities (\
command_id, parent_command_id, root_command_id, command_type, position, command_parameters, \
created_at, callback_enabled, status, attempt, started_at, executed, callback_notified, \
hook_attempt, deaths, deaths_end_order, submit_key, resubmit_of, retry, stuck_from, stuck_reason, \
wake_at, cancelled, undo, compensated_at, state, return_value, failure, end_order, ended_at, seen) \
SELECT \
substr(?2, 1 + 48 * key, 16), \
nullif(substr(?2, 17 + 48 * key, 16), substr(?2, 1 + 48 * key, 16)), \
substr(?2, 33 + 48 * key, 16), \
value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]', \
value ->> '$[5]', value ->> '$[6]', value ->> '$[7]', value ->> '$[8]', value ->> '$[9]', \
value ->> '$[10]', value ->> '$[11]', value ->> '$[12]', value ->> '$[13]', \
unhex(value ->> '$[14]'), value ->> '$[15]', value ->> '$[16]', value ->> '$[17]', \
value ->> '$[18]', value ->> '$[19]', value ->> '$[20]', value ->> '$[21]', value ->> '$[22]', \
value ->> '$[23]', value ->> '$[24]', value ->> '$[25]', value ->> '$[26]', value ->> '$[27]' \
FROM jsonb_each(?1)";

/// `?2` has the command for each row; in `UPDATE_COMMANDS` as well.
pub(super) const UPDATE_ENDS: &str = "\
UPDATE command_entities SET \
status = new.value ->> '$[0]', attempt = new.value ->> '$[1]', executed = new.value ->> '$[2]', \
callback_notified = new.value ->> '$[3]', \
return_value = coalesce(new.value ->> '$[4]', return_value), \
end_order = coalesce(new.value ->> '$[5]', end_order), \
ended_at = coalesce(new.value ->> '$[6]', ended_at), \
stuck_from = NULL, stuck_reason = NULL, hook_attempt = 0, wake_at = NULL, deaths = 0, \
deaths_end_order = 0 \
FROM jsonb_each(?1) AS new \
WHERE command_id = substr(?2, 1 + 16 * new.key, 16)";

pub(super) const UPDATE_COMMANDS: &str = "\
UPDATE command_entities SET \
status = new.value ->> '$[0]', attempt = new.value ->> '$[1]', executed = new.value ->> '$[2]', \
callback_notified = new.value ->> '$[3]', \
return_value = coalesce(new.value ->> '$[4]', return_value), \
end_order = coalesce(new.value ->> '$[5]', end_order), \
ended_at = coalesce(new.value ->> '$[6]', ended_at), \
started_at = coalesce(new.value ->> '$[7]', started_at), \
state = coalesce(new.value ->> '$[8]', state), \
failure = coalesce(new.value ->> '$[9]', failure), \
cancelled = coalesce(new.value ->> '$[10]', cancelled), \
undo = coalesce(new.value ->> '$[11]', undo), \
compensated_at = coalesce(new.value ->> '$[12]', compensated_at), \
stuck_from = new.value ->> '$[13]', stuck_reason = new.value ->> '$[14]', \
hook_attempt = new.value ->> '$[15]', wake_at = new.value ->> '$[16]', \
deaths = new.value ->> '$[17]', deaths_end_order = new.value ->> '$[18]', \
seen = coalesce(new.value ->> '$[19]', seen) \
FROM jsonb_each(?1) AS new \
WHERE command_id = substr(?2, 1 + 16 * new.key, 16)";

pub(super) const UPDATE_COMPENSATED: &str = "\
UPDATE command_entities SET compensated_at = new.value ->> '$[1]' \
FROM jsonb_each(?1) AS new WHERE command_id = unhex(new.value ->> '$[0]')";

pub(super) const UPDATE_UNDONE: &str = "\
UPDATE compensations SET compensated_at = new.value ->> '$[2]' \
FROM jsonb_each(?1) AS new \
WHERE command_id = unhex(new.value ->> '$[0]') AND position = new.value ->> '$[1]'";

pub(super) const INSERT_ONCE_RESULTS: &str = "\
INSERT INTO once_results (\
command_id, root_command_id, position, name, end_order, ended_at, return_value, failure) \
SELECT \
unhex(value ->> '$[0]'), unhex(value ->> '$[1]'), value ->> '$[2]', value ->> '$[3]', \
value ->> '$[4]', value ->> '$[5]', value ->> '$[6]', value ->> '$[7]' \
FROM jsonb_each(?1)";

/// Where one of them is the answer to a request for a lock.
pub(super) const INSERT_ANSWERS: &str = "\
INSERT INTO once_results (\
command_id, root_command_id, position, name, end_order, ended_at, return_value, failure, lock) \
SELECT \
unhex(value ->> '$[0]'), unhex(value ->> '$[1]'), value ->> '$[2]', value ->> '$[3]', \
value ->> '$[4]', value ->> '$[5]', value ->> '$[6]', value ->> '$[7]', value ->> '$[8]' \
FROM jsonb_each(?1)";

pub(super) const INSERT_SLEEPS: &str = "\
INSERT INTO sleeps (command_id, root_command_id, position, micros, wake_at) \
SELECT \
unhex(value ->> '$[0]'), unhex(value ->> '$[1]'), value ->> '$[2]', value ->> '$[3]', \
value ->> '$[4]' \
FROM jsonb_each(?1)";

pub(super) const INSERT_COMPENSATIONS: &str = "\
INSERT INTO compensations (\
command_id, root_command_id, position, command_type, command_parameters, end_order, created_at, \
compensated_at) \
SELECT \
unhex(value ->> '$[0]'), unhex(value ->> '$[1]'), value ->> '$[2]', value ->> '$[3]', \
value ->> '$[4]', value ->> '$[5]', value ->> '$[6]', value ->> '$[7]' \
FROM jsonb_each(?1)";

/// The identities grow with the array.
pub(super) const INSERT_AUDIT: &str = "\
INSERT INTO audit (at, action, command_id, root_command_id, status, reason, linked) \
SELECT \
value ->> '$[0]', value ->> '$[1]', unhex(value ->> '$[2]'), unhex(value ->> '$[3]'), \
value ->> '$[4]', value ->> '$[5]', unhex(value ->> '$[6]') \
FROM jsonb_each(?1) ORDER BY key";
