"""Accepting connections: as many as there is room for; whoever comes on top waits at the kernel's door.

Over the bound nobody is reset: what is not accepted costs nothing, and its turn comes (listen(2), backlog). In a crowd
a request that must be refused is refused here, before a connection is made of it: that takes a twentieth of the time,
and under overload the refusals are what there is most of.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from aya import log
from aya_embedder.limits import MAX_CONNECTIONS
from aya_embedder.shedding import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from aya_embedder.connection import Connection, Shed

# How often to look whether a connection has become idle for long enough to make room.
_LOOK_SECONDS = 0.05
# The process is out of files, or the kernel out of memory: both pass.
_OUT_OF_SECONDS = 0.2
# A turn of a loaded loop is long; one connection a turn would be few.
_AT_ONCE = 64
_PEEK_BYTES = 16 * 1024


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

    async def accept(self, listener: socket.socket, make: Callable[[], asyncio.Protocol], shed: Shed) -> None:
        """Accept what comes to `listener`, until cancelled. shed: see aya_embedder.connection."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)  # noqa: FBT003 - positional in the standard library
        while True:
            try:
                first, _ = await loop.sock_accept(listener)
                for accepted in (first, *_waiting(listener, _AT_ONCE - 1)):
                    if not _is_turned_away(accepted, shed):
                        await self._until_room()
                        await loop.connect_accepted_socket(make, accepted)
            except OSError as error:
                log.get_logger().warning("connection.failed", error=str(error))
                await asyncio.sleep(_OUT_OF_SECONDS)
            # Those that were turned away needed no wait: the loop's other work has its turn now.
            await asyncio.sleep(0)

    async def _until_room(self) -> None:
        """Wait until another connection may be opened."""
        while len(self.open) >= self._most and not self._displace():
            self._left.clear()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._left.wait()
            except TimeoutError:
                continue

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


def _is_turned_away(accepted: socket.socket, shed: Shed) -> bool:
    """Refuse a request that has come already and must be refused; return whether that is done, and it is closed."""
    try:
        request = accepted.recv(_PEEK_BYTES, socket.MSG_PEEK)
        refusal = shed(request) if request else None
        # Closed with something unread, the kernel would reset it, and throw our answer away.
        if request and (refusal is None or not is_whole(request) or len(request) == _PEEK_BYTES):
            return False
        accepted.recv(_PEEK_BYTES)
        if refusal is not None:
            accepted.send(refusal)
    except BlockingIOError:
        return False
    except OSError:
        pass
    accepted.close()
    return True
