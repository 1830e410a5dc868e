-- Who may do what. Applied after every migration; a role that this server does not have is passed over.
-- aya_user owns everything. The services get only what they use.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aya_mcp') THEN
        GRANT USAGE ON SCHEMA public TO aya_mcp;
        GRANT SELECT, INSERT ON documents TO aya_mcp;
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
    END IF;
END
$$;
