-- sqlfluff:dialect:sqlite
-- The files that this machine has read: one SQLite file in its home (read_here.py).

-- name: create
-- Every file that this machine has read.
CREATE TABLE IF NOT EXISTS file (path text PRIMARY KEY) WITHOUT ROWID;

-- name: note
-- One more.
INSERT OR IGNORE INTO file (path) VALUES (?);

-- name: has
-- Whether it was read here.
SELECT 1 FROM file WHERE path = ?;
