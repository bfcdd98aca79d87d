-- Who waits, as far as it decides a batch: what `LockTable` says of that.
--
-- $1: the commands that may let go of a lock, get one, or leave the line. $2, $3: the keys that are
-- asked for, or may be let go of beside those. $4: the trees that ask.
WITH RECURSIVE
-- The keys that count: those of the batch, and all that is waited for by the trees below.
key(lock_group, lock_key) AS (
    (
        SELECT lock_group, lock_key
        FROM unnest($2::text[], $3::text[]) AS asked(lock_group, lock_key)
        UNION
        SELECT lock_group, lock_key FROM command_locks WHERE command_id = ANY($1::uuid[])
        UNION
        SELECT lock_group, lock_key FROM lock_waiters WHERE command_id = ANY($1::uuid[])
        UNION
        SELECT lock_group, lock_key FROM lock_waiters WHERE root_command_id = ANY($4::uuid[])
    )
    UNION
    SELECT other.lock_group, other.lock_key
    FROM key CROSS JOIN LATERAL (
        SELECT head.root_command_id
        FROM lock_waiters AS head
        WHERE head.lock_group = key.lock_group AND head.lock_key = key.lock_key
        AND head.place <= coalesce((
            SELECT last.place FROM lock_waiters AS last
            WHERE last.lock_group = key.lock_group AND last.lock_key = key.lock_key
            AND last.mode <> 'shared' AND last.command_id <> ALL($1::uuid[])
            AND NOT EXISTS (
                SELECT 1 FROM lock_waiters AS wanted JOIN command_locks AS held
                ON held.lock_group = wanted.lock_group AND held.lock_key = wanted.lock_key
                WHERE wanted.command_id = last.command_id
                AND (wanted.lock_group, wanted.lock_key) <> (last.lock_group, last.lock_key)
                AND held.root_command_id = ANY($4::uuid[])
            )
            ORDER BY last.place LIMIT 1
        ), 9223372036854775807)
        UNION
        SELECT held.root_command_id
        FROM command_locks AS held
        WHERE held.lock_group = key.lock_group AND held.lock_key = key.lock_key
    ) AS near
    JOIN lock_waiters AS other ON other.root_command_id = near.root_command_id
),
-- The trees that ask, that wait at the head of the line of such a key, or hold it.
tree(root_command_id) AS MATERIALIZED (
    SELECT root_command_id FROM unnest($4::uuid[]) AS asking(root_command_id)
    UNION
    SELECT root_command_id FROM lock_waiters WHERE command_id = ANY($1::uuid[])
    UNION
    SELECT near.root_command_id
    FROM key CROSS JOIN LATERAL (
        SELECT head.root_command_id
        FROM lock_waiters AS head
        WHERE head.lock_group = key.lock_group AND head.lock_key = key.lock_key
        AND head.place <= coalesce((
            SELECT last.place FROM lock_waiters AS last
            WHERE last.lock_group = key.lock_group AND last.lock_key = key.lock_key
            AND last.mode <> 'shared' AND last.command_id <> ALL($1::uuid[])
            AND NOT EXISTS (
                SELECT 1 FROM lock_waiters AS wanted JOIN command_locks AS held
                ON held.lock_group = wanted.lock_group AND held.lock_key = wanted.lock_key
                WHERE wanted.command_id = last.command_id
                AND (wanted.lock_group, wanted.lock_key) <> (last.lock_group, last.lock_key)
                AND held.root_command_id = ANY($4::uuid[])
            )
            ORDER BY last.place LIMIT 1
        ), 9223372036854775807)
        UNION
        SELECT held.root_command_id
        FROM command_locks AS held
        WHERE held.lock_group = key.lock_group AND held.lock_key = key.lock_key
    ) AS near
)
SELECT waiter.place, waiter.command_id, waiter.number, waiter.position, waiter.command_type,
    waiter.ancestors, waiter.lock_group, waiter.lock_key, waiter.mode, waiter.since, waiter.until
FROM tree JOIN lock_waiters AS waiter ON waiter.root_command_id = tree.root_command_id
