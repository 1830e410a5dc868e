"""The entry of the MCP server: nothing but the standard library is imported until `initialize` has been answered."""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from types import FrameType

from aya_mcp.early import collect
from aya_mcp.greeting import greet
from aya_mcp.shutdown import Shutdown, leave
from aya_mcp.warm import WAIT_SECONDS, Warm
from aya_mcp.wire import Wire

_FLUSH_SECONDS = 0.3


def main() -> None:
    """Serve one client over standard input and output until it goes or a signal arrives; exit 0, or 1 after a crash."""
    wire = Wire.claim()
    # Until the event loop takes the signals over there is nothing to finish.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave_at_once)
    exit_code = 0
    try:
        asyncio.run(_serve(wire))
    except BaseException:  # noqa: BLE001 - the last stop: told on standard error, then exit 1
        traceback.print_exc(file=sys.stderr)
        exit_code = 1
    leave(exit_code)


async def _serve(wire: Wire) -> None:
    shutdown = Shutdown()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _stop, shutdown, wire)
    wire.open()
    first = await wire.receive()
    if first is None:
        return
    greeting = greet(first)
    if greeting is not None:
        wire.send(greeting.answer)
    warm = Warm()
    warm.start()
    try:
        opening = [greeting.replay if greeting else first]
        lines = await collect(wire, warm.serving, opening, wait_seconds=WAIT_SECONDS)
        serve = await warm.serving
        await serve(wire, shutdown, warm, lines, greeting.request_id if greeting else None)
    finally:
        await wire.flush(_FLUSH_SECONDS)


def _leave_at_once(_signum: int, _frame: FrameType | None) -> None:
    leave(0)


def _stop(shutdown: Shutdown, wire: Wire) -> None:
    shutdown.request()
    wire.hang_up()
