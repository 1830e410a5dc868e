"""The process that reads files of the risky formats: it may hang, crash or eat memory, and AYA goes on.

`python -m aya.readers.worker SECONDS BYTES`, with frames (aya.readers.wire) on stdin and stdout. It ends when stdin
does. A document that takes longer than SECONDS ends it by SIGALRM, also when nobody watches any more; memory is limited
to BYTES of address space where the system keeps to that (Linux does, macOS does not: there aya.readers.process looks).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from aya.readers import wire
from aya.readers.formats import Format
from aya.readers.parts import Missing, Part, Reader, Unreadable, clean, one_line

_READERS: dict[Format, tuple[str, str]] = {
    "html": ("aya.readers.web", "read_html"),
    "pdf": ("aya.readers.pdf", "read_pdf"),
    "docx": ("aya.readers.word", "read_docx"),
    "notebook": ("aya.readers.notebook", "read_notebook"),
    "mail": ("aya.readers.mail", "read_mail"),
    "mbox": ("aya.readers.mbox", "read_mbox"),
    "table": ("aya.readers.rows", "read_rows"),
    "json": ("aya.readers.objects", "read_json"),
}
OUT_OF_MEMORY = "It needs more memory than a reader may take."


def reader_of(kind: Format) -> Reader:
    """Return a format's reader; its libraries are loaded now. KeyError for a format that needs none."""
    module, name = _READERS[kind]
    return cast("Reader", getattr(importlib.import_module(module), name))


def frames(path: Path, kind: Format) -> Iterator[dict[str, Any]]:
    """Yield the frames for one file; the last says why it ended, None for its end. Never raises an Exception."""
    reason = None
    try:
        for document in reader_of(kind)(path):
            yield wire.told(_keepable(document))
    except Unreadable as error:
        reason = str(error)
    except MemoryError:
        reason = OUT_OF_MEMORY
    except RecursionError:
        reason = "It is nested too deeply."
    except OSError as error:
        reason = f"It cannot be read: {error.strerror or error}."
    except Exception as error:  # noqa: BLE001 (a library's fault in one file, whatever it is)
        reason = f"Its reader failed: {type(error).__name__}: {one_line(str(error), 200) or 'no reason given'}."
    yield {"end": reason}


def _keepable(document: Part | Missing) -> Part | Missing:
    """Return a document whose labels PostgreSQL can keep; the text has been cleaned, as offsets in it count."""
    if isinstance(document, Missing):
        return Missing(document.fragment, clean(document.reason))
    metadata = {clean(key): _clean_value(value) for key, value in document.metadata.items()}
    return replace(document, title=one_line(document.title), metadata=metadata)


def _clean_value(value: object) -> object:
    if isinstance(value, list):
        return [_clean_value(each) for each in cast("list[object]", value)]
    return clean(value) if isinstance(value, str) else value


def limit(bytes_of_memory: int) -> None:
    """Give this process its limits: memory, no core; Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, bytes_of_memory)


def _lower(what: int, value: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(what, (value, value))


def serve(requests: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    """Answer requests until there are no more. The clock stands still while an answer waits to be taken."""
    _send(answers, {"ready": True})
    while len(header := requests.read(wire.HEADER.size)) == wire.HEADER.size:
        asked = wire.unpacked(requests.read(wire.length_of(header)))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        for frame in frames(Path(str(asked["path"])), cast("Format", asked["format"])):
            signal.setitimer(signal.ITIMER_REAL, 0)
            _send(answers, frame)
            signal.setitimer(signal.ITIMER_REAL, seconds)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _send(answers: BinaryIO, frame: dict[str, Any]) -> None:
    answers.write(wire.packed(frame))
    answers.flush()


def main() -> None:
    """Run; what a library prints goes nowhere, so that stdout carries frames alone."""
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    limit(memory)
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers, seconds)


if __name__ == "__main__":
    main()
