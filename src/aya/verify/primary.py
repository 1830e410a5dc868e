"""Phase 1: the primary."""

from __future__ import annotations

import asyncio
import pwd
import shlex
import stat
import time
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil

from aya import db
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, PostgresError
from aya.postgres.cluster import SUPERUSER, postmaster_pid
from aya.settings import as_role
from aya.verify.marks import SQL
from aya.verify.places import Place
from aya.verify.scene import NAME, Measure, Scene
from aya.verify.types import Limit, Measured
from aya.verify.waiting import until

COLUMNS = {
    "documents": ["id", "content", "metadata", "category", "source", "created_at", "updated_at"],
    "chunks": ["id", "document_id", "chunk_text", "embedding", "chunk_index", "metadata", "created_at"],
    "write_queue": ["id", "operation", "table_name", "data", "created_at", "synced"],
}
_FOUND = 5
_PORT_SECONDS = 3.0
_ARCHIVE_SECONDS = 20.0


async def processes(scene: Scene, place: Place) -> Measured:
    """Count the processes of the node's server."""
    data = scene.home.data_directory(place.node)
    return Measured(await asyncio.to_thread(_count, data), f"the postmaster of {data} and its children")


def _count(data: Path) -> int:
    pid = postmaster_pid(data)
    if pid is None:
        raise PostgresError(f"no PostgreSQL runs on {data}", hint="aya up, then aya status")
    return 1 + len(psutil.Process(pid).children(recursive=True))


async def database(scene: Scene, place: Place) -> Measured:
    """Enter the database and ask for its name."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["database"])
    name, size = (row["name"], row["size"]) if row else (None, "")
    return Measured(name, f"{size}, at {place.entrance.display()}")


async def extension(scene: Scene, place: Place) -> Measured:
    """Ask for pgvector's version."""
    async with scene.entered(place) as connection:
        return Measured(await connection.fetchval(SQL["extension"]))


async def table(name: str, scene: Scene, place: Place) -> Measured:
    """Count the contract's columns of a table."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["table"], name, COLUMNS[name])
    if row is None:
        raise AyaError(f"there is no table {name}", hint="aya migrate")
    return Measured(row["columns"])


async def index(name: str, scene: Scene, place: Place) -> Measured:
    """Look whether queries may use an index."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["index"], name)
    if row is None:
        return Measured("missing")
    return Measured("valid" if row["valid"] else "invalid", f"{row['kind']}, {row['size']}")


async def wal_level(scene: Scene, place: Place) -> Measured:
    """Ask for wal_level."""
    async with scene.entered(place) as connection:
        return Measured(await connection.fetchval(SQL["setting"], "wal_level"))


async def slot(scene: Scene, place: Place) -> Measured:
    """Look for the standby's slot."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["slot"], scene.slot)
    if row is None:
        return Measured("missing")
    return Measured(row["slot_type"], f"its WAL is {row['wal_status']}")


async def embedder(scene: Scene, place: Place) -> Measured:
    """Ask the node's embedder how it is."""
    del scene
    if place.embedder_url is None:
        raise AyaError(f"nothing here says where the embedder of {place.node} is", hint="aya status")
    async with EmbedderClient(place.embedder_url, token=place.embedder_token) as client:
        said = await client.health()
    return Measured(str(said.get("status")), f"{said.get('model')} at {place.embedder_url}")


async def archive(scene: Scene, place: Place) -> Measured:
    """Compare the owner of the archive directory with the server's user."""
    directory = scene.home.archive_directory(place.node)
    user, owner = await asyncio.to_thread(_owners, scene.home.data_directory(place.node), directory)
    hint = f"chown {user} {shlex.quote(str(directory))}"
    return Measured(owner, str(directory), Limit("=", user), hint)


def _owners(data: Path, directory: Path) -> tuple[str, str]:
    try:
        pid = postmaster_pid(data)
        server = psutil.Process(pid).uids().effective if pid else data.stat().st_uid
        return _name(server), _name(directory.stat().st_uid)
    except (OSError, psutil.Error) as error:
        raise PostgresError(f"{directory} cannot be looked at: {error}", hint=f"ls -ld {directory}") from error


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


async def archive_mode(scene: Scene, place: Place) -> Measured:
    """Look at the mode of the archive directory."""
    directory = scene.home.archive_directory(place.node)
    try:
        return Measured(f"{stat.S_IMODE(directory.stat().st_mode):o}", str(directory))
    except OSError as error:
        raise PostgresError(f"{directory} cannot be looked at: {error}", hint=f"ls -ld {directory}") from error


async def archiving(scene: Scene, place: Place) -> Measured:
    """Count failures since the last success; where nothing was archived yet, have a segment archived."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["archiver"])
        if row and row["mode"] != "off" and not row["archived"] and not row["failures"]:
            await _switch(scene, place)

            async def tried() -> bool:
                now = await connection.fetchrow(SQL["archiver"])
                return bool(now and (now["archived"] or now["failures"]))

            words = "no segment was archived"
            await until(tried, since=time.monotonic(), seconds=_ARCHIVE_SECONDS, otherwise=words)
            row = await connection.fetchrow(SQL["archiver"])
    if row is None or row["mode"] == "off":
        raise PostgresError("archive_mode is off", hint="aya down, then aya up")
    if row["failures"]:
        return Measured(row["failures"], f"now at {row['last_failed']}")
    return Measured(0, f"{row['archived']} archived, the last {row['last_archived']}")


async def _switch(scene: Scene, place: Place) -> None:
    password = scene.home.secrets(place.node).get(SUPERUSER)
    if password is None:
        raise PostgresError("nothing was archived yet", hint="aya backup create")
    settings = as_role(place.entrance, SUPERUSER, password)
    with db.translated(settings):
        connection = await db.connect(settings, application_name=NAME)
        try:
            await connection.execute(SQL["switch_segment"])
        finally:
            connection.terminate()


async def port(scene: Scene, place: Place) -> Measured:
    """Connect to the node's port."""
    del scene
    host, number = place.entrance.hosts[0]
    try:
        async with asyncio.timeout(_PORT_SECONDS):
            _, writer = await asyncio.open_connection(host, number)
    except (OSError, TimeoutError) as error:
        return Measured("closed", f"{host}:{number}: {str(error) or 'no answer'}")
    writer.close()
    return Measured("listening", f"on {host}")


async def insert(scene: Scene, place: Place) -> Measured:
    """Insert a document and its chunk with a vector of this node's embedder."""
    scene.vector_text = scene.marks.text("a vector")
    await inserted_with_vector(scene, place, scene.vector_text)
    return Measured(1)


async def search(scene: Scene, place: Place) -> Measured:
    """Look for it by its meaning."""
    return await found(scene, place, scene.vector_text)


async def inserted_with_vector(scene: Scene, place: Place, text: str) -> tuple[float, UUID]:
    """Insert `text` as a document with its chunk and vector; return when that began (monotonic) and its uid."""
    async with scene.searching(place) as (documents, searcher):
        identity = await documents.identity()
        (vector,) = await searcher.embedder.embed([text], prompt="document", expect=identity.fingerprint)
    written = ",".join(str(float(one)) for one in vector)
    async with scene.entered(place) as connection:
        began = time.monotonic()
        (uid,) = await scene.marks.insert(connection, [text], f"[{written}]")
    return began, uid


async def found(scene: Scene, place: Place, text: str) -> Measured:
    """Return at which place a search by meaning finds `text` on a node."""
    began = time.monotonic()
    async with scene.searching(place) as (_, searcher):
        hits = await searcher.search(text, limit=_FOUND, mode="vector")
    took = (time.monotonic() - began) * 1000
    for number, hit in enumerate(hits, 1):
        if text in hit.chunk_text:
            return Measured(number, f"of {len(hits)}, at distance {hit.distance:.3f}, in {took:.0f} ms")
    raise AyaError(f"it is not among the {len(hits)} passages that were found")


MEASURES: dict[str, Measure] = {
    "1.processes": processes,
    "1.database": database,
    "1.extension": extension,
    "1.documents": partial(table, "documents"),
    "1.chunks": partial(table, "chunks"),
    "1.idx_chunks_embedding": partial(index, "idx_chunks_embedding"),
    "1.idx_chunks_document_id": partial(index, "idx_chunks_document_id"),
    "1.idx_documents_category": partial(index, "idx_documents_category"),
    "1.idx_documents_created_at": partial(index, "idx_documents_created_at"),
    "1.wal_level": wal_level,
    "1.slot": slot,
    "1.embedder": embedder,
    "1.archive": archive,
    "1.archive_mode": archive_mode,
    "1.archiving": archiving,
    "1.port": port,
    "1.insert": insert,
    "1.search": search,
}
