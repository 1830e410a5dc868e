-- name: claim_move
-- Whether we alone move the base; the lock goes with the connection, however the worker ends.
SELECT pg_try_advisory_lock(4156, 2);

-- name: has_exceptions
-- Whether chunks are noted that the last move could not take as they were.
SELECT EXISTS (SELECT FROM reembedding_exception);

-- name: queue_exceptions
-- Queue the documents of so many of them.
SELECT aya_queue_exceptions($1);

-- name: batch
-- The next chunks after an id that have no next vector and might get one.
SELECT
    c.id,
    c.chunk_text
FROM chunks AS c
WHERE
    c.embedding_next IS NULL AND c.id > $1::bigint
    AND NOT EXISTS (SELECT FROM reembedding_exception AS e WHERE e.chunk_id = c.id)
ORDER BY c.id
LIMIT $2;

-- name: still_moves
-- Whether the move to that model is still under way.
SELECT EXISTS (SELECT FROM reembedding WHERE fingerprint = $1);

-- name: store_next
-- Give chunks their next vectors, and note those that the new model could not take as they are, unless their texts have
-- changed meanwhile; returns how many it was. Who is being written by somebody else is left for later: nobody waits, so
-- nobody waits in a circle. All is locked once, so that nothing is noted of a text that is being replaced.
WITH ready AS (
    SELECT
        c.id,
        n.embedding,
        n.excepted,
        n.error
    FROM
        unnest($1::integer[], $2::text[], $3::vector[], $4::boolean[], $5::text[])
            AS n (id, chunk_text, embedding, excepted, error)
    INNER JOIN chunks AS c ON n.id = c.id AND n.chunk_text = c.chunk_text
    ORDER BY c.id
    FOR NO KEY UPDATE OF c SKIP LOCKED
),

embedded AS (
    UPDATE chunks AS c SET embedding_next = r.embedding
    FROM ready AS r WHERE c.id = r.id AND r.embedding IS NOT NULL
),

noted AS (
    INSERT INTO reembedding_exception (chunk_id, error)
    SELECT
        r.id,
        r.error
    FROM ready AS r WHERE r.excepted
    ON CONFLICT (chunk_id) DO UPDATE SET error = excluded.error
)

SELECT count(*) FROM ready;

-- name: note_speed
-- It advances, and so fast; it was paused meanwhile, and then it does not.
UPDATE reembedding SET rows_per_second = CASE WHEN state = 'running' THEN $1::real END, error = NULL;

-- name: note_error
-- It does not advance, and why.
UPDATE reembedding SET rows_per_second = NULL, error = $1;

-- name: set_lock_timeout
-- For this transaction: while it waits for the table, everybody who comes later waits behind it, readers too.
SET LOCAL lock_timeout = '300ms';

-- name: switch
-- The end of a move; false while it cannot be ended yet.
SELECT aya_switch_model($1);
