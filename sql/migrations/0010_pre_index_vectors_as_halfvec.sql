-- The vectors are indexed in half precision: half the size, the same answers (docs/adr/0020). The column stays.

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
CREATE OR REPLACE FUNCTION aya_bind_model(
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

-- Begin a move: the column, the trigger and the row that says so, all or nothing. Only the owner may.
CREATE OR REPLACE FUNCTION aya_begin_reembedding(
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

-- AIR alone has them: the end of a copy that was made anew, and the model that the primary is bound to.
DO $do$
BEGIN
    IF to_regprocedure('aya_build_vector_index()') IS NOT NULL THEN
        CREATE OR REPLACE FUNCTION aya_build_vector_index() RETURNS void
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
        CREATE OR REPLACE FUNCTION aya_take_model(taken jsonb) RETURNS void
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
    END IF;
END
$do$;

-- 0009 took the indexes away. Until they are made searches compare all rows, and writers wait.
DO $do$
DECLARE
    each record;
BEGIN
    PERFORM set_config('maintenance_work_mem', aya_vector_index_memory(), true);
    FOR each IN
        SELECT v.index_name, v.column_name
        FROM
            (
                VALUES ('idx_chunks_embedding', 'embedding'), ('idx_chunks_embedding_next', 'embedding_next')
            ) AS v (index_name, column_name)
        INNER JOIN pg_attribute AS a ON a.attrelid = 'chunks'::regclass AND v.column_name = a.attname
    LOOP
        EXECUTE aya_vector_index_statement(each.index_name, each.column_name);
    END LOOP;
END
$do$;
