-- name: plan_for_values
-- For this transaction: the filters are parameters that may be NULL, and only a plan for their values can use the indexes.
SET LOCAL plan_cache_mode = 'force_custom_plan';

-- name: hits
-- What a hit shows, for chunk ids.
SELECT
    c.id AS chunk_id,
    c.document_id,
    c.chunk_text,
    c.heading,
    c.char_start,
    c.char_end,
    d.title,
    (SELECT min(place) FROM jsonb_object_keys(d.places) AS place) AS uri,
    d.category,
    d.source,
    coalesce(c.chunk_index, 0) AS chunk_index,
    coalesce(d.metadata, '{}') AS metadata,
    coalesce(d.created_at, c.created_at) AS created_at,
    coalesce(d.content, c.chunk_text) AS document_content
FROM chunks AS c
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE c.id = any($1::integer[]);
