-- name: shape
-- The columns of the tables of the plan, as far as they are there.
SELECT table_name::text AS table_name, column_name::text AS column_name
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name IN ('documents', 'chunks', 'schema_migrations');

-- name: digest
-- What is to be the same on both sides: how many documents and chunks, and a sum over their texts and numbers.
SELECT
    (SELECT count(*) FROM public.documents) AS documents,
    (SELECT count(*) FROM public.chunks) AS chunks,
    (
        SELECT sum(('x' || left(md5(d.id || ':' || d.content), 15))::bit(60)::bigint::numeric)::text
        FROM public.documents AS d
    ) AS texts,
    (
        SELECT sum(('x' || left(md5(c.said), 15))::bit(60)::bigint::numeric)::text
        FROM (SELECT concat_ws(':', id, document_id, chunk_text) AS said FROM public.chunks) AS c
    ) AS pieces;

-- name: next_numbers
-- New rows get numbers after those that were brought.
SELECT
    setval('public.documents_id_seq', greatest((SELECT max(id) FROM public.documents), 1)),
    setval('public.chunks_id_seq', greatest((SELECT max(id) FROM public.chunks), 1));

-- name: role
-- In our copy of a data directory: who enters it, whatever its owner was called. The statement for single-user mode.
CREATE ROLE aya_adopting SUPERUSER LOGIN;
