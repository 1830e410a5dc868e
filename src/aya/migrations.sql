-- name: lock
-- One migration at a time in this database; the lock goes with the transaction.
SELECT pg_advisory_xact_lock(4153, 1);

-- name: create_table
-- What has been applied.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    aya_version text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
-- The migrations applied so far, in order.
SELECT version, name, sha256 FROM schema_migrations ORDER BY version;

-- name: record
-- Remember an applied migration.
INSERT INTO schema_migrations (version, name, sha256, aya_version) VALUES ($1, $2, $3, $4);

-- name: has_table
-- Whether anything was ever applied here.
SELECT to_regclass('public.schema_migrations') IS NOT NULL;
