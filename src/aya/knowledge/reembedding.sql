-- name: drop_own_chunks
-- The chunks that were cut from documents: the indexer cuts them anew, by the new model's window.
DELETE FROM chunks WHERE content_sha256 IS NOT NULL;

-- name: drop_hand_vectors
-- Chunks typed by hand stay; their vectors are made anew.
UPDATE chunks SET embedding = NULL WHERE embedding IS NOT NULL;

-- name: enqueue_all
-- Every document waits for the indexer.
SELECT count(*)
FROM documents AS d
CROSS JOIN LATERAL aya_enqueue_document(d.id);
