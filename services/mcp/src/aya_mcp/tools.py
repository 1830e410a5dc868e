"""What the tools do: from checked arguments to the result's JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aya.errors import AyaError, DocumentError, UsageError
from aya.knowledge.types import Filters, NewDocument
from aya_mcp import arguments as parsed
from aya_mcp import results
from aya_mcp.cursor import Cursor
from aya_mcp.names import FARTHEST, LIST, SHOW, Wanted
from aya_mcp.parts import Part

if TYPE_CHECKING:
    from aya_mcp.store import Base

SOURCE = "mcp_server"
# Below the minute after which most clients give up by themselves: an answer in words, never a time-out.
CALL_SECONDS = 50.0
Outcome = TypeVar("Outcome")


class TooSlow(AyaError):
    """A call took longer than a client waits."""

    retryable = True


class Tools:
    """The tools over a knowledge base that is opened when it is first needed.

    open_base: returns the base, the same each time; raises AyaError. tasks: where writing runs, apart from the call.
    idle is set while nothing is being written. secrets: what no log may show.
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
        self._writing: set[asyncio.Task[object]] = set()
        self.secrets: tuple[str, ...] = ()
        self.idle = asyncio.Event()
        self.idle.set()

    async def query(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run query_aya_rag. Raises AyaError."""
        started = perf_counter()
        wanted = parsed.parse_query(arguments)
        base = await self._open()
        searching = base.searcher.search(wanted.query, limit=wanted.limit, mode=wanted.mode, filters=wanted.filters)
        try:
            hits = await asyncio.wait_for(searching, self._call_seconds)
        except TimeoutError:
            told = f"the search was not finished after {self._call_seconds:g} s"
            raise TooSlow(told, hint="aya status; mode text needs no embedder") from None
        found = [results.result_of(hit) for hit in hits]
        return {"results": found, "count": len(hits), **await _answered(base, started)}

    async def add(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run add_to_aya_rag. Raises AyaError.

        A caller that cancels, or goes, leaves the commit to finish: the same content sent again finds it.
        """
        started = perf_counter()
        wanted = parsed.parse_add(arguments)
        base = await self._open()
        new = NewDocument(wanted.content, wanted.category, SOURCE, wanted.context)
        added = await self._to_the_end(base.written.add(new), "adding", "send the same again later: it is kept once")
        return {
            "success": True,
            "document_id": added.document_id,
            "chunk_id": added.chunk_ids[0] if added.chunk_ids else None,
            "chunk_ids": list(added.chunk_ids),
            "duplicate_of": added.document_id if added.outcome == "duplicate" else None,
            **await _kept(base, started),
        }

    async def show_document(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run show_aya_document. Raises AyaError."""
        started = perf_counter()
        wanted = parsed.parse_show(arguments)
        base = await self._open()
        part = await self._soon(base.part(wanted.document_id, wanted.offset, wanted.length))
        if 0 < wanted.offset >= part.characters:
            told = f"document {part.id} has {part.characters} characters, so there are none from {wanted.offset} on"
            raise UsageError(told, hint=f"send an offset below {part.characters}, or leave it out")
        return {**results.shown(part, wanted.offset), **await _answered(base, started)}

    async def list_documents(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run list_aya_documents. Raises AyaError."""
        started = perf_counter()
        wanted = parsed.parse_list(arguments)
        base = await self._open()
        page = await self._soon(base.listed(wanted.filters, limit=wanted.limit, after=wanted.after))
        return {
            "documents": [results.listed(part) for part in page],
            "count": len(page),
            "next_cursor": results.following(page, wanted.limit, wanted.after),
            **await _answered(base, started),
        }

    async def update_document(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run update_aya_document. Raises AyaError. The change is finished, whoever goes meanwhile."""
        started = perf_counter()
        wanted = parsed.parse_update(arguments)
        base = await self._open()
        editing = base.edit(wanted.document_id, wanted.changes, wanted.expected_rev)
        document = await self._to_the_end(editing, "the update", f"{SHOW} says later what became of it")
        return {
            "success": True,
            "document_id": document.id,
            "rev": document.rev,
            "characters": len(document.content),
            "chunk_count": document.chunk_count,
            **await _kept(base, started),
        }

    async def delete_documents(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run delete_aya_documents. Raises AyaError. The deletion is finished, whoever goes meanwhile."""
        started = perf_counter()
        wanted = parsed.parse_delete(arguments)
        base = await self._open()
        gone = await self._to_the_end(base.delete(wanted), "the deletion", f"{LIST} says later what became of it")
        there = {one.id for one in gone}
        return {
            "deleted": [results.deleted(one) for one in gone],
            "missing": [one for one in wanted if one not in there],
            **await _kept(base, started),
        }

    async def read(self, wanted: Wanted) -> Part:
        """Return what a URI names. Raises DocumentError, also where the text is shorter, and DatabaseError."""
        length = FARTHEST if wanted.end is None else wanted.end - wanted.start
        part = await self._soon((await self._open()).part(wanted.document_id, wanted.start, length))
        if 0 < wanted.start >= part.characters:
            raise DocumentError(f"document {part.id} has {part.characters} characters", hint=LIST)
        return part

    async def recent(self, limit: int, after: Cursor | None) -> list[Part]:
        """Return the newest documents, the next ones after a cursor. Raises DatabaseError."""
        return await self._soon((await self._open()).listed(Filters(), limit=limit, after=after))

    def abandon(self) -> None:
        """Cancel what is still being written: there is no time left. A transaction is rolled back, never half done."""
        for task in self._writing:
            task.cancel()

    async def _open(self) -> Base:
        base = await self._open_base()
        self.secrets = base.secrets()
        return base

    async def _soon(self, reading: Coroutine[Any, Any, Outcome]) -> Outcome:
        try:
            return await asyncio.wait_for(reading, self._call_seconds)
        except TimeoutError:
            told = f"the database has not answered after {self._call_seconds:g} s"
            raise TooSlow(told, hint="aya status") from None

    async def _to_the_end(self, writing: Coroutine[Any, Any, Outcome], what: str, hint: str) -> Outcome:
        task = self._tasks.create_task(_caught(writing), name=what)
        self._writing.add(task)
        self.idle.clear()
        task.add_done_callback(self._written)
        try:
            outcome = await asyncio.wait_for(asyncio.shield(task), self._call_seconds)
        except TimeoutError:
            told = f"{what} was not finished after {self._call_seconds:g} s and goes on by itself"
            raise TooSlow(told, hint=hint) from None
        if isinstance(outcome, Exception):
            raise outcome
        return cast("Outcome", outcome)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        if not self._writing:
            self.idle.set()


async def _caught(writing: Coroutine[Any, Any, Outcome]) -> Outcome | Exception:
    """Return the error instead of raising it: one failed write must not end the others in its group."""
    try:
        return await writing
    except Exception as error:  # noqa: BLE001 - raised again to the caller, if it is still there
        return error


async def _answered(base: Base, started: float) -> dict[str, Any]:
    """Return which server was read, how old its copy may be, and the milliseconds since `started`."""
    answered = await base.condition()
    return {
        "node": answered.node,
        "role": answered.role,
        "stale_seconds": answered.stale_seconds,
        "took_ms": _milliseconds_since(started),
    }


async def _kept(base: Base, started: float) -> dict[str, Any]:
    """Return where a change is safe, which node was written, and the milliseconds since `started`."""
    durability = await base.durability()
    return {"durability": durability, "node": await base.node(), "took_ms": _milliseconds_since(started)}


def _milliseconds_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 1)
