"""A command that is run with an event's document on its standard input, and the event's name as its last argument.

One that hangs is killed after a while, with all that it started. What it complains of (standard error) is in the
service's log.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aya.alerts.channel import Failed

SECONDS = 10.0


class Command:
    """words: the command, as it is called."""

    def __init__(self, words: Sequence[str], *, seconds: float = SECONDS) -> None:
        self.name = words[0]
        self._words, self._seconds = list(words), seconds

    async def tell(self, document: Mapping[str, Any]) -> None:
        """Run it to its end, whatever that is. Raises Failed."""
        try:
            code = await self._run(document)
        except TimeoutError:
            raise Failed(f"killed after {self._seconds:g} s", result="late") from None
        except (OSError, ValueError) as error:
            raise Failed(str(error)) from error
        if code:
            raise Failed(f"exit code {code}")

    async def _run(self, document: Mapping[str, Any]) -> int:
        # A file, not a pipe: nobody waits for a command that does not read.
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(document, ensure_ascii=False, default=str).encode(errors="replace") + b"\n")
            file.seek(0)
            process = await asyncio.create_subprocess_exec(
                *self._words,
                str(document["event"]),
                stdin=file,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(self._seconds):
                return await process.wait()
        finally:
            await _end(process)


def commands(texts: Sequence[str], *, seconds: float = SECONDS) -> list[Command]:
    """Return the commands that texts say, split as a shell does; empty ones are none."""
    return [Command(words, seconds=seconds) for words in map(shlex.split, texts) if words]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it and whatever it left behind in its session, and let the kernel forget it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
