-- name: by_index
-- For the rest of the transaction. To read all passages and compare each with the words takes ten times as long as to
-- ask the index for many of them: the words of a long passage lie in a table beside, which the planner does not reckon.
SET LOCAL enable_seqscan = off;

-- name: query_terms
-- The words of a query as PostgreSQL's English dictionary leaves them, each once, with how many chunks hold it.
WITH wanted AS (
    SELECT array_agg(lexeme ORDER BY lexeme) AS lexemes FROM unnest(to_tsvector('english', $1))
)

SELECT
    t.lexeme,
    t.frequency,
    f.total,
    aya_term(t.lexeme) AS term,
    quote_literal(t.lexeme) AS quoted
FROM wanted AS w
CROSS JOIN LATERAL aya_document_frequencies(w.lexemes) AS f
CROSS JOIN LATERAL unnest(w.lexemes, f.frequencies) AS t (lexeme, frequency)
WHERE w.lexemes IS NOT NULL;

-- name: text_search
-- The chunks that match a tsquery and pass the filters, by the inner product of what their words and the query's weigh.
-- At most $8 are looked at.
SELECT
    m.id,
    -(m.chunk_terms <#> $9::text::sparsevec) AS score
FROM (
    SELECT
        c.id,
        c.chunk_terms
    FROM chunks AS c
    LEFT JOIN documents AS d ON c.document_id = d.id
    WHERE
        c.chunk_tsv @@ $1::text::tsquery
        AND ($3::text IS NULL OR d.category = $3)
        AND ($4::text IS NULL OR d.source = $4)
        AND ($5::jsonb IS NULL OR d.metadata @> $5)
        AND ($6::timestamp IS NULL OR d.created_at >= $6)
        AND ($7::timestamp IS NULL OR d.created_at < $7)
    LIMIT $8
) AS m
ORDER BY m.chunk_terms <#> $9::text::sparsevec, m.id
LIMIT $2;

-- name: score
-- The same score for known chunks.
SELECT
    id,
    -(chunk_terms <#> $2::text::sparsevec) AS score
FROM chunks WHERE id = any($1::integer[]);
