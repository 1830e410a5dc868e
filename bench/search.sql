-- name: words_by_ts_rank
-- What AYA's words were before: any of them, ranked by ts_rank, which knows no rarity.
WITH wanted AS (
    SELECT string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery AS query
    FROM unnest(to_tsvector('english', $1))
)

SELECT c.id FROM wanted AS w
INNER JOIN chunks AS c ON c.chunk_tsv @@ w.query
ORDER BY ts_rank(c.chunk_tsv, w.query) DESC, c.id
LIMIT $2;

-- name: documents_of
-- The documents of chunks.
SELECT
    id,
    document_id
FROM chunks WHERE id = any($1::integer[]);

-- name: create_plan_table
-- The plan's design: one vector a document, however long it is.
CREATE TABLE plan_chunks (document_id integer PRIMARY KEY, embedding vector(384));

-- name: create_plan_index
-- As the plan has it: before there is anything in the table.
CREATE INDEX ON plan_chunks USING ivfflat (embedding vector_cosine_ops) WITH (lists = 100);

-- name: fill_plan_table
-- A batch of documents.
INSERT INTO plan_chunks SELECT
    u.id,
    u.embedding
FROM unnest($1::integer[], $2::vector[]) AS u (id, embedding);

-- name: nearest_by_plan
-- The plan's query.
SELECT document_id FROM plan_chunks ORDER BY embedding <=> $1 LIMIT 10;

-- name: all_documents
-- What was added, with the ids that the collection gives them.
SELECT
    id,
    content,
    metadata ->> 'id' AS name
FROM documents;
