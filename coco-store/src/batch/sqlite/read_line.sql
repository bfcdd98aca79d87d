-- Who waits, as far as it decides a batch: what `LockTable` says of that.
--
-- ?1: the commands that may let go of a lock, get one, or leave the line. ?2: the keys that are
-- asked for, or may be let go of beside those. ?3: the trees that ask.
WITH RECURSIVE
touched(command_id) AS MATERIALIZED (SELECT unhex(value) FROM json_each(?1)),
asking(root_command_id) AS MATERIALIZED (SELECT unhex(value) FROM json_each(?3)),
-- What counts: a key or a tree.
near(lock_group, lock_key, root_command_id) AS (
    SELECT value ->> '$[0]', value ->> '$[1]', NULL FROM jsonb_each(?2)
    UNION
    SELECT held.lock_group, held.lock_key, NULL
    FROM touched CROSS JOIN command_locks AS held ON held.command_id = touched.command_id
    UNION
    SELECT NULL, NULL, root_command_id FROM asking
    UNION
    SELECT NULL, NULL, own.root_command_id
    FROM touched CROSS JOIN lock_waiters AS own ON own.command_id = touched.command_id
    UNION
    -- The keys that such a tree waits for.
    SELECT own.lock_group, own.lock_key, NULL
    FROM near CROSS JOIN lock_waiters AS own ON own.root_command_id = near.root_command_id
    UNION
    -- The trees that hold such a key.
    SELECT NULL, NULL, held.root_command_id
    FROM near CROSS JOIN command_locks AS held
    ON held.lock_group = near.lock_group AND held.lock_key = near.lock_key
    UNION
    -- The trees at the head of its line.
    SELECT NULL, NULL, head.root_command_id
    FROM near CROSS JOIN lock_waiters AS head
    ON head.lock_group = near.lock_group AND head.lock_key = near.lock_key
    AND head.place <= coalesce((
        SELECT last.place FROM lock_waiters AS last
        WHERE last.lock_group = near.lock_group AND last.lock_key = near.lock_key
        AND last.mode <> 'shared' AND last.command_id NOT IN (SELECT command_id FROM touched)
        AND NOT EXISTS (
            SELECT 1 FROM lock_waiters AS wanted CROSS JOIN command_locks AS held
            ON held.lock_group = wanted.lock_group AND held.lock_key = wanted.lock_key
            WHERE wanted.command_id = last.command_id
            AND (wanted.lock_group, wanted.lock_key) <> (last.lock_group, last.lock_key)
            AND (held.root_command_id IN (SELECT root_command_id FROM asking) OR EXISTS (
                SELECT 1 FROM lock_waiters AS behind
                WHERE behind.root_command_id = held.root_command_id
                AND behind.lock_group = last.lock_group AND behind.lock_key = last.lock_key
            ))
        )
        ORDER BY last.place LIMIT 1
    ), 9223372036854775807)
)
SELECT waiter.place, waiter.command_id, waiter.number, waiter.position, waiter.command_type,
    waiter.ancestors, waiter.lock_group, waiter.lock_key, waiter.mode, waiter.since, waiter.until
FROM near CROSS JOIN lock_waiters AS waiter ON waiter.root_command_id = near.root_command_id
