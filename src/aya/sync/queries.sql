-- name: has_copy
-- Whether this base is a copy that syncs.
SELECT to_regclass('sync_state') IS NOT NULL;

-- name: copy
-- How far the copy is, and what waits to be sent. held: it waits for one that was rejected. daemon: it is connected.
WITH refused AS MATERIALIZED (
    SELECT
        r.id,
        r.row_uid,
        d.id AS document_id
    FROM write_queue AS r
    LEFT JOIN documents AS d ON r.row_uid = d.uid
    WHERE r.status = 'rejected'
)

SELECT
    s.system_identifier,
    s.timeline,
    s.snapshot::text AS snapshot,
    s.paused,
    s.reachable,
    s.error,
    s.since,
    s.pulled_at,
    s.pushed_at,
    extract(EPOCH FROM clock_timestamp() - s.pulled_at)::float8 AS seconds_behind,
    clock_timestamp() AS asked_at,
    q.waiting - q.held AS waiting,
    q.sending,
    q.held,
    q.rejected,
    q.sent_lately / 10.0::float8 AS sent_per_second,
    EXISTS (
        SELECT FROM pg_stat_activity AS a
        WHERE a.application_name LIKE 'aya-syncd%' AND a.datname = current_database()
    ) AS daemon
FROM sync_state AS s
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE w.status = 'waiting') AS waiting,
        count(*) FILTER (WHERE w.status = 'sending') AS sending,
        count(*) FILTER (WHERE w.status = 'rejected') AS rejected,
        count(*) FILTER (WHERE w.status = 'done' AND w.synced_at > now() - interval '10 seconds') AS sent_lately,
        count(*) FILTER (
            WHERE w.status = 'waiting' AND EXISTS (
                SELECT FROM refused AS r
                WHERE
                    (r.row_uid = w.row_uid AND r.id < w.id)
                    OR r.document_id IN (SELECT c.document_id FROM chunks AS c WHERE c.uid = w.row_uid)
            )
        ) AS held
    FROM write_queue AS w
) AS q;

-- name: fetch
-- What the daemon is fetching, where that is much, as PostgreSQL itself counts it; and its index, built at the end.
SELECT
    CASE WHEN i.pid IS NOT NULL THEN 'indexing' WHEN c.pid IS NOT NULL THEN 'reading' ELSE 'merging' END AS phase,
    CASE WHEN i.pid IS NOT NULL OR r.relname LIKE '%chunks' THEN 'chunks' WHEN c.pid IS NOT NULL THEN 'documents' END
        AS table_name,
    CASE WHEN i.pid IS NOT NULL THEN i.tuples_done ELSE c.tuples_processed END AS done,
    CASE
        WHEN i.pid IS NOT NULL THEN i.tuples_total
        WHEN c.pid IS NULL THEN s.fetching_documents + s.fetching_chunks
        WHEN r.relname LIKE '%chunks' THEN s.fetching_chunks
        ELSE s.fetching_documents
    END::bigint AS total,
    CASE WHEN i.pid IS NULL THEN c.bytes_processed END AS size,
    extract(EPOCH FROM clock_timestamp() - a.query_start)::float8 AS seconds
FROM sync_state AS s
INNER JOIN pg_stat_activity AS a ON a.application_name = 'aya-syncd-pull' AND a.datname = current_database()
LEFT JOIN pg_stat_progress_copy AS c ON a.pid = c.pid
LEFT JOIN pg_class AS r ON c.relid = r.oid
LEFT JOIN pg_stat_progress_create_index AS i ON a.pid = i.pid
WHERE s.fetching_since IS NOT NULL OR i.pid IS NOT NULL;

-- name: rejected
-- What the primary cannot take, and why, the oldest first; $1: so many.
SELECT
    w.id,
    w.operation,
    w.unit,
    w.row_uid,
    w.created_at,
    w.error,
    coalesce(d.id, c.id) AS row_id,
    left(coalesce(d.title, d.content, c.chunk_text), 60) AS title
FROM write_queue AS w
LEFT JOIN documents AS d ON w.row_uid = d.uid
LEFT JOIN chunks AS c ON w.row_uid = c.uid
WHERE w.status = 'rejected'
ORDER BY w.id LIMIT $1;

-- name: primary
-- Which base answers, and how many conflicts nobody has decided.
SELECT
    system.system_identifier,
    pg_is_in_recovery() AS is_standby,
    CASE
        WHEN pg_is_in_recovery() THEN checkpoint.timeline_id
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
    END AS timeline,
    (SELECT count(*) FROM conflicts WHERE resolved_at IS NULL) AS conflicts
FROM pg_control_system() AS system
CROSS JOIN pg_control_checkpoint() AS checkpoint;

-- name: unseen
-- How many entries of the log a reader with this cursor has not seen.
SELECT count(*)
FROM change_log
WHERE
    xid >= pg_snapshot_xmin($1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot);

-- name: set_paused
-- Pause the sync or let it go on, and wake the daemon; returns how it was before.
WITH before AS (SELECT b.paused FROM sync_state AS b FOR UPDATE)

UPDATE sync_state AS s SET paused = $1
FROM before
RETURNING before.paused, pg_notify('aya_queue', '');

-- name: wake
-- Have the daemon look.
SELECT pg_notify('aya_queue', '');

-- name: hold_queue
-- Nothing is queued or sent until the transaction ends.
LOCK TABLE write_queue IN SHARE ROW EXCLUSIVE MODE;

-- name: merge_later
-- A rejected change takes up what was changed of the same unit since, for one operation of a unit waits at a time.
-- $1: these only, NULL: all.
WITH later AS (
    DELETE FROM write_queue AS w USING write_queue AS r
    WHERE
        r.status = 'rejected' AND r.captured AND ($1::integer[] IS NULL OR r.id = any($1::integer[]))
        AND w.row_uid = r.row_uid AND w.id > r.id AND w.captured AND w.status = 'waiting'
    RETURNING r.id, w.operation, w.chunks_changed
)

UPDATE write_queue AS q
SET
    operation = aya_collapsed(q.operation, l.operation),
    chunks_changed = q.chunks_changed OR l.chunks_changed
FROM later AS l
WHERE q.id = l.id;

-- name: retry
-- What was rejected waits again, as an operation that the primary has no receipt of. $1: these only, NULL: all.
UPDATE write_queue
SET status = 'waiting', op_uid = aya_new_uid(), outcome = NULL, error = NULL
WHERE status = 'rejected' AND ($1::integer[] IS NULL OR id = any($1::integer[]))
RETURNING id;
