-- sqlfluff:dialect:sqlite
-- What is asked of the file that is imported; the statements over its own tables are put together in database.py.

-- name: tables
-- Tables, views and virtual tables with what tells a WITHOUT ROWID table (wr) and the tables behind an index (shadow).
SELECT
    l.name,
    l.type,
    l.wr,
    m.sql
FROM pragma_table_list AS l
LEFT JOIN sqlite_master AS m ON l.name = m.name AND m.type IN ('table', 'view')
WHERE l.schema = 'main' AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY l.name;

-- name: columns
-- A table's columns in order. hidden: 1 of a virtual table's own, 2 and 3 generated; pk: its position in the key, or 0.
SELECT
    name,
    type,
    hidden,
    pk
FROM pragma_table_xinfo(?)
ORDER BY cid;
