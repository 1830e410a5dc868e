-- name: role_exists
-- Whether a role of that name exists.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1);

-- name: stored_password
-- A role's verifier; only a superuser sees it.
SELECT rolpassword FROM pg_authid WHERE rolname = $1;

-- name: create_role_statement
-- The statement that creates a login role: name, SCRAM verifier, extra attribute (REPLICATION or empty).
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L %s', $1::text, $2::text, $3::text);

-- name: set_password_statement
-- The statement that sets a role's SCRAM verifier.
SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text);

-- name: database_exists
-- Whether a database of that name exists.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1);

-- name: create_database_statement
-- The statement that creates a database for an owner.
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0', $1::text, $2::text);

-- name: close_database_statement
-- Nobody enters a database of ours without being named.
SELECT format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', $1::text);

-- name: open_database_statement
-- The statement that lets a role enter a database.
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', $1::text, $2::text);

-- name: slot_exists
-- Whether a replication slot of that name exists.
SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1);

-- name: create_slot
-- Create the physical slot that keeps the standby's WAL.
SELECT pg_create_physical_replication_slot($1);

-- name: create_vector_extension
-- pgvector, in the database we are in.
CREATE EXTENSION IF NOT EXISTS vector;

-- name: let_read_statistics_statement
-- The MCP server says how durable a row is and how old a standby's copy: it reads who replicates, and how far. A person
-- at AIR sees how far the daemon is.
SELECT format('GRANT pg_read_all_stats TO %I', $1::text);

-- name: pin_synchronous_commit_statement
-- No session of this role gives up durability by itself.
SELECT format('ALTER ROLE %I SET synchronous_commit = %L', $1::text, 'on');

-- name: let_rewind_statement
-- A former primary rewinds itself by reading the files of the present one: the function (trusted text) and the role.
SELECT format('GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %I', $1::text, $2::text);

-- name: kept_settings
-- The settings that roles ($1), everybody or a database ($2) have for good, beside the server's own, among those
-- named ($3): whose it is, its name and value, and the statement that takes it back. Those of a role in a database win
-- over the role's, and those over the database's.
SELECT
    whose.it_is AS whose,
    setting.name,
    setting.value,
    format('ALTER %s RESET %I', whose.it_is, setting.name) AS taken_back
FROM
    pg_db_role_setting AS kept
LEFT JOIN pg_roles AS r ON kept.setrole = r.oid
LEFT JOIN pg_database AS d ON kept.setdatabase = d.oid
CROSS JOIN LATERAL unnest(kept.setconfig) AS assignment
CROSS JOIN
    LATERAL (
        SELECT
            lower(split_part(assignment, '=', 1)) AS name,
            substr(assignment, strpos(assignment, '=') + 1) AS value
    ) AS setting
CROSS JOIN
    LATERAL (
        SELECT
            CASE
                WHEN d.datname IS NULL THEN format('ROLE %s', coalesce(quote_ident(r.rolname), 'ALL'))
                WHEN r.rolname IS NULL THEN format('DATABASE %I', d.datname)
                ELSE format('ROLE %I IN DATABASE %I', r.rolname, d.datname)
            END AS it_is
    ) AS whose
WHERE
    (kept.setrole = 0 OR r.rolname = any($1::text[]))
    AND (kept.setdatabase = 0 OR d.datname = $2::text)
    AND setting.name = any($3::text[])
ORDER BY whose.it_is, setting.name;

-- name: let_follow_timelines
-- Whoever follows a base that changes hands has to know where a timeline ended: a file that only a superuser reads.
CREATE OR REPLACE FUNCTION aya_timeline_history(timeline integer) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_read_file('pg_wal/' || upper(lpad(to_hex(timeline), 8, '0')) || '.history', true);
$$;
REVOKE EXECUTE ON FUNCTION aya_timeline_history(integer) FROM public;
GRANT EXECUTE ON FUNCTION aya_timeline_history(integer) TO aya_sync;
