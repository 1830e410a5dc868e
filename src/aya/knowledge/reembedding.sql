-- name: wait_for_writers
-- The lock that binding needs, before anything else is locked: writers take theirs first, too, so nobody deadlocks.
LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE;

-- name: drop_vectors
-- No vector stays. Chunks that were cut from a document are marked as stale: the indexer cuts them anew, by the new
-- model's window; until then their words are found. Chunks typed by hand keep their text and get a vector, but for
-- those without a document, which keep their words only.
UPDATE chunks
SET
    embedding = NULL,
    content_sha256 = CASE WHEN content_sha256 IS NOT NULL THEN ''::bytea END;

-- name: enqueue_all
-- Every document waits for the indexer.
SELECT count(*)
FROM documents AS d
CROSS JOIN LATERAL aya_enqueue_document(d.id);
