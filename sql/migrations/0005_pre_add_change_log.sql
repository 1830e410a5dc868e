-- nodes: alpha, beta
-- What changed, for AIR to fetch; what AIR sent, once each; and what lost against something newer, whole.

-- Keys only: the rows are read when they are fetched. It is replicated to the standby like everything else, so that
-- what it tells of is what was confirmed there, too.
CREATE TABLE change_log (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    table_name text NOT NULL,
    row_id integer NOT NULL,
    uid uuid NOT NULL,
    op text NOT NULL CHECK (op IN ('I', 'U', 'D')),
    -- the node that sent the change; NULL: it was made here
    origin text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The cursor of a reader is a pg_snapshot: what is visible now and was not visible then.
CREATE INDEX idx_change_log_xid ON change_log (xid);
CREATE INDEX idx_change_log_at ON change_log (at);

-- Up to which transaction the log was shortened: a reader whose cursor is older fetches everything anew.
CREATE TABLE change_log_floor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    xid xid8 NOT NULL
);

-- No reader has what was written before there was a log.
INSERT INTO change_log_floor (xid) VALUES (pg_current_xact_id());

-- Shorten the log to so many days and rows, whether or not somebody still wants it, and the receipts to a year. Returns
-- how many entries went.
CREATE FUNCTION aya_shorten_change_log(most_days integer, most_rows bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    WITH shortened AS (
        DELETE FROM change_log
        WHERE
            at < now() - make_interval(days => most_days)
            OR seq <= (SELECT max(seq) FROM change_log) - most_rows
        RETURNING xid
    ), floor AS (
        UPDATE change_log_floor SET xid = greatest(xid, (SELECT max(shortened.xid) FROM shortened))
        WHERE EXISTS (SELECT FROM shortened)
    ) SELECT count(*) INTO gone FROM shortened;
    DELETE FROM receipts WHERE at < now() - interval '400 days';
    RETURN gone;
END
$$;

-- Which base this is, how often it has changed hands, and which model it is bound to. has_all: the log still has all
-- that a reader with this cursor wants. A standby knows the timeline of its last checkpoint.
CREATE FUNCTION aya_upstream(
    cursor_snapshot pg_snapshot, OUT system_identifier bigint, OUT timeline integer, OUT is_standby boolean,
    OUT has_all boolean, OUT fingerprint text
) LANGUAGE sql STABLE AS $$
    SELECT
        system.system_identifier,
        CASE
            WHEN pg_is_in_recovery() THEN checkpoint.timeline_id
            -- pg_control_checkpoint is still the old one for a while after a promotion.
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
        END,
        pg_is_in_recovery(),
        coalesce((SELECT f.xid < pg_snapshot_xmin(cursor_snapshot) FROM change_log_floor AS f), false),
        (SELECT m.fingerprint FROM embedding_model AS m)
    FROM pg_control_system() AS system
    CROSS JOIN pg_control_checkpoint() AS checkpoint;
$$;

-- One effect for each operation that was sent, whatever is sent again.
CREATE TABLE receipts (
    origin text NOT NULL,
    op_uid uuid NOT NULL,
    outcome text,
    head_id integer,
    head_rev bigint,
    error text,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, op_uid)
);

CREATE INDEX idx_receipts_at ON receipts (at);

-- The version that lost when two nodes changed the same row: kept whole, its chunks and vectors beside it.
CREATE TABLE conflicts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit text NOT NULL CHECK (unit IN ('document', 'chunk')),
    uid uuid NOT NULL,
    origin text NOT NULL,
    op_uid uuid NOT NULL,
    -- whose version lost: the sender's, or the one that was here
    loser text NOT NULL CHECK (loser IN ('sender', 'here')),
    reason text NOT NULL,
    -- the losing document; NULL: what lost was a deletion, or a chunk
    document jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolution text
);

CREATE INDEX idx_conflicts_open ON conflicts (id) WHERE resolved_at IS NULL;

CREATE TABLE conflict_chunks (
    conflict_id bigint NOT NULL REFERENCES conflicts (id) ON DELETE CASCADE,
    uid uuid NOT NULL,
    chunk_text text NOT NULL,
    -- of whatever model the base had then
    embedding vector,
    chunk_index integer,
    metadata jsonb,
    created_at timestamp,
    char_start integer,
    char_end integer,
    heading text,
    content_sha256 bytea,
    PRIMARY KEY (conflict_id, uid)
);

-- Wake whoever follows: the contract's payload. A statement that changes many documents says so in one word.
CREATE FUNCTION aya_notify_changes(action text, document_ids integer[]) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('aya_changes', json_build_object('action', action, 'document_id', document_id)::text)
    FROM unnest(CASE WHEN cardinality(document_ids) <= 20 THEN document_ids ELSE '{NULL}' END) AS document_id;
$$;

CREATE FUNCTION aya_log_documents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    changed integer[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        WITH logged AS (
            INSERT INTO change_log (table_name, row_id, uid, op, origin)
            SELECT TG_TABLE_NAME, id, uid, 'I', nullif(current_setting('aya.origin', true), '') FROM fresh
            RETURNING row_id
        ) SELECT array_agg(row_id) INTO changed FROM logged;
    ELSIF TG_OP = 'DELETE' THEN
        WITH logged AS (
            INSERT INTO change_log (table_name, row_id, uid, op, origin)
            SELECT TG_TABLE_NAME, id, uid, 'D', nullif(current_setting('aya.origin', true), '') FROM stale
            RETURNING row_id
        ) SELECT array_agg(row_id) INTO changed FROM logged;
    ELSE
        WITH logged AS (
            INSERT INTO change_log (table_name, row_id, uid, op, origin)
            SELECT
                TG_TABLE_NAME, coalesce(f.id, s.id), coalesce(f.uid, s.uid),
                CASE WHEN s.uid IS NULL THEN 'I' WHEN f.uid IS NULL THEN 'D' ELSE 'U' END,
                nullif(current_setting('aya.origin', true), '')
            FROM fresh AS f FULL JOIN stale AS s ON f.uid = s.uid
            WHERE f IS DISTINCT FROM s
            RETURNING row_id
        ) SELECT array_agg(row_id) INTO changed FROM logged;
    END IF;
    IF changed IS NOT NULL THEN
        PERFORM aya_notify_changes(TG_OP, changed);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION aya_log_chunks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    changed integer[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO change_log (table_name, row_id, uid, op, origin)
        SELECT TG_TABLE_NAME, id, uid, 'I', nullif(current_setting('aya.origin', true), '') FROM fresh;
        SELECT array_agg(DISTINCT document_id) INTO changed FROM fresh;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO change_log (table_name, row_id, uid, op, origin)
        SELECT TG_TABLE_NAME, id, uid, 'D', nullif(current_setting('aya.origin', true), '') FROM stale;
        SELECT array_agg(DISTINCT document_id) INTO changed FROM stale;
    ELSE
        -- By name: a move to another model writes a column that nobody fetches.
        WITH touched AS (
            SELECT
                coalesce(f.id, s.id) AS row_id, coalesce(f.uid, s.uid) AS row_uid,
                CASE WHEN s.uid IS NULL THEN 'I' WHEN f.uid IS NULL THEN 'D' ELSE 'U' END AS op,
                coalesce(f.document_id, s.document_id) AS document_id
            FROM fresh AS f FULL JOIN stale AS s ON f.uid = s.uid
            WHERE
                (f.id, f.rev, f.document_id, f.chunk_text, f.embedding, f.chunk_index, f.metadata, f.created_at,
                f.char_start, f.char_end, f.heading, f.content_sha256)
                IS DISTINCT FROM
                (s.id, s.rev, s.document_id, s.chunk_text, s.embedding, s.chunk_index, s.metadata, s.created_at,
                s.char_start, s.char_end, s.heading, s.content_sha256)
        ), logged AS (
            INSERT INTO change_log (table_name, row_id, uid, op, origin)
            SELECT TG_TABLE_NAME, row_id, row_uid, op, nullif(current_setting('aya.origin', true), '') FROM touched
        ) SELECT array_agg(DISTINCT document_id) INTO changed FROM touched;
    END IF;
    IF changed IS NOT NULL THEN
        PERFORM aya_notify_changes('UPDATE', changed);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION aya_log_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO change_log (table_name, row_id, uid, op) SELECT %L, id, uid, ''D'' FROM %I',
        TG_TABLE_NAME, TG_TABLE_NAME
    );
    PERFORM aya_notify_changes('DELETE', '{NULL}');
    RETURN NULL;
END
$$;

CREATE TRIGGER documents_log_insert AFTER INSERT ON documents
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION aya_log_documents();
CREATE TRIGGER documents_log_update AFTER UPDATE ON documents
REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_log_documents();
CREATE TRIGGER documents_log_delete AFTER DELETE ON documents
REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_log_documents();
CREATE TRIGGER documents_log_truncate BEFORE TRUNCATE ON documents
FOR EACH STATEMENT EXECUTE FUNCTION aya_log_truncate();
CREATE TRIGGER chunks_log_insert AFTER INSERT ON chunks
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION aya_log_chunks();
CREATE TRIGGER chunks_log_update AFTER UPDATE ON chunks
REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_log_chunks();
CREATE TRIGGER chunks_log_delete AFTER DELETE ON chunks
REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_log_chunks();
CREATE TRIGGER chunks_log_truncate BEFORE TRUNCATE ON chunks
FOR EACH STATEMENT EXECUTE FUNCTION aya_log_truncate();

-- Whoever writes as a replica (session_replication_role) is caught, too, and his changes have a revision of their own.
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_before_write;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_before_update;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_log_insert;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_log_update;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_log_delete;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_log_truncate;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_log_insert;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_log_update;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_log_delete;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_log_truncate;

-- As triggers they run all the same; called otherwise they would write with the owner's rights.
REVOKE EXECUTE ON FUNCTION aya_shorten_change_log(integer, bigint) FROM public;
REVOKE EXECUTE ON FUNCTION aya_log_documents() FROM public;
REVOKE EXECUTE ON FUNCTION aya_log_chunks() FROM public;
REVOKE EXECUTE ON FUNCTION aya_log_truncate() FROM public;
