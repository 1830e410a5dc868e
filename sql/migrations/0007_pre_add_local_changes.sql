-- nodes: air
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
ALTER TABLE write_queue
ADD COLUMN op_uid uuid NOT NULL DEFAULT aya_new_uid() UNIQUE,
ADD COLUMN unit text CHECK (unit IN ('document', 'chunk')),
ADD COLUMN row_uid uuid,
-- the primary's revision that was changed here; NULL: the primary has no such row, -1: the one that was lost
ADD COLUMN base_rev bigint,
-- made by a trigger of documents or chunks; false: typed by hand
ADD COLUMN captured boolean NOT NULL DEFAULT false,
-- the chunks have to be sent with the document
ADD COLUMN chunks_changed boolean NOT NULL DEFAULT true,
ADD COLUMN status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'sending', 'done', 'rejected')),
-- what the primary made of it: applied, same, won, lost, rejected
ADD COLUMN outcome text,
ADD COLUMN error text,
ADD COLUMN synced_at timestamptz;

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

INSERT INTO sync_state DEFAULT VALUES;

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
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    CREATE INDEX IF NOT EXISTS idx_chunks_embedding ON chunks USING hnsw (embedding vector_cosine_ops);
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

-- What AIR has had for itself so far is the primary's from now on, too.
UPDATE documents SET id = -id WHERE id > 0;
UPDATE chunks SET id = -id WHERE id > 0;
SELECT setval('documents_id_seq', coalesce(min(id), -1), count(*) > 0) FROM documents;
SELECT setval('chunks_id_seq', coalesce(min(id), -1), count(*) > 0) FROM chunks;
SELECT aya_capture('INSERT', 'document', array_agg(uid), array_agg(NULL::bigint), array_agg(true))
FROM documents HAVING count(*) > 0;
SELECT aya_capture('INSERT', 'chunk', array_agg(uid), array_agg(NULL::bigint), array_agg(true))
FROM chunks WHERE content_sha256 IS NULL HAVING count(*) > 0;
