"""Runs checks side by side, each bounded in time and by itself: one that fails or hangs is a finding, no traceback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.errors import AyaError

DEADLINE_SECONDS = 5.0
Answer = TypeVar("Answer")
Work = Callable[[], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. name: "topic" or "topic.part", an id where nothing is wrong; title: what is well then.

    skipped: why it cannot be done here; then work is not called.
    """

    name: str
    title: str
    work: Work
    node: str | None = None
    skipped: str | None = None


async def run(checks: Sequence[Check], *, deadline_seconds: float = DEADLINE_SECONDS) -> list[Finding]:
    """Return the findings of all checks, with one that is ok for each that found nothing wrong."""
    done = await asyncio.gather(*(_one(check, deadline_seconds) for check in checks))
    return [found for many in done for found in many]


async def _one(check: Check, seconds: float) -> Sequence[Finding]:
    if check.skipped is not None:
        return [Finding(check.name, "skipped", f"{check.title}: {check.skipped}", node=check.node)]
    try:
        async with asyncio.timeout(seconds):
            found = await check.work()
    except TimeoutError:
        what = f"{check.name} was not done within {seconds:.0f} s"
        return [finding("doctor.check-late", what, "aya doctor again; AYA_DEBUG=1 aya status", node=check.node)]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks go on
        return [_failed(check, error)]
    return found or [Finding(check.name, "ok", check.title, node=check.node)]


def _failed(check: Check, error: Exception) -> Finding:
    said = error.message if isinstance(error, AyaError) else f"{type(error).__name__}: {error}"
    hint = (error.hint if isinstance(error, AyaError) else None) or "AYA_DEBUG=1 aya status; report it"
    if isinstance(error, PermissionError):
        hint = "aya doctor as the user whose home it is, or as root"
    return finding("doctor.check-failed", f"{check.name}: {' '.join(said.split())}", hint, node=check.node)


async def in_thread(work: Callable[[], Answer]) -> Answer:
    """Run what may block in a thread that nobody waits for at the end: a file system that hangs hangs for ever."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(result: Answer | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    def inside() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=inside, daemon=True, name="doctor").start()
    return await future
