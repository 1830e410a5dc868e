"""One role per purpose, on a real database: what each may do, and above all what it may not."""

from __future__ import annotations

import pytest
from tests.conftest import Server

from aya.db import Database
from aya.dsn import OWNER, DatabaseSettings
from aya.errors import DatabaseRefused
from aya.postgres.provision import INDEXER_ROLE, MCP_ROLE

pytestmark = pytest.mark.database

READ_DOCUMENTS = "SELECT count(*) FROM documents"
ADD_DOCUMENT = "INSERT INTO documents (content) VALUES ('x')"
EDIT_DOCUMENT = "UPDATE documents SET title = 't'"
FORGE_REVISION = "UPDATE documents SET rev = 7"
REMOVE_DOCUMENT = "DELETE FROM documents"
ADD_CHUNK = "INSERT INTO chunks (chunk_text) VALUES ('x')"
EMBED_CHUNK = "UPDATE chunks SET embedding = NULL"
REMOVE_CHUNK = "DELETE FROM chunks"
READ_MODEL = "SELECT count(*) FROM embedding_model"
READ_SCHEMA = "SELECT count(*) FROM schema_migrations"
TAKE_OFF_QUEUE = "DELETE FROM index_queue"
POSTPONE = "UPDATE index_queue SET attempts = 1"
BIND = "SELECT aya_bind_model('f', 'm', 'r', 3, 'mean', true, '', '', 9)"
BEGIN_MOVE = "SELECT aya_begin_reembedding('f', 'm', 'r', 3, 'mean', true, '', '', 9, 's')"
CANCEL_MOVE = "SELECT aya_cancel_reembedding()"
SWITCH = "SELECT aya_switch_model(0)"
READ_MOVE = "SELECT count(*), bool_and(aya_reembedding_is_prepared()) FROM reembedding"
NOTE_SPEED = "UPDATE reembedding SET rows_per_second = 1, error = NULL"
CHANGE_TARGET = "UPDATE reembedding SET fingerprint = 'f'"
NOTE_EXCEPTION = (
    "INSERT INTO reembedding_exception SELECT 1 WHERE false ON CONFLICT (chunk_id) DO UPDATE SET error = NULL"
)
CHANGE_MODEL = "UPDATE embedding_model SET model = 'm'"
FORGE_HISTORY = "DELETE FROM schema_migrations"
CREATE_TABLE = "CREATE TABLE mine (id integer)"
DROP_TABLE = "DROP TABLE chunks"
TRUNCATE = "TRUNCATE documents CASCADE"
READ_FILE = "SELECT pg_read_file('PG_VERSION')"
RUN_PROGRAM = "COPY documents (content) FROM PROGRAM 'id'"
BECOME_OWNER = "SET ROLE aya_user"

READING = {READ_DOCUMENTS, READ_MODEL, READ_SCHEMA}
MOVING = {READ_MOVE, SWITCH, NOTE_SPEED, NOTE_EXCEPTION}
MAY = {
    OWNER: READING
    | {ADD_DOCUMENT, EDIT_DOCUMENT, REMOVE_DOCUMENT, ADD_CHUNK, EMBED_CHUNK, REMOVE_CHUNK, TAKE_OFF_QUEUE, POSTPONE}
    | MOVING
    | {
        BIND,
        BEGIN_MOVE,
        CANCEL_MOVE,
        CHANGE_TARGET,
        FORGE_REVISION,
        CHANGE_MODEL,
        FORGE_HISTORY,
        CREATE_TABLE,
        DROP_TABLE,
        TRUNCATE,
        BECOME_OWNER,
    },
    MCP_ROLE: READING | {ADD_DOCUMENT, EDIT_DOCUMENT, REMOVE_DOCUMENT, ADD_CHUNK, REMOVE_CHUNK, TAKE_OFF_QUEUE},
    INDEXER_ROLE: READING | MOVING | {ADD_CHUNK, EMBED_CHUNK, REMOVE_CHUNK, TAKE_OFF_QUEUE, POSTPONE},
}
EVERYTHING = MAY[OWNER] | {READ_FILE, RUN_PROGRAM}


@pytest.mark.parametrize("statement", sorted(EVERYTHING))
@pytest.mark.parametrize("role", MAY)
async def test_a_role_may_do_its_own_work_and_nothing_else(
    database: DatabaseSettings, server: Server, role: str, statement: str
) -> None:
    """Allowed is what the table says; all the rest is refused by the server."""
    async with Database(server.settings(database.database, role), application_name="aya-test") as opened:
        if statement in MAY[role]:
            async with opened.transaction() as connection:
                await connection.execute(statement)
        else:
            with pytest.raises(DatabaseRefused, match=r"permission denied|must be owner"):
                async with opened.transaction() as connection:
                    await connection.execute(statement)


@pytest.mark.parametrize("role", [MCP_ROLE, INDEXER_ROLE])
async def test_what_a_role_adds_is_queued_though_it_may_not_queue(
    database: DatabaseSettings, server: Server, role: str
) -> None:
    """The trigger writes the queue with the owner's rights: nobody forges or forgets a ticket."""
    settings = server.settings(database.database, role)
    async with Database(settings, application_name="aya-test") as opened:
        with pytest.raises(DatabaseRefused, match="index_queue"):
            async with opened.transaction() as connection:
                await connection.execute("INSERT INTO index_queue (document_id) VALUES (1)")
    async with Database(database, application_name="aya-test") as opened, opened.connection() as connection:
        await connection.execute(ADD_DOCUMENT)
    async with Database(settings, application_name="aya-test") as opened, opened.connection() as connection:
        await connection.execute("DELETE FROM index_queue")
        await connection.execute("INSERT INTO chunks (document_id, chunk_text) SELECT id, 'x' FROM documents")
    async with Database(database, application_name="aya-test") as opened, opened.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM index_queue") == 1


@pytest.mark.parametrize("role", [MCP_ROLE, INDEXER_ROLE])
async def test_nobody_borrows_the_owners_rights_by_a_trigger_of_his_own(
    database: DatabaseSettings, server: Server, role: str
) -> None:
    """The function that forgets a next vector is the owner's trigger on chunks, and nobody else's anywhere."""
    async with Database(server.settings(database.database, role), application_name="aya-test") as opened:
        with pytest.raises(DatabaseRefused, match="permission denied for function aya_chunks_forget_next"):  # noqa: PT012
            async with opened.transaction() as connection:
                await connection.execute("CREATE TEMP TABLE own (id integer, embedding_next integer)")
                await connection.execute(
                    "CREATE TRIGGER own BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION aya_chunks_forget_next()"
                )
