-- name: server
-- Which server answers, since when, by what it was built, and how its database sorts.
SELECT
    split_part(current_setting('server_version'), ' ', 1) AS version,
    version() AS system,
    pg_is_in_recovery() AS is_standby,
    (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'vector') AS pgvector,
    (SELECT a.default_version FROM pg_available_extensions AS a WHERE a.name = 'vector') AS pgvector_library,
    extract(EPOCH FROM pg_postmaster_start_time())::float8 AS started_at,
    d.datcollversion AS collation_recorded,
    pg_database_collation_actual_version(d.oid) AS collation_actual,
    concat_ws(
        ' ', d.datlocprovider, coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate)
    ) AS collation
FROM pg_database AS d WHERE d.datname = current_database();

-- name: clock
-- The server's clock.
SELECT extract(EPOCH FROM clock_timestamp())::float8;

-- name: settings
-- The server's settings among those named.
SELECT
    name,
    setting
FROM pg_settings WHERE name = any($1::text[]);

-- name: overridden
-- Settings that AYA writes ($1) and that something else decides.
SELECT
    name,
    setting AS value,
    coalesce(sourcefile, source) AS source
FROM pg_settings
WHERE name = any($1::text[]) AND (sourcefile LIKE '%/postgresql.auto.conf' OR source = 'command line')
ORDER BY name;

-- name: pending
-- Settings that were changed and hold from the next start on.
SELECT name FROM pg_settings WHERE pending_restart ORDER BY name;

-- name: access
-- Who may enter: the lines of pg_hba.conf as they are read, those that cannot be read included.
SELECT
    line_number AS line,
    type AS kind,
    coalesce(array_to_string(user_name, ','), '') AS users,
    coalesce(address || coalesce('/' || netmask, ''), '') AS address,
    coalesce(auth_method, '') AS method,
    error
FROM pg_hba_file_rules ORDER BY line_number;

-- name: schema
-- The last migration, and which AYA made it.
SELECT
    version,
    aya_version
FROM schema_migrations ORDER BY version DESC LIMIT 1;

-- name: model
-- Which model made the vectors.
SELECT
    fingerprint,
    model
FROM embedding_model;

-- name: slots
-- The replication slots, and how much of the log each keeps. inactive_since: from 17 on.
SELECT
    s.slot_name AS name,
    s.active,
    s.wal_status,
    pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn
    )::bigint AS held_bytes,
    extract(EPOCH FROM now() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8 AS inactive_seconds
FROM pg_replication_slots AS s
ORDER BY s.slot_name;

-- name: prepared
-- Prepared transactions of this database.
SELECT
    gid,
    extract(EPOCH FROM now() - prepared)::float8 AS age_seconds
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared;

-- name: idle
-- Sessions that do nothing inside a transaction.
SELECT
    pid,
    usename AS user,
    application_name AS application,
    extract(EPOCH FROM clock_timestamp() - state_change)::float8 AS idle_seconds
FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' ORDER BY state_change;

-- name: index_left
-- Whether an index that a build was making is there, and nobody makes it: neither by AYA's lock nor by the server.
SELECT
    to_regclass('idx_chunks_embedding_new') IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_locks AS l
        INNER JOIN pg_database AS d ON l.database = d.oid
        WHERE l.locktype = 'advisory' AND l.classid = 4156 AND l.objid = 2 AND d.datname = current_database()
    )
    AND NOT EXISTS (
        SELECT FROM pg_stat_progress_create_index AS p WHERE p.datname = current_database()
    );
