-- Who waits, as far as it decides a batch: what `LockTable` says of that.
--
-- ?1: the commands that may let go of a lock, get one, or leave the line. ?2: the keys that are
-- asked for, or may be let go of beside those. ?3: the trees that ask.
WITH RECURSIVE
touched(command_id) AS MATERIALIZED (SELECT unhex(value) FROM json_each(?1)),
asking(root_command_id) AS MATERIALIZED (SELECT unhex(value) FROM json_each(?3)),
-- The keys that count: those of the batch, and all that is waited for by the trees below.
key(lock_group, lock_key) AS (
    SELECT value ->> '$[0]', value ->> '$[1]' FROM jsonb_each(?2)
    UNION
    SELECT held.lock_group, held.lock_key
    FROM touched CROSS JOIN command_locks AS held ON held.command_id = touched.command_id
    UNION
    SELECT own.lock_group, own.lock_key
    FROM touched CROSS JOIN lock_waiters AS own ON own.command_id = touched.command_id
    UNION
    SELECT own.lock_group, own.lock_key
    FROM asking CROSS JOIN lock_waiters AS own ON own.root_command_id = asking.root_command_id
    UNION
    SELECT other.lock_group, other.lock_key
    FROM key CROSS JOIN lock_waiters AS head
    ON head.lock_group = key.lock_group AND head.lock_key = key.lock_key
    AND head.place <= coalesce((
        SELECT last.place FROM lock_waiters AS last
        WHERE last.lock_group = key.lock_group AND last.lock_key = key.lock_key
        AND last.mode <> 'shared' AND last.command_id NOT IN (SELECT command_id FROM touched)
        AND NOT EXISTS (
            SELECT 1 FROM lock_waiters AS wanted CROSS JOIN command_locks AS held
            ON held.lock_group = wanted.lock_group AND held.lock_key = wanted.lock_key
            WHERE wanted.command_id = last.command_id
            AND (wanted.lock_group, wanted.lock_key) <> (last.lock_group, last.lock_key)
            AND held.root_command_id IN (SELECT root_command_id FROM asking)
        )
        ORDER BY last.place LIMIT 1
    ), 9223372036854775807)
    CROSS JOIN lock_waiters AS other ON other.root_command_id = head.root_command_id
    UNION
    SELECT other.lock_group, other.lock_key
    FROM key CROSS JOIN command_locks AS held
    ON held.lock_group = key.lock_group AND held.lock_key = key.lock_key
    CROSS JOIN lock_waiters AS other ON other.root_command_id = held.root_command_id
),
-- The trees that ask, that wait at the head of the line of such a key, or hold it.
tree(root_command_id) AS MATERIALIZED (
    SELECT root_command_id FROM asking
    UNION
    SELECT own.root_command_id
    FROM touched CROSS JOIN lock_waiters AS own ON own.command_id = touched.command_id
    UNION
    SELECT head.root_command_id
    FROM key CROSS JOIN lock_waiters AS head
    ON head.lock_group = key.lock_group AND head.lock_key = key.lock_key
    AND head.place <= coalesce((
        SELECT last.place FROM lock_waiters AS last
        WHERE last.lock_group = key.lock_group AND last.lock_key = key.lock_key
        AND last.mode <> 'shared' AND last.command_id NOT IN (SELECT command_id FROM touched)
        AND NOT EXISTS (
            SELECT 1 FROM lock_waiters AS wanted CROSS JOIN command_locks AS held
            ON held.lock_group = wanted.lock_group AND held.lock_key = wanted.lock_key
            WHERE wanted.command_id = last.command_id
            AND (wanted.lock_group, wanted.lock_key) <> (last.lock_group, last.lock_key)
            AND held.root_command_id IN (SELECT root_command_id FROM asking)
        )
        ORDER BY last.place LIMIT 1
    ), 9223372036854775807)
    UNION
    SELECT held.root_command_id
    FROM key CROSS JOIN command_locks AS held
    ON held.lock_group = key.lock_group AND held.lock_key = key.lock_key
)
SELECT waiter.place, waiter.command_id, waiter.number, waiter.position, waiter.command_type,
    waiter.ancestors, waiter.lock_group, waiter.lock_key, waiter.mode, waiter.since, waiter.until
FROM tree CROSS JOIN lock_waiters AS waiter ON waiter.root_command_id = tree.root_command_id
