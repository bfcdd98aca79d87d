-- The trees that wait for those of $1, and for each other: what each waits for, and who holds that.
-- If one of $1 comes to wait for such a tree, that closes a cycle; for no other.
WITH RECURSIVE
tree(root_command_id) AS (
    SELECT root_command_id FROM unnest($1::uuid[]) AS asking(root_command_id)
    UNION
    SELECT next.root_command_id
    FROM tree CROSS JOIN LATERAL (
        SELECT behind.root_command_id
        FROM command_entities AS member
        JOIN command_locks AS held ON held.command_id = member.command_id
        JOIN lock_waiters AS behind
        ON behind.lock_group = held.lock_group AND behind.lock_key = held.lock_key
        AND (held.mode <> 'shared' OR behind.mode <> 'shared')
        WHERE member.root_command_id = tree.root_command_id
        UNION
        SELECT behind.root_command_id
        FROM lock_waiters AS ahead
        JOIN lock_waiters AS behind
        ON behind.lock_group = ahead.lock_group AND behind.lock_key = ahead.lock_key
        AND behind.place > ahead.place
        AND (ahead.mode <> 'shared' OR behind.mode <> 'shared')
        WHERE ahead.root_command_id = tree.root_command_id
    ) AS next
),
want(lock_group, lock_key) AS MATERIALIZED (
    SELECT DISTINCT waiter.lock_group, waiter.lock_key
    FROM tree JOIN lock_waiters AS waiter ON waiter.root_command_id = tree.root_command_id
)
SELECT waiter.place, waiter.command_id, waiter.number, waiter.position, waiter.command_type,
    waiter.ancestors, waiter.lock_group, waiter.lock_key, waiter.mode, waiter.since, waiter.until
FROM tree JOIN lock_waiters AS waiter ON waiter.root_command_id = tree.root_command_id
UNION ALL
SELECT NULL, held.command_id, NULL, NULL, held.command_type,
    held.ancestors, held.lock_group, held.lock_key, held.mode, held.since, NULL
FROM want JOIN command_locks AS held
ON held.lock_group = want.lock_group AND held.lock_key = want.lock_key
