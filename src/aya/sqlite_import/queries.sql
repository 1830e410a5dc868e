-- name: places_below
-- The places that begin with $2 of documents above id $1, by id and at most $3 documents: the next call goes on.
SELECT
    d.id,
    array(SELECT place FROM jsonb_object_keys(d.places) AS place WHERE starts_with(place, $2)) AS places
FROM documents AS d
WHERE d.id > $1 AND EXISTS (SELECT FROM jsonb_object_keys(d.places) AS place WHERE starts_with(place, $2))
ORDER BY d.id
LIMIT $3;
