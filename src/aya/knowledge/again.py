"""Writing again until the outcome is known.

A write here has a key: the content, the file, the document's id. What was done before is found by it and not done
twice, so that a write whose outcome is unknown is simply made again, by then perhaps on the server that took over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aya.backoff import Backoff
from aya.errors import AyaError, DatabaseReadOnly, DatabaseUnavailable, DocumentError, NoneAnswers, OutcomeUnknown

# Longer than a failover takes, and shorter than the callers of the MCP server wait.
PATIENCE_SECONDS = 30.0
_BACKOFF = Backoff(first_seconds=0.1, cap_seconds=1.0)
Result = TypeVar("Result")


async def until_known(
    attempt: Callable[[], Awaitable[Result]], *, has_choice: bool, patience_seconds: float | None = None
) -> Result:
    """Return what `attempt` returns, made again after an outcome that is unknown, and while a failover is under way.

    has_choice: there are several servers, so that another may take over. Raises OutcomeUnknown when the time is up and
    no attempt after it told more; else what the last attempt raised.
    """
    deadline = time.monotonic() + (PATIENCE_SECONDS if patience_seconds is None else patience_seconds)
    unknown: OutcomeUnknown | None = None
    failures = 0
    while True:
        try:
            return await attempt()
        except AyaError as error:
            failures += 1
            unknown = error if isinstance(error, OutcomeUnknown) else unknown
            seconds = _BACKOFF.delay_seconds(failures, random.uniform)
            late = time.monotonic() + seconds > deadline
            if late or not is_passing(error, failures, is_unknown=unknown is not None, has_choice=has_choice):
                if unknown is None or error is unknown or isinstance(error, DocumentError):
                    raise
                raise unknown from error
        await asyncio.sleep(seconds)


def is_passing(error: AyaError, failures: int, *, is_unknown: bool, has_choice: bool) -> bool:
    """Return whether another attempt may do better; pure. failures: 1 or more, this one included.

    Where nobody listens at all, only a person helps: that is tried once more, for a server may just have gone.
    """
    if isinstance(error, OutcomeUnknown) or (is_unknown and isinstance(error, DatabaseUnavailable)):
        return True
    if not has_choice:
        return False
    return isinstance(error, NoneAnswers | DatabaseReadOnly) or (
        isinstance(error, DatabaseUnavailable) and failures == 1
    )
