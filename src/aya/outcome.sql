-- The linter knows no isolation levels (PRS).

-- name: begin_read_committed
-- Open a transaction. Not READ WRITE: a server that its watchdog has closed says read-only, and that has to hold.
BEGIN ISOLATION LEVEL READ COMMITTED; -- noqa: PRS

-- name: begin_read_committed_readonly
-- Open a transaction that cannot write.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; -- noqa: PRS

-- name: begin_repeatable_read
-- Open a transaction that sees one moment.
BEGIN ISOLATION LEVEL REPEATABLE READ; -- noqa: PRS

-- name: begin_repeatable_read_readonly
-- Open a transaction that sees one moment and cannot write.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; -- noqa: PRS

-- name: commit
-- Keep what was done. Of a transaction in which a statement failed, the server answers ROLLBACK instead, and no error.
COMMIT;

-- name: roll_back
-- Take back what was done.
ROLLBACK;
