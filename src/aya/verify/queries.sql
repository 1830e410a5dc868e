-- name: leads
-- What a server says of itself. A standby knows the timeline of its last checkpoint.
SELECT
    pg_is_in_recovery() AS in_recovery,
    current_setting('default_transaction_read_only') = 'off' AS is_open,
    CASE
        WHEN pg_is_in_recovery() THEN c.timeline_id
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
    END AS timeline
FROM pg_control_checkpoint() AS c;

-- name: has_copy
-- Whether a copy follows the primary, or ever sent it something.
SELECT
    EXISTS (SELECT FROM receipts)
    OR EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.application_name LIKE 'aya-syncd%');

-- name: lock
-- Be the only run; the lock goes with the session. False: another one is at work.
SELECT pg_try_advisory_lock(hashtextextended('aya verify', 4153));

-- name: insert_document
-- A document, as one types it in psql; $2: the mark, $3: metadata.
INSERT INTO documents (content, category, source, metadata)
VALUES ($1, $2::text, $2::text, $3::text::jsonb)
RETURNING uid;

-- name: insert_chunk
-- A chunk with its vector, as one types it in psql.
INSERT INTO chunks (document_id, chunk_text, embedding)
SELECT
    d.id,
    $2,
    $3::text::vector
FROM documents AS d WHERE d.uid = $1;

-- name: queue_document
-- A document, as one types it into AIR's queue; $1: the row as JSON.
INSERT INTO write_queue (operation, table_name, data)
VALUES ('INSERT', 'documents', $1::text::jsonb)
RETURNING id, row_uid, synced;

-- name: synced
-- Whether an operation is marked, and nothing else of its document $2 is to be sent.
SELECT
    q.synced
    AND NOT EXISTS (SELECT FROM write_queue AS o WHERE o.row_uid = $2 AND o.status IN ('waiting', 'sending'))
    AND NOT EXISTS (
        SELECT FROM index_queue AS i INNER JOIN documents AS d ON i.document_id = d.id WHERE d.uid = $2
    )
FROM write_queue AS q WHERE q.id = $1;

-- name: delete_documents
-- Remove documents, and their chunks with them.
DELETE FROM documents WHERE uid = any($1::uuid[]) RETURNING uid;

-- name: delete_marked
-- Remove what carries the mark $1, of any run.
DELETE FROM documents WHERE category = $1 AND metadata ? 'aya_verify' RETURNING uid;

-- name: forget_conflicts
-- What lost against a deletion of ours, or won.
DELETE FROM conflicts WHERE uid = any($1::uuid[]);

-- name: marked
-- What carries the mark.
SELECT uid FROM documents WHERE category = $1 AND metadata ? 'aya_verify';

-- name: copy_follows
-- Whether a deletion at the primary comes by itself.
SELECT
    NOT s.paused AND s.error IS NULL AND s.snapshot IS NOT NULL
    AND EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.application_name LIKE 'aya-syncd%')
FROM sync_state AS s;

-- name: forget_waiting
-- What was typed into the queue and is not sent shall not be.
DELETE FROM write_queue WHERE NOT captured AND status IN ('waiting', 'rejected') AND data ->> 'category' = $1;

-- name: forget_done
-- What was sent; $2: the uids of our documents.
DELETE FROM write_queue WHERE status = 'done' AND (data ->> 'category' = $1 OR row_uid = any($2::uuid[]));

-- name: left_on_copy
-- How much of ours the copy still has. $3: what waits to be sent, a deletion say, is sent soon; else it may wait.
SELECT
    (SELECT count(*) FROM documents AS d WHERE d.category = $1 AND d.metadata ? 'aya_verify')
    + (
        SELECT count(*) FROM write_queue AS q
        WHERE q.data ->> 'category' = $1 OR ($3 AND q.row_uid = any($2::uuid[]))
    );

-- name: has_document
-- Whether a document is here.
SELECT EXISTS (SELECT FROM documents WHERE uid = $1);

-- name: count_documents
-- How many documents there are.
SELECT count(*) FROM documents;

-- name: database
-- Which database this is, and how large.
SELECT
    current_database() AS name,
    pg_size_pretty(pg_database_size(current_database())) AS size;

-- name: extension
-- The version of pgvector; no row without it.
SELECT extversion FROM pg_extension WHERE extname = 'vector';

-- name: table
-- How many of the columns $2 a table has, and about how many rows; no row without it.
SELECT
    (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = any($2::text[])) AS columns,
    greatest(c.reltuples, 0)::bigint AS rows
FROM pg_class AS c WHERE c.oid = to_regclass($1);

-- name: index
-- An index: whether queries may use it, of which kind and how large it is; no row without it.
SELECT
    i.indisvalid AND i.indisready AS valid,
    m.amname AS kind,
    pg_size_pretty(pg_relation_size(c.oid)) AS size
FROM pg_class AS c
INNER JOIN pg_index AS i ON c.oid = i.indexrelid
INNER JOIN pg_am AS m ON c.relam = m.oid
WHERE c.oid = to_regclass($1);

-- name: setting
-- One setting of the server.
SELECT current_setting($1);

-- name: slot
-- A replication slot; no row without it.
SELECT
    slot_type,
    active,
    wal_status
FROM pg_replication_slots WHERE slot_name = $1;

-- name: archiver
-- How archiving goes. failures: since the last success; when it never succeeded, all.
SELECT
    current_setting('archive_mode') AS mode,
    a.archived_count AS archived,
    CASE
        WHEN coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), FALSE) THEN a.failed_count
        ELSE 0
    END AS failures,
    a.last_archived_wal AS last_archived,
    a.last_failed_wal AS last_failed
FROM pg_stat_archiver AS a;

-- name: switch_segment
-- End the segment, so that there is one to archive; only the superuser may.
SELECT pg_logical_emit_message(TRUE, 'aya.verify', ''), pg_switch_wal();

-- name: server_processes
-- How many processes the server knows, and itself.
SELECT count(*) + 1 FROM pg_stat_activity;

-- name: version
-- The server's version, and whether it follows another.
SELECT
    split_part(current_setting('server_version'), ' ', 1) AS version,
    pg_is_in_recovery() AS in_recovery;

-- name: write_wal
-- Something for the standby to replay, which no table holds.
SELECT pg_logical_emit_message(TRUE, 'aya.verify', '');

-- name: position
-- How far the primary's WAL is.
SELECT pg_current_wal_lsn()::text;

-- name: replayed
-- Whether the standby has replayed up to there.
SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn;

-- name: follower
-- A standby, seen from its primary; no row while it is not connected.
SELECT
    application_name,
    state,
    sync_state,
    client_addr::text AS address
FROM pg_stat_replication WHERE application_name = $1;

-- name: follower_replayed
-- Whether the standby has told its primary that it replayed up to there.
SELECT coalesce(bool_or(replay_lsn >= $2::text::pg_lsn), FALSE)
FROM pg_stat_replication WHERE application_name = $1;

-- name: indexed
-- Whether a document's chunks have all their vectors, and nothing of it waits.
SELECT
    EXISTS (SELECT FROM chunks AS c WHERE c.document_id = d.id AND c.embedding IS NOT NULL)
    AND NOT EXISTS (SELECT FROM chunks AS c WHERE c.document_id = d.id AND c.embedding IS NULL)
    AND NOT EXISTS (SELECT FROM index_queue AS q WHERE q.document_id = d.id)
FROM documents AS d WHERE d.uid = $1;

-- name: read_alone
-- A reply to whoever asks.
SELECT 1;
