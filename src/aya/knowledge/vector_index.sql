-- name: state
-- The index on the vectors as it is: no row when there is none. as_made_now: of the kind that would be made today.
SELECT
    pg_get_indexdef(i.indexrelid) AS definition,
    i.indisvalid AND i.indisready AS valid,
    pg_relation_size(i.indexrelid) AS bytes,
    pg_get_indexdef(i.indexrelid) LIKE '%::halfvec(' || a.atttypmod || ')) halfvec_cosine_ops)%' AS as_made_now
FROM pg_index AS i
INNER JOIN pg_attribute AS a ON i.indrelid = a.attrelid AND a.attname = 'embedding'
WHERE i.indexrelid = to_regclass('idx_chunks_embedding');

-- name: rows
-- What is to be found by it. dead: the server's own count, NULL on a standby, which keeps none.
SELECT
    count(*) FILTER (WHERE c.embedding IS NOT NULL) AS with_vector,
    count(*) FILTER (WHERE c.embedding IS NULL) AS without_vector,
    pg_table_size('chunks') AS table_bytes,
    (
        SELECT s.n_dead_tup FROM pg_stat_user_tables AS s
        WHERE s.relid = 'chunks'::regclass AND NOT pg_is_in_recovery()
    ) AS dead,
    (
        SELECT a.atttypmod FROM pg_attribute AS a
        WHERE a.attrelid = 'chunks'::regclass AND a.attname = 'embedding'
    ) AS dimension,
    pg_is_in_recovery() AS is_standby,
    (SELECT s.setting::bigint * 8192 FROM pg_settings AS s WHERE s.name = 'shared_buffers') AS shared_buffers
FROM chunks AS c;

-- name: progress
-- The build that is under way on this server, whoever began it; no row when there is none.
SELECT
    p.phase,
    p.tuples_done,
    p.tuples_total,
    p.blocks_done,
    p.blocks_total
FROM pg_stat_progress_create_index AS p
WHERE p.relid = 'chunks'::regclass AND p.datname = current_database();

-- name: sample
-- So many chunks that have a vector, from anywhere in the table, the same ones each time; $2: the seed.
SELECT
    c.id,
    c.embedding
FROM chunks AS c
WHERE
    c.embedding IS NOT NULL
    AND hashint4extended(c.id, $2) % greatest(1, (
        SELECT r.reltuples::bigint / (2 * $1::integer) FROM pg_class AS r
        WHERE r.oid = 'chunks'::regclass
    )) = 0
ORDER BY hashint4extended(c.id, $2)
LIMIT $1;

-- name: exact
-- The nearest of a vector, compared with all of them. The `+ 0` keeps the planner off the graph.
SELECT c.id
FROM chunks AS c
WHERE c.embedding IS NOT NULL
ORDER BY (c.embedding <=> $1) + 0
LIMIT $2;

-- name: is_standby
-- Whether this server cannot be written.
SELECT pg_is_in_recovery();

-- name: is_moving
-- Whether a move to another model is under way; it makes an index of its own.
SELECT EXISTS (SELECT FROM reembedding);

-- name: claim
-- Whether we alone build. Never waited for in the server: a waiting query is one that the index waits for.
SELECT pg_try_advisory_lock(4156, 2);

-- name: release
-- The next one may.
SELECT pg_advisory_unlock(4156, 2);

-- name: set_memory
-- For this session: what the build may use. $1: parallel workers beside us.
SELECT
    set_config('maintenance_work_mem', aya_vector_index_memory(), false) AS kilobytes,
    set_config('max_parallel_maintenance_workers', $1, false);

-- name: drop_unfinished
-- What a build that was cut short left.
DROP INDEX CONCURRENTLY IF EXISTS idx_chunks_embedding_new;

-- name: build_statement
-- The statement that makes the new index beside the old one; everybody goes on searching and writing.
SELECT aya_vector_index_statement('idx_chunks_embedding_new', 'embedding', 'CONCURRENTLY');

-- name: set_lock_timeout
-- For this transaction: while it waits for a table, everybody who comes later waits behind it, readers too.
SET LOCAL lock_timeout = '300ms';

-- name: drop_old
-- Its place is free.
DROP INDEX IF EXISTS idx_chunks_embedding;

-- name: rename_new
-- The new one takes it.
ALTER INDEX idx_chunks_embedding_new RENAME TO idx_chunks_embedding;
