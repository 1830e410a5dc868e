"""One worker process, as its owner sees it: asked for a file, watched for time and memory, and ended."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from aya.readers import wire
from aya.readers.formats import MIB, Format
from aya.readers.parts import Missing, Part
from aya.readers.worker import OUT_OF_MEMORY

WATCHED_EVERY_SECONDS = 0.1
_BUFFERED_BYTES = MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may take.

    seconds: until a file's next document is there, or its end; waiting for whoever takes them does not count.
    start_seconds: until a new worker answers. memory_bytes: resident. address_bytes: mapped (Linux only), which is
    more than what is resident, as libraries are.
    """

    seconds: float = 60.0
    start_seconds: float = 60.0
    memory_bytes: int = 1024 * MIB
    address_bytes: int = 2048 * MIB


class WorkerEnded(Exception):
    """A worker has ended, or was ended, in the middle of a file; the message is the reason, a sentence."""


class TookTooLong(WorkerEnded):
    """A worker was ended as it took too long."""


class Worker:
    """A process that reads one file after another. Not for several tasks at once."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self.files = 0

    @classmethod
    async def start(cls, limits: Limits) -> Self:
        """Start a worker and wait until it answers. Raises WorkerEnded."""
        try:
            process = await cls._process_of(limits)
        except OSError as error:
            raise WorkerEnded(f"Its reader cannot be started: {error.strerror}.") from error
        worker = cls(process, limits)
        try:
            await worker._frame(limits.start_seconds)
        except BaseException:
            worker.kill()
            await worker.wait()
            raise
        return worker

    @staticmethod
    async def _process_of(limits: Limits) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "aya.readers.worker", str(limits.seconds + 5), str(limits.address_bytes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_BUFFERED_BYTES,
            start_new_session=True,
        )

    async def ask(self, path: Path, kind: Format) -> AsyncGenerator[Part | Missing | str, None]:
        """Yield the documents of a file, and last, where it ended before its end, the reason.

        Raises WorkerEnded where the worker did not survive it. Whoever stops before the end has to kill the worker.
        """
        self.files += 1
        stdin = self._process.stdin
        if stdin is None:
            raise WorkerEnded("Its reader has no input.")
        with suppress(ConnectionError):
            stdin.write(wire.packed({"path": str(path), "format": kind}))
            await stdin.drain()
        while "end" not in (frame := await self._frame(self._limits.seconds)):
            if document := wire.heard(frame):
                yield document
        if isinstance(reason := frame["end"], str):
            yield reason

    def kill(self) -> None:
        """End the process now; harmless when it has ended."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self) -> None:
        """Wait until the process is gone, which takes no time after kill; what it had said is thrown away."""
        stdin, stdout = self._process.stdin, self._process.stdout
        # pipes that are not followed to their end would keep the process's transport open
        while stdout is not None and await stdout.read(_BUFFERED_BYTES):
            pass
        if stdin is not None:
            stdin.close()
            with suppress(ConnectionError):
                await stdin.wait_closed()
        await self._process.wait()
        # the transport closes itself in the loop's next turn
        await asyncio.sleep(0)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def _frame(self, seconds: float) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            header = await self._bytes(wire.HEADER.size, deadline)
            return wire.unpacked(await self._bytes(wire.length_of(header), deadline))
        except asyncio.IncompleteReadError as error:
            code = await self._process.wait()
            if code == -signal.SIGALRM:
                raise TookTooLong("Its reader took too long and ended itself.") from error
            raise WorkerEnded(_why_ended(code)) from error
        except wire.BrokenWire as error:
            raise WorkerEnded(f"Its reader sent {error}.") from error

    async def _bytes(self, count: int, deadline: float) -> bytes:
        """Read exactly `count` bytes; look now and then whether the process keeps to its limits."""
        stdout = self._process.stdout
        if stdout is None:
            raise WorkerEnded("Its reader has no output.")
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCHED_EVERY_SECONDS):
                    return await stdout.readexactly(count)
            if asyncio.get_running_loop().time() > deadline:
                raise TookTooLong(_TOO_LONG.format(self._limits.seconds))
            if _resident_bytes(self._process.pid) > self._limits.memory_bytes:
                raise WorkerEnded(OUT_OF_MEMORY)


_TOO_LONG = "Its reader took longer than {:g} seconds and was ended."


def _resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use; 0 when it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _why_ended(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"Its reader crashed ({how}): the file is damaged, or made to do harm."
