-- name: condition
-- Which server answers and how old its data is. A standby that is streaming and has replayed all it received is up to
-- date, however long ago the last transaction was; to a role without pg_read_all_stats the receiver's state is NULL,
-- and the last transaction's age is all that can be said. NULL when nothing was ever replayed.
SELECT
    pg_is_in_recovery() AS standby,
    coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'local socket') AS address,
    CASE
        WHEN NOT pg_is_in_recovery() THEN 0
        WHEN
            pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
            THEN 0
        ELSE extract(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp())
    END::float8 AS stale_seconds;

-- name: durability
-- Where a row that was just committed here is safe. AIR's copy queues it for the primary. "replicated" only while a
-- commit waits until a synchronous standby that is streaming right now has it on disk. To a role without
-- pg_read_all_stats the standby's state is NULL, and the answer is "primary": never more is promised than was seen.
SELECT
    CASE
        WHEN to_regclass('write_queue') IS NOT NULL THEN 'queued_offline'
        WHEN
            current_setting('synchronous_standby_names') <> ''
            AND current_setting('synchronous_commit') IN ('on', 'remote_apply')
            AND EXISTS (
                SELECT FROM pg_stat_replication
                WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')
            )
            THEN 'replicated'
        ELSE 'primary'
    END;

-- name: read_part
-- A document with $3 characters of its text from $2 (0 is the first) on.
SELECT
    d.id,
    d.rev,
    d.title,
    d.category,
    d.source,
    d.created_at,
    d.updated_at,
    coalesce(d.metadata, '{}') AS metadata,
    (SELECT min(place) FROM jsonb_object_keys(d.places) AS place) AS uri,
    (SELECT q.document_id FROM index_queue AS q WHERE q.document_id = d.id) IS NULL AS indexed,
    substr(d.content, $2::integer + 1, $3::integer) AS content,
    char_length(d.content) AS characters
FROM documents AS d
WHERE d.id = $1;

-- name: list_after
-- The next $6 documents, the newest first, after the one that was made at $7 and has the id $8 (NULL: from the start),
-- with the first 200 characters of their text. Where SQL left the date empty, a document comes first. A subquery that
-- is NULL or not, and no EXISTS: that one would read the whole queue first.
SELECT
    d.id,
    d.rev,
    d.title,
    d.category,
    d.source,
    d.created_at,
    d.updated_at,
    coalesce(d.metadata, '{}') AS metadata,
    (SELECT min(place) FROM jsonb_object_keys(d.places) AS place) AS uri,
    (SELECT q.document_id FROM index_queue AS q WHERE q.document_id = d.id) IS NULL AS indexed,
    left(d.content, 200) AS content,
    char_length(d.content) AS characters
FROM documents AS d
WHERE
    ($1::text IS NULL OR d.category = $1)
    AND ($2::text IS NULL OR d.source = $2)
    AND ($3::jsonb IS NULL OR d.metadata @> $3)
    AND ($4::timestamp IS NULL OR d.created_at >= $4)
    AND ($5::timestamp IS NULL OR d.created_at < $5)
    AND (
        $8::integer IS NULL
        OR CASE
            WHEN $7::timestamp IS NULL THEN d.created_at IS NOT NULL OR d.id < $8
            ELSE (d.created_at, d.id) < ($7, $8)
        END
    )
ORDER BY d.created_at DESC, d.id DESC
LIMIT $6;

-- name: read_beginnings
-- What is known of documents by their ids, with the first 200 characters of their text.
SELECT
    d.id,
    d.title,
    d.category,
    left(d.content, 200) AS content,
    char_length(d.content) AS characters
FROM documents AS d
WHERE d.id = any($1::integer[]);
