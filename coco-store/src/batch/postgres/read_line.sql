-- Who waits, as far as it decides a batch: what `LockTable` says of that.
--
-- $1: the commands that may let go of a lock, get one, or leave the line. $2, $3: the keys that are
-- asked for, or may be let go of beside those. $4: the trees that ask.
WITH RECURSIVE
-- What counts: a key or a tree.
near(lock_group, lock_key, root_command_id) AS (
    (
        SELECT lock_group, lock_key, NULL::uuid
        FROM unnest($2::text[], $3::text[]) AS asked(lock_group, lock_key)
        UNION
        SELECT lock_group, lock_key, NULL FROM command_locks WHERE command_id = ANY($1::uuid[])
        UNION
        SELECT NULL, NULL, root_command_id FROM unnest($4::uuid[]) AS asking(root_command_id)
        UNION
        SELECT NULL, NULL, root_command_id FROM lock_waiters WHERE command_id = ANY($1::uuid[])
    )
    UNION
    SELECT next.lock_group, next.lock_key, next.root_command_id
    FROM near CROSS JOIN LATERAL (
        -- The keys that such a tree waits for.
        SELECT own.lock_group, own.lock_key, NULL::uuid
        FROM lock_waiters AS own WHERE own.root_command_id = near.root_command_id
        UNION ALL
        -- The trees that hold such a key.
        SELECT NULL, NULL, held.root_command_id
        FROM command_locks AS held
        WHERE held.lock_group = near.lock_group AND held.lock_key = near.lock_key
        UNION ALL
        -- The trees at the head of its line.
        SELECT NULL, NULL, head.root_command_id
        FROM lock_waiters AS head
        WHERE head.lock_group = near.lock_group AND head.lock_key = near.lock_key
        AND head.place <= coalesce((
            SELECT last.place FROM lock_waiters AS last
            WHERE last.lock_group = near.lock_group AND last.lock_key = near.lock_key
            AND last.mode <> 'shared' AND last.command_id <> ALL($1::uuid[])
            AND NOT EXISTS (
                SELECT 1 FROM lock_waiters AS wanted JOIN command_locks AS held
                ON held.lock_group = wanted.lock_group AND held.lock_key = wanted.lock_key
                WHERE wanted.command_id = last.command_id
                AND (wanted.lock_group, wanted.lock_key) <> (last.lock_group, last.lock_key)
                AND (held.root_command_id = ANY($4::uuid[]) OR EXISTS (
                    SELECT 1 FROM lock_waiters AS behind
                    WHERE behind.root_command_id = held.root_command_id
                    AND behind.lock_group = last.lock_group AND behind.lock_key = last.lock_key
                ))
            )
            ORDER BY last.place LIMIT 1
        ), 9223372036854775807)
    ) AS next(lock_group, lock_key, root_command_id)
)
SELECT waiter.place, waiter.command_id, waiter.number, waiter.position, waiter.command_type,
    waiter.ancestors, waiter.lock_group, waiter.lock_key, waiter.mode, waiter.since, waiter.until
FROM near JOIN lock_waiters AS waiter ON waiter.root_command_id = near.root_command_id
