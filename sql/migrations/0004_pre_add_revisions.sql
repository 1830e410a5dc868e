-- What a node needs to take over rows as another node has them.

-- For whom a session writes. '': for itself, a person or a service. 'pull': it copies what the primary has, so that
-- revisions, hashes and times are the primary's, and nothing is queued for the indexer. 'queue': it makes a document of
-- a row that was typed into AIR's write_queue.
CREATE FUNCTION aya_applying() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('aya.applying', true), '');
$$;

CREATE OR REPLACE FUNCTION aya_documents_before_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF aya_applying() = 'pull' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' OR NEW.content IS DISTINCT FROM OLD.content THEN
        NEW.content_sha256 := sha256(convert_to(NEW.content, 'UTF8'));
        NEW.content_changed_at := now();
    ELSE
        NEW.content_sha256 := OLD.content_sha256;
        NEW.content_changed_at := OLD.content_changed_at;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW IS DISTINCT FROM OLD THEN
        NEW.rev := OLD.rev + 1;
        IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
            NEW.updated_at := now();
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION aya_documents_after_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF aya_applying() <> 'pull' THEN
        PERFORM aya_enqueue_document(NEW.id);
    END IF;
    RETURN NULL;
END
$$;

-- A text that is changed by hand loses the vector of the former one, and is its author's own from then on.
CREATE OR REPLACE FUNCTION aya_chunks_before_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF aya_applying() = 'pull' THEN
        RETURN NEW;
    END IF;
    IF NEW.chunk_text IS DISTINCT FROM OLD.chunk_text AND NEW.embedding IS NOT DISTINCT FROM OLD.embedding THEN
        NEW.embedding := NULL;
        NEW.content_sha256 := NULL;
    END IF;
    -- By name: a move to another model has a column of its own, which is nobody's revision.
    IF (NEW.document_id, NEW.chunk_text, NEW.embedding, NEW.chunk_index, NEW.metadata, NEW.created_at,
        NEW.char_start, NEW.char_end, NEW.heading, NEW.content_sha256)
        IS DISTINCT FROM
        (OLD.document_id, OLD.chunk_text, OLD.embedding, OLD.chunk_index, OLD.metadata, OLD.created_at,
        OLD.char_start, OLD.char_end, OLD.heading, OLD.content_sha256)
    THEN
        NEW.rev := OLD.rev + 1;
    END IF;
    RETURN NEW;
END
$$;

-- A chunk that still has no vector is queued already; a move that gives it one of the next model queues it no more.
CREATE OR REPLACE FUNCTION aya_chunks_after_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Asked here and not in a WHEN clause, which would nail down the type of the column embedding.
    IF NEW.embedding IS NULL AND NEW.document_id IS NOT NULL AND aya_applying() <> 'pull' THEN
        IF TG_OP = 'UPDATE' THEN
            IF OLD.embedding IS NULL AND OLD.chunk_text = NEW.chunk_text AND OLD.document_id = NEW.document_id THEN
                RETURN NULL;
            END IF;
        END IF;
        PERFORM aya_enqueue_document(NEW.document_id);
    END IF;
    RETURN NULL;
END
$$;
