-- What the schema is now: the truth that the replayed migrations are compared with (tests/migration/test_schema.py).
-- On every node; schema_primary.sql is what the servers have beside it, schema_air.sql what AIR has.
-- schema_migrations is the runner's own table.

-- Row identity across nodes: time-ordered where the server has uuidv7 (PostgreSQL 18), random on 16 and 17.
DO $$
BEGIN
    IF to_regprocedure('pg_catalog.uuidv7()') IS NOT NULL THEN
        CREATE FUNCTION aya_new_uid() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT uuidv7()';
    ELSE
        CREATE FUNCTION aya_new_uid() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT gen_random_uuid()';
    END IF;
END
$$;

CREATE TABLE documents (
    id serial PRIMARY KEY,
    content text NOT NULL,
    metadata jsonb DEFAULT '{}',
    category varchar(50) DEFAULT 'general',
    source varchar(100),
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now(),
    uid uuid NOT NULL DEFAULT aya_new_uid() UNIQUE,
    rev bigint NOT NULL DEFAULT 1,
    title text,
    -- the files it was read from: absolute path → SHA-256 (hex) of what was read there; several files of equal content
    -- are one document, and a document edited here is told from its file by the hash
    places jsonb NOT NULL DEFAULT '{}',
    -- set by trigger; equal content is the same document to `aya add` and the MCP server
    content_sha256 bytea NOT NULL,
    content_changed_at timestamp NOT NULL DEFAULT now()
);

CREATE INDEX idx_documents_category ON documents (category);
CREATE INDEX idx_documents_created_at ON documents (created_at DESC);
CREATE INDEX idx_documents_source ON documents (source);
CREATE INDEX idx_documents_metadata ON documents USING gin (metadata jsonb_path_ops);
CREATE INDEX idx_documents_content_sha256 ON documents (content_sha256);
CREATE INDEX idx_documents_places ON documents USING gin (places);

-- A lexeme's place in the vector of all lexemes; two that share one are taken for the same (one pair in a billion).
CREATE FUNCTION aya_term(lexeme text) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (hashtext(lexeme) & 2147483647) % 1000000000 + 1;

-- What each lexeme of a passage weighs by BM25 (Robertson and Zaragoza, 2009) with k1 = 1.2 and b = 0.75; its rarity is
-- the query's part. In thousandths. The average length is a constant, that of the chunks AYA cuts, so that a weight
-- depends on nothing but its passage and is the same on every node. A vector holds 16,000 at most: the most frequent.
CREATE FUNCTION aya_term_weights(words tsvector) RETURNS sparsevec LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT ('{' || coalesce(string_agg(t.term || ':' || t.weight, ','), '') || '}/1000000000')::sparsevec
    FROM (
        SELECT
            c.term,
            (2200 * c.times / (c.times + 1.2 * (0.25 + 0.75 * sum(c.times) OVER () / 80)))::integer AS weight
        FROM (
            SELECT
                aya_term(w.lexeme) AS term,
                sum(cardinality(w.positions))::float8 AS times
            FROM unnest(words) AS w
            GROUP BY aya_term(w.lexeme)
        ) AS c
        ORDER BY c.times DESC, c.term
        LIMIT 16000
    ) AS t
);

CREATE TABLE chunks (
    id serial PRIMARY KEY,
    document_id integer REFERENCES documents (id) ON DELETE CASCADE,
    chunk_text text NOT NULL,
    -- its dimension follows the model: aya_bind_model() sets it while no vector is stored
    embedding vector(768),
    chunk_index integer DEFAULT 0,
    metadata jsonb DEFAULT '{}',
    created_at timestamp DEFAULT now(),
    uid uuid NOT NULL DEFAULT aya_new_uid() UNIQUE,
    rev bigint NOT NULL DEFAULT 1,
    -- position in documents.content, in characters: [char_start, char_end)
    char_start integer,
    char_end integer,
    heading text,
    -- the content this chunk was cut from; NULL: typed by hand, and never replaced by the indexer
    content_sha256 bytea,
    -- left(): a tsvector ends at 1 MiB, and a row typed by hand must not fail for it
    chunk_tsv tsvector GENERATED ALWAYS AS (
        to_tsvector('english', left(coalesce(heading || E'\n', '') || chunk_text, 200000))
    ) STORED,
    chunk_terms sparsevec GENERATED ALWAYS AS (
        aya_term_weights(to_tsvector('english', left(coalesce(heading || E'\n', '') || chunk_text, 200000)))
    ) STORED
);

-- Vectors stay in their rows, two of the usual size to a page: to fetch one from a table beside takes three times as
-- long as to compare it.
ALTER TABLE chunks SET (toast_tuple_target = 4080);
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;

-- aya_vector_index_statement() says what kind it is; a query takes it by the same expression
CREATE INDEX idx_chunks_embedding ON chunks USING hnsw ((embedding::halfvec(768)) halfvec_cosine_ops)
WITH (m = 16, ef_construction = 128);
CREATE INDEX idx_chunks_document_id ON chunks (document_id);
CREATE INDEX idx_chunks_tsv ON chunks USING gin (chunk_tsv);

-- How many chunks there are, and how many hold each of the lexemes, in their order. Frequent ones are told by the
-- planner's statistics, which are as old as the last ANALYZE; the others are counted, for they are few.
CREATE FUNCTION aya_document_frequencies(lexemes text[], OUT total bigint, OUT frequencies bigint[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    frequent jsonb;
    share float8;
    found bigint;
    wanted text;
BEGIN
    SELECT CASE
        WHEN c.reltuples <= 0 OR pg_relation_size(c.oid) < 33554432 THEN (SELECT count(*) FROM chunks)
        ELSE c.reltuples / greatest(c.relpages, 1) * pg_relation_size(c.oid) / 8192
    END INTO total FROM pg_class AS c WHERE c.oid = 'chunks'::regclass;
    SELECT jsonb_object_agg(e.lexeme, e.share) INTO frequent
    FROM pg_stats AS s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS e (lexeme, share)
    WHERE s.schemaname = (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'chunks'::regclass)
        AND s.tablename = 'chunks' AND s.attname = 'chunk_tsv' AND e.lexeme = ANY (lexemes);
    frequencies := '{}';
    FOREACH wanted IN ARRAY lexemes LOOP
        share := (frequent ->> wanted)::float8;
        IF share IS NOT NULL THEN
            found := greatest(1, round(share * total));
        ELSE
            EXECUTE 'SELECT count(*) FROM (SELECT FROM chunks WHERE chunk_tsv @@ $1 LIMIT 20000) AS few'
            INTO found USING (quote_literal(wanted))::tsquery;
        END IF;
        frequencies := frequencies || found;
    END LOOP;
END
$$;

-- What still has to be chunked or embedded. `aya add` and the MCP server bring their vectors along and
-- take their row out in the same transaction; rows typed in psql wait here for the indexer.
CREATE TABLE index_queue (
    document_id integer PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    -- also a ticket: only who took this value may take the row out, so a change in the meantime is not lost
    enqueued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- a second's grace: whoever types a document often types its chunks right after it
    retry_at timestamptz NOT NULL DEFAULT now() + interval '1 second',
    attempts integer NOT NULL DEFAULT 0,
    error text
);

CREATE INDEX idx_index_queue_retry_at ON index_queue (retry_at);

-- Which model made the vectors: one row, or none before the first model is bound.
CREATE TABLE embedding_model (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    fingerprint text NOT NULL,
    model text NOT NULL,
    revision text NOT NULL,
    dimension integer NOT NULL CHECK (dimension > 0),
    pooling text NOT NULL,
    normalized boolean NOT NULL,
    query_prefix text NOT NULL,
    document_prefix text NOT NULL,
    max_tokens integer NOT NULL CHECK (max_tokens > 0),
    bound_at timestamptz NOT NULL DEFAULT now(),
    -- what AYA_MODEL would say: whoever finds the model missing in an embedder has it loaded by this
    source text
);

-- The move under way: one row, or none. The model it goes to, by whom, and how it fares.
CREATE TABLE reembedding (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    source text NOT NULL,
    fingerprint text NOT NULL,
    model text NOT NULL,
    revision text NOT NULL,
    dimension integer NOT NULL CHECK (dimension > 0),
    pooling text NOT NULL,
    normalized boolean NOT NULL,
    query_prefix text NOT NULL,
    document_prefix text NOT NULL,
    max_tokens integer NOT NULL CHECK (max_tokens > 0),
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused')),
    requested_by text NOT NULL DEFAULT session_user,
    started_at timestamptz NOT NULL DEFAULT now(),
    rows_per_second real,
    -- why it does not advance right now; NULL: it does
    error text
);

-- Chunks that the new model cannot take as they are. They hold nobody up; their documents are queued after the move.
-- No foreign key: whoever types TRUNCATE chunks may go on doing so. What is noted of chunks that are gone is harmless.
CREATE TABLE reembedding_exception (
    chunk_id integer PRIMARY KEY,
    -- why it has no vector; NULL: it has one, of its beginning, for it is longer than the model's window
    error text
);

-- For whom a session writes. '': for itself, a person or a service. 'pull': it copies what the primary has, so that
-- revisions, hashes and times are the primary's, and nothing is queued for the indexer. 'queue': it makes a document of
-- a row that was typed into AIR's write_queue.
CREATE FUNCTION aya_applying() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('aya.applying', true), '');
$$;

CREATE FUNCTION aya_documents_before_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF aya_applying() = 'pull' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' OR NEW.content IS DISTINCT FROM OLD.content THEN
        NEW.content_sha256 := sha256(convert_to(NEW.content, 'UTF8'));
        NEW.content_changed_at := now();
    ELSE
        NEW.content_sha256 := OLD.content_sha256;
        NEW.content_changed_at := OLD.content_changed_at;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW IS DISTINCT FROM OLD THEN
        NEW.rev := OLD.rev + 1;
        IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
            NEW.updated_at := now();
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER documents_before_write BEFORE INSERT OR UPDATE ON documents
FOR EACH ROW EXECUTE FUNCTION aya_documents_before_write();

CREATE FUNCTION aya_enqueue_document(wanted_id integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO index_queue (document_id) VALUES (wanted_id)
    ON CONFLICT (document_id) DO UPDATE
    SET enqueued_at = excluded.enqueued_at, retry_at = excluded.retry_at, attempts = 0, error = NULL;
    SELECT pg_notify('aya_index', wanted_id::text);
$$;

CREATE FUNCTION aya_documents_after_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF aya_applying() <> 'pull' THEN
        PERFORM aya_enqueue_document(NEW.id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER documents_after_insert AFTER INSERT ON documents
FOR EACH ROW EXECUTE FUNCTION aya_documents_after_write();

CREATE TRIGGER documents_after_content_update AFTER UPDATE ON documents
FOR EACH ROW WHEN (old.content_sha256 IS DISTINCT FROM new.content_sha256)
EXECUTE FUNCTION aya_documents_after_write();

-- A text that is changed by hand loses the vector of the former one, and is its author's own from then on.
CREATE FUNCTION aya_chunks_before_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF aya_applying() = 'pull' THEN
        RETURN NEW;
    END IF;
    IF NEW.chunk_text IS DISTINCT FROM OLD.chunk_text AND NEW.embedding IS NOT DISTINCT FROM OLD.embedding THEN
        NEW.embedding := NULL;
        NEW.content_sha256 := NULL;
    END IF;
    -- By name: a move to another model has a column of its own, which is nobody's revision.
    IF (NEW.document_id, NEW.chunk_text, NEW.embedding, NEW.chunk_index, NEW.metadata, NEW.created_at,
        NEW.char_start, NEW.char_end, NEW.heading, NEW.content_sha256)
        IS DISTINCT FROM
        (OLD.document_id, OLD.chunk_text, OLD.embedding, OLD.chunk_index, OLD.metadata, OLD.created_at,
        OLD.char_start, OLD.char_end, OLD.heading, OLD.content_sha256)
    THEN
        NEW.rev := OLD.rev + 1;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER chunks_before_update BEFORE UPDATE ON chunks
FOR EACH ROW EXECUTE FUNCTION aya_chunks_before_update();

-- A chunk that still has no vector is queued already; a move that gives it one of the next model queues it no more.
CREATE FUNCTION aya_chunks_after_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Asked here and not in a WHEN clause, which would nail down the type of the column embedding.
    IF NEW.embedding IS NULL AND NEW.document_id IS NOT NULL AND aya_applying() <> 'pull' THEN
        IF TG_OP = 'UPDATE' THEN
            IF OLD.embedding IS NULL AND OLD.chunk_text = NEW.chunk_text AND OLD.document_id = NEW.document_id THEN
                RETURN NULL;
            END IF;
        END IF;
        PERFORM aya_enqueue_document(NEW.document_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER chunks_after_write AFTER INSERT OR UPDATE ON chunks
FOR EACH ROW EXECUTE FUNCTION aya_chunks_after_write();

-- The statement that makes the index of a column of vectors, with the options of the present one, if that is a graph,
-- too. The one place that says what kind of index it is; its dimension is the column's.
CREATE FUNCTION aya_vector_index_statement(index_name text, column_name text, how text DEFAULT '') RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'CREATE INDEX %s %I ON chunks USING hnsw ((%I::halfvec(%s)) halfvec_cosine_ops) WITH (%s)',
        how, index_name, column_name, a.atttypmod,
        coalesce((
            SELECT array_to_string(c.reloptions, ', ') FROM pg_class AS c
            INNER JOIN pg_am AS m ON c.relam = m.oid
            WHERE c.oid = to_regclass('idx_chunks_embedding') AND m.amname = 'hnsw'
        ), 'm=16, ef_construction=128')
    )
    FROM pg_attribute AS a WHERE a.attrelid = 'chunks'::regclass AND a.attname = column_name;
$$;

-- What building it takes of memory, in kilobytes (maintenance_work_mem): all of the graph, or it takes many times as
-- long; between 64 MB and 8 GB.
CREATE FUNCTION aya_vector_index_memory() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT least(8388608, greatest(65536, c.reltuples::bigint * (2 * a.atttypmod + 600) / 1024))::text
    FROM pg_class AS c
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attname = 'embedding'
    WHERE c.oid = 'chunks'::regclass;
$$;

-- Bind the database to a model: sets the vector column's dimension, refuses while vectors of another are stored.
CREATE FUNCTION aya_bind_model(
    new_fingerprint text, new_model text, new_revision text, new_dimension integer, new_pooling text,
    new_normalized boolean, new_query_prefix text, new_document_prefix text, new_max_tokens integer,
    new_source text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    stored_dimension integer;
    was_indexed boolean := to_regclass('idx_chunks_embedding') IS NOT NULL;
BEGIN
    IF EXISTS (SELECT FROM embedding_model WHERE fingerprint = new_fingerprint) THEN
        UPDATE embedding_model SET source = new_source
        WHERE new_source IS NOT NULL AND source IS DISTINCT FROM new_source;
        RETURN;
    END IF;
    LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM embedding_model) AND EXISTS (SELECT FROM chunks WHERE embedding IS NOT NULL) THEN
        RAISE EXCEPTION 'the stored vectors were made by another model' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT atttypmod INTO stored_dimension FROM pg_attribute
    WHERE attrelid = 'chunks'::regclass AND attname = 'embedding';
    IF stored_dimension <> new_dimension THEN
        -- The index says the dimension, too.
        DROP INDEX IF EXISTS idx_chunks_embedding;
        EXECUTE format('ALTER TABLE chunks ALTER COLUMN embedding TYPE vector(%s)', new_dimension);
        -- A new type has its own storage.
        ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
        IF was_indexed THEN
            EXECUTE aya_vector_index_statement('idx_chunks_embedding', 'embedding');
        END IF;
    END IF;
    DELETE FROM embedding_model;
    INSERT INTO embedding_model
        (fingerprint, model, revision, dimension, pooling, normalized, query_prefix, document_prefix, max_tokens, source)
    VALUES
        (new_fingerprint, new_model, new_revision, new_dimension, new_pooling, new_normalized,
         new_query_prefix, new_document_prefix, new_max_tokens, new_source);
END
$$;

-- A text that changes during a move loses its next vector, too. The trigger that calls this lives as long as the move.
CREATE FUNCTION aya_chunks_forget_next() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    NEW.embedding_next := NULL;
    DELETE FROM reembedding_exception WHERE chunk_id = NEW.id;
    RETURN NEW;
END
$$;

-- Queue the documents of at most so many (NULL: all) chunks that the last move could not take as they were, and mark
-- those chunks that were cut from a document as stale: the indexer cuts them anew. Returns how many it was.
CREATE FUNCTION aya_queue_exceptions(most integer) RETURNS bigint LANGUAGE sql AS $$
    WITH taken AS (
        -- The chunks first, and none that somebody else writes: nobody waits in a circle.
        SELECT c.id, c.document_id FROM chunks AS c
        INNER JOIN reembedding_exception AS e ON c.id = e.chunk_id
        ORDER BY c.id LIMIT most
        FOR NO KEY UPDATE OF c SKIP LOCKED
    ), stale AS (
        UPDATE chunks SET content_sha256 = ''
        WHERE id IN (SELECT id FROM taken) AND content_sha256 IS NOT NULL
    ), forgotten AS (
        DELETE FROM reembedding_exception AS e
        WHERE e.chunk_id IN (SELECT id FROM taken) OR NOT EXISTS (SELECT FROM chunks AS c WHERE c.id = e.chunk_id)
    ), queued AS (
        SELECT aya_enqueue_document(document_id)
        FROM (SELECT DISTINCT document_id FROM taken WHERE document_id IS NOT NULL) AS concerned
    )
    SELECT (SELECT count(*) FROM taken) + 0 * (SELECT count(*) FROM queued);
$$;

-- Begin a move: the column, the trigger and the row that says so, all or nothing. Only the owner may.
CREATE FUNCTION aya_begin_reembedding(
    new_fingerprint text, new_model text, new_revision text, new_dimension integer, new_pooling text,
    new_normalized boolean, new_query_prefix text, new_document_prefix text, new_max_tokens integer, new_source text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Before anything else is locked, as every writer does: nobody waits in a circle.
    LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE;
    PERFORM aya_queue_exceptions(NULL);
    INSERT INTO reembedding
        (fingerprint, model, revision, dimension, pooling, normalized, query_prefix, document_prefix, max_tokens, source)
    VALUES
        (new_fingerprint, new_model, new_revision, new_dimension, new_pooling, new_normalized,
         new_query_prefix, new_document_prefix, new_max_tokens, new_source);
    EXECUTE format('ALTER TABLE chunks ADD COLUMN embedding_next vector(%s)', new_dimension);
    ALTER TABLE chunks ALTER COLUMN embedding_next SET STORAGE MAIN;
    CREATE TRIGGER chunks_forget_next BEFORE UPDATE ON chunks
    FOR EACH ROW WHEN (old.chunk_text IS DISTINCT FROM new.chunk_text)
    EXECUTE FUNCTION aya_chunks_forget_next();
END
$$;

-- Give a move up: nothing of it is left. False when there was none. Only the owner may.
CREATE FUNCTION aya_cancel_reembedding() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE;
    DELETE FROM reembedding;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM reembedding_exception;
    DROP TRIGGER chunks_forget_next ON chunks;
    -- its indexes go with it
    ALTER TABLE chunks DROP COLUMN embedding_next;
    PERFORM pg_notify('aya_index', '');
    RETURN true;
END
$$;

-- Whether the move's indexes are there and whole.
CREATE FUNCTION aya_reembedding_is_prepared() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT count(*) = 2 FROM pg_index
    WHERE
        indexrelid IN (to_regclass('idx_chunks_embedding_next'), to_regclass('idx_chunks_without_next'))
        AND indisvalid;
$$;

-- The end of a move: the next column takes the place of the old one, in one step and however large the table is.
-- Returns true when that is done; false, and nothing is changed, while there is no move that runs and is prepared, or
-- more than `most_left` chunks have no next vector yet. So many may stay without: their documents are queued. A chunk
-- that has no document may not: nobody would ever come back to it.
-- Raises object_not_in_prerequisite_state when the next model refused more chunks that have a vector now than a base
-- can spare: ten, or one in a hundred. A model that embeds nothing must not take the place of one that does.
CREATE FUNCTION aya_switch_model(most_left integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    missing integer[];
    refused bigint;
BEGIN
    LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM reembedding WHERE state = 'running') OR NOT aya_reembedding_is_prepared() THEN
        RETURN false;
    END IF;
    SELECT array_agg(left_over.document_id) INTO missing FROM (
        SELECT c.document_id FROM chunks AS c
        WHERE
            c.embedding_next IS NULL
            AND NOT EXISTS (SELECT FROM reembedding_exception AS e WHERE e.chunk_id = c.id)
        LIMIT most_left + 1
    ) AS left_over;
    IF cardinality(missing) > most_left OR array_position(missing, NULL) > 0 THEN
        RETURN false;
    END IF;
    SELECT count(*) INTO refused FROM reembedding_exception AS e
    INNER JOIN chunks AS c ON e.chunk_id = c.id
    WHERE e.error IS NOT NULL AND c.embedding IS NOT NULL;
    IF refused > 10 THEN
        IF refused > (SELECT count(*) / 100 FROM chunks) THEN
            RAISE EXCEPTION 'the next model refused % chunks, which would lose their vectors', refused
            USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    PERFORM aya_enqueue_document(id) FROM documents WHERE id = any(missing);
    DROP TRIGGER chunks_forget_next ON chunks;
    DROP INDEX idx_chunks_without_next;
    -- its index goes with it
    ALTER TABLE chunks DROP COLUMN embedding;
    ALTER TABLE chunks RENAME COLUMN embedding_next TO embedding;
    ALTER INDEX idx_chunks_embedding_next RENAME TO idx_chunks_embedding;
    DELETE FROM embedding_model;
    INSERT INTO embedding_model
        (fingerprint, model, revision, dimension, pooling, normalized, query_prefix, document_prefix, max_tokens, source)
    SELECT
        fingerprint, model, revision, dimension, pooling, normalized, query_prefix, document_prefix, max_tokens, source
    FROM reembedding;
    DELETE FROM reembedding;
    PERFORM pg_notify('aya_index', '');
    RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION aya_switch_model(integer) FROM public;
-- Whoever may call it as a trigger of a table of his own deletes with the owner's rights; as a trigger of chunks it
-- runs all the same.
REVOKE EXECUTE ON FUNCTION aya_chunks_forget_next() FROM public;
