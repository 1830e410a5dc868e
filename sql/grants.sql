-- Who may do what. Applied after every migration; a role that this server does not have is passed over.
-- aya_user owns everything. The services get only what they use.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aya_mcp') THEN
        GRANT USAGE ON SCHEMA public TO aya_mcp;
        GRANT SELECT, INSERT, DELETE ON documents TO aya_mcp;
        GRANT UPDATE (content, metadata, category, source, title) ON documents TO aya_mcp;
        GRANT SELECT, INSERT, DELETE ON chunks TO aya_mcp;
        GRANT SELECT, DELETE ON index_queue TO aya_mcp;
        GRANT SELECT ON embedding_model, schema_migrations TO aya_mcp;
        GRANT USAGE ON SEQUENCE documents_id_seq, chunks_id_seq TO aya_mcp;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aya_indexer') THEN
        GRANT USAGE ON SCHEMA public TO aya_indexer;
        GRANT SELECT ON documents TO aya_indexer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON chunks TO aya_indexer;
        GRANT SELECT, UPDATE, DELETE ON index_queue TO aya_indexer;
        GRANT SELECT ON embedding_model, reembedding, schema_migrations TO aya_indexer;
        GRANT UPDATE (rows_per_second, error) ON reembedding TO aya_indexer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON reembedding_exception TO aya_indexer;
        GRANT EXECUTE ON FUNCTION aya_switch_model(integer) TO aya_indexer;
        GRANT USAGE ON SEQUENCE chunks_id_seq TO aya_indexer;
        IF to_regclass('change_log') IS NOT NULL THEN
            GRANT EXECUTE ON FUNCTION aya_shorten_change_log(integer, bigint) TO aya_indexer;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aya_sync') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO aya_sync', current_database());
        GRANT USAGE ON SCHEMA public TO aya_sync;
        GRANT SELECT, INSERT, UPDATE, DELETE ON documents, chunks TO aya_sync;
        GRANT SELECT, DELETE ON index_queue TO aya_sync;
        GRANT SELECT ON embedding_model, reembedding, schema_migrations TO aya_sync;
        GRANT USAGE ON SEQUENCE documents_id_seq, chunks_id_seq TO aya_sync;
        IF to_regclass('change_log') IS NOT NULL THEN
            GRANT SELECT ON change_log, change_log_floor TO aya_sync;
            GRANT SELECT, INSERT, UPDATE ON receipts TO aya_sync;
            GRANT SELECT, INSERT ON conflicts, conflict_chunks TO aya_sync;
        END IF;
        IF to_regclass('sync_state') IS NOT NULL THEN
            GRANT SELECT, INSERT, UPDATE, DELETE ON write_queue TO aya_sync;
            GRANT USAGE ON SEQUENCE write_queue_id_seq TO aya_sync;
            GRANT SELECT, UPDATE ON sync_state TO aya_sync;
            GRANT SELECT, INSERT, DELETE ON sync_ring, sync_parked TO aya_sync;
            GRANT EXECUTE ON FUNCTION aya_take_model(jsonb), aya_drop_vector_index(), aya_build_vector_index() TO aya_sync;
        END IF;
    END IF;
END
$$;
