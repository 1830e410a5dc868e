"""What arrives while the SDK is still being imported: kept in order, and no tool call waits for longer than it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aya_mcp.greeting import postponed
from aya_mcp.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence


async def collect(
    wire: Wire, ready: asyncio.Future[Any], opening: Sequence[bytes], *, wait_seconds: float
) -> list[bytes]:
    """Return the lines for the SDK, `opening` first, once it is ready or the client has gone.

    A tool call that has waited for wait_seconds is answered "warming up" and left out.
    """
    lines: list[bytes] = []
    calls = [_keep(wire, lines, line, wait_seconds) for line in opening]
    while not ready.done():
        receiving = asyncio.ensure_future(wire.receive())
        await asyncio.wait({receiving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            receiving.cancel()
            break
        line = receiving.result()
        if line is None:
            wire.hang_up()  # to be read again, by the session
            break
        calls.append(_keep(wire, lines, line, wait_seconds))
    await asyncio.wait({ready})
    for call in calls:
        if call is not None:
            call.cancel()
    return lines


def _keep(wire: Wire, lines: list[bytes], line: bytes, wait_seconds: float) -> asyncio.TimerHandle | None:
    """Keep a line; for a tool call, start the clock and return it."""
    lines.append(line)
    answer = postponed(line)

    def tell() -> None:
        if answer is not None:
            lines.remove(line)
            wire.send(answer)

    return None if answer is None else asyncio.get_running_loop().call_later(wait_seconds, tell)
