-- sqlfluff:dialect:sqlite
-- The persistent tier of the vector cache: one SQLite file, read and written by disk_cache.py.

-- name: create_vectors
-- Vectors by 64 bits of the hash of what decides them. seal: 64 bits over that hash, vector and tokens; used: the hour
-- of the last use.
CREATE TABLE IF NOT EXISTS vectors (
    id integer PRIMARY KEY,
    key integer NOT NULL UNIQUE,
    vector blob NOT NULL,
    tokens integer NOT NULL,
    seal integer NOT NULL,
    used integer NOT NULL
);

-- name: create_order_of_use
-- Finds what was used longest ago, without reading the vectors.
CREATE INDEX IF NOT EXISTS vectors_by_use ON vectors (used);

-- name: read_vectors
-- Return the rows of many keys at once; the parameter is a JSON array of them.
SELECT
    key,
    vector,
    tokens,
    seal,
    used
FROM vectors
WHERE key IN (SELECT value FROM json_each(?));

-- name: write_vector
-- Keep a vector. An older one of the same key is the same, or was damaged.
INSERT OR REPLACE INTO vectors (key, vector, tokens, seal, used)
VALUES (?, ?, ?, ?, ?);

-- name: touch_vector
-- Say that a vector was used in another hour.
UPDATE vectors SET used = ? WHERE key = ?;

-- name: delete_oldest
-- Forget those that were used longest ago.
DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY used, id LIMIT ?);

-- name: read_size
-- Return how many pages the file has, how many of them are free, and how large they are.
SELECT
    page_count,
    freelist_count,
    page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size;

-- name: read_version
-- Return the version of the schema; 0 in a new file.
PRAGMA user_version;

-- name: write_version
-- Mark the file as one of this schema.
PRAGMA user_version = 1;

-- name: give_pages_back_by_and_by
-- Must be said before anything is in the file.
PRAGMA auto_vacuum = INCREMENTAL;

-- name: give_pages_back
-- Shorten the file by pages that are free.
PRAGMA incremental_vacuum;

-- name: log_ahead
-- Readers do not wait for writers; https://sqlite.org/wal.html.
PRAGMA journal_mode = WAL;

-- name: sync_now_and_then
-- A crash of the machine may lose the last transactions, and does not damage the file.
PRAGMA synchronous = NORMAL;

-- name: bound_log
-- Shorten the log to 4 MiB once it has been copied into the file.
PRAGMA journal_size_limit = 4194304;
