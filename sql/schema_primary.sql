-- What the servers have beside schema.sql (tests/migration/test_schema.py).

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

-- What AIR has written is taken over here: each operation once, and what loses against a newer change is kept.

-- What a node sends is in two temporary tables of the session, incoming and incoming_chunks, of these types.
CREATE TYPE aya_incoming AS (
    -- their order; documents are deleted last, after the chunks that were known to the sender
    position integer,
    op_uid uuid,
    -- put, delete, or gone: the sender has it no more, and asks only whether it was done
    operation text,
    unit text,
    uid uuid,
    -- a chunk's document
    document_uid uuid,
    base_rev bigint,
    -- a document's chunks are sent with it, all of them
    indexed boolean,
    content text,
    metadata jsonb,
    category text,
    source text,
    created_at timestamp,
    updated_at timestamp,
    title text,
    places jsonb
);

CREATE TYPE aya_incoming_chunk AS (
    position integer,
    uid uuid,
    chunk_text text,
    embedding vector,
    chunk_index integer,
    metadata jsonb,
    created_at timestamp,
    char_start integer,
    char_end integer,
    heading text,
    content_sha256 bytea
);

-- Keep the version that is here, before something newer takes its place.
CREATE FUNCTION aya_keep_head(sender text, operation_uid uuid, head documents, why text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    INSERT INTO conflicts (unit, uid, origin, op_uid, loser, reason, document)
    VALUES ('document', head.uid, sender, operation_uid, 'here', why, to_jsonb(head)) RETURNING id INTO kept;
    INSERT INTO conflict_chunks
        (conflict_id, uid, chunk_text, embedding, chunk_index, metadata, created_at, char_start, char_end, heading,
         content_sha256)
    SELECT
        kept, c.uid, c.chunk_text, c.embedding, c.chunk_index, c.metadata, c.created_at, c.char_start, c.char_end,
        c.heading, c.content_sha256
    FROM chunks AS c WHERE c.document_id = head.id;
END
$$;

-- Keep the version that was sent, since what is here is newer. sent: the document; NULL: a deletion or a chunk.
CREATE FUNCTION aya_keep_sent(sender text, o aya_incoming, sent jsonb, why text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    INSERT INTO conflicts (unit, uid, origin, op_uid, loser, reason, document)
    VALUES (o.unit, o.uid, sender, o.op_uid, 'sender', why, sent) RETURNING id INTO kept;
    INSERT INTO conflict_chunks
        (conflict_id, uid, chunk_text, embedding, chunk_index, metadata, created_at, char_start, char_end, heading,
         content_sha256)
    SELECT
        kept, c.uid, c.chunk_text, c.embedding, c.chunk_index, c.metadata, c.created_at, c.char_start, c.char_end,
        c.heading, c.content_sha256
    FROM pg_temp.incoming_chunks AS c WHERE c.position = o.position;
END
$$;

-- Put the chunks that were sent in place of those that were cut from the document; no indexer has to do it again.
-- Chunks that are here already stay where they are: taking them out and in again would cost their place in the index.
CREATE FUNCTION aya_accept_chunks(target integer, sent_position integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4155, target);
    DELETE FROM chunks AS c
    WHERE
        c.document_id = target AND c.content_sha256 IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM pg_temp.incoming_chunks AS i
            WHERE
                i.position = sent_position AND i.uid = c.uid AND i.chunk_text = c.chunk_text
                AND i.embedding IS NOT DISTINCT FROM c.embedding
        )
        -- It was taken over by hand there, and comes on its own.
        AND NOT EXISTS (SELECT FROM pg_temp.incoming AS o WHERE o.unit = 'chunk' AND o.uid = c.uid);
    UPDATE chunks AS c
    SET
        chunk_index = i.chunk_index, metadata = i.metadata, created_at = i.created_at, char_start = i.char_start,
        char_end = i.char_end, heading = i.heading, content_sha256 = i.content_sha256
    FROM pg_temp.incoming_chunks AS i
    WHERE
        i.position = sent_position AND i.uid = c.uid AND c.document_id = target AND c.content_sha256 IS NOT NULL
        AND (i.chunk_index, i.metadata, i.created_at, i.char_start, i.char_end, i.heading, i.content_sha256)
        IS DISTINCT FROM
        (c.chunk_index, c.metadata, c.created_at, c.char_start, c.char_end, c.heading, c.content_sha256);
    INSERT INTO chunks
        (document_id, uid, chunk_text, embedding, chunk_index, metadata, created_at, char_start, char_end, heading,
         content_sha256)
    SELECT
        target, i.uid, i.chunk_text, i.embedding, i.chunk_index, i.metadata, i.created_at, i.char_start, i.char_end,
        i.heading, i.content_sha256
    FROM pg_temp.incoming_chunks AS i
    WHERE i.position = sent_position AND NOT EXISTS (SELECT FROM chunks AS c WHERE c.uid = i.uid)
    ORDER BY i.chunk_index;
    DELETE FROM index_queue
    WHERE document_id = target AND NOT EXISTS (SELECT FROM chunks WHERE document_id = target AND embedding IS NULL);
END
$$;

-- A document that was sent. It is never lost: an update beats a deletion, and of two updates the newer one is the head
-- and the other is in conflicts.
CREATE FUNCTION aya_accept_document(sender text, o aya_incoming, INOUT verdict receipts) LANGUAGE plpgsql AS $$
DECLARE
    head documents;
BEGIN
    SELECT d.* INTO head FROM documents AS d WHERE d.uid = o.uid FOR UPDATE;
    IF o.operation = 'delete' THEN
        IF head.id IS NULL THEN
            verdict.outcome := 'same';
        ELSIF
            head.rev = o.base_rev
            -- The sender has deleted those that it knew before, each on its own.
            AND NOT EXISTS (SELECT FROM chunks AS c WHERE c.document_id = head.id AND c.content_sha256 IS NULL)
        THEN
            DELETE FROM documents AS d WHERE d.id = head.id;
            verdict.outcome := 'applied';
        ELSE
            PERFORM aya_keep_sent(
                sender, o, NULL, 'deleted by the sender, changed here: the change is kept'
            );
            verdict.outcome := 'lost';
        END IF;
        RETURN;
    END IF;
    IF head.id IS NULL THEN
        INSERT INTO documents
            (uid, content, metadata, category, source, created_at, updated_at, title, places)
        VALUES
            (o.uid, o.content, o.metadata, o.category, o.source, o.created_at, o.updated_at, o.title,
             coalesce(o.places, '{}'))
        RETURNING * INTO head;
        verdict.outcome := 'applied';
        IF o.base_rev IS NOT NULL THEN
            INSERT INTO conflicts (unit, uid, origin, op_uid, loser, reason)
            VALUES (
                'document', o.uid, sender, o.op_uid, 'here', 'deleted here, changed by the sender: the change is kept'
            );
            verdict.outcome := 'won';
        END IF;
    ELSIF
        (head.content, head.metadata, head.category, head.source, head.title, head.places, head.created_at)
        IS NOT DISTINCT FROM
        (o.content, o.metadata, o.category, o.source, o.title, coalesce(o.places, '{}'), o.created_at)
        AND (head.rev IS DISTINCT FROM o.base_rev OR head.updated_at IS NOT DISTINCT FROM o.updated_at)
    THEN
        verdict.outcome := CASE WHEN head.rev = o.base_rev THEN 'applied' ELSE 'same' END;
    ELSE
        verdict.outcome := CASE
            WHEN head.rev = o.base_rev THEN 'applied' WHEN o.updated_at > head.updated_at THEN 'won' ELSE 'lost'
        END;
        IF verdict.outcome = 'lost' THEN
            PERFORM aya_keep_sent(
                sender, o, to_jsonb(o) - '{position,op_uid,operation,unit,document_uid,base_rev,indexed}'::text[],
                'changed here and by the sender: the one here is newer'
            );
        ELSE
            IF verdict.outcome = 'won' THEN
                PERFORM aya_keep_head(
                    sender, o.op_uid, head, 'changed here and by the sender: the sender''s is newer'
                );
            END IF;
            UPDATE documents AS d
            SET
                content = o.content, metadata = o.metadata, category = o.category, source = o.source,
                title = o.title, places = coalesce(o.places, '{}'), created_at = o.created_at,
                updated_at = o.updated_at
            WHERE d.id = head.id
            RETURNING d.* INTO head;
        END IF;
    END IF;
    IF
        o.indexed AND verdict.outcome IN ('applied', 'won')
        -- The sender may have chunks of an earlier text, which are made anew here.
        AND NOT EXISTS (
            SELECT FROM pg_temp.incoming_chunks AS i
            WHERE i.position = o.position AND i.content_sha256 <> head.content_sha256
        )
    THEN
        PERFORM aya_accept_chunks(head.id, o.position);
    END IF;
    verdict.head_id := head.id;
    verdict.head_rev := head.rev;
END
$$;

-- A chunk that was typed by hand. It has no time of change, so the one here stays when both were changed.
CREATE FUNCTION aya_accept_chunk(sender text, o aya_incoming, INOUT verdict receipts) LANGUAGE plpgsql AS $$
DECLARE
    head chunks;
    sent aya_incoming_chunk;
    parent integer;
BEGIN
    SELECT c.* INTO head FROM chunks AS c WHERE c.uid = o.uid FOR UPDATE;
    IF o.operation = 'delete' THEN
        IF head.id IS NULL THEN
            verdict.outcome := 'same';
        ELSIF head.rev = o.base_rev THEN
            DELETE FROM chunks AS c WHERE c.id = head.id;
            verdict.outcome := 'applied';
        ELSE
            PERFORM aya_keep_sent(
                sender, o, NULL, 'deleted by the sender, changed here: the change is kept'
            );
            verdict.outcome := 'lost';
        END IF;
        RETURN;
    END IF;
    IF o.document_uid IS NOT NULL THEN
        SELECT d.id INTO parent FROM documents AS d WHERE d.uid = o.document_uid FOR KEY SHARE;
        IF parent IS NULL THEN
            PERFORM aya_keep_sent(sender, o, NULL, 'its document was deleted here');
            verdict.outcome := 'lost';
            RETURN;
        END IF;
    END IF;
    SELECT i.* INTO sent FROM pg_temp.incoming_chunks AS i WHERE i.position = o.position;
    IF head.id IS NULL THEN
        INSERT INTO chunks
            (document_id, uid, chunk_text, embedding, chunk_index, metadata, created_at, char_start, char_end, heading)
        VALUES
            (parent, sent.uid, sent.chunk_text, sent.embedding, sent.chunk_index, sent.metadata, sent.created_at,
             sent.char_start, sent.char_end, sent.heading)
        RETURNING * INTO head;
        verdict.outcome := 'applied';
        IF o.base_rev IS NOT NULL THEN
            INSERT INTO conflicts (unit, uid, origin, op_uid, loser, reason)
            VALUES ('chunk', o.uid, sender, o.op_uid, 'here', 'deleted here, changed by the sender: the change is kept');
            verdict.outcome := 'won';
        END IF;
    ELSIF
        (head.document_id, head.chunk_text, head.embedding, head.chunk_index, head.metadata, head.created_at,
        head.char_start, head.char_end, head.heading, head.content_sha256)
        IS NOT DISTINCT FROM
        (parent, sent.chunk_text, sent.embedding, sent.chunk_index, sent.metadata, sent.created_at,
        sent.char_start, sent.char_end, sent.heading, sent.content_sha256)
    THEN
        verdict.outcome := 'same';
    ELSIF head.rev = o.base_rev THEN
        UPDATE chunks AS c
        SET
            chunk_text = sent.chunk_text, embedding = sent.embedding, chunk_index = sent.chunk_index,
            metadata = sent.metadata, created_at = sent.created_at, char_start = sent.char_start,
            char_end = sent.char_end, heading = sent.heading, content_sha256 = sent.content_sha256,
            document_id = parent
        WHERE c.id = head.id
        RETURNING c.* INTO head;
        verdict.outcome := 'applied';
    ELSE
        PERFORM aya_keep_sent(sender, o, NULL, 'changed here and by the sender: the one here is kept');
        verdict.outcome := 'lost';
    END IF;
    verdict.head_id := head.id;
    verdict.head_rev := head.rev;
END
$$;

-- Documents that nobody here has heard of, all of them at once; none of them when one cannot be taken.
CREATE FUNCTION aya_accept_new(sender text) RETURNS SETOF receipts LANGUAGE plpgsql AS $$
DECLARE
    fresh integer[];
BEGIN
    SELECT array_agg(i.position) INTO fresh FROM pg_temp.incoming AS i
    WHERE
        i.unit = 'document' AND i.operation = 'put' AND i.base_rev IS NULL
        AND NOT EXISTS (SELECT FROM receipts AS r WHERE r.origin = sender AND r.op_uid = i.op_uid)
        AND NOT EXISTS (SELECT FROM documents AS d WHERE d.uid = i.uid)
        AND NOT EXISTS (SELECT FROM pg_temp.incoming AS o WHERE o.uid = i.uid AND o.position <> i.position)
        AND NOT EXISTS (
            SELECT FROM pg_temp.incoming_chunks AS c
            WHERE
                c.position = i.position
                AND (
                    c.content_sha256 <> sha256(convert_to(i.content, 'UTF8'))
                    OR EXISTS (SELECT FROM chunks AS k WHERE k.uid = c.uid)
                )
        );
    INSERT INTO documents (uid, content, metadata, category, source, created_at, updated_at, title, places)
    SELECT
        i.uid, i.content, i.metadata, i.category, i.source, i.created_at, i.updated_at, i.title,
        coalesce(i.places, '{}')
    FROM pg_temp.incoming AS i WHERE i.position = any(fresh) ORDER BY i.position;
    INSERT INTO chunks
        (document_id, uid, chunk_text, embedding, chunk_index, metadata, created_at, char_start, char_end, heading,
         content_sha256)
    SELECT
        d.id, c.uid, c.chunk_text, c.embedding, c.chunk_index, c.metadata, c.created_at, c.char_start, c.char_end,
        c.heading, c.content_sha256
    FROM pg_temp.incoming AS i
    INNER JOIN pg_temp.incoming_chunks AS c ON i.position = c.position
    INNER JOIN documents AS d ON i.uid = d.uid
    WHERE i.position = any(fresh) AND i.indexed
    ORDER BY c.position, c.chunk_index;
    DELETE FROM index_queue AS q
    USING documents AS d, pg_temp.incoming AS i
    WHERE
        q.document_id = d.id AND d.uid = i.uid AND i.position = any(fresh) AND i.indexed
        AND NOT EXISTS (SELECT FROM chunks AS c WHERE c.document_id = d.id AND c.embedding IS NULL);
    RETURN QUERY
    WITH taken AS (
        DELETE FROM pg_temp.incoming AS i WHERE i.position = any(fresh) RETURNING i.op_uid, i.uid
    ) INSERT INTO receipts AS r (origin, op_uid, outcome, head_id, head_rev)
    SELECT sender, t.op_uid, 'applied', d.id, d.rev FROM taken AS t INNER JOIN documents AS d ON t.uid = d.uid
    RETURNING r.*;
EXCEPTION
    WHEN OTHERS THEN
        IF SQLSTATE ~ '^(08|25|40|53|57|58|XX)' THEN
            RAISE;
        END IF;
END
$$;

-- Work off what was sent, in order: one receipt and one effect for each operation, and one that cannot be done is told
-- and does not hold up the others. Outcomes: applied; same (it was so already); won, lost (against a change made here:
-- the loser is in conflicts); rejected (see error); held (it waits for one that was rejected, or for somebody who has
-- the row locked, and has no receipt).
CREATE FUNCTION aya_accept(sender text) RETURNS SETOF receipts LANGUAGE plpgsql AS $$
DECLARE
    o aya_incoming;
    verdict receipts;
    refused uuid[] := '{}';
    busy integer := 0;
BEGIN
    PERFORM set_config('aya.origin', sender, true), set_config('lock_timeout', '1s', true);
    -- What an earlier session of this sender has not committed yet is waited for by trying again.
    PERFORM pg_advisory_xact_lock(4157, hashtext(sender));
    -- Nobody binds another model meanwhile.
    LOCK TABLE chunks IN ROW EXCLUSIVE MODE;
    RETURN QUERY SELECT * FROM aya_accept_new(sender);
    FOR o IN
        SELECT * FROM pg_temp.incoming AS i ORDER BY i.unit = 'document' AND i.operation = 'delete', i.position
    LOOP
        SELECT r.* INTO verdict FROM receipts AS r WHERE r.origin = sender AND r.op_uid = o.op_uid;
        IF FOUND THEN
            IF verdict.outcome = 'rejected' THEN
                refused := refused || o.uid;
            END IF;
            RETURN NEXT verdict;
            CONTINUE;
        END IF;
        verdict := NULL;
        verdict.op_uid := o.op_uid;
        IF o.uid = any(refused) OR o.document_uid = any(refused) OR busy >= 3 THEN
            verdict.outcome := 'held';
            RETURN NEXT verdict;
            CONTINUE;
        END IF;
        BEGIN
            INSERT INTO receipts AS r (origin, op_uid) VALUES (sender, o.op_uid) RETURNING r.* INTO verdict;
            IF o.operation = 'gone' THEN
                verdict.outcome := 'same';
            ELSIF o.unit = 'document' THEN
                verdict := aya_accept_document(sender, o, verdict);
            ELSE
                verdict := aya_accept_chunk(sender, o, verdict);
            END IF;
            UPDATE receipts AS r
            SET outcome = verdict.outcome, head_id = verdict.head_id, head_rev = verdict.head_rev
            WHERE r.origin = sender AND r.op_uid = o.op_uid;
        EXCEPTION
            WHEN lock_not_available THEN
                -- Somebody here has a transaction open: later. After three such waits all the rest is left for later.
                verdict := NULL;
                verdict.op_uid := o.op_uid;
                verdict.outcome := 'held';
                refused := refused || o.uid;
                busy := busy + 1;
            WHEN OTHERS THEN
                -- The server's troubles are nobody's fault; whatever else it says, this one cannot be taken.
                IF SQLSTATE ~ '^(08|25|40|53|57|58|XX)' THEN
                    RAISE;
                END IF;
                INSERT INTO receipts AS r (origin, op_uid, outcome, error)
                VALUES (sender, o.op_uid, 'rejected', SQLERRM) RETURNING r.* INTO verdict;
                refused := refused || o.uid;
        END;
        RETURN NEXT verdict;
    END LOOP;
END
$$;
