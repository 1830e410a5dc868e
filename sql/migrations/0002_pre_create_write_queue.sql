-- nodes: air
-- What was written on AIR while offline, waiting for the primary. The contract's three-column INSERT works by hand.

CREATE TABLE write_queue (
    id serial PRIMARY KEY,
    operation varchar(10),
    table_name varchar(50),
    data jsonb,
    created_at timestamp DEFAULT now(),
    synced boolean DEFAULT false
);

CREATE INDEX idx_write_queue_synced ON write_queue (id) WHERE NOT synced;
