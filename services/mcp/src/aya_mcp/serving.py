"""One session from the SDK's arrival to the last commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence

from aya import log
from aya_mcp.greeting import RequestId
from aya_mcp.server import build
from aya_mcp.session import Session
from aya_mcp.shutdown import Shutdown
from aya_mcp.tools import Tools
from aya_mcp.warm import Warm
from aya_mcp.wire import Wire

_CLOSE_SECONDS = 0.2


async def serve(
    wire: Wire, shutdown: Shutdown, warm: Warm, opening: Sequence[bytes], greeted: RequestId | None
) -> None:
    """Serve until the client has gone or a signal arrived; running adds are finished, then the connections closed.

    opening: the first lines for the SDK. greeted: the id of an `initialize` that is already answered.
    """
    log.configure(service="mcp", node=os.environ.get("AYA_NODE"))
    log.get_logger().info("session.started")
    async with asyncio.TaskGroup() as tasks:
        tools = Tools(warm.base, tasks)
        await Session(wire, shutdown, greeted).run(build(tools), opening)
        await shutdown.wait_for(tools.idle)
        tools.abandon()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await warm.close()
    log.get_logger().info("session.ended")
