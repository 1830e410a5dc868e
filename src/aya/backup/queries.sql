-- name: progress
-- How far a recovery is, or was when it ended.
SELECT
    pg_is_in_recovery() AS in_recovery,
    pg_last_wal_replay_lsn()::text AS reached,
    pg_last_xact_replay_timestamp() AS committed_at,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline;

-- name: counts
-- What is stored.
SELECT
    (SELECT count(*) FROM documents) AS documents,
    (SELECT count(*) FROM chunks) AS chunks;

-- name: drill
-- Every document is read whole, and every chunk has its document.
SELECT
    (SELECT count(*) FROM documents) AS documents,
    (SELECT count(*) FROM chunks) AS chunks,
    (SELECT coalesce(sum(length(content)), 0) FROM documents) AS characters,
    (
        SELECT count(*) FROM chunks AS c LEFT JOIN documents AS d ON d.id = c.document_id WHERE d.id IS NULL
    ) AS orphans;

-- name: nearest
-- How many of the five passages nearest to the first one are found, when all are compared: every vector is read.
WITH first AS (SELECT embedding FROM chunks WHERE embedding IS NOT NULL ORDER BY id LIMIT 1),

nearest AS (SELECT c.id FROM chunks AS c ORDER BY c.embedding <=> (SELECT first.embedding FROM first) LIMIT 5)

SELECT
    (SELECT count(*) FROM nearest) AS nearest,
    (SELECT least(count(*), 5) FROM chunks) AS expected;
