-- name: queue_age
-- For how many seconds the oldest document has waited for the indexer; NULL when none waits.
SELECT extract(EPOCH FROM clock_timestamp() - min(enqueued_at))::float8 FROM index_queue;

-- name: keeps_conflicts
-- Whether conflicts are kept in this database: not in AIR's copy.
SELECT to_regclass('conflicts') IS NOT NULL;

-- name: open_conflicts
-- How many conflicts nobody has decided.
SELECT count(*) FROM conflicts WHERE resolved_at IS NULL;
