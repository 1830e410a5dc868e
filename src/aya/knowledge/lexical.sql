-- name: text_search
-- The chunks that hold any of the query's words, ranked; an AND finds nothing for most natural questions.
WITH wanted AS (
    -- Built from lexemes that are already normalised, so cast, not parsed again; quoted as tsquery's syntax wants.
    SELECT string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery AS query
    FROM unnest(to_tsvector('english', $1))
)

SELECT c.id
FROM wanted AS w
INNER JOIN chunks AS c ON c.chunk_tsv @@ w.query
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE
    ($3::text IS NULL OR d.category = $3)
    AND ($4::text IS NULL OR d.source = $4)
    AND ($5::jsonb IS NULL OR d.metadata @> $5)
    AND ($6::timestamp IS NULL OR d.created_at >= $6)
    AND ($7::timestamp IS NULL OR d.created_at < $7)
ORDER BY ts_rank(c.chunk_tsv, w.query) DESC, c.id
LIMIT $2;
