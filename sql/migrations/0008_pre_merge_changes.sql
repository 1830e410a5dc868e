-- nodes: air
-- What was fetched from the primary is merged here: in one call, however much it is.

-- squawk-ignore-file require-concurrent-index-creation
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
