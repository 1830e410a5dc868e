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

-- name: replicated
-- Whether a commit waits until a synchronous standby that is streaming right now has it on disk. To a role without
-- pg_read_all_stats the standby's state is NULL, and the answer is no: never more is promised than was seen.
SELECT
    current_setting('synchronous_standby_names') <> ''
    AND current_setting('synchronous_commit') IN ('on', 'remote_apply')
    AND EXISTS (
        SELECT FROM pg_stat_replication
        WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')
    );
