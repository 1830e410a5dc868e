-- name: identity
-- Which base this is and how often it has changed hands; a standby knows the timeline of its last checkpoint.
SELECT
    system.system_identifier,
    pg_is_in_recovery() AS is_standby,
    CASE
        WHEN pg_is_in_recovery() THEN checkpoint.timeline_id
        -- pg_control_checkpoint is still the old one for a while after a promotion.
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
    END AS timeline
FROM pg_control_system() AS system
CROSS JOIN pg_control_checkpoint() AS checkpoint;

-- name: moment
-- The snapshot of this transaction, and a place in the log that everything in it comes before.
SELECT
    pg_current_snapshot()::text AS snapshot,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn;

-- name: floor
-- Whether the log still has all that a reader with this cursor wants.
SELECT xid < pg_snapshot_xmin($1::text::pg_snapshot) FROM change_log_floor;

-- name: changed
-- The rows that changed since a cursor, each once.
SELECT DISTINCT
    table_name,
    uid
FROM change_log
WHERE
    xid >= pg_snapshot_xmin($1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot);

-- name: model
-- The model that the base is bound to, as JSON; no row before it is bound.
SELECT
    fingerprint,
    to_jsonb(m)::text AS as_json
FROM embedding_model AS m;

-- name: documents
-- Documents in full, by uid.
SELECT
    id,
    content,
    metadata,
    category,
    source,
    created_at,
    updated_at,
    uid,
    rev,
    title,
    places,
    content_sha256,
    content_changed_at
FROM documents
WHERE $1::uuid[] IS NULL OR uid = any($1::uuid[]);

-- name: chunks
-- Chunks in full, by uid, with the uid of their document.
SELECT
    c.id,
    c.document_id,
    c.chunk_text,
    c.embedding,
    c.chunk_index,
    c.metadata,
    c.created_at,
    c.uid,
    c.rev,
    c.char_start,
    c.char_end,
    c.heading,
    c.content_sha256,
    d.uid AS document_uid
FROM chunks AS c
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE $1::uuid[] IS NULL OR c.uid = any($1::uuid[]);

-- name: counts
-- How many rows there are, roughly: for the progress of a copy.
SELECT
    (SELECT count(*) FROM documents) AS documents,
    (SELECT count(*) FROM chunks) AS chunks;

-- name: receive
-- Where what is sent is put; once for a connection.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming OF aya_incoming ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_chunks OF aya_incoming_chunk ON COMMIT DELETE ROWS;

-- name: accept
-- Work off what was sent.
SELECT
    op_uid,
    outcome,
    head_id,
    head_rev,
    error
FROM aya_accept($1);

-- name: shorten
-- Keep the log bounded, whether or not anybody reads it.
SELECT aya_shorten_change_log($1, $2);

-- name: history
-- What a timeline comes from; only where AYA has set up the server.
SELECT aya_timeline_history($1);

-- name: hashes_of_documents
-- A count and a hash of every 256 numbers, over all that a document is.
SELECT
    id >> 8 AS bucket,
    count(*) AS size,
    bit_xor(hashtextextended(d::text, 0)) AS hash
FROM documents AS d
WHERE id > 0 GROUP BY 1;

-- name: rows_of_documents
-- The hash of each document in some buckets.
SELECT
    uid,
    hashtextextended(d::text, 0) AS hash
FROM documents AS d
WHERE id > 0 AND id >> 8 = any($1::integer[]);

-- name: hashes_of_chunks
-- The same for chunks, vectors included; by name, for a move to another model has a column of its own.
SELECT
    id >> 8 AS bucket,
    count(*) AS size,
    bit_xor(hashtextextended(
        (
            id, document_id, chunk_text, md5(vector_send(embedding)), chunk_index, metadata, created_at, uid, rev,
            char_start, char_end, heading, content_sha256
        )::text,
        0
    )) AS hash
FROM chunks
WHERE id > 0 GROUP BY 1;

-- name: rows_of_chunks
-- The hash of each chunk in some buckets.
SELECT
    uid,
    hashtextextended(
        (
            id, document_id, chunk_text, md5(vector_send(embedding)), chunk_index, metadata, created_at, uid, rev,
            char_start, char_end, heading, content_sha256
        )::text,
        0
    ) AS hash
FROM chunks
WHERE id > 0 AND id >> 8 = any($1::integer[]);
