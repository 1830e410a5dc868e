-- name: tables
-- The tables of a base, and of each the statement that tells how many rows it has and what they hold, whatever their
-- order. What is computed from the other columns is left out: it may be computed anew.
SELECT
    c.relname AS name,
    format(
        'SELECT count(*), coalesce(sum('
        '(''x'' || left(md5((to_jsonb(t) - %L::text[])::text), 15))::bit(60)::bigint::numeric), 0)::text '
        'FROM %I.%I AS t',
        (
            SELECT coalesce(array_agg(a.attname::text), '{}')
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped
        ),
        n.nspname,
        c.relname
    ) AS statement
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.relkind = 'r' AND n.nspname = 'public'
ORDER BY c.relname;

-- name: invalid_indexes
-- The indexes that are not whole.
SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid OR NOT indisready ORDER BY name;

-- name: collation_moved
-- Whether texts sort otherwise than when the indexes were built: by the system's library, which is another one now.
SELECT coalesce(pg_database_collation_actual_version(oid) <> datcollversion, false)
FROM pg_database WHERE datname = current_database();

-- name: reindex
-- Build every index of the base anew; the statement.
SELECT format('REINDEX DATABASE %I', current_database());

-- name: refresh_collation
-- Remember how texts sort by now; the statement.
SELECT format('ALTER DATABASE %I REFRESH COLLATION VERSION', current_database());

-- name: analyze
-- Statistics, without which the planner guesses.
ANALYZE;

-- name: update_vector
-- pgvector as the new programs have it.
ALTER EXTENSION vector UPDATE;

-- name: nearest
-- The nearest to some stored vector is found: itself, or one that is equal. NULL: no vector is stored.
WITH wanted AS (SELECT embedding FROM chunks WHERE embedding IS NOT NULL ORDER BY id LIMIT 1)

SELECT min(c.embedding <=> wanted.embedding) < 1e-5 FROM chunks AS c, wanted WHERE c.embedding IS NOT NULL;

-- name: words
-- Words are still looked up.
SELECT count(*) FROM chunks WHERE chunk_tsv @@ plainto_tsquery('english', 'anything');

-- name: has_change_log
-- Whether changes are logged here.
SELECT to_regclass('public.change_log') IS NOT NULL;

-- name: empty_change_log
-- After a dump the log's entries name transactions of another system, and would be taken for ones to come.
DELETE FROM change_log;

-- name: set_change_log_floor
-- Whoever read it begins anew with a copy, as always with another system.
UPDATE change_log_floor SET xid = pg_current_xact_id();
