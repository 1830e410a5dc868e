-- What AIR has beside schema.sql (tests/migration/test_schema.py).

-- AIR holds a copy that may be written: what is written here waits in write_queue until the primary has it.

-- The primary alone gives positive ids. A row that was made here has a negative one until the primary has taken it, and
-- is found under it all along; then it is renumbered, and what refers to it follows.
-- squawk-ignore-file ban-drop-constraint, constraint-missing-not-valid, adding-foreign-key-constraint
-- squawk-ignore-file disallowed-unique-constraint, require-concurrent-index-creation, adding-field-with-default
-- (a laptop's own tables: nobody else waits)
ALTER TABLE chunks
DROP CONSTRAINT chunks_document_id_fkey,
ADD CONSTRAINT chunks_document_id_fkey FOREIGN KEY (document_id) REFERENCES documents (id)
ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE;
ALTER TABLE index_queue
DROP CONSTRAINT index_queue_document_id_fkey,
ADD CONSTRAINT index_queue_document_id_fkey FOREIGN KEY (document_id) REFERENCES documents (id)
ON DELETE CASCADE ON UPDATE CASCADE;
ALTER SEQUENCE documents_id_seq INCREMENT BY -1 MINVALUE -2147483648 MAXVALUE -1 START WITH -1 RESTART WITH -1;
ALTER SEQUENCE chunks_id_seq INCREMENT BY -1 MINVALUE -2147483648 MAXVALUE -1 START WITH -1 RESTART WITH -1;

-- A row is an operation on a unit: a document with the chunks that were cut from it, or a chunk that was typed by hand.
-- What is sent is the unit as it is then, so that many changes are one operation.
CREATE TABLE write_queue (
    id serial PRIMARY KEY,
    operation varchar(10),
    table_name varchar(50),
    data jsonb,
    created_at timestamp DEFAULT now(),
    synced boolean DEFAULT false,
    op_uid uuid NOT NULL DEFAULT aya_new_uid() UNIQUE,
    unit text CHECK (unit IN ('document', 'chunk')),
    row_uid uuid,
    -- the primary's revision that was changed here; NULL: the primary has no such row, -1: the one that was lost
    base_rev bigint,
    -- made by a trigger of documents or chunks; false: typed by hand
    captured boolean NOT NULL DEFAULT false,
    -- the chunks have to be sent with the document
    chunks_changed boolean NOT NULL DEFAULT true,
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'sending', 'done', 'rejected')),
    -- what the primary made of it: applied, same, won, lost, rejected
    outcome text,
    error text,
    synced_at timestamptz
);

CREATE INDEX idx_write_queue_synced ON write_queue (id) WHERE NOT synced;
CREATE UNIQUE INDEX idx_write_queue_unit ON write_queue (row_uid) WHERE captured AND status = 'waiting';
CREATE INDEX idx_write_queue_open ON write_queue (row_uid) WHERE status <> 'done';

-- How far the copy is: one row.
CREATE TABLE sync_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- the primary's identity, and the timeline it was on; NULL: nothing was copied yet
    system_identifier bigint,
    timeline integer,
    -- what the primary's log has that is not visible in this is still to be fetched
    snapshot pg_snapshot,
    lsn pg_lsn,
    -- the model whose vectors the copy has
    fingerprint text,
    pulled_at timestamptz,
    pushed_at timestamptz,
    reconciled_at timestamptz,
    paused boolean NOT NULL DEFAULT false,
    -- why it does not go on right now; NULL: it does. reachable: a server answers at all
    error text,
    since timestamptz,
    reachable boolean NOT NULL DEFAULT true,
    -- while much is being fetched: how many rows, roughly, and since when
    fetching_documents integer,
    fetching_chunks integer,
    fetching_since timestamptz
);

-- Where the cursor was before: after a failover it goes back to what the new primary surely had.
CREATE TABLE sync_ring (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    timeline integer NOT NULL,
    snapshot pg_snapshot NOT NULL,
    lsn pg_lsn NOT NULL
);

-- Rows to be fetched whatever the log says: they were passed over while a change of them waited to be sent, or the
-- primary has just taken one.
CREATE TABLE sync_parked (
    table_name text NOT NULL,
    uid uuid NOT NULL,
    PRIMARY KEY (table_name, uid)
);

-- The primary's revision of a document that is here; NULL: the primary has none. One that it has just taken has its
-- number there when it was fetched.
CREATE FUNCTION aya_known_rev(document_id integer, document_uid uuid, document_rev bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN document_id > 0 THEN document_rev
        WHEN EXISTS (
            SELECT FROM sync_parked AS p WHERE p.table_name = 'documents' AND p.uid = document_uid
        ) THEN document_rev
    END;
$$;

-- What two changes of one row are together.
CREATE FUNCTION aya_collapsed(earlier text, later text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN later = 'UPDATE' AND earlier = 'INSERT' THEN 'INSERT'
        WHEN later = 'INSERT' AND earlier = 'DELETE' THEN 'UPDATE'
        -- the chunks of a document that goes (TRUNCATE)
        WHEN later = 'UPDATE' AND earlier = 'DELETE' THEN 'DELETE'
        ELSE later
    END;
$$;

-- Queue changes that the triggers saw. What still waits takes them up; what is being sent does not.
-- changes: what; whose units and since which revision, as arrays of equal length.
CREATE FUNCTION aya_capture(
    changes text, changed_unit text, uids uuid[], revs bigint[], with_chunks boolean[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO write_queue AS q
        (operation, table_name, data, unit, row_uid, base_rev, captured, chunks_changed)
    SELECT
        changes, changed_unit || 's', jsonb_build_object('uid', u.uid), changed_unit, u.uid, u.rev, true, u.with_chunks
    FROM unnest(uids, revs, with_chunks) AS u (uid, rev, with_chunks)
    ON CONFLICT (row_uid) WHERE captured AND status = 'waiting' DO UPDATE
    SET
        operation = aya_collapsed(q.operation, excluded.operation),
        chunks_changed = q.chunks_changed OR excluded.chunks_changed;
    -- Made here and gone again before anybody else heard of it.
    DELETE FROM write_queue AS q
    WHERE
        q.row_uid = any(uids) AND q.captured AND q.status = 'waiting' AND q.operation = 'DELETE' AND q.base_rev IS NULL
        AND NOT EXISTS (
            SELECT FROM write_queue AS earlier
            WHERE earlier.row_uid = q.row_uid AND earlier.id < q.id AND earlier.status IN ('waiting', 'sending')
        );
    -- What the primary did not take, and nobody wants any more.
    UPDATE write_queue AS q
    SET status = 'done', synced = true, synced_at = now(), outcome = 'same'
    WHERE changes = 'DELETE' AND q.row_uid = any(uids) AND q.status = 'rejected' AND q.base_rev IS NULL;
    SELECT pg_notify('aya_queue', '');
$$;

CREATE FUNCTION aya_capture_documents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF aya_applying() <> '' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM aya_capture('INSERT', 'document', array_agg(uid), array_agg(NULL::bigint), array_agg(true))
        FROM fresh HAVING count(*) > 0;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM aya_capture(
            'DELETE', 'document', array_agg(uid), array_agg(aya_known_rev(id, uid, rev)), array_agg(false)
        ) FROM stale HAVING count(*) > 0;
    ELSE
        PERFORM aya_capture(
            'UPDATE', 'document', array_agg(s.uid), array_agg(aya_known_rev(s.id, s.uid, s.rev)),
            array_agg(f.content IS DISTINCT FROM s.content)
        ) FROM fresh AS f INNER JOIN stale AS s ON f.uid = s.uid WHERE f IS DISTINCT FROM s HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION aya_capture_chunks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF aya_applying() <> '' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM aya_capture_cut(array_agg(document_id)) FROM fresh WHERE content_sha256 IS NOT NULL HAVING count(*) > 0;
        PERFORM aya_capture('INSERT', 'chunk', array_agg(uid), array_agg(NULL::bigint), array_agg(true))
        FROM fresh WHERE content_sha256 IS NULL HAVING count(*) > 0;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM aya_capture_cut(array_agg(document_id)) FROM stale WHERE content_sha256 IS NOT NULL HAVING count(*) > 0;
        PERFORM aya_capture(
            'DELETE', 'chunk', array_agg(uid), array_agg(CASE WHEN id > 0 THEN rev END), array_agg(false)
        ) FROM stale WHERE content_sha256 IS NULL HAVING count(*) > 0;
    ELSE
        PERFORM aya_capture_cut(array_agg(f.document_id) || array_agg(s.document_id))
        FROM fresh AS f INNER JOIN stale AS s ON f.uid = s.uid
        WHERE f.rev <> s.rev AND (f.content_sha256 IS NOT NULL OR s.content_sha256 IS NOT NULL) HAVING count(*) > 0;
        PERFORM aya_capture(
            'UPDATE', 'chunk', array_agg(s.uid), array_agg(CASE WHEN s.id > 0 THEN s.rev END), array_agg(true)
        )
        FROM fresh AS f INNER JOIN stale AS s ON f.uid = s.uid
        WHERE f.rev <> s.rev AND f.content_sha256 IS NULL HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

-- Chunks that were cut from a document go with it: queue their documents, those that are still there.
CREATE FUNCTION aya_capture_cut(document_ids integer[]) RETURNS void LANGUAGE sql AS $$
    SELECT aya_capture(
        'UPDATE', 'document', array_agg(uid), array_agg(aya_known_rev(id, uid, rev)), array_agg(true)
    ) FROM documents WHERE id = any(document_ids) HAVING count(*) > 0;
$$;

CREATE FUNCTION aya_capture_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF aya_applying() = '' AND TG_TABLE_NAME = 'documents' THEN
        PERFORM aya_capture(
            'DELETE', 'document', array_agg(uid), array_agg(aya_known_rev(id, uid, rev)), array_agg(false)
        ) FROM documents HAVING count(*) > 0;
    ELSIF aya_applying() = '' THEN
        PERFORM aya_capture_cut(array_agg(document_id)) FROM chunks WHERE content_sha256 IS NOT NULL HAVING count(*) > 0;
        PERFORM aya_capture(
            'DELETE', 'chunk', array_agg(uid), array_agg(CASE WHEN id > 0 THEN rev END), array_agg(false)
        ) FROM chunks WHERE content_sha256 IS NULL HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER documents_capture_insert AFTER INSERT ON documents
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_documents();
CREATE TRIGGER documents_capture_update AFTER UPDATE ON documents
REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_documents();
CREATE TRIGGER documents_capture_delete AFTER DELETE ON documents
REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_documents();
CREATE TRIGGER documents_capture_truncate BEFORE TRUNCATE ON documents
FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_truncate();
CREATE TRIGGER chunks_capture_insert AFTER INSERT ON chunks
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_chunks();
CREATE TRIGGER chunks_capture_update AFTER UPDATE ON chunks
REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_chunks();
CREATE TRIGGER chunks_capture_delete AFTER DELETE ON chunks
REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_chunks();
CREATE TRIGGER chunks_capture_truncate BEFORE TRUNCATE ON chunks
FOR EACH STATEMENT EXECUTE FUNCTION aya_capture_truncate();

-- Whoever writes as a replica (session_replication_role) is caught, too.
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_before_write;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_capture_insert;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_capture_update;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_capture_delete;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_capture_truncate;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_before_update;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_capture_insert;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_capture_update;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_capture_delete;
ALTER TABLE chunks ENABLE ALWAYS TRIGGER chunks_capture_truncate;

REVOKE EXECUTE ON FUNCTION aya_capture_documents() FROM public;
REVOKE EXECUTE ON FUNCTION aya_capture_chunks() FROM public;
REVOKE EXECUTE ON FUNCTION aya_capture_truncate() FROM public;

-- A row that a person typed into write_queue is done here at once, so that it is found here, and waits to be sent.
CREATE FUNCTION aya_queued_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    known text[] := CASE lower(NEW.table_name)
        WHEN 'documents' THEN '{id,uid,content,metadata,category,source,title,created_at,updated_at}'
        WHEN 'chunks' THEN '{id,uid,document_id,chunk_text,embedding,chunk_index,metadata,created_at}'
    END;
    unknown text;
    before record;
BEGIN
    IF known IS NULL OR upper(NEW.operation) NOT IN ('INSERT', 'UPDATE', 'DELETE') OR NEW.data IS NULL THEN
        RAISE EXCEPTION 'write_queue takes INSERT, UPDATE or DELETE, on documents or chunks, with data'
        USING HINT = 'INSERT INTO write_queue (operation, table_name, data) VALUES (''INSERT'', ''documents'', ''{"content": "…"}'')';
    END IF;
    SELECT key INTO unknown FROM jsonb_object_keys(NEW.data) AS key WHERE NOT key = any(known) LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION '% has no column % that could be written', NEW.table_name, unknown
        USING HINT = 'it takes ' || array_to_string(known, ', ');
    END IF;
    PERFORM set_config('aya.applying', 'queue', true);
    NEW.operation := upper(NEW.operation);
    NEW.table_name := lower(NEW.table_name);
    NEW.unit := left(NEW.table_name, -1);
    NEW.captured := false;
    NEW.base_rev := NULL;
    IF NEW.operation <> 'INSERT' THEN
        EXECUTE format(
            'SELECT uid, %s AS rev FROM %I WHERE uid = ($1 ->> ''uid'')::uuid OR id = ($1 ->> ''id'')::integer FOR UPDATE',
            CASE NEW.table_name
                WHEN 'documents' THEN 'aya_known_rev(id, uid, rev)' ELSE 'CASE WHEN id > 0 THEN rev END'
            END,
            NEW.table_name
        ) INTO before USING NEW.data;
        IF before.uid IS NULL THEN
            RAISE EXCEPTION 'there is no such row in %', NEW.table_name USING HINT = 'name it by its id or uid in data';
        END IF;
        NEW.row_uid := before.uid;
        -- What the primary has is what the first of the changes that wait was made on.
        SELECT q.base_rev INTO NEW.base_rev FROM write_queue AS q
        WHERE q.row_uid = NEW.row_uid AND q.status = 'waiting' ORDER BY q.id LIMIT 1;
        IF NOT FOUND THEN
            NEW.base_rev := before.rev;
        END IF;
    END IF;
    IF NEW.operation = 'DELETE' AND NEW.table_name = 'documents' THEN
        PERFORM aya_capture(
            'DELETE', 'chunk', array_agg(c.uid), array_agg(CASE WHEN c.id > 0 THEN c.rev END), array_agg(false)
        )
        FROM chunks AS c INNER JOIN documents AS d ON c.document_id = d.id
        WHERE d.uid = NEW.row_uid AND c.content_sha256 IS NULL HAVING count(*) > 0;
    END IF;
    IF NEW.operation = 'DELETE' THEN
        EXECUTE format('DELETE FROM %I WHERE uid = $1', NEW.table_name) USING NEW.row_uid;
    ELSIF NEW.table_name = 'documents' THEN
        IF NEW.operation = 'INSERT' THEN
            INSERT INTO documents (content, metadata, category, source, title, created_at)
            VALUES (
                NEW.data ->> 'content', coalesce(NEW.data -> 'metadata', '{}'),
                coalesce(NEW.data ->> 'category', 'general'), NEW.data ->> 'source', NEW.data ->> 'title',
                coalesce((NEW.data ->> 'created_at')::timestamp, now())
            ) RETURNING uid INTO NEW.row_uid;
        ELSE
            UPDATE documents
            SET
                content = CASE WHEN NEW.data ? 'content' THEN NEW.data ->> 'content' ELSE content END,
                metadata = CASE WHEN NEW.data ? 'metadata' THEN NEW.data -> 'metadata' ELSE metadata END,
                category = CASE WHEN NEW.data ? 'category' THEN NEW.data ->> 'category' ELSE category END,
                source = CASE WHEN NEW.data ? 'source' THEN NEW.data ->> 'source' ELSE source END,
                title = CASE WHEN NEW.data ? 'title' THEN NEW.data ->> 'title' ELSE title END
            WHERE uid = NEW.row_uid;
        END IF;
    ELSIF NEW.operation = 'INSERT' THEN
        INSERT INTO chunks (document_id, chunk_text, embedding, chunk_index, metadata)
        VALUES (
            (NEW.data ->> 'document_id')::integer, NEW.data ->> 'chunk_text', (NEW.data ->> 'embedding')::vector,
            coalesce((NEW.data ->> 'chunk_index')::integer, 0), coalesce(NEW.data -> 'metadata', '{}')
        ) RETURNING uid INTO NEW.row_uid;
    ELSE
        UPDATE chunks
        SET
            chunk_text = CASE WHEN NEW.data ? 'chunk_text' THEN NEW.data ->> 'chunk_text' ELSE chunk_text END,
            embedding = CASE WHEN NEW.data ? 'embedding' THEN (NEW.data ->> 'embedding')::vector ELSE embedding END,
            chunk_index = CASE WHEN NEW.data ? 'chunk_index' THEN (NEW.data ->> 'chunk_index')::integer ELSE chunk_index END,
            metadata = CASE WHEN NEW.data ? 'metadata' THEN NEW.data -> 'metadata' ELSE metadata END
        WHERE uid = NEW.row_uid;
    END IF;
    PERFORM set_config('aya.applying', '', true);
    PERFORM pg_notify('aya_queue', '');
    RETURN NEW;
END
$$;

CREATE TRIGGER write_queue_by_hand BEFORE INSERT ON write_queue
FOR EACH ROW WHEN (NOT new.captured AND new.row_uid IS NULL) EXECUTE FUNCTION aya_queued_by_hand();

-- While a copy is made anew its vectors are indexed at the end, which takes a quarter of the time.
CREATE FUNCTION aya_drop_vector_index() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DROP INDEX IF EXISTS idx_chunks_embedding;
$$;

CREATE FUNCTION aya_build_vector_index() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF to_regclass('idx_chunks_embedding') IS NULL THEN
        -- how many rows there are says how much memory it takes, and which words are frequent
        ANALYZE chunks;
        PERFORM set_config('maintenance_work_mem', aya_vector_index_memory(), true);
        EXECUTE aya_vector_index_statement('idx_chunks_embedding', 'embedding');
    END IF;
END
$$;

-- Be bound to the model that the primary is bound to. taken: its row of embedding_model. Vectors of another model go,
-- and what was made here is indexed again.
CREATE FUNCTION aya_take_model(taken jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    model embedding_model := jsonb_populate_record(NULL::embedding_model, taken);
BEGIN
    IF EXISTS (SELECT FROM embedding_model WHERE fingerprint = model.fingerprint) THEN
        RETURN;
    END IF;
    LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE;
    PERFORM set_config('aya.applying', 'pull', true);
    UPDATE chunks SET embedding = NULL WHERE embedding IS NOT NULL;
    DROP INDEX IF EXISTS idx_chunks_embedding;
    EXECUTE format('ALTER TABLE chunks ALTER COLUMN embedding TYPE vector(%s)', model.dimension);
    ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
    DELETE FROM embedding_model;
    INSERT INTO embedding_model SELECT model.*;
    PERFORM aya_enqueue_document(d.id) FROM documents AS d
    WHERE
        d.id < 0
        OR EXISTS (
            SELECT FROM write_queue AS q
            LEFT JOIN chunks AS c ON q.row_uid = c.uid
            WHERE q.status <> 'done' AND (q.row_uid = d.uid OR c.document_id = d.id)
        );
END
$$;

REVOKE EXECUTE ON FUNCTION aya_drop_vector_index() FROM public;
REVOKE EXECUTE ON FUNCTION aya_build_vector_index() FROM public;
REVOKE EXECUTE ON FUNCTION aya_take_model(jsonb) FROM public;

-- What the primary took last is passed over by what was read before.
CREATE INDEX idx_write_queue_done ON write_queue (synced_at);

-- What is sent next: documents are deleted after their chunks.
CREATE INDEX idx_write_queue_next ON write_queue ((unit = 'document' AND operation = 'DELETE'), id)
WHERE status = 'waiting';

-- Where fetched rows wait before they are merged; once for a session. jsonb and the rest are as in the tables.
CREATE FUNCTION aya_prepare_merge() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_keys (table_name text, uid uuid, PRIMARY KEY (table_name, uid));
    CREATE TEMPORARY TABLE IF NOT EXISTS held (uid uuid PRIMARY KEY);
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_documents (
        id integer,
        content text,
        metadata jsonb,
        category text,
        source text,
        created_at timestamp,
        updated_at timestamp,
        uid uuid PRIMARY KEY,
        rev bigint,
        title text,
        places jsonb,
        content_sha256 bytea,
        content_changed_at timestamp
    );
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_chunks (
        id integer,
        document_id integer,
        chunk_text text,
        embedding vector,
        chunk_index integer,
        metadata jsonb,
        created_at timestamp,
        uid uuid PRIMARY KEY,
        rev bigint,
        char_start integer,
        char_end integer,
        heading text,
        content_sha256 bytea,
        document_uid uuid
    );
END
$$;

-- Bring what is staged into the tables. before: a moment before the primary was read. merged: how many rows changed
-- here; only_here: rows that made room for another of the same number, and are sent.
CREATE FUNCTION aya_merge(before timestamptz, OUT merged bigint, OUT only_here bigint) LANGUAGE plpgsql AS $$
DECLARE
    known bigint;
    counted bigint;
    moved uuid[];
BEGIN
    -- What this transaction writes is the primary's.
    PERFORM set_config('aya.applying', 'pull', true);
    -- Lock what this is about, except what somebody is changing right now.
    WITH about AS MATERIALIZED (
        SELECT d.id FROM documents AS d
        WHERE d.uid IN (
            SELECT k.uid FROM staged_keys AS k WHERE k.table_name = 'documents'
            UNION
            SELECT s.document_uid FROM staged_chunks AS s
            UNION
            SELECT p.uid FROM staged_keys AS k
            INNER JOIN chunks AS c ON k.uid = c.uid
            INNER JOIN documents AS p ON c.document_id = p.id
            WHERE k.table_name = 'chunks'
        )
    ), free AS (
        SELECT d.uid FROM documents AS d
        WHERE d.id IN (SELECT a.id FROM about AS a)
        FOR UPDATE OF d SKIP LOCKED
    ), locked AS (
        INSERT INTO held (uid) SELECT free.uid FROM free
    ) SELECT count(*) INTO known FROM about;
    WITH about AS MATERIALIZED (
        SELECT c.id FROM chunks AS c
        WHERE c.uid IN (
            SELECT k.uid FROM staged_keys AS k WHERE k.table_name = 'chunks'
            UNION
            SELECT o.uid FROM staged_keys AS k
            INNER JOIN documents AS d ON k.uid = d.uid
            INNER JOIN chunks AS o ON d.id = o.document_id
            WHERE k.table_name = 'documents'
        )
    ), free AS (
        SELECT c.uid FROM chunks AS c
        WHERE c.id IN (SELECT a.id FROM about AS a)
        FOR UPDATE OF c SKIP LOCKED
    ), locked AS (
        INSERT INTO held (uid) SELECT free.uid FROM free
    ) SELECT known + count(*) INTO known FROM about;
    -- Pass over what has a change here that the primary had not taken when it was read, or is being changed: units, and
    -- the chunks of such documents. A document that is gone there waits for its chunks, which would go with it. Most of
    -- the time there is nothing of it.
    IF
        known > (SELECT count(*) FROM held)
        OR EXISTS (SELECT FROM write_queue AS q WHERE q.status <> 'done')
        OR EXISTS (SELECT FROM write_queue AS q WHERE q.synced_at >= before)
    THEN
        WITH
        pending AS (
            SELECT q.row_uid FROM write_queue AS q WHERE q.status <> 'done' AND q.row_uid IS NOT NULL
            UNION
            SELECT q.row_uid FROM write_queue AS q WHERE q.synced_at >= before AND q.row_uid IS NOT NULL
        ),

        changing AS (
            SELECT d.uid FROM documents AS d
            INNER JOIN staged_keys AS k ON d.uid = k.uid
            WHERE
                NOT EXISTS (SELECT FROM held AS h WHERE h.uid = d.uid)
                OR EXISTS (
                    SELECT FROM chunks AS c
                    WHERE
                        c.document_id = d.id
                        AND (
                            NOT EXISTS (SELECT FROM held AS h WHERE h.uid = c.uid)
                            OR (
                                c.uid IN (SELECT row_uid FROM pending)
                                AND NOT EXISTS (SELECT FROM staged_documents AS s WHERE s.uid = d.uid)
                            )
                        )
                )
        ),

        passed_over AS (
            SELECT
                k.table_name,
                k.uid
            FROM staged_keys AS k
            LEFT JOIN staged_chunks AS s ON k.table_name = 'chunks' AND k.uid = s.uid
            LEFT JOIN chunks AS c ON k.table_name = 'chunks' AND k.uid = c.uid
            LEFT JOIN documents AS d ON c.document_id = d.id
            WHERE
                k.uid IN (SELECT row_uid FROM pending)
                OR s.document_uid IN (SELECT row_uid FROM pending)
                OR d.uid IN (SELECT row_uid FROM pending)
                OR k.uid IN (SELECT uid FROM changing)
                OR s.document_uid IN (SELECT uid FROM changing)
                OR d.uid IN (SELECT uid FROM changing)
                OR EXISTS (
                SELECT FROM documents AS o
                WHERE o.uid = s.document_uid AND NOT EXISTS (SELECT FROM held AS h WHERE h.uid = o.uid)
            )
            OR (c.uid IS NOT NULL AND NOT EXISTS (SELECT FROM held AS h WHERE h.uid = c.uid))
                OR (d.uid IS NOT NULL AND NOT EXISTS (SELECT FROM held AS h WHERE h.uid = d.uid))
        ),

        kept AS (
            INSERT INTO sync_parked (table_name, uid)
            SELECT
                table_name,
                uid
            FROM passed_over
            ON CONFLICT DO NOTHING
        ),

        without_documents AS (
            DELETE FROM staged_documents AS s USING passed_over AS p
            WHERE p.table_name = 'documents' AND s.uid = p.uid
        ),

        without_chunks AS (
            DELETE FROM staged_chunks AS s USING passed_over AS p
            WHERE p.table_name = 'chunks' AND s.uid = p.uid
        )

        DELETE FROM staged_keys AS k USING passed_over AS p
        WHERE k.table_name = p.table_name AND k.uid = p.uid;
    END IF;
    -- What the log named and the primary has no more.
    DELETE FROM chunks AS c USING staged_keys AS k
    WHERE
        k.table_name = 'chunks' AND c.uid = k.uid
        AND NOT EXISTS (SELECT FROM staged_chunks AS s WHERE s.uid = c.uid);
    GET DIAGNOSTICS merged = ROW_COUNT;
    DELETE FROM documents AS d USING staged_keys AS k
    WHERE
        k.table_name = 'documents' AND d.uid = k.uid
        AND NOT EXISTS (SELECT FROM staged_documents AS s WHERE s.uid = d.uid);
    GET DIAGNOSTICS counted = ROW_COUNT;
    merged := merged + counted;
    -- After a failover that lost a commit the primary gives its number to another row: ours makes room. Of what was not
    -- fetched and does not wait, documents and chunks that were typed by hand are sent.
    WITH moved AS (
        UPDATE documents AS d SET id = nextval('documents_id_seq')
        FROM staged_documents AS s
        WHERE d.id = s.id AND d.uid <> s.uid
        RETURNING d.uid
    )

    SELECT array_agg(m.uid) INTO moved FROM moved AS m
    WHERE
        NOT EXISTS (SELECT FROM staged_documents AS s WHERE s.uid = m.uid)
        AND NOT EXISTS (SELECT FROM write_queue AS q WHERE q.row_uid = m.uid AND q.status <> 'done');
    IF moved IS NOT NULL THEN
        PERFORM aya_capture(
            'INSERT', 'document', moved, array_fill(NULL::bigint, ARRAY[cardinality(moved)]),
            array_fill(true, ARRAY[cardinality(moved)])
        );
    END IF;
    only_here := coalesce(cardinality(moved), 0);
    -- One that was made here gets its number there. Its chunks go before it, for a row that changes its document and then
    -- its number is put into the vector index twice.
    SET CONSTRAINTS chunks_document_id_fkey DEFERRED;
    UPDATE chunks AS c
    SET id = s.id, document_id = s.document_id, rev = s.rev
    FROM staged_chunks AS s
    INNER JOIN staged_documents AS t ON s.document_uid = t.uid
    INNER JOIN documents AS d ON t.uid = d.uid AND t.id <> d.id
    WHERE c.uid = s.uid AND NOT EXISTS (SELECT FROM chunks AS o WHERE o.id = s.id AND o.uid <> s.uid);
    INSERT INTO documents AS d
    (
        id, content, metadata, category, source, created_at, updated_at, uid, rev, title, places, content_sha256,
        content_changed_at
    )
    SELECT
        id, content, metadata, category, source, created_at, updated_at, uid, rev, title, places, content_sha256,
        content_changed_at
    FROM staged_documents
    ON CONFLICT (uid) DO UPDATE
        SET
            id = excluded.id, content = excluded.content, metadata = excluded.metadata, category = excluded.category,
            source = excluded.source, created_at = excluded.created_at, updated_at = excluded.updated_at,
            rev = excluded.rev, title = excluded.title, places = excluded.places, content_sha256 = excluded.content_sha256,
            content_changed_at = excluded.content_changed_at
        WHERE
        (
            d.id, d.content, d.metadata::text, d.category, d.source, d.created_at, d.updated_at, d.rev, d.title,
            d.places::text, d.content_sha256, d.content_changed_at
        ) IS DISTINCT FROM (
            excluded.id, excluded.content, excluded.metadata::text, excluded.category, excluded.source,
            excluded.created_at, excluded.updated_at, excluded.rev, excluded.title, excluded.places::text,
            excluded.content_sha256, excluded.content_changed_at
        );
    GET DIAGNOSTICS counted = ROW_COUNT;
    merged := merged + counted;
    -- Those that were cut from a text that is here say nothing that it does not say.
    DELETE FROM chunks AS c USING staged_chunks AS s
    WHERE
        c.id = s.id AND c.uid <> s.uid AND c.content_sha256 IS NOT NULL
        AND NOT EXISTS (SELECT FROM staged_chunks AS o WHERE o.uid = c.uid)
        AND NOT EXISTS (
            SELECT FROM documents AS d
            WHERE
                d.id = c.document_id
                AND (d.id < 0 OR EXISTS (SELECT FROM write_queue AS q WHERE q.row_uid = d.uid AND q.status <> 'done'))
        );
    WITH moved AS (
        UPDATE chunks AS c SET id = nextval('chunks_id_seq')
        FROM staged_chunks AS s
        WHERE c.id = s.id AND c.uid <> s.uid
        RETURNING c.uid, c.content_sha256
    )

    SELECT array_agg(m.uid) INTO moved FROM moved AS m
    WHERE
        m.content_sha256 IS NULL
        AND NOT EXISTS (SELECT FROM staged_chunks AS s WHERE s.uid = m.uid)
        AND NOT EXISTS (SELECT FROM write_queue AS q WHERE q.row_uid = m.uid AND q.status <> 'done');
    IF moved IS NOT NULL THEN
        PERFORM aya_capture(
            'INSERT', 'chunk', moved, array_fill(NULL::bigint, ARRAY[cardinality(moved)]),
            array_fill(true, ARRAY[cardinality(moved)])
        );
    END IF;
    only_here := only_here + coalesce(cardinality(moved), 0);
    -- Whoever deletes there as a replica leaves chunks without their document.
    INSERT INTO chunks AS c
    (
        id, document_id, chunk_text, embedding, chunk_index, metadata, created_at, uid, rev, char_start, char_end, heading,
        content_sha256
    )
    SELECT
        s.id, d.id AS document_id, s.chunk_text, s.embedding, s.chunk_index, s.metadata, s.created_at, s.uid, s.rev,
        s.char_start, s.char_end, s.heading, s.content_sha256
    FROM staged_chunks AS s
    LEFT JOIN documents AS d ON s.document_uid = d.uid
    ON CONFLICT (uid) DO UPDATE
        SET
            id = excluded.id, document_id = excluded.document_id, chunk_text = excluded.chunk_text,
            embedding = excluded.embedding, chunk_index = excluded.chunk_index, metadata = excluded.metadata,
            created_at = excluded.created_at, rev = excluded.rev, char_start = excluded.char_start,
            char_end = excluded.char_end, heading = excluded.heading, content_sha256 = excluded.content_sha256
        WHERE
        (
            c.id, c.document_id, c.chunk_text, c.embedding, c.chunk_index, c.metadata::text, c.created_at, c.rev,
            c.char_start, c.char_end, c.heading, c.content_sha256
        ) IS DISTINCT FROM (
            excluded.id, excluded.document_id, excluded.chunk_text, excluded.embedding, excluded.chunk_index,
            excluded.metadata::text, excluded.created_at, excluded.rev, excluded.char_start, excluded.char_end, excluded.heading,
            excluded.content_sha256
        );
    GET DIAGNOSTICS counted = ROW_COUNT;
    merged := merged + counted;
    -- Whoever has a document indexes it: what is the primary's is not embedded here, too.
    DELETE FROM index_queue AS q USING staged_documents AS s
    WHERE q.document_id = s.id;
    -- What was passed over before is done now.
    DELETE FROM sync_parked AS p USING staged_keys AS k
    WHERE p.table_name = k.table_name AND p.uid = k.uid;
END
$$;

-- The cursor moves with its rows, in the same transaction. A timeline never goes back. Once in a while the cursor is
-- kept: a failover may ask for an older one. The last thousand are kept. before: a moment before the primary was read.
CREATE FUNCTION aya_advance(
    at_system bigint, at_timeline integer, at_snapshot pg_snapshot, at_lsn pg_lsn, with_model text, before timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sync_state
    SET
        system_identifier = at_system, timeline = at_timeline, snapshot = at_snapshot, lsn = at_lsn,
        fingerprint = with_model, pulled_at = now(), error = NULL, since = NULL, reachable = true,
        fetching_since = NULL;
    IF NOT EXISTS (SELECT FROM sync_ring AS r WHERE r.at > now() - interval '5 seconds') THEN
        INSERT INTO sync_ring (at, timeline, snapshot, lsn) VALUES (before, at_timeline, at_snapshot, at_lsn)
        ON CONFLICT DO NOTHING;
        DELETE FROM sync_ring WHERE at < (SELECT r.at FROM sync_ring AS r ORDER BY r.at DESC LIMIT 1 OFFSET 1000);
    END IF;
END
$$;

-- Few rows, fetched in one go. table_names, uids: which; documents, chunks: those that are there, as arrays of JSON
-- objects, NULL for none; vectors: of the chunks, in their order. parked: which were known to be parked when the
-- primary was read; what was parked since is fetched again, with its chunks. By indexes: nobody has statistics of what
-- is staged.
CREATE FUNCTION aya_take_few(
    table_names text[], uids uuid[], fetched_documents json, fetched_chunks json, vectors vector[], before timestamptz,
    parked uuid[], OUT merged bigint, OUT only_here bigint
) LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    late uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock(4156, 1);
    INSERT INTO staged_keys (table_name, uid) SELECT * FROM unnest(table_names, uids);
    SELECT array_agg(p.uid) INTO late FROM sync_parked AS p
    INNER JOIN staged_keys AS k ON p.table_name = k.table_name AND p.uid = k.uid
    WHERE p.table_name = 'documents' AND NOT p.uid = any(parked);
    INSERT INTO staged_documents
        (id, content, metadata, category, source, created_at, updated_at, uid, rev, title, places, content_sha256,
         content_changed_at)
    SELECT
        d.id, d.content, d.metadata::jsonb, d.category, d.source, d.created_at, d.updated_at, d.uid, d.rev, d.title,
        d.places::jsonb, d.content_sha256, d.content_changed_at
    FROM json_to_recordset(fetched_documents) AS d (
        id integer, content text, metadata text, category text, source text, created_at timestamp,
        updated_at timestamp, uid uuid, rev bigint, title text, places text, content_sha256 bytea,
        content_changed_at timestamp
    );
    INSERT INTO staged_chunks
        (id, document_id, chunk_text, embedding, chunk_index, metadata, created_at, uid, rev, char_start, char_end,
         heading, content_sha256, document_uid)
    SELECT
        c.id, c.document_id, c.chunk_text, c.embedding, c.chunk_index, c.metadata::jsonb, c.created_at, c.uid,
        c.rev, c.char_start, c.char_end, c.heading, c.content_sha256, c.document_uid
    FROM ROWS FROM (
        json_to_recordset(fetched_chunks) AS (
            id integer, document_id integer, chunk_text text, chunk_index integer, metadata text,
            created_at timestamp, uid uuid, rev bigint, char_start integer, char_end integer, heading text,
            content_sha256 bytea, document_uid uuid
        ),
        unnest(vectors)
    ) AS c (
        id, document_id, chunk_text, chunk_index, metadata, created_at, uid, rev, char_start, char_end, heading,
        content_sha256, document_uid, embedding
    );
    SELECT m.merged, m.only_here INTO merged, only_here FROM aya_merge(before) AS m;
    INSERT INTO sync_parked (table_name, uid) SELECT 'documents', * FROM unnest(late) ON CONFLICT DO NOTHING;
    DELETE FROM staged_keys;
    DELETE FROM held;
    DELETE FROM staged_documents;
    DELETE FROM staged_chunks;
END
$$;
