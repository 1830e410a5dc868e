-- name: in_recovery
-- Whether this server is a standby, where nothing can be written.
SELECT pg_is_in_recovery();

-- name: due
-- The documents whose turn has come, the longest waiting first.
SELECT document_id FROM index_queue WHERE retry_at <= now() ORDER BY retry_at, document_id LIMIT $1;

-- name: seconds_until_next
-- How long until the next document's turn; NULL when none waits.
SELECT extract(EPOCH FROM min(retry_at) - clock_timestamp())::float8 FROM index_queue;

-- name: claim
-- Whether we alone work on this document now; the lock goes with the connection, however the worker ends.
SELECT pg_try_advisory_lock(4154, $1);

-- name: release
-- Give the document back.
SELECT pg_advisory_unlock(4154, $1);

-- name: observe
-- A queued document with its ticket and the state of its chunks; no row when it is queued no more.
SELECT
    q.enqueued_at,
    q.attempts,
    d.content,
    d.content_sha256,
    d.title,
    -- a file is Markdown by its name; what was typed by hand is taken for it
    coalesce(
        (SELECT bool_or(place ~* '\.(md|markdown|mdown)(#|$)') FROM jsonb_object_keys(d.places) AS place), TRUE
    ) AS markdown,
    coalesce(bool_or(c.content_sha256 = d.content_sha256), FALSE) AS own_is_current,
    count(c.id) FILTER (WHERE c.content_sha256 IS NOT NULL) > 0 AS has_own,
    -- what was typed before the content changed does not speak for it any more
    count(c.id) FILTER (WHERE c.content_sha256 IS NULL AND c.created_at >= d.content_changed_at) AS hand_chunks,
    count(c.id) FILTER (WHERE c.embedding IS NULL) AS without_vector
FROM index_queue AS q
INNER JOIN documents AS d ON q.document_id = d.id
LEFT JOIN chunks AS c ON d.id = c.document_id
WHERE q.document_id = $1
GROUP BY q.document_id, d.id;

-- name: chunks_without_vector
-- The document's chunks that lack a vector.
SELECT
    id,
    chunk_text
FROM chunks WHERE document_id = $1 AND embedding IS NULL ORDER BY id;

-- name: set_vector
-- Give a chunk its vector, unless its text has changed meanwhile.
UPDATE chunks SET embedding = $2 WHERE id = $1 AND chunk_text = $3;

-- name: content_sha256
-- What the document's content is now.
SELECT content_sha256 FROM documents WHERE id = $1;

-- name: finish
-- Take the document off the queue, unless it was queued again since the ticket.
DELETE FROM index_queue WHERE document_id = $1 AND enqueued_at = $2;

-- name: begin
-- Count the attempt before it is made: a document that ends the worker comes after the others next time.
UPDATE index_queue
SET attempts = attempts + 1, retry_at = now() + make_interval(secs => $2)
WHERE document_id = $1;

-- name: postpone
-- Remember a failure and when to try again.
UPDATE index_queue
SET error = $2, retry_at = now() + make_interval(secs => $3)
WHERE document_id = $1;

-- name: give_back
-- An outage was not its fault: the attempt does not count, and the others come first.
UPDATE index_queue
SET attempts = greatest(attempts - 1, 0), retry_at = now() + make_interval(secs => $2)
WHERE document_id = $1;

-- name: has_log
-- Whether this base has a log of changes for AIR.
SELECT to_regclass('change_log') IS NOT NULL;

-- name: shorten_log
-- Keep so many days and so many entries of it, whether or not AIR has read them.
SELECT aya_shorten_change_log($1, $2);
