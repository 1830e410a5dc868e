"""The process's own ends of the pipe to the client: one JSON-RPC message a line (MCP specification, stdio transport).

Only the standard library, and it is the first thing that runs: from `Wire.claim` on, whatever prints to standard output
reaches standard error, and whatever reads standard input reads nothing. Both ends are served by daemon threads, so that
neither a client that stays silent nor one that does not read can hold up a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sys
import threading
from typing import BinaryIO

LONGEST_LINE = 64 * 1024 * 1024
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class TooLong(bytes):
    """The beginning of a line over LONGEST_LINE; the rest of it was thrown away."""

    __slots__ = ()


class Wire:
    """Lines from and to the client. Made outside the event loop, opened inside it."""

    def __init__(self, incoming: BinaryIO, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="wire-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def claim(cls) -> Wire:
        """Take standard input and output away from everybody else in this process."""
        sys.stdout.flush()
        incoming = fcntl.fcntl(_STDIN, fcntl.F_DUPFD_CLOEXEC, 3)
        outgoing = fcntl.fcntl(_STDOUT, fcntl.F_DUPFD_CLOEXEC, 3)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _STDIN)
        os.close(nothing)
        os.dup2(_STDERR, _STDOUT)
        return cls(os.fdopen(incoming, "rb"), outgoing)

    def open(self) -> None:
        """Start to read and write, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, name="wire-reader", daemon=True).start()
        self._writer.start()

    async def receive(self) -> bytes | None:
        """Return the next line, or None once the client has gone (or `hang_up` was called)."""
        return await self._received.get()

    def send(self, line: bytes) -> None:
        """Queue one line for the client; never blocks."""
        self._to_send.put(line + b"\n")

    def hang_up(self) -> None:
        """Have `receive` return None after what has already arrived."""
        self._received.put_nowait(None)

    async def flush(self, seconds: float) -> None:
        """End the writing side: wait, no longer than `seconds`, until the client has taken everything."""
        self._to_send.put(None)
        await asyncio.to_thread(self._writer.join, seconds)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while line := self._incoming.readline(LONGEST_LINE):
                self._arrived(self._rest_dropped(line) if len(line) == LONGEST_LINE else line)
        self._arrived(None)

    def _rest_dropped(self, start: bytes) -> bytes:
        end = start
        while end and not end.endswith(b"\n"):
            end = self._incoming.readline(LONGEST_LINE)
        return start if end is start else TooLong(start[:200])

    def _write(self) -> None:
        while (line := self._to_send.get()) is not None:
            try:
                _write_all(self._outgoing, line)
            except OSError:
                self._arrived(None)  # nobody listens any more: the same as a client that has gone
                return

    def _arrived(self, line: bytes | None) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is leaving
                self._loop.call_soon_threadsafe(self._received.put_nowait, line)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
