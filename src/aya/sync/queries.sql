-- name: copy
-- How far the copy is, and what waits to be sent.
SELECT
    s.timeline,
    extract(EPOCH FROM now() - s.pulled_at)::float8 AS behind_seconds,
    s.paused,
    s.reachable,
    s.error,
    extract(EPOCH FROM now() - s.since)::float8 AS trouble_seconds,
    q.waiting,
    q.rejected,
    q.oldest_seconds
FROM sync_state AS s
CROSS JOIN
    LATERAL (
        SELECT
            count(*) FILTER (WHERE w.status IN ('waiting', 'sending')) AS waiting,
            count(*) FILTER (WHERE w.status = 'rejected') AS rejected,
            extract(
                EPOCH FROM now() - min(w.created_at) FILTER (WHERE w.status IN ('waiting', 'sending'))
            )::float8 AS oldest_seconds
        FROM write_queue AS w
        WHERE w.status <> 'done'
    ) AS q;

-- name: rejected
-- What the primary did not take, and why; what it is about is still here.
SELECT
    q.id,
    q.operation,
    q.table_name,
    d.id AS document_id,
    q.error
FROM write_queue AS q
LEFT JOIN chunks AS c ON q.unit = 'chunk' AND q.row_uid = c.uid
LEFT JOIN documents AS d ON q.row_uid = d.uid OR c.document_id = d.id
WHERE q.status = 'rejected'
ORDER BY q.id LIMIT 20;

-- name: pause
-- Exchange nothing from now on, or go on.
UPDATE sync_state SET paused = $1;

-- name: wake
-- Have the daemon look at once.
SELECT pg_notify('aya_queue', '');

-- name: progress
-- When it last fetched, and how much waits.
SELECT
    pulled_at,
    error,
    (SELECT count(*) FROM write_queue WHERE status IN ('waiting', 'sending')) AS waiting
FROM sync_state;

-- name: retry
-- Send what was rejected once more, as a new operation; what it is about was changed meanwhile. $1: which, NULL: all.
UPDATE write_queue AS q
SET status = 'waiting', op_uid = aya_new_uid(), error = NULL, outcome = NULL
WHERE
    q.status = 'rejected' AND ($1::integer IS NULL OR q.id = $1)
    AND NOT (
        q.captured
        AND EXISTS (
            SELECT FROM write_queue AS w
            WHERE w.row_uid = q.row_uid AND w.captured AND w.status = 'waiting'
        )
    )
RETURNING q.id;

-- name: superseded
-- What was rejected and is sent with a later change of the same anyway.
UPDATE write_queue AS q
SET status = 'done', synced = true, synced_at = now(), outcome = 'same'
WHERE
    q.status = 'rejected' AND q.captured AND ($1::integer IS NULL OR q.id = $1)
    AND EXISTS (
        SELECT FROM write_queue AS w
        WHERE w.row_uid = q.row_uid AND w.captured AND w.status = 'waiting'
    )
RETURNING q.id;

-- name: conflicts
-- Versions that lost, newest first. $1: those that somebody has decided on, too.
SELECT
    c.id,
    c.unit,
    c.uid,
    c.origin,
    c.loser,
    c.reason,
    c.created_at,
    c.resolved_at,
    c.resolution,
    c.document,
    d.id AS document_id,
    coalesce(d.title, c.document ->> 'title') AS title
FROM conflicts AS c
LEFT JOIN chunks AS k ON c.unit = 'chunk' AND c.uid = k.uid
LEFT JOIN documents AS d ON c.uid = d.uid OR k.document_id = d.id
WHERE $1 OR c.resolved_at IS NULL
ORDER BY c.id DESC;

-- name: conflict
-- One of them, locked until it is decided on.
SELECT
    c.id,
    c.unit,
    c.uid,
    c.origin,
    c.loser,
    c.reason,
    c.created_at,
    c.resolved_at,
    c.resolution,
    c.document,
    d.id AS document_id,
    coalesce(d.title, c.document ->> 'title') AS title
FROM conflicts AS c
LEFT JOIN chunks AS k ON c.unit = 'chunk' AND c.uid = k.uid
LEFT JOIN documents AS d ON c.uid = d.uid OR k.document_id = d.id
WHERE c.id = $1;

-- name: conflict_chunks
-- The chunks of the version that lost.
SELECT
    chunk_index,
    chunk_text
FROM conflict_chunks WHERE conflict_id = $1 ORDER BY chunk_index, uid;

-- name: resolve
-- Somebody has decided.
UPDATE conflicts SET resolved_at = now(), resolution = $2 WHERE id = $1 AND resolved_at IS NULL;

-- name: open_conflicts
-- How many wait for somebody's decision; NULL where there is no such table.
SELECT count(*) FROM conflicts WHERE resolved_at IS NULL;
