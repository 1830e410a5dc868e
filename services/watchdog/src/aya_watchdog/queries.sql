-- name: primary
-- One look at a primary: whether it is one, who may write, whom commits wait for, and what the partner ($1) has.
SELECT
    pg_is_in_recovery() AS in_recovery,
    current_setting('default_transaction_read_only') = 'off' AS open,
    current_setting('server_version_num')::integer AS server_version,
    current_setting('synchronous_standby_names') AS synchronous,
    (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint AS position,
    (pg_split_walfile_name(pg_walfile_name(pg_current_wal_flush_lsn()))).timeline_id::integer AS timeline,
    to_regclass('aya.armings') IS NOT NULL AS founded,
    follower.state = 'streaming' AS streaming,
    follower.sync_state = 'sync' AS is_synchronous,
    (follower.flush_lsn - '0/0'::pg_lsn)::bigint AS flushed,
    follower.reply_time::text AS heard,
    slot.wal_status AS slot
FROM (SELECT 1) AS one
LEFT JOIN pg_stat_replication AS follower ON follower.application_name = $1 AND follower.usename = $2
LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = $3;

-- name: standby
-- One look at a standby: whether it is one, how far it has replayed, and how its stream is.
SELECT
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_version_num')::integer AS server_version,
    coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)::bigint AS replayed,
    coalesce(pg_last_wal_receive_lsn() - '0/0'::pg_lsn, 0)::bigint AS received,
    pg_is_in_recovery() AND pg_is_wal_replay_paused() AS replay_paused,
    greatest(
        receiver.received_tli,
        (SELECT timeline_id FROM pg_control_checkpoint()),
        (SELECT min_recovery_end_timeline FROM pg_control_recovery())
    ) AS timeline,
    to_regclass('aya.armings') IS NOT NULL AS founded,
    receiver.pid AS receiver,
    receiver.status = 'streaming' AS streaming,
    receiver.last_msg_receipt_time::text AS heard
FROM (SELECT 1) AS one
LEFT JOIN pg_stat_wal_receiver AS receiver ON true;

-- name: latest_arming
-- The latest arming in this database.
SELECT arming, epoch FROM aya.armings ORDER BY arming DESC LIMIT 1;

-- name: latest_epoch
-- The latest epoch whose row this server has; 0: none.
SELECT coalesce(max(epoch), 0) FROM aya.epochs;

-- name: has_epoch
-- Whether the row of an epoch is written.
SELECT exists(SELECT FROM aya.epochs WHERE epoch = $1);

-- name: found
-- Where epochs and armings are kept; safe to repeat.
CREATE SCHEMA IF NOT EXISTS aya;
CREATE TABLE IF NOT EXISTS aya.epochs (
    epoch bigint PRIMARY KEY,
    node text NOT NULL,
    timeline integer NOT NULL,
    reason text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS aya.armings (
    arming bigint PRIMARY KEY,
    epoch bigint NOT NULL,
    node text NOT NULL,
    armed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: write_epoch
-- The first row of an epoch.
INSERT INTO aya.epochs (epoch, node, timeline, reason)
SELECT $1, $2, (pg_split_walfile_name(pg_walfile_name(pg_current_wal_lsn()))).timeline_id, $3
ON CONFLICT (epoch) DO NOTHING;

-- name: write_arming
-- The partner's right to be promoted; older rows say nothing any more.
WITH old AS (DELETE FROM aya.armings WHERE arming < $1 - 100)

INSERT INTO aya.armings (arming, epoch, node) VALUES ($1, $2, $3);

-- name: history
-- The epochs, the latest first.
SELECT epoch, node, timeline, reason, began_at FROM aya.epochs ORDER BY epoch DESC LIMIT $1;

-- name: reload
-- Have the server read its settings again.
SELECT pg_reload_conf();

-- name: loaded_at
-- When this session last read the settings.
SELECT pg_conf_load_time()::text;

-- name: end_waiting
-- End the sessions whose commit waits for the partner, and those that have begun to write.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE
    backend_type = 'client backend' AND pid <> pg_backend_pid() AND usename <> $1
    AND (wait_event = 'SyncRep' OR backend_xid IS NOT NULL);

-- name: receiver_is_gone
-- Whether the stream from the primary is closed.
SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver);

-- name: follows_nobody
-- Whether the server has read settings by which it follows no primary.
SELECT current_setting('primary_conninfo') = '';

-- name: promote
-- Become a primary, soon.
SELECT pg_promote(wait => false);

-- name: in_recovery
-- Whether it is not one yet.
SELECT pg_is_in_recovery();

-- name: slot
-- How the partner's slot is: its name, whether it is in use, whether its WAL is gone.
SELECT active, wal_status FROM pg_replication_slots WHERE slot_name = $1;

-- name: create_slot
-- Keep WAL for the partner from now on.
SELECT pg_create_physical_replication_slot($1, immediately_reserve => true);

-- name: drop_slot
-- Let go of a slot whose WAL is gone.
SELECT pg_drop_replication_slot($1);

-- name: advance_slot
-- A standby's slot for its partner follows the last restart point: from there a rewound partner would stream.
SELECT pg_replication_slot_advance($1, redo_lsn) FROM pg_control_checkpoint();

-- name: impostors
-- Sessions that call themselves the partner ($1) without being it ($2): commits must not wait for them.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication WHERE application_name = $1 AND usename <> $2;

-- name: timeline_history
-- Where the timelines of this server fork: its history file.
SELECT pg_read_binary_file($1);

-- name: position
-- Where a primary's log ends, in bytes.
SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint;

-- name: tables
-- The tables of the knowledge base.
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY name;

-- name: rows_of_statement
-- The statement that finds what given transactions ($1 of it: their numbers as text) wrote into a table (trusted text).
SELECT format('SELECT to_jsonb(found)::text AS row FROM %s AS found WHERE xmin::text = ANY($1::text[])', $1::text);

-- name: segment_bytes
-- How long a segment of the log is.
SELECT pg_size_bytes(current_setting('wal_segment_size'));

-- name: has_file
-- Whether the server has a file of its data directory.
SELECT coalesce((pg_stat_file($1, true)).size, 0) > 0;

-- name: timeline
-- The timeline that a primary writes.
SELECT (pg_split_walfile_name(pg_walfile_name(pg_current_wal_flush_lsn()))).timeline_id;
