-- name: bound_model
-- Which model made the vectors; no row before the first was bound.
SELECT fingerprint, model, revision, dimension, pooling, normalized, query_prefix, document_prefix, max_tokens, source
FROM embedding_model;

-- name: has_vectors
-- Whether any vector is stored.
SELECT EXISTS (SELECT FROM chunks WHERE embedding IS NOT NULL);

-- name: bind_model
-- Bind the database to a model (sets the vector column's dimension); only the owner may.
SELECT aya_bind_model($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: hold_model
-- Nobody binds another model until the transaction ends (whoever does takes a stronger lock on the same table).
LOCK TABLE chunks IN ROW EXCLUSIVE MODE;

-- name: hold_model_to_read
-- The same for a reader, on a standby too. It has to come before the transaction's first query: what that one sees is
-- then what the columns are.
LOCK TABLE chunks IN ACCESS SHARE MODE;

-- name: lock_identity
-- Two writers of the same content or the same file wait for each other; the lock goes with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended($1, 4153));

-- name: find_place
-- The document that was read from a file, and what was read there.
SELECT
    id,
    content_sha256,
    category,
    source,
    title,
    created_at,
    coalesce(metadata, '{}') AS metadata,
    places ->> $1 AS read_sha256,
    (SELECT count(*) FROM jsonb_object_keys(places)) AS place_count
FROM documents WHERE places ? $1;

-- name: lock_place
-- Nobody changes the document that was read from a file until the transaction ends.
SELECT id FROM documents WHERE places ? $1 FOR NO KEY UPDATE;

-- name: lock_document
-- Nobody changes the document until the transaction ends; no row when there is none.
SELECT id FROM documents WHERE id = $1 FOR NO KEY UPDATE;

-- name: find_by_content
-- The oldest document with that content.
SELECT id FROM documents WHERE content_sha256 = $1 ORDER BY id LIMIT 1;

-- name: insert_document
-- A new document; the trigger computes content_sha256. Without a date of its own it is from now.
INSERT INTO documents (content, metadata, category, source, title, places, created_at)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7::timestamp, localtimestamp))
RETURNING id;

-- name: replace_document
-- What a file says now, labels and title included, in place of what it said; its date stays unless another is given.
UPDATE documents
SET
    content = $2,
    metadata = $3,
    category = $4,
    source = $5,
    title = $6,
    places = $7,
    created_at = coalesce($8::timestamp, created_at)
WHERE id = $1;

-- name: relabel_document
-- New labels, and a date and a title if they are given, for a document whose content stays.
UPDATE documents
SET
    metadata = coalesce(metadata, '{}') || $2,
    category = $3,
    source = $4,
    created_at = coalesce($5::timestamp, created_at),
    title = coalesce($6, title)
WHERE id = $1;

-- name: attach_place
-- One more file that says what the document says; no row when it says something else by now.
UPDATE documents
SET places = places || jsonb_build_object($2::text, $3::text)
WHERE id = $1 AND content_sha256 = $4
RETURNING id;

-- name: detach_place
-- A file that the document is no longer read from.
UPDATE documents SET places = places - $2::text WHERE id = $1;

-- name: update_document
-- Change what is given; NULL leaves a column as it is. No row when the revision has moved on.
UPDATE documents SET
    content = coalesce($3, content),
    metadata = coalesce($4, metadata),
    category = coalesce($5, category),
    source = coalesce($6, source),
    title = coalesce($7, title)
WHERE id = $1 AND ($2::bigint IS NULL OR rev = $2)
RETURNING id;

-- name: chunk_ids
-- A document's chunks in order.
SELECT id FROM chunks WHERE document_id = $1 ORDER BY chunk_index, id;

-- name: lock_chunks
-- One writer of a document's chunks at a time; the lock goes with the transaction.
SELECT pg_advisory_xact_lock(4155, $1);

-- name: delete_own_chunks
-- Take out the chunks that were cut from the document; those typed by hand stay.
DELETE FROM chunks WHERE document_id = $1 AND content_sha256 IS NOT NULL;

-- name: insert_chunks
-- All chunks of a document in one statement, in order: arrays of equal length, vectors as an array of vectors,
-- last the hash of the content they were cut from.
INSERT INTO chunks
(document_id, content_sha256, chunk_index, chunk_text, char_start, char_end, heading, embedding)
SELECT
    $1,
    $8,
    c.chunk_index,
    c.chunk_text,
    c.char_start,
    c.char_end,
    c.heading,
    c.embedding
FROM
    unnest($2::integer[], $3::text[], $4::integer[], $5::integer[], $6::text[], $7::vector[])
        AS c (chunk_index, chunk_text, char_start, char_end, heading, embedding)
ORDER BY c.chunk_index
RETURNING id;

-- name: mark
-- A word in the WAL that no table holds: a commit waits for the standby only when it has something to wait for.
SELECT pg_logical_emit_message(true, 'aya.mark', '');

-- name: dequeue
-- Its vectors are there: nothing is left for the indexer.
DELETE FROM index_queue WHERE document_id = $1;

-- name: get_document
-- One document with the state of its index.
SELECT
    d.id,
    d.uid,
    d.rev,
    d.content,
    d.title,
    (SELECT min(place) FROM jsonb_object_keys(d.places) AS place) AS uri,
    d.category,
    d.source,
    d.created_at,
    d.updated_at,
    coalesce(d.metadata, '{}') AS metadata,
    (SELECT count(*) FROM chunks AS c WHERE c.document_id = d.id) AS chunk_count,
    q.document_id IS NULL AS indexed,
    q.error AS index_error
FROM documents AS d
LEFT JOIN index_queue AS q ON d.id = q.document_id
WHERE d.id = $1;

-- name: list_documents
-- The newest documents first, content cut to its first 200 characters.
SELECT
    d.id,
    d.uid,
    d.rev,
    left(d.content, 200) AS content,
    d.title,
    (SELECT min(place) FROM jsonb_object_keys(d.places) AS place) AS uri,
    d.category,
    d.source,
    d.created_at,
    d.updated_at,
    coalesce(d.metadata, '{}') AS metadata,
    (SELECT count(*) FROM chunks AS c WHERE c.document_id = d.id) AS chunk_count,
    q.document_id IS NULL AS indexed,
    q.error AS index_error
FROM documents AS d
LEFT JOIN index_queue AS q ON d.id = q.document_id
WHERE
    ($1::text IS NULL OR d.category = $1)
    AND ($2::text IS NULL OR d.source = $2)
    AND ($3::jsonb IS NULL OR d.metadata @> $3)
    AND ($4::timestamp IS NULL OR d.created_at >= $4)
    AND ($5::timestamp IS NULL OR d.created_at < $5)
ORDER BY d.created_at DESC, d.id DESC
LIMIT $6 OFFSET $7;

-- name: delete_documents
-- Delete documents and, by cascade, their chunks; returns those that were there.
DELETE FROM documents WHERE id = any($1::integer[]) RETURNING id;
