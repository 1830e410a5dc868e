"""The daemon in a process of its own that ends at a chosen moment, as kill -9 does: python crashing.py POINT.

The configuration comes on standard input, as JSON: the DSNs of both ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aya import outcome
from aya.settings import parse_dsn
from aya_syncd import pull, push
from aya_syncd.config import Config
from aya_syncd.loop import Sync

CODE = 9
POINTS = ("taken", "accepted", "settled", "merged", "copied", "unindexed")


def end() -> None:
    """Leave nothing time to be cleaned up."""
    os._exit(CODE)


def ends_in_transaction(number: int, *, late: bool) -> Callable[..., Any]:
    """Return outcome.transaction, ending in the so-manyth: where it begins, or where it would be committed."""
    count = 0

    @asynccontextmanager
    async def transaction(*arguments: Any, **options: Any) -> AsyncGenerator[None]:  # noqa: ANN401 as the real one
        nonlocal count
        count += 1
        mine = count == number
        if mine and not late:
            end()
        async with outcome.transaction(*arguments, **options):
            yield
            if mine:
                end()

    return transaction


def after(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a function that ends the process when its work is done."""

    async def ended(*arguments: object, **options: object) -> None:
        await work(*arguments, **options)
        end()

    return ended


def arm(point: str) -> None:
    """Have the process end there."""
    if point == "taken":
        setattr(push, "passed_on", after(lambda *_, **__: asyncio.sleep(0)))  # noqa: B010 not exported
    elif point in {"accepted", "settled"}:
        # The third: at the primary, then what is sent, then what became of it.
        ending = type("outcome", (), {"transaction": ends_in_transaction(3, late=point == "settled")})
        setattr(push, "outcome", ending)  # noqa: B010 as above
    elif point in {"merged", "copied"}:
        pull._merge = after(pull._merge)  # type: ignore[assignment]
    else:
        setattr(pull, "_FEW_ROWS", 0)  # noqa: B010 as above
        setattr(pull, "_FRESH_SHARE", 0)  # noqa: B010 as above
        pull._advance = after(pull._advance)  # type: ignore[assignment]


async def main(point: str) -> None:
    """Run until the point is reached, or a while."""
    arm(point)
    ends = json.load(sys.stdin)
    local, primary = parse_dsn(ends["air"]), parse_dsn(ends["primary"])
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(20, stop.set)
    await Sync(Config("air", local, primary, poll_seconds=0.2), primary).run(stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
