-- name: plan_for_values
-- For this transaction: the filters are parameters that may be NULL; only a plan for their values can use the indexes.
-- A page that is asked for by an index is in memory as a rule, or on a drive that does not turn: with the default of 4,
-- a tenth of the passages is taken for so many that all are read.
SELECT
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('random_page_cost', '1.1', true);

-- name: pieces
-- Where chunks stand in their documents, in the order of the ids given, and whether those still say what they say.
SELECT
    c.id,
    c.document_id,
    coalesce(c.chunk_index, 0) AS chunk_index,
    coalesce(c.content_sha256 = d.content_sha256 AND c.char_start IS NOT NULL, FALSE) AS joinable
FROM unnest($1::integer[]) WITH ORDINALITY AS w (id, place)
INNER JOIN chunks AS c ON w.id = c.id
LEFT JOIN documents AS d ON c.document_id = d.id
ORDER BY w.place;

-- name: hits
-- What a hit shows, for the chunks in $1, each the best of a passage that reaches from the chunk in $2 to that in $3.
SELECT
    c.id AS chunk_id,
    c.document_id,
    c.heading,
    f.char_start,
    l.char_end,
    d.title,
    (SELECT min(place) FROM jsonb_object_keys(d.places) AS place) AS uri,
    d.category,
    d.source,
    coalesce(c.chunk_index, 0) AS chunk_index,
    CASE WHEN f.id = l.id THEN c.chunk_text ELSE substr(d.content, f.char_start + 1, l.char_end - f.char_start) END
        AS chunk_text,
    coalesce(d.metadata, '{}') AS metadata,
    coalesce(d.created_at, c.created_at) AS created_at,
    coalesce(d.content, c.chunk_text) AS document_content
FROM unnest($1::integer[], $2::integer[], $3::integer[]) AS w (id, first_id, last_id)
INNER JOIN chunks AS c ON w.id = c.id
INNER JOIN chunks AS f ON w.first_id = f.id
INNER JOIN chunks AS l ON w.last_id = l.id
LEFT JOIN documents AS d ON c.document_id = d.id;

-- name: centre
-- The mean of a document's vectors, NULL while it has none, and how many they are; no row when there is no document.
SELECT
    (SELECT avg(embedding) FROM chunks WHERE document_id = d.id) AS vector,
    (SELECT count(*) FROM chunks WHERE document_id = d.id) AS chunk_count
FROM documents AS d WHERE d.id = $1;

-- name: of_document
-- Which of these chunks belong to a document.
SELECT id FROM chunks WHERE id = any($1::integer[]) AND document_id = $2;
