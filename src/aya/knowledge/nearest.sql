-- name: estimate_matching
-- About how many chunks the filters leave, and about how many there are. The documents that pass are counted, no
-- further than the limit ($6, in chunks) needs; of a few their chunks, for one of them may be a whole library. Chunks
-- without a document pass no filter.
WITH sizes AS (
    SELECT
        (SELECT greatest(r.reltuples, 1) FROM pg_class AS r WHERE r.oid = 'chunks'::regclass) AS total,
        (SELECT greatest(r.reltuples, 1) FROM pg_class AS r WHERE r.oid = 'documents'::regclass) AS documents
),

passing AS MATERIALIZED (
    SELECT d.id
    FROM documents AS d
    WHERE
        ($1::text IS NULL OR d.category = $1)
        AND ($2::text IS NULL OR d.source = $2)
        AND ($3::jsonb IS NULL OR d.metadata @> $3)
        AND ($4::timestamp IS NULL OR d.created_at >= $4)
        AND ($5::timestamp IS NULL OR d.created_at < $5)
    LIMIT (SELECT ($6::integer / greatest(1, s.total / s.documents) + 101)::bigint FROM sizes AS s)
)

SELECT
    s.total,
    CASE
        WHEN (SELECT count(*) FROM passing) <= 100
            THEN (
                SELECT count(*) FROM (
                    SELECT FROM chunks AS c
                    WHERE c.document_id = any(array(SELECT p.id FROM passing AS p LIMIT 100))
                    LIMIT $6::integer + 1
                ) AS counted
            )
        ELSE greatest(1, s.total / s.documents) * (SELECT count(*) FROM passing)
    END AS matching
FROM sizes AS s;

-- name: set_scan
-- For this transaction: how wide the graph is searched, and how far it goes on until enough rows pass the filters.
-- The planner thinks that comparing a few thousand vectors and sorting them is cheaper than the graph; it takes ten
-- times as long. To compile a query takes longer than to run it.
SELECT
    set_config('hnsw.ef_search', $1, true),
    set_config('hnsw.max_scan_tuples', $2, true),
    set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('enable_sort', 'off', true),
    set_config('jit', 'off', true);

-- name: leave_graph
-- For this transaction: what follows is planned as ever.
SELECT
    set_config('enable_sort', 'on', true),
    set_config('jit', 'off', true);

-- name: vector_all
-- The nearest chunks in the whole base, through the graph, which is of half precision; the distances are exact.
-- halfvec(768): nearest.py puts the vector's dimension in its place, for the index's expression names it, too.
SELECT
    c.id,
    c.embedding <=> $1::vector AS distance
FROM chunks AS c
WHERE c.embedding IS NOT NULL
ORDER BY c.embedding::halfvec(768) <=> $1::vector::halfvec(768)
LIMIT $2;

-- name: vector_near
-- Of the $8 nearest chunks of all, through the graph, those that pass the filters: when there are enough of them, they
-- are the nearest of those that pass.
WITH near AS MATERIALIZED (
    SELECT
        c.id,
        c.document_id,
        c.embedding <=> $1::vector AS distance
    FROM chunks AS c
    WHERE c.embedding IS NOT NULL
    ORDER BY c.embedding::halfvec(768) <=> $1::vector::halfvec(768)
    LIMIT $8
)

SELECT
    n.id,
    n.distance
FROM near AS n
INNER JOIN documents AS d ON n.document_id = d.id
WHERE
    ($3::text IS NULL OR d.category = $3)
    AND ($4::text IS NULL OR d.source = $4)
    AND ($5::jsonb IS NULL OR d.metadata @> $5)
    AND ($6::timestamp IS NULL OR d.created_at >= $6)
    AND ($7::timestamp IS NULL OR d.created_at < $7)
ORDER BY n.distance
LIMIT $2;

-- name: vector_graph
-- The nearest chunks that pass the filters, through the graph (an iterative scan): for filters that leave many rows.
SELECT
    c.id,
    c.embedding <=> $1::vector AS distance
FROM chunks AS c
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE
    c.embedding IS NOT NULL
    AND ($3::text IS NULL OR d.category = $3)
    AND ($4::text IS NULL OR d.source = $4)
    AND ($5::jsonb IS NULL OR d.metadata @> $5)
    AND ($6::timestamp IS NULL OR d.created_at >= $6)
    AND ($7::timestamp IS NULL OR d.created_at < $7)
ORDER BY c.embedding::halfvec(768) <=> $1::vector::halfvec(768)
LIMIT $2;

-- name: vector_exact
-- The nearest chunks that pass the filters, compared one by one: exact, and faster where few rows pass.
-- The `+ 0` keeps the planner off the graph.
SELECT
    c.id,
    c.embedding <=> $1::vector AS distance
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
