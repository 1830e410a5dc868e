"""Telling people and programs what happened, by hooks: commands that are run with an event on their standard input.

Nothing here can hold up a decision: `tell` only puts the event into a queue, and a hook that hangs is killed after a
while, with all that it started. When the queue is full the oldest event goes: the latest is what counts.

    [watchdog]
    on_event = ["/path/to/script"]

An event is a JSON document: {"event": "condition.changed", "at": "2026-01-01T00:00:00.000Z", "node": "beta",
"condition": "FENCING", "why": "…", "epoch": 2, …}; its name is also the hook's last argument. What a hook complains of
(standard error) is in the watchdog's log.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from aya import log

SECONDS = 10.0
MOST_QUEUED = 64

Result = Literal["ok", "failed", "late", "dropped"]


def _now() -> datetime:
    return datetime.now(UTC)


class Alerts:
    """The hooks of one watchdog.

    commands: as a shell splits them; every one is run for every event, at the same time. count: called with how each
    ended. `run` is a task of the service's TaskGroup, beside the loop that decides.
    """

    def __init__(
        self,
        node: str,
        commands: Sequence[str],
        *,
        seconds: float = SECONDS,
        count: Callable[[Result], None] = lambda _: None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._node, self._seconds, self._count, self._now = node, seconds, count, now
        self._commands = [words for words in map(shlex.split, commands) if words]
        self._queue: deque[dict[str, Any]] = deque(maxlen=MOST_QUEUED)
        self._news = asyncio.Event()

    def tell(self, event: str, **details: object) -> None:
        """Have the hooks told of an event, soon; returns at once and never raises."""
        if not self._commands:
            return
        if len(self._queue) == MOST_QUEUED:
            log.get_logger().warning("alert.dropped", alert=self._queue[0]["event"])
            self._count("dropped")
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._queue.append({"event": event, "at": at, "node": self._node, **details})
        self._news.set()

    async def run(self) -> None:
        """Run the hooks until cancelled, one event after the other."""
        while True:
            while self._queue:
                event = self._queue.popleft()
                await asyncio.gather(*(self._told(words, event) for words in self._commands))
            self._news.clear()
            await self._news.wait()

    async def _told(self, words: Sequence[str], event: Mapping[str, Any]) -> None:
        """Run one hook to its end, whatever that is; raises nothing but CancelledError."""
        try:
            result, said = await self._hooked(words, event)
        except (OSError, ValueError) as error:
            result, said = "failed", str(error)
        self._count(result)
        if result != "ok":
            log.get_logger().warning("alert.failed", hook=words[0], alert=event["event"], result=result, said=said)

    async def _hooked(self, words: Sequence[str], event: Mapping[str, Any]) -> tuple[Result, str]:
        # A file, not a pipe: nobody waits for a hook that does not read.
        with tempfile.TemporaryFile() as document:
            document.write(json.dumps(event, ensure_ascii=False, default=str).encode(errors="replace") + b"\n")
            document.seek(0)
            hook = await asyncio.create_subprocess_exec(
                *words, str(event["event"]), stdin=document, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        try:
            async with asyncio.timeout(self._seconds):
                code = await hook.wait()
        except TimeoutError:
            return "late", f"killed after {self._seconds:g} s"
        finally:
            await _end(hook)
        return ("ok", "") if code == 0 else ("failed", f"exit code {code}")


async def _end(hook: asyncio.subprocess.Process) -> None:
    """Kill the hook and whatever it left behind in its session, and let the kernel forget it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(hook.pid, signal.SIGKILL)
    await hook.wait()
