-- name: server
-- Which server answers, and whether it follows another.
SELECT
    split_part(current_setting('server_version'), ' ', 1) AS postgresql,
    (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector,
    pg_is_in_recovery() AS is_standby;

-- name: archiving
-- How the WAL is archived. failing: the last try failed, whatever came before it.
SELECT
    current_setting('archive_mode') AS mode,
    archived_count AS archived,
    failed_count AS failed,
    last_archived_wal AS last_archived,
    last_failed_wal AS last_failed,
    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), FALSE) AS failing
FROM pg_stat_archiver;

-- name: counts
-- What is stored and what waits. Poison documents failed so many times or more, and are still tried, rarely;
-- overdue ones have waited for the indexer for so many seconds after their time, and it has not said why.
SELECT
    (SELECT count(*) FROM documents) AS documents,
    (SELECT count(*) FROM chunks) AS chunks,
    (SELECT count(*) FROM index_queue) AS waiting,
    (SELECT count(*) FROM index_queue WHERE attempts >= $1 AND error IS NOT NULL) AS poison,
    (SELECT count(*) FROM index_queue WHERE retry_at < now() - make_interval(secs => $2) AND error IS NULL) AS overdue;

-- name: poison
-- A few documents that cannot be indexed, and why.
SELECT document_id, error FROM index_queue WHERE attempts >= $1 AND error IS NOT NULL ORDER BY document_id LIMIT 3;

-- name: bound_model
-- Which model made the vectors.
SELECT model, fingerprint FROM embedding_model;

-- name: follower
-- How a standby follows, seen from its primary: its name there, and how many bytes it has not replayed yet.
SELECT
    state,
    sync_state,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint AS lag_bytes
FROM pg_stat_replication WHERE application_name = $1;
