-- BM25 in PostgreSQL itself: beside the words of a chunk, the weight of each, so that a passage's score is one inner
-- product. The words of the headings above a passage count as its own. Rewrites chunks once.
-- squawk-ignore-file require-concurrent-index-deletion, ban-drop-column, adding-field-with-default
-- squawk-ignore-file require-concurrent-index-creation
-- (the column is written anew whatever is done, and nobody but AYA's own searches reads it)

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

-- All rows are written anew here, so that they get the shape that 0010 is about: vectors stay in their rows, two of the
-- usual size to a page, for to fetch one from a table beside takes three times as long as to compare it. The indexes on
-- the vectors, which would be made again on the way, come back with 0010.
ALTER TABLE chunks SET (toast_tuple_target = 4080);
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'chunks'::regclass AND attname = 'embedding_next') THEN
        ALTER TABLE chunks ALTER COLUMN embedding_next SET STORAGE MAIN;
    END IF;
END
$$;
DROP INDEX IF EXISTS idx_chunks_embedding, idx_chunks_embedding_next;

DROP INDEX idx_chunks_tsv;
ALTER TABLE chunks DROP COLUMN chunk_tsv;
ALTER TABLE chunks
ADD COLUMN chunk_tsv tsvector GENERATED ALWAYS AS (
    to_tsvector('english', left(coalesce(heading || E'\n', '') || chunk_text, 200000))
) STORED,
ADD COLUMN chunk_terms sparsevec GENERATED ALWAYS AS (
    aya_term_weights(to_tsvector('english', left(coalesce(heading || E'\n', '') || chunk_text, 200000)))
) STORED;
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

-- A column that is new has no statistics, and nothing has changed for autovacuum to make them.
ANALYZE chunks;
