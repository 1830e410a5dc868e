"""The heavy imports, in a thread of their own: first the SDK, then the database and the embedder's client.

A tool that is called meanwhile waits for WAIT_SECONDS and then says so: a sentence, never a time-out.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from aya.errors import AyaError

if TYPE_CHECKING:
    from aya_mcp.greeting import RequestId
    from aya_mcp.shutdown import Shutdown
    from aya_mcp.store import Base
    from aya_mcp.wire import Wire

    Serve = Callable[[Wire, Shutdown, "Warm", Sequence[bytes], RequestId | None], Awaitable[None]]

WAIT_SECONDS = 10.0
Loaded = TypeVar("Loaded")


class WarmingUp(AyaError):
    """The server has only just been started."""

    retryable = True


def _load_serving() -> Serve:
    from aya_mcp.serving import serve  # noqa: PLC0415 - the MCP SDK: one to two seconds

    return serve


def _load_base() -> Callable[[], Base]:
    # asyncpg, NumPy and httpx2: about one second
    from aya_mcp.config import read  # noqa: PLC0415
    from aya_mcp.store import Base  # noqa: PLC0415

    return lambda: Base(read(os.environ))


class Warm:
    """What is being imported, and the knowledge base once it is there. Made in the event loop.

    serving: `aya_mcp.serving.serve`, once the SDK is imported.
    """

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._wait_seconds = wait_seconds
        self.serving: asyncio.Future[Serve] = self._loop.create_future()
        self._make_base: asyncio.Future[Callable[[], Base]] = self._loop.create_future()
        self._base: Base | None = None

    def start(self) -> None:
        """Begin to import. A daemon thread: a signal need not wait for it."""
        threading.Thread(target=self._import, name="warm-up", daemon=True).start()

    async def base(self) -> Base:
        """Return the knowledge base, the same each time. Raises WarmingUp; ConfigError while settings are missing."""
        try:
            make = await asyncio.wait_for(asyncio.shield(self._make_base), self._wait_seconds)
        except TimeoutError:
            raise WarmingUp("the server is still warming up", hint="try again in a few seconds") from None
        # No await from here on: two calls at once make one base.
        if self._base is None:
            self._base = make()
        return self._base

    async def close(self) -> None:
        """Close the connections, if any were opened."""
        if self._base is not None:
            await self._base.close()

    def _import(self) -> None:
        self._step(_load_serving, self.serving)
        self._step(_load_base, self._make_base)

    def _step(self, load: Callable[[], Loaded], future: asyncio.Future[Loaded]) -> None:
        try:
            loaded = load()
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            self._loop.call_soon_threadsafe(future.set_exception, error)
        else:
            self._loop.call_soon_threadsafe(future.set_result, loaded)
