-- name: state
-- How far the copy is.
SELECT
    system_identifier,
    timeline,
    snapshot::text AS snapshot,
    lsn::text AS lsn,
    fingerprint
FROM sync_state;

-- name: paused
-- Whether a person has paused the sync.
SELECT paused FROM sync_state;

-- name: standing
-- How far the copy is, the time here, and what was passed over and can be fetched now, with the chunks of such
-- documents: those that were cut from it here may be of another version. $1: so often all rows are compared; due: it is
-- time for that. $2: more rows than this are not named; many: there are more.
WITH free AS MATERIALIZED (
    SELECT
        p.table_name,
        p.uid
    FROM sync_parked AS p
    WHERE NOT EXISTS (SELECT FROM write_queue AS q WHERE q.row_uid = p.uid AND q.status <> 'done')
    LIMIT $2 + 1
),

named AS (
    SELECT
        f.table_name,
        f.uid
    FROM free AS f
    UNION
    SELECT
        'chunks' AS table_name,
        c.uid
    FROM free AS f
    INNER JOIN documents AS d ON f.uid = d.uid
    INNER JOIN chunks AS c ON d.id = c.document_id
    WHERE f.table_name = 'documents' AND c.content_sha256 IS NOT NULL
)

SELECT
    s.system_identifier,
    s.timeline,
    s.snapshot::text AS snapshot,
    s.lsn::text AS lsn,
    s.fingerprint,
    s.paused,
    clock_timestamp() AS before,
    coalesce(s.reconciled_at < now() - make_interval(secs => $1), true) AS due,
    (SELECT count(*) FROM free) > $2 AS many,
    (SELECT coalesce(array_agg(n.table_name), '{}') FROM named AS n) AS table_names,
    (SELECT coalesce(array_agg(n.uid), '{}') FROM named AS n) AS uids
FROM sync_state AS s;

-- name: prepare
-- Make the places where fetched rows wait. A crash of this server may take back what was merged last, and the cursor
-- with it: nobody waits for the disk.
SELECT
    aya_prepare_merge(),
    set_config('synchronous_commit', 'off', false);

-- name: clear
-- Nothing is staged.
TRUNCATE staged_keys, held, staged_documents, staged_chunks;

-- name: stage_keys
-- What has to be fetched: what the log named, and what was passed over before. $3: from a standby, which may not have
-- what the primary took last.
INSERT INTO staged_keys (table_name, uid)
SELECT
    k.table_name,
    k.uid
FROM unnest($1::text[], $2::uuid[]) AS k (table_name, uid)
WHERE NOT ($3 AND EXISTS (SELECT FROM sync_parked AS p WHERE (p.table_name, p.uid) = (k.table_name, k.uid)))
UNION
SELECT
    p.table_name,
    p.uid
FROM sync_parked AS p
WHERE NOT $3 AND NOT EXISTS (SELECT FROM write_queue AS q WHERE q.row_uid = p.uid AND q.status <> 'done');

-- name: parked_documents
-- Documents that were passed over, or that the primary has just answered: their chunks are fetched with them, for those
-- that are here may be of another version.
SELECT array_agg(k.uid) FROM staged_keys AS k
INNER JOIN sync_parked AS p ON k.table_name = p.table_name AND k.uid = p.uid
WHERE k.table_name = 'documents';

-- name: stage_chunks
-- The chunks of such documents, here and there; one that was typed here is a unit of its own.
INSERT INTO staged_keys (table_name, uid)
SELECT
    'chunks' AS table_name,
    c.uid
FROM chunks AS c INNER JOIN documents AS d ON c.document_id = d.id
WHERE d.uid = any($1::uuid[]) AND c.content_sha256 IS NOT NULL
UNION
SELECT
    'chunks' AS table_name,
    t.uid
FROM unnest($2::uuid[]) AS t (uid)
ON CONFLICT DO NOTHING;

-- name: keys
-- The uids to fetch, by table.
SELECT
    table_name,
    array_agg(uid) AS uids
FROM staged_keys GROUP BY table_name;

-- name: forget_ring
-- Cursors of another base, or of a branch that was left.
DELETE FROM sync_ring;

-- name: stage_all
-- Everything: what is here, and what was fetched; what is only here is gone there, unless it waits to be sent. $1: only
-- what was fetched, for the primary may have lost what is only here.
INSERT INTO staged_keys (table_name, uid)
SELECT
    'documents' AS table_name,
    uid
FROM staged_documents
UNION
SELECT
    'chunks' AS table_name,
    uid
FROM staged_chunks
UNION
SELECT
    'documents' AS table_name,
    uid
FROM documents
WHERE id > 0 AND NOT $1
UNION
SELECT
    'chunks' AS table_name,
    uid
FROM chunks
WHERE NOT $1
UNION
SELECT
    table_name,
    uid
FROM sync_parked
WHERE NOT $1;

-- name: clock
-- The time here.
SELECT clock_timestamp();

-- name: alone
-- What is fetched and what was acknowledged is written by one lane after the other; the lock goes with the transaction.
SELECT pg_advisory_xact_lock(4156, 1);

-- name: applying
-- What this transaction writes is the primary's.
SELECT set_config('aya.applying', 'pull', true);

-- name: replan
-- Few rows are merged by indexes, many are not: plans of the one are none for the other.
DISCARD PLANS;

-- name: merge
-- Bring what is staged into the tables. $1: a moment before the primary was read.
SELECT
    merged,
    only_here
FROM aya_merge($1);

-- name: advance
-- The cursor moves with its rows, in the same transaction.
SELECT aya_advance($1, $2, $3::text::pg_snapshot, $4::text::pg_lsn, $5, $6);

-- name: take_few
-- Few rows, fetched in one go, and the cursor with them.
SELECT
    few.merged,
    few.only_here,
    aya_advance($8, $9, $10::text::pg_snapshot, $11::text::pg_lsn, $12, $6)
FROM aya_take_few($1::text[], $2::uuid[], $3::text::json, $4::text::json, $5::vector[], $6, $7::uuid[]) AS few;

-- name: looked
-- There was nothing new.
UPDATE sync_state SET pulled_at = now(), error = NULL, since = NULL, reachable = true, fetching_since = NULL;

-- name: fetching
-- So much is about to be fetched; how far that is, PostgreSQL says itself (pg_stat_progress_copy).
UPDATE sync_state
SET fetching_documents = $1, fetching_chunks = $2, fetching_since = clock_timestamp();

-- name: troubled
-- Why it does not go on, and since when.
UPDATE sync_state SET error = $1, since = coalesce(since, now()), reachable = $2, fetching_since = NULL;

-- name: take_model
-- Be bound to the primary's model.
SELECT aya_take_model($1::text::jsonb);

-- name: drop_vector_index
-- A copy is faster without.
SELECT aya_drop_vector_index();

-- name: build_vector_index
-- And with it again. The search goes on meanwhile, slower.
SELECT aya_build_vector_index();

-- name: share_left
-- How much of the copy would be new: the staged chunks that are not here as they are, of all staged ones.
SELECT
    count(*) AS staged,
    count(*) FILTER (WHERE c.uid IS NULL) AS fresh
FROM staged_chunks AS s
LEFT JOIN chunks AS c ON s.uid = c.uid AND s.rev = c.rev;

-- name: resting
-- Operations that were being sent when the connection or the daemon ended are sent again: the receipts know them.
SELECT count(*) FROM write_queue WHERE status = 'sending';

-- name: take
-- The next operations to send, in order (documents are deleted after their chunks): one for each unit, none that waits
-- for one that was rejected, and no document whose chunks are still being made here (unless that takes too long).
WITH ready AS (
    SELECT n.id FROM write_queue AS n
    -- One by one, in the order of the index, until there are enough.
    INNER JOIN LATERAL (
        SELECT
            NOT EXISTS (
                SELECT FROM write_queue AS e
                WHERE e.row_uid = n.row_uid AND e.id < n.id AND e.status IN ('waiting', 'rejected')
            )
            AND (
                n.operation = 'DELETE'
                OR NOT EXISTS (
                    SELECT FROM documents AS d
                    LEFT JOIN index_queue AS i ON d.id = i.document_id
                    LEFT JOIN write_queue AS p ON n.unit = 'chunk' AND d.uid = p.row_uid AND p.status = 'rejected'
                    WHERE
                        d.id = (
                            SELECT o.id FROM documents AS o
                            WHERE n.unit = 'document' AND o.uid = n.row_uid
                            UNION ALL
                            SELECT c.document_id FROM chunks AS c
                            WHERE n.unit = 'chunk' AND c.uid = n.row_uid
                        )
                        AND (
                            p.id IS NOT NULL
                            OR (i.attempts < 3 AND i.enqueued_at >= now() - make_interval(secs => $2))
                        )
                )
            ) AS is_ready
        FROM (SELECT 1) AS one
        OFFSET 0
    ) AS r ON true
    WHERE n.status = 'waiting' AND n.row_uid IS NOT NULL AND r.is_ready
    ORDER BY n.unit = 'document' AND n.operation = 'DELETE', n.id
    LIMIT $1
),

-- One that somebody is adding to right now is not ready.
free AS (
    SELECT
        w.id,
        w.row_uid
    FROM write_queue AS w
    WHERE w.id = any((SELECT array_agg(r.id) FROM ready AS r)::integer[]) AND w.status = 'waiting'
    FOR UPDATE OF w SKIP LOCKED
)

UPDATE write_queue AS q SET status = 'sending'
FROM free AS f
LEFT JOIN chunks AS c ON f.row_uid = c.uid
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE
    q.id = f.id
    -- A chunk is not sent before its document.
    AND (
        d.id IS NULL OR aya_known_rev(d.id, d.uid, d.rev) IS NOT NULL
        OR EXISTS (SELECT FROM free AS parent WHERE parent.row_uid = d.uid) -- noqa: RF01
    );

-- name: outgoing
-- What is being sent, each with the row as it is now: the first of it, at most $1.
WITH batch AS (
    SELECT id FROM write_queue
    WHERE status = 'sending'
    ORDER BY unit = 'document' AND operation = 'DELETE', id
    LIMIT $1
)

SELECT
    q.id AS position,
    q.op_uid,
    CASE
        WHEN q.operation = 'DELETE' THEN 'delete'
        WHEN d.uid IS NULL THEN 'gone'
        ELSE 'put'
    END AS operation,
    q.unit,
    q.row_uid AS uid,
    NULL::uuid AS document_uid,
    q.base_rev,
    q.chunks_changed AND d.uid IS NOT NULL
    AND NOT EXISTS (SELECT FROM index_queue AS i WHERE i.document_id = d.id) AS indexed,
    d.content,
    d.metadata,
    d.category::text AS category,
    d.source::text AS source,
    d.created_at,
    d.updated_at,
    d.title,
    d.places
FROM write_queue AS q
LEFT JOIN documents AS d ON q.row_uid = d.uid
WHERE q.id IN (SELECT b.id FROM batch AS b) AND q.unit = 'document'
UNION ALL
SELECT
    q.id AS position,
    q.op_uid,
    CASE
        WHEN q.operation = 'DELETE' THEN 'delete'
        WHEN c.uid IS NULL THEN 'gone'
        ELSE 'put'
    END AS operation,
    q.unit,
    q.row_uid AS uid,
    d.uid AS document_uid,
    q.base_rev,
    false AS indexed,
    NULL AS content,
    NULL AS metadata,
    NULL AS category,
    NULL AS source,
    NULL AS created_at,
    NULL AS updated_at,
    NULL AS title,
    NULL AS places
FROM write_queue AS q
LEFT JOIN chunks AS c ON q.row_uid = c.uid
LEFT JOIN documents AS d ON c.document_id = d.id
WHERE q.id IN (SELECT b.id FROM batch AS b) AND q.unit = 'chunk';

-- name: outgoing_chunks
-- The chunks that go with it: those cut from a document that is being sent, and those that were typed by hand.
WITH batch AS (
    SELECT id FROM write_queue
    WHERE status = 'sending'
    ORDER BY unit = 'document' AND operation = 'DELETE', id
    LIMIT $1
)

SELECT
    q.id AS position,
    c.uid,
    c.chunk_text,
    c.embedding,
    c.chunk_index,
    c.metadata,
    c.created_at,
    c.char_start,
    c.char_end,
    c.heading,
    c.content_sha256
FROM write_queue AS q
INNER JOIN documents AS d ON q.row_uid = d.uid
INNER JOIN chunks AS c ON d.id = c.document_id
WHERE
    q.id IN (SELECT b.id FROM batch AS b) AND q.unit = 'document' AND q.operation <> 'DELETE' AND q.chunks_changed
    AND c.content_sha256 IS NOT NULL
    AND NOT EXISTS (SELECT FROM index_queue AS i WHERE i.document_id = d.id)
UNION ALL
SELECT
    q.id AS position,
    c.uid,
    c.chunk_text,
    c.embedding,
    c.chunk_index,
    c.metadata,
    c.created_at,
    c.char_start,
    c.char_end,
    c.heading,
    c.content_sha256
FROM write_queue AS q
INNER JOIN chunks AS c ON q.row_uid = c.uid
WHERE q.id IN (SELECT b.id FROM batch AS b) AND q.unit = 'chunk' AND q.operation <> 'DELETE';

-- name: fold
-- What was held has had no effect: a later change that waits takes it up. $1: operations that were held.
WITH
held AS (
    SELECT
        id,
        row_uid,
        operation,
        base_rev,
        chunks_changed
    FROM write_queue
    WHERE op_uid = any($1::uuid[]) AND captured AND status = 'sending'
),

later AS (
    UPDATE write_queue AS q
    SET
        operation = aya_collapsed(h.operation, q.operation),
        base_rev = h.base_rev,
        chunks_changed = q.chunks_changed OR h.chunks_changed
    FROM held AS h
    WHERE q.row_uid = h.row_uid AND q.captured AND q.status = 'waiting'
    RETURNING h.id
)

DELETE FROM write_queue AS q USING later AS l
WHERE q.id = l.id;

-- name: hurry
-- Whoever is changing one of the rows here is not waited for.
SELECT set_config('lock_timeout', '200ms', true);

-- name: settle
-- What became of what was sent, by operation.
WITH
verdict AS (
    SELECT
        v.op_uid,
        v.outcome,
        v.head_id,
        v.head_rev,
        v.error
    FROM
        unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::text[])
            AS v (op_uid, outcome, head_id, head_rev, error)
),

settled AS (
    UPDATE write_queue AS q
    SET
        status = CASE v.outcome WHEN 'held' THEN 'waiting' WHEN 'rejected' THEN 'rejected' ELSE 'done' END,
        synced = v.outcome NOT IN ('held', 'rejected'),
        synced_at = CASE WHEN v.outcome NOT IN ('held', 'rejected') THEN now() END,
        outcome = v.outcome, error = v.error
    FROM verdict AS v
    WHERE q.op_uid = v.op_uid AND q.status = 'sending'
    RETURNING q.id, q.row_uid, q.unit, q.operation, v.outcome, v.head_id, v.head_rev
),

parked AS (
    INSERT INTO sync_parked (table_name, uid)
    SELECT
        s.unit || 's' AS table_name,
        s.row_uid
    FROM settled AS s
    WHERE s.outcome NOT IN ('held', 'rejected')
    ON CONFLICT DO NOTHING
)

SELECT
    count(*) FILTER (WHERE outcome NOT IN ('held', 'rejected')) AS done,
    count(*) FILTER (WHERE outcome = 'rejected') AS rejected,
    count(*) FILTER (WHERE outcome IN ('won', 'lost')) AS conflicts
FROM settled;

-- name: rebase
-- A later change of the same unit was made on top of this one. After the rows are renumbered: whoever was changing one
-- is waited for there, and his change is seen here.
UPDATE write_queue AS q
SET
    base_rev = CASE
        WHEN s.outcome = 'lost' THEN -1
        -- It was deleted here before it was sent, and changed nothing there.
        WHEN v.head_rev IS NULL AND s.operation <> 'DELETE' THEN s.base_rev
        ELSE v.head_rev
    END
FROM unnest($1::uuid[], $2::bigint[]) AS v (op_uid, head_rev)
INNER JOIN write_queue AS s ON v.op_uid = s.op_uid
WHERE q.row_uid = s.row_uid AND q.id > s.id AND q.status = 'waiting' AND s.status = 'done';

-- name: unknown_documents
-- What lost here is not the primary's version, whatever its revision: nothing may be changed on top of it unseen.
UPDATE documents AS d SET rev = -1
FROM write_queue AS q
WHERE q.op_uid = any($1::uuid[]) AND q.outcome = 'lost' AND q.unit = 'document' AND d.uid = q.row_uid;

-- name: unknown_chunks
-- The same for chunks that were typed by hand.
UPDATE chunks AS c SET rev = -1
FROM write_queue AS q
WHERE q.op_uid = any($1::uuid[]) AND q.outcome = 'lost' AND q.unit = 'chunk' AND c.uid = q.row_uid;

-- name: hold_sent
-- Wait for whoever is changing a document that was just sent.
SELECT d.id FROM documents AS d
INNER JOIN write_queue AS q ON d.uid = q.row_uid
WHERE q.op_uid = any($1::uuid[])
ORDER BY d.id
FOR UPDATE OF d;

-- name: renumber_documents
-- The revisions, and the numbers, that the primary gave for what it took just now. One that has chunks gets its number
-- when they get theirs: with what is fetched next.
UPDATE documents AS d
SET
    id = CASE WHEN EXISTS (SELECT FROM chunks AS c WHERE c.document_id = d.id) THEN d.id ELSE v.head_id END,
    rev = v.head_rev
FROM unnest($1::uuid[], $2::integer[], $3::bigint[]) AS v (op_uid, head_id, head_rev)
INNER JOIN write_queue AS q ON v.op_uid = q.op_uid
WHERE
    q.unit = 'document' AND q.outcome IN ('applied', 'same', 'won') AND d.uid = q.row_uid AND v.head_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM documents AS other WHERE other.id = v.head_id AND other.uid <> d.uid) -- noqa: RF01
    AND (d.id, d.rev) IS DISTINCT FROM (v.head_id, v.head_rev);

-- name: renumber_chunks
-- The same for chunks that were typed by hand.
UPDATE chunks AS c
SET id = v.head_id, rev = v.head_rev
FROM unnest($1::uuid[], $2::integer[], $3::bigint[]) AS v (op_uid, head_id, head_rev)
INNER JOIN write_queue AS q ON v.op_uid = q.op_uid
WHERE
    q.unit = 'chunk' AND q.outcome IN ('applied', 'same', 'won') AND c.uid = q.row_uid AND v.head_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM chunks AS other WHERE other.id = v.head_id AND other.uid <> c.uid) -- noqa: RF01
    AND (c.id, c.rev) IS DISTINCT FROM (v.head_id, v.head_rev);

-- name: pushed
-- When something was last taken.
UPDATE sync_state SET pushed_at = now();

-- name: tidy
-- What was done a week ago is remembered no longer.
DELETE FROM write_queue WHERE status = 'done' AND synced_at < now() - interval '7 days';

-- name: rewind
-- Go back to the newest cursor that the new primary surely had, and send again what was acknowledged since. Returns
-- whether there was one. $1: where the old timeline ended, $2: the new timeline.
WITH
earlier AS (
    SELECT
        r.at,
        r.snapshot,
        r.lsn
    FROM sync_ring AS r
    WHERE r.lsn <= $1::text::pg_lsn AND r.timeline < $2
    ORDER BY r.at DESC LIMIT 1
),

again AS (
    UPDATE write_queue AS q
    SET status = 'waiting', synced = false, synced_at = NULL, outcome = NULL
    FROM earlier AS e
    WHERE
        q.status = 'done' AND q.synced_at >= e.at
        AND NOT EXISTS (
            SELECT FROM write_queue AS w
            WHERE
                w.row_uid = q.row_uid
                AND (
                    (w.captured AND w.status = 'waiting')
                    OR (w.status = 'done' AND w.synced_at >= e.at AND w.id > q.id) -- noqa: RF01
                )
        )
),

later AS (
    DELETE FROM sync_ring AS r USING earlier AS e
    WHERE r.at > e.at
)

UPDATE sync_state AS s
SET timeline = $2, snapshot = e.snapshot, lsn = e.lsn, reconciled_at = NULL
FROM earlier AS e
RETURNING true;

-- name: reconciled
-- All rows were compared.
UPDATE sync_state SET reconciled_at = now();

-- name: untouched
-- Which of these have nothing that waits or was passed over: whatever differs there differs for no reason. $2, $3: rows
-- with their documents, as either side has them.
SELECT u.uid
FROM unnest($2::uuid[], $3::uuid[]) AS u (uid, document_uid)
GROUP BY u.uid
HAVING
    NOT bool_or(
        EXISTS (SELECT FROM sync_parked AS p WHERE p.table_name = $1 AND p.uid = u.uid)
        OR EXISTS (
            SELECT FROM write_queue AS q
            WHERE q.status <> 'done' AND (q.row_uid = u.uid OR q.row_uid = u.document_uid)
        )
    );

-- name: fetch_again
-- These are fetched with the next look, whatever the log says.
INSERT INTO sync_parked (table_name, uid)
SELECT
    $1 AS table_name,
    u.uid
FROM unnest($2::uuid[]) AS u (uid)
ON CONFLICT DO NOTHING;

-- name: keep_documents
-- Documents that only AIR has, without a word of their deletion: they are sent like those made here.
UPDATE documents SET id = nextval('documents_id_seq') WHERE uid = any($1::uuid[]);

-- name: send_documents
-- And wait for that.
SELECT aya_capture(
    'INSERT', 'document', $1::uuid[], array_fill(NULL::bigint, ARRAY[cardinality($1::uuid[])]),
    array_fill(true, ARRAY[cardinality($1::uuid[])])
);

-- name: keep_chunks
-- The same for chunks that were typed by hand; those cut from a document go with it.
UPDATE chunks SET id = nextval('chunks_id_seq') WHERE uid = any($1::uuid[]) AND content_sha256 IS NULL RETURNING uid;

-- name: send_chunks
-- And wait for that.
SELECT aya_capture(
    'INSERT', 'chunk', $1::uuid[], array_fill(NULL::bigint, ARRAY[cardinality($1::uuid[])]),
    array_fill(true, ARRAY[cardinality($1::uuid[])])
);

-- name: drop_orphans
-- Chunks cut from a document that the primary has and has cut otherwise: they say nothing that is not there.
DELETE FROM chunks WHERE uid = any($1::uuid[]) AND content_sha256 IS NOT NULL AND document_id > 0;
