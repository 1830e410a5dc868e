-- name: keeps
-- Whether conflicts are kept here.
SELECT to_regclass('conflicts') IS NOT NULL;

-- name: conflicts
-- Versions that lost, the oldest first, each with the row as it is now. $1: this one only, NULL: all of them; $2: those
-- that are resolved, too; $3: so many characters of each text.
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
    c.document IS NOT NULL OR k.uid IS NOT NULL AS has_lost,
    left(coalesce(lost.content, k.chunk_text), $3) AS lost_content,
    coalesce(lost.title, k.heading) AS lost_title,
    lost.category AS lost_category,
    lost.source AS lost_source,
    coalesce(lost.metadata, k.metadata) AS lost_metadata,
    coalesce(lost.created_at, k.created_at) AS lost_created_at,
    lost.updated_at AS lost_updated_at,
    coalesce(d.uid, h.uid) IS NOT NULL AS has_head,
    left(coalesce(d.content, h.chunk_text), $3) AS head_content,
    coalesce(d.title, h.heading) AS head_title,
    d.category AS head_category,
    d.source AS head_source,
    coalesce(d.metadata, h.metadata) AS head_metadata,
    coalesce(d.created_at, h.created_at) AS head_created_at,
    d.updated_at AS head_updated_at,
    coalesce(d.rev, h.rev) AS rev,
    coalesce(d.id, h.id) AS row_id,
    h.document_id
FROM conflicts AS c
LEFT JOIN jsonb_populate_record(NULL::documents, c.document) AS lost ON c.document IS NOT NULL
LEFT JOIN conflict_chunks AS k ON c.unit = 'chunk' AND c.id = k.conflict_id
LEFT JOIN documents AS d ON c.unit = 'document' AND c.uid = d.uid
LEFT JOIN chunks AS h ON c.unit = 'chunk' AND c.uid = h.uid
WHERE ($1::bigint IS NULL OR c.id = $1) AND ($2::boolean OR c.resolved_at IS NULL)
ORDER BY c.id;

-- name: resolve
-- A conflict is over; no row when it was before, or is none.
UPDATE conflicts SET resolved_at = now(), resolution = $2 WHERE id = $1 AND resolved_at IS NULL RETURNING id;

-- name: label_document
-- The labels of a version, exactly: what it has none of is taken away, too.
UPDATE documents SET title = $2, category = $3, source = $4, metadata = $5
WHERE
    id = $1
    AND (title, category, source, metadata) IS DISTINCT FROM ($2::text, $3::varchar, $4::varchar, $5::jsonb);

-- name: be_again
-- A document that was made anew is the one that was there before.
UPDATE documents SET uid = $2
WHERE id = $1 AND NOT EXISTS (SELECT FROM documents AS other WHERE other.uid = $2);

-- name: put_chunk
-- A chunk typed by hand as the losing version has it, if nobody changed it since revision $2. Its vector is kept if the
-- base has been bound to the same model ever since; else the indexer makes it.
INSERT INTO chunks AS c (uid, chunk_text, embedding, chunk_index, metadata, created_at, char_start, char_end, heading)
SELECT
    k.uid,
    k.chunk_text,
    CASE WHEN coalesce(m.bound_at <= o.created_at, TRUE) THEN k.embedding END AS embedding,
    k.chunk_index,
    k.metadata,
    k.created_at,
    k.char_start,
    k.char_end,
    k.heading
FROM conflict_chunks AS k
INNER JOIN conflicts AS o ON k.conflict_id = o.id
LEFT JOIN embedding_model AS m ON TRUE
WHERE k.conflict_id = $1
ON CONFLICT (uid) DO UPDATE
    SET
        chunk_text = excluded.chunk_text, embedding = excluded.embedding, chunk_index = excluded.chunk_index,
        metadata = excluded.metadata, heading = excluded.heading
    WHERE c.rev = $2
RETURNING c.id;

-- name: delete_chunk
-- A chunk that nobody changed since revision $2.
DELETE FROM chunks WHERE uid = $1 AND rev = $2 RETURNING id;
