-- name: count_matching
-- How many chunks the filters leave, counted to one more than the limit of an exact scan.
SELECT count(*) FROM (
    SELECT
    FROM chunks AS c
    LEFT JOIN documents AS d ON c.document_id = d.id
    WHERE
        ($1::text IS NULL OR d.category = $1)
        AND ($2::text IS NULL OR d.source = $2)
        AND ($3::jsonb IS NULL OR d.metadata @> $3)
        AND ($4::timestamp IS NULL OR d.created_at >= $4)
        AND ($5::timestamp IS NULL OR d.created_at < $5)
    LIMIT $6
) AS matching;

-- name: set_scan
-- For this transaction: how wide the graph is searched, and that it goes on until enough rows pass the filters.
SELECT
    set_config('hnsw.ef_search', $1, true),
    set_config('hnsw.iterative_scan', 'relaxed_order', true);

-- name: vector_all
-- The nearest chunks in the whole base, through the graph.
SELECT
    c.id,
    c.embedding <=> $1 AS distance
FROM chunks AS c
WHERE c.embedding IS NOT NULL
ORDER BY c.embedding <=> $1
LIMIT $2;

-- name: vector_graph
-- The nearest chunks that pass the filters, through the graph (an iterative scan): for filters that leave many rows.
SELECT
    c.id,
    c.embedding <=> $1 AS distance
FROM chunks AS c
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE
    c.embedding IS NOT NULL
    AND ($3::text IS NULL OR d.category = $3)
    AND ($4::text IS NULL OR d.source = $4)
    AND ($5::jsonb IS NULL OR d.metadata @> $5)
    AND ($6::timestamp IS NULL OR d.created_at >= $6)
    AND ($7::timestamp IS NULL OR d.created_at < $7)
ORDER BY c.embedding <=> $1
LIMIT $2;

-- name: vector_exact
-- The nearest chunks that pass the filters, compared one by one: exact, and faster where few rows pass.
-- The `+ 0` keeps the planner off the graph.
SELECT
    c.id,
    c.embedding <=> $1 AS distance
FROM chunks AS c
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE
    c.embedding IS NOT NULL
    AND ($3::text IS NULL OR d.category = $3)
    AND ($4::text IS NULL OR d.source = $4)
    AND ($5::jsonb IS NULL OR d.metadata @> $5)
    AND ($6::timestamp IS NULL OR d.created_at >= $6)
    AND ($7::timestamp IS NULL OR d.created_at < $7)
ORDER BY (c.embedding <=> $1) + 0
LIMIT $2;

-- name: distances
-- The cosine distances of known chunks.
SELECT
    id,
    embedding <=> $1 AS distance
FROM chunks
WHERE id = any($2::integer[]) AND embedding IS NOT NULL;
