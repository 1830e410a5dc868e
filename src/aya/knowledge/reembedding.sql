-- name: begin
-- The column, the trigger and the row of a move, in one step; waits for no lock longer than the transaction lets it.
SELECT aya_begin_reembedding($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: cancel
-- Nothing is left of the move; false when there was none.
SELECT aya_cancel_reembedding();

-- name: set_lock_timeout
-- For this transaction: while it waits for a table, everybody who comes later waits behind it, readers too.
SET LOCAL lock_timeout = '300ms';

-- name: claim_preparation
-- Whether we alone make the indexes. Never waited for in the server: a waiting query is one that the index waits for.
SELECT pg_try_advisory_lock(4156, 1);

-- name: release_preparation
-- The next one may.
SELECT pg_advisory_unlock(4156, 1);

-- name: is_prepared
-- Whether the move's indexes are there and whole.
SELECT aya_reembedding_is_prepared();

-- name: drop_broken_graph
-- What a preparation that was cut short left.
DROP INDEX CONCURRENTLY IF EXISTS idx_chunks_embedding_next;

-- name: drop_broken_list
-- What a preparation that was cut short left.
DROP INDEX CONCURRENTLY IF EXISTS idx_chunks_without_next;

-- name: create_graph_statement
-- The statement that makes the index of the next vectors. On a column that is still empty: it takes two looks at the
-- table, and grows with the vectors.
SELECT aya_vector_index_statement('idx_chunks_embedding_next', 'embedding_next', 'CONCURRENTLY');

-- name: create_list
-- The chunks that still have no next vector, in order: no look for them costs more than there are.
CREATE INDEX CONCURRENTLY idx_chunks_without_next ON chunks (id) WHERE embedding_next IS NULL;

-- name: pause
-- Let the move rest; no row when there is none.
UPDATE reembedding SET state = 'paused', rows_per_second = NULL RETURNING state;

-- name: resume
-- Let the move go on; no row when there is none.
UPDATE reembedding SET state = 'running' RETURNING state;

-- name: wake
-- The indexer looks at once.
SELECT pg_notify('aya_index', '');

-- name: move
-- The move under way; no row when there is none.
SELECT
    source, state, requested_by, started_at, rows_per_second, error,
    fingerprint, model, revision, dimension, pooling, normalized, query_prefix, document_prefix, max_tokens,
    aya_reembedding_is_prepared() AS prepared
FROM reembedding;

-- name: progress
-- How many chunks there are, how many have no next vector yet, and of those that the new model cannot take as they are:
-- how many are too long for its window, and how many it refused. Only while there is a move. To count all chunks is the
-- dear part: $1 is what it was a moment ago, or NULL.
SELECT
    coalesce($1::bigint, (SELECT count(*) FROM chunks)) AS total,
    (SELECT count(*) FROM chunks WHERE embedding_next IS NULL) AS missing,
    count(c.id) FILTER (WHERE e.error IS NULL) AS cut,
    count(c.id) FILTER (WHERE e.error IS NOT NULL) AS refused
FROM reembedding_exception AS e
INNER JOIN chunks AS c ON e.chunk_id = c.id;

-- name: bytes_needed
-- About how many bytes a move to so many dimensions takes: a new version of every row, its vector beside it, and the
-- vector again in the index with its links.
SELECT pg_relation_size('chunks') + (SELECT count(*) FROM chunks) * (2 * 4 * $1::bigint + 600);

-- name: is_standby
-- Whether this server cannot be written.
SELECT pg_is_in_recovery();
