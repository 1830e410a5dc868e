-- name: identity
-- Which base this is, and whether its log has all that a reader with this cursor wants.
SELECT
    system_identifier,
    timeline,
    is_standby,
    has_all,
    fingerprint
FROM aya_upstream($1::text::pg_snapshot);

-- name: look
-- The same, and what changed since the cursor, in one statement, which is one moment: the rows in full where they are
-- few. $2, $3: rows that are wanted anyway, and of documents among them their chunks. $4, $5: so many rows, and so many
-- bytes of text, are few. By indexes: nobody knows how many they will be.
WITH
changed AS MATERIALIZED (
    SELECT
        l.table_name,
        l.uid
    FROM change_log AS l
    WHERE
        l.xid >= pg_snapshot_xmin($1::text::pg_snapshot)
        AND NOT pg_visible_in_snapshot(l.xid, $1::text::pg_snapshot)
    UNION
    SELECT
        p.table_name,
        p.uid
    FROM unnest($2::text[], $3::uuid[]) AS p (table_name, uid)
    UNION
    SELECT
        'chunks' AS table_name,
        c.uid
    FROM unnest($2::text[], $3::uuid[]) AS p (table_name, uid)
    INNER JOIN documents AS d ON p.uid = d.uid
    INNER JOIN chunks AS c ON d.id = c.document_id
    WHERE p.table_name = 'documents'
),

documents_there AS MATERIALIZED (
    SELECT d.*
    FROM changed AS k
    INNER JOIN LATERAL (
        SELECT o.* FROM documents AS o
        WHERE o.uid = k.uid OFFSET 0
    ) AS d ON true
    WHERE k.table_name = 'documents'
    LIMIT $4 + 1
),

counted AS (
    SELECT
        c.changes,
        c.changes <= $4 AND coalesce(t.size, 0) <= $5 AS few
    FROM (SELECT count(*) AS changes FROM changed) AS c
    CROSS JOIN (SELECT sum(octet_length(content)) AS size FROM documents_there) AS t
)

SELECT
    u.system_identifier,
    u.timeline,
    u.is_standby,
    u.has_all,
    u.fingerprint,
    pg_current_snapshot()::text AS snapshot,
    CASE WHEN u.is_standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS lsn,
    n.changes,
    n.few,
    CASE WHEN n.few THEN (SELECT array_agg(k.table_name) FROM changed AS k) END AS table_names,
    CASE WHEN n.few THEN (SELECT array_agg(k.uid) FROM changed AS k) END AS uids,
    CASE
        WHEN n.few THEN (
            SELECT json_agg(r) FROM (
                SELECT
                    d.id,
                    d.content,
                    d.metadata::text AS metadata,
                    d.category,
                    d.source,
                    d.created_at,
                    d.updated_at,
                    d.uid,
                    d.rev,
                    d.title,
                    d.places::text AS places,
                    d.content_sha256,
                    d.content_changed_at
                FROM documents_there AS d
            ) AS r
        )
    END::text AS documents,
    c.chunks::text AS chunks,
    c.vectors
FROM aya_upstream($1::text::pg_snapshot) AS u
CROSS JOIN counted AS n
CROSS JOIN LATERAL (
    SELECT
        json_agg(to_json(r)) AS chunks,
        array_agg(e.embedding) AS vectors
    FROM changed AS k
    INNER JOIN LATERAL (
        SELECT
            o.id,
            o.document_id,
            o.chunk_text,
            o.chunk_index,
            o.metadata::text AS metadata,
            o.created_at,
            o.uid,
            o.rev,
            o.char_start,
            o.char_end,
            o.heading,
            o.content_sha256,
            (SELECT d.uid FROM documents AS d WHERE d.id = o.document_id) AS document_uid
        FROM chunks AS o
        WHERE o.uid = k.uid OFFSET 0
    ) AS r ON true
    INNER JOIN chunks AS e ON r.id = e.id
    WHERE n.few AND k.table_name = 'chunks'
) AS c;

-- name: stay
-- Before a snapshot is taken: to one that is older than a TRUNCATE or a rewrite the table is empty, and its rows are
-- not deleted for that (https://www.postgresql.org/docs/18/mvcc-caveats.html). Whoever does either waits for who reads.
LOCK TABLE documents, chunks IN ACCESS SHARE MODE;

-- name: moment
-- The snapshot of this transaction, and a place in the log that everything in it comes before.
SELECT
    pg_current_snapshot()::text AS snapshot,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS lsn;

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

-- name: chunks_of
-- The chunks that documents have.
SELECT array_agg(c.uid) FROM chunks AS c
INNER JOIN documents AS d ON c.document_id = d.id
WHERE d.uid = any($1::uuid[]);

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
    NULL::uuid AS document_uid,
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
    (SELECT d.uid FROM documents AS d WHERE d.id = document_id) AS document_uid,
    hashtextextended(
        (
            id, document_id, chunk_text, md5(vector_send(embedding)), chunk_index, metadata, created_at, uid, rev,
            char_start, char_end, heading, content_sha256
        )::text,
        0
    ) AS hash
FROM chunks
WHERE id > 0 AND id >> 8 = any($1::integer[]);
