"""Waiting for what a request asks for: not longer than its client does, and not longer than one request may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aya_embedder.problems import Gone, OutOfTime

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from fastapi import Request

    from aya_embedder.embedder import Answer, Given
    from aya_embedder.engine import Engine
    from aya_embedder.identity import Prompt

Result = TypeVar("Result")


async def awaited(request: Request, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """Await `work`; when the client leaves or the time is up, cancel it: what nobody reads is not computed.

    The body has been read, so the next thing that `receive` says is that the client left.
    Raises Gone, OutOfTime, and what `work` raises.
    """
    working = asyncio.create_task(work, name="request")
    watching = asyncio.create_task(_until_gone(request), name="request.client")
    try:
        done, _ = await asyncio.wait((working, watching), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if done:
            raise Gone("the client left before its answer was ready")
        raise OutOfTime(
            f"this was not computed within the {seconds:g} s that one request may take",
            hint="send fewer texts at once, or the same again: what was computed is cached",
        )
    finally:
        working.cancel()
        watching.cancel()


async def embedded(  # noqa: PLR0913 what a request says, and how long it may take
    request: Request, engine: Engine, texts: Sequence[Given], prompt: Prompt, *, truncate: bool, seconds: float
) -> Answer:
    """Return the vectors; those that memory has all of need no task. Raises Busy, and what `awaited` raises."""
    known = engine.remembered(texts, prompt, truncate=truncate)
    if known is not None:
        return known
    engine.refuse_late(texts)
    return await awaited(request, engine.embed(texts, prompt, truncate=truncate), seconds)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
