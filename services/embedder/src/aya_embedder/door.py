"""Accepting connections: as many as there is room for; whoever comes on top waits at the kernel's door.

Over the bound nobody is refused or reset: what is not accepted costs nothing, and its turn comes (listen(2), backlog).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aya import log
from aya_embedder.limits import MAX_CONNECTIONS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from aya_embedder.connection import Connection

# How often to look whether a connection has become idle for long enough to make room.
_LOOK_SECONDS = 0.05
# The process is out of files, or the kernel out of memory: both pass.
_OUT_OF_SECONDS = 0.2
# A turn of a loaded loop is long; one connection a turn would be few.
_AT_ONCE = 64


class Door:
    """Counts the open connections, and knows which of them is idle."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        # Without a request; the one that has been so for the longest time first.
        self.idle: dict[Connection, None] = {}
        self._most = MAX_CONNECTIONS
        self._left = asyncio.Event()

    def entered(self, connection: Connection) -> None:
        """Count a connection."""
        self.open.add(connection)

    def left(self, connection: Connection) -> None:
        """Forget a connection."""
        self.open.discard(connection)
        self.idle.pop(connection, None)
        self._left.set()

    async def accept(self, listener: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """Accept what comes to `listener`, until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)  # noqa: FBT003 - positional in the standard library
        while True:
            room = min(_AT_ONCE, await self._until_room())
            try:
                first, _ = await loop.sock_accept(listener)
                accepted = [first, *_waiting(listener, room - 1)]
                await asyncio.gather(*(loop.connect_accepted_socket(make, one) for one in accepted))
            except OSError as error:
                log.get_logger().warning("connection.failed", error=str(error))
                await asyncio.sleep(_OUT_OF_SECONDS)

    async def _until_room(self) -> int:
        """Wait until another connection may be opened; return how many may."""
        while len(self.open) >= self._most and not self._displace():
            self._left.clear()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._left.wait()
            except TimeoutError:
                continue
        return self._most - len(self.open)

    def _displace(self) -> bool:
        """Close the connection that has been idle longest; say whether there was one."""
        oldest = next(iter(self.idle), None)
        if oldest is None or oldest.is_new():
            return False
        oldest.transport.close()
        self.left(oldest)
        return True


def _waiting(listener: socket.socket, most: int) -> list[socket.socket]:
    """Return up to `most` connections that wait already."""
    found: list[socket.socket] = []
    with contextlib.suppress(BlockingIOError):
        while len(found) < most:
            accepted, _ = listener.accept()
            accepted.setblocking(False)  # noqa: FBT003 - positional in the standard library
            found.append(accepted)
    return found
