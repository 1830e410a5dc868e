"""What the tools do: from checked arguments to the result's JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from math import isnan
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from aya.errors import AyaError
from aya.knowledge.types import Added, Document, Filters, Hit, NewDocument
from aya_mcp.arguments import parse_add, parse_query

if TYPE_CHECKING:
    from aya_mcp.store import Base

SOURCE = "mcp_server"
# Below the minute after which most clients give up by themselves: an answer in words, never a time-out.
CALL_SECONDS = 50.0
MOST_DOCUMENT_CHARACTERS = 8_000


class TooSlow(AyaError):
    """A call took longer than a client waits."""

    retryable = True


class Tools:
    """The tools over a knowledge base that is opened when it is first needed.

    open_base: returns the base, the same each time; raises AyaError. tasks: where adding runs, apart from the call.
    idle is set while nothing is being added. secrets: what no log may show.
    """

    def __init__(
        self,
        open_base: Callable[[], Awaitable[Base]],
        tasks: asyncio.TaskGroup,
        *,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._open_base = open_base
        self._tasks = tasks
        self._call_seconds = call_seconds
        self._adding: set[asyncio.Task[Added | Exception]] = set()
        self.secrets: tuple[str, ...] = ()
        self.idle = asyncio.Event()
        self.idle.set()

    async def query(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run query_aya_rag. Raises AyaError."""
        started = perf_counter()
        wanted = parse_query(arguments)
        base = await self._open()
        filters = Filters(category=wanted.category)
        searching = base.searcher.search(wanted.query, limit=wanted.limit, mode=wanted.mode, filters=filters)
        try:
            hits = await asyncio.wait_for(searching, self._call_seconds)
        except TimeoutError:
            told = f"the search was not finished after {self._call_seconds:g} s"
            raise TooSlow(told, hint="aya status; mode text needs no embedder") from None
        answered = await base.condition()
        return {
            "results": [result_of(hit) for hit in hits],
            "count": len(hits),
            "node": answered.node,
            "role": answered.role,
            "stale_seconds": answered.stale_seconds,
            "took_ms": _milliseconds_since(started),
        }

    async def add(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run add_to_aya_rag. Raises AyaError.

        A caller that cancels, or goes, leaves the commit to finish: the same content sent again finds it.
        """
        started = perf_counter()
        wanted = parse_add(arguments)
        base = await self._open()
        new = NewDocument(wanted.content, wanted.category, SOURCE, wanted.context)
        added = await self._to_the_end(base.written.add(new))
        return {
            "success": True,
            "document_id": added.document_id,
            "chunk_id": added.chunk_ids[0] if added.chunk_ids else None,
            "chunk_ids": list(added.chunk_ids),
            "durability": await base.durability(),
            "duplicate_of": added.document_id if added.outcome == "duplicate" else None,
            "node": await base.node(),
            "took_ms": _milliseconds_since(started),
        }

    async def document(self, document_id: int) -> Document:
        """Return one document. Raises DocumentError or DatabaseError."""
        return await (await self._open()).documents.get(document_id)

    def abandon(self) -> None:
        """Cancel what is still being added: there is no time left. A transaction is rolled back, never half done."""
        for task in self._adding:
            task.cancel()

    async def _open(self) -> Base:
        base = await self._open_base()
        self.secrets = base.secrets()
        return base

    async def _to_the_end(self, adding: Coroutine[Any, Any, Added]) -> Added:
        task = self._tasks.create_task(_caught(adding), name="add")
        self._adding.add(task)
        self.idle.clear()
        task.add_done_callback(self._added)
        try:
            outcome = await asyncio.wait_for(asyncio.shield(task), self._call_seconds)
        except TimeoutError:
            told = f"adding was not finished after {self._call_seconds:g} s and goes on by itself"
            raise TooSlow(told, hint="send the same again later: it is kept once") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _added(self, task: asyncio.Task[Added | Exception]) -> None:
        self._adding.discard(task)
        if not self._adding:
            self.idle.set()


async def _caught(adding: Coroutine[Any, Any, Added]) -> Added | Exception:
    """Return the error instead of raising it: one failed add must not end the others in its group."""
    try:
        return await adding
    except Exception as error:  # noqa: BLE001 - raised again to the caller, if it is still there
        return error


def result_of(hit: Hit) -> dict[str, Any]:
    """Return one hit as the contract names its fields; a long document is cut, and says so."""
    whole = hit.document_content
    result: dict[str, Any] = {
        "chunk_id": hit.chunk_id,
        "chunk_text": hit.chunk_text,
        # A vector of zeros, typed by hand, has no direction to compare.
        "distance": None if hit.distance is None or isnan(hit.distance) else hit.distance,
        "document_content": whole[:MOST_DOCUMENT_CHARACTERS],
        "metadata": as_object(hit.metadata),
        "category": hit.category,
        "source": hit.source,
        "document_id": hit.document_id,
        "chunk_index": hit.chunk_index,
        "heading": hit.heading,
        "char_start": hit.char_start,
        "char_end": hit.char_end,
        "snippet": hit.snippet,
        "score": hit.score,
        "uri": hit.uri,
        "title": hit.title,
    }
    if len(whole) > MOST_DOCUMENT_CHARACTERS:
        result |= {"document_truncated": True, "document_characters": len(whole)}
    return result


def as_object(metadata: object) -> dict[str, Any]:
    """Return metadata as the object that clients are promised: what was typed by hand may be any JSON."""
    return cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {"value": metadata}


def _milliseconds_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 1)
