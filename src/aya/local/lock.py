"""One `aya up` or `aya down` of a home at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from aya.errors import AyaError, ConfigError
from aya.home import Home

_POLL_SECONDS = 0.1


@contextmanager
def exclusive(home: Home, purpose: str, *, wait_seconds: float = 0.0) -> Generator[None]:
    """Hold the home's lock; AyaError, naming who has it, when it is not free within `wait_seconds`.

    The lock goes with the process (flock), so a kill -9 leaves none behind.
    """
    with _opened(home) as stream:
        deadline = time.monotonic() + wait_seconds
        while not _try(stream):
            if time.monotonic() >= deadline:
                raise AyaError(f"{_holder(stream)} is at work on {home.path}", hint="wait until it is done, then again")
            time.sleep(_POLL_SECONDS)
        stream.seek(0)
        stream.truncate()
        stream.write(f"{purpose} (pid {os.getpid()})\n")
        stream.flush()
        yield


def _opened(home: Home) -> TextIO:
    file = home.path / "supervisor" / "lock"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return file.open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{home.path} cannot be used: {error.strerror}", hint="aya --home DIR …, with a directory of yours"
        ) from error


def _try(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read().strip() or "another aya"
