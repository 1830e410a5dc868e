-- name: known_places
-- Of many files those that were read before: what was read there, and the document it became.
SELECT
    p.key AS place,
    p.value AS read_sha256,
    d.id,
    (SELECT count(*) FROM chunks AS c WHERE c.document_id = d.id) AS chunk_count
FROM documents AS d
CROSS JOIN LATERAL jsonb_each_text(d.places) AS p
WHERE d.places ?| $1::text[] AND p.key = any($1::text[]);

-- name: placed_below
-- A page of the documents that were read from below a folder ($1 ends with a slash), after the id $2, by id.
SELECT
    id,
    places,
    title,
    encode(content_sha256, 'hex') AS content_sha256,
    metadata ->> 'path' AS path
FROM documents
WHERE id > $2 AND EXISTS (SELECT FROM jsonb_object_keys(places) AS place WHERE starts_with(place, $1))
ORDER BY id
LIMIT $3;

-- name: placed_at
-- The same of some paths only: files, and what lies below folders of that name.
SELECT
    id,
    places,
    title,
    encode(content_sha256, 'hex') AS content_sha256,
    metadata ->> 'path' AS path
FROM documents
WHERE
    id > $2
    AND EXISTS (
        SELECT FROM jsonb_object_keys(places) AS place, unnest($1::text[]) AS wanted
        WHERE place = wanted OR starts_with(place, wanted || '/') OR starts_with(place, wanted || '#')
    )
ORDER BY id
LIMIT $3;

-- name: count_below
-- How many documents were read from below a folder ($1 ends with a slash).
SELECT count(*)
FROM documents
WHERE EXISTS (SELECT FROM jsonb_object_keys(places) AS place WHERE starts_with(place, $1));

-- name: placed
-- One document by its id, its row held until the transaction ends.
SELECT
    id,
    places,
    title,
    encode(content_sha256, 'hex') AS content_sha256,
    metadata ->> 'path' AS path
FROM documents
WHERE id = $1 FOR NO KEY UPDATE;

-- name: leave_places
-- Files that the document is no longer read from, and what it is called after one that stays; NULL: as it was.
UPDATE documents SET
    places = places - $2::text[],
    metadata = CASE WHEN $3::text IS NULL THEN metadata ELSE jsonb_set(metadata, '{path}', to_jsonb($3::text)) END,
    title = coalesce($4, title)
WHERE id = $1;
