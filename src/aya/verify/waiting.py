"""Looking again and again until something holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aya.errors import AyaError

LOOK_SECONDS = 0.02


async def until(  # noqa: PLR0913 - each is a choice of its own
    holds: Callable[[], Awaitable[bool]],
    *,
    since: float,
    seconds: float,
    otherwise: str,
    hint: str | None = None,
    every_seconds: float = LOOK_SECONDS,
) -> float:
    """Return how many seconds after `since` (time.monotonic) `holds` returned true.

    Raises AyaError with `otherwise` when that is not so `seconds` after `since`.
    """
    while not await holds():
        if time.monotonic() - since > seconds:
            raise AyaError(f"{otherwise} after {seconds:g} s", hint=hint)
        await asyncio.sleep(every_seconds)
    return time.monotonic() - since
