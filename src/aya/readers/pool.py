"""Reads files of every format, several at once: text here, what needs a parser in worker processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aya.readers.formats import MOST_BYTES, Format, format_of
from aya.readers.parts import Missing, Part, one_line
from aya.readers.process import Limits, TookTooLong, Worker, WorkerEnded
from aya.readers.worker import OUT_OF_MEMORY
from aya.textfile import Found, Refused, TextFile, read_text_file, regular_file

Reading = TextFile | Refused
FILES_PER_WORKER = 200
"""After so many a worker is replaced: what its libraries never gave back goes with it."""


def default_processes() -> int:
    """Return how many workers there are unless somebody says it: a few, as the embedder needs cores, too."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))


class Readers:
    """A pool of workers, started when they are needed.

    `async with Readers() as readers` ends every one of them at its end, also when it is cancelled (Ctrl-C).
    """

    def __init__(self, processes: int | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._turns = asyncio.Semaphore(processes or default_processes())
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    async def read(self, found: Found) -> AsyncGenerator[Reading, None]:
        """Yield a file's documents, each TextFile, and what could not be read, each Refused with its reason.

        A file that cannot be read at all is one Refused without fragment; one whose rest cannot be read ends in it.
        Documents are handed over one at a time, and no more than a few are read ahead. Never raises for a file.
        Close what you do not read to its end: `async with aclosing(readers.read(found)) as readings`.
        """
        kind = format_of(found.path)
        if kind in {"text", "code"}:
            yield await asyncio.to_thread(read_text_file, found.path)
            return
        status = await asyncio.to_thread(regular_file, found.path, MOST_BYTES[kind])
        if isinstance(status, Refused):
            yield status
            return
        async with aclosing(self._documents(found.path, kind)) as documents:
            async for document in documents:
                yield _reading(found.path, document, status)

    async def _documents(self, path: Path, kind: Format) -> AsyncGenerator[Part | Missing | str, None]:
        """Yield what a worker says of a file; a reason comes last.

        Where a worker that has read other files before fails at once, a new one is asked: they may be to blame.
        """
        async with self._turns:
            for last_try in (False, True):
                worker, some = None, False
                try:
                    worker = await self._take(new=last_try)
                    async with aclosing(worker.ask(path, kind)) as documents:
                        async for document in documents:
                            if document == OUT_OF_MEMORY:
                                raise WorkerEnded(OUT_OF_MEMORY)  # noqa: TRY301 (ended as one that the system killed)
                            some = True
                            yield document
                except WorkerEnded as error:
                    self._end(worker)
                    if some or last_try or worker is None or worker.files == 1 or isinstance(error, TookTooLong):
                        yield str(error)
                        return
                except BaseException:
                    self._end(worker)
                    raise
                else:
                    self._give_back(worker)
                    return

    async def _take(self, *, new: bool) -> Worker:
        if self._idle and not new:
            return self._idle.pop()
        worker = await Worker.start(self._limits)
        self._all.add(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        if worker.files < FILES_PER_WORKER:
            self._idle.append(worker)
        else:
            self._end(worker)

    def _end(self, worker: Worker | None) -> None:
        if worker is not None:
            worker.kill()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            await worker.wait()


def _reading(path: Path, document: Part | Missing | str, status: os.stat_result) -> Reading:
    """Return what a worker said as what everybody else reads; pure."""
    if isinstance(document, str):
        return Refused(path, document)
    if isinstance(document, Missing):
        return Refused(path, document.reason, fragment=document.fragment)
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return TextFile(
        path,
        document.text,
        document.title or one_line(path.stem) or path.name,
        document.markdown,
        "",
        status.st_size,
        modified,
        document.metadata,
        document.fragment,
        document.notes,
    )
