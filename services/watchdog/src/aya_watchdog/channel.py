"""The client side of the heartbeat: what the partner's agent says of itself, by whichever address answers first."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h11

from aya.certificates import server_name
from aya_watchdog.line import Closed, HttpStatus, Line, Target, said, within
from aya_watchdog.names import Names
from aya_watchdog.views import Peer
from aya_watchdog.wire import from_document

REQUEST_SECONDS = 0.5
_PATH, _NEWS = "/peer", "/peer?nudge=1"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one look yielded.

    peer: None when no address answered. address: the one that did. seconds: how long the look took. asked_at: monotonic
    time at which the question was sent: what the peer said was so then or later. failures: why the others did not
    answer, by address: refused, timeout, tls: …, http NNN; without those whose answer was not waited for.
    """

    peer: Peer | None
    address: str | None
    seconds: float
    asked_at: float
    failures: Mapping[str, str] = field(default_factory=dict[str, str])


class Channel:
    """The ways to one partner. Used as `async with`: what is still under way at the end is cut.

    addresses: IP addresses or names, every one of which is tried in every look. No call takes longer than `seconds`,
    and none raises because of the network.
    """

    def __init__(  # noqa: PLR0913 each is a choice of its own
        self,
        node: str,
        addresses: Sequence[str],
        port: int,
        context: ssl.SSLContext,
        *,
        seconds: float = REQUEST_SECONDS,
        names: Names | None = None,
    ) -> None:
        self._node, self._port, self._context = node, port, context
        self._addresses = tuple(dict.fromkeys(addresses))
        self._seconds = seconds
        self._names = names or Names()
        self._lines: dict[str, Line] = {}
        self._tasks = asyncio.TaskGroup()
        self._under_way: set[asyncio.Task[Heard]] = set()
        self.latest: dict[str, str] = {}
        """How each address did last: "answered", or why it did not."""

    async def __aenter__(self) -> Self:
        """Begin; nothing is connected before the first look."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is under way and cut all connections."""
        for task in self._under_way:
            task.cancel()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            for line in self._lines.values():
                line.close()

    async def ask(self, *, news: bool = False) -> Heard:
        """Ask by every address at once; the first valid answer counts, and the others go on until their own end.

        news: tell the partner that there are some, so that it asks in turn.
        """
        began = time.monotonic()
        path = _NEWS if news else _PATH
        asking = {self._begin(address, path) for address in self._addresses}
        failures: dict[str, str] = {}
        while asking:
            done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            for heard in (task.result() for task in done if not task.cancelled()):
                if heard.peer is not None:
                    return Heard(heard.peer, heard.address, heard.seconds, heard.asked_at, failures)
                failures.update(heard.failures)
        return Heard(None, None, time.monotonic() - began, began, failures)

    def _begin(self, address: str, path: str) -> asyncio.Task[Heard]:
        task = self._tasks.create_task(self._ask(address, path), name=f"ask {address}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _ask(self, address: str, path: str) -> Heard:
        """Ask by one address, which as a name may stand for several; never raises but by cancellation."""
        began = time.monotonic()
        try:
            async with within(self._seconds):
                found = await self._names.addresses(address)
                if not found:
                    raise OSError("the name is not known")  # noqa: TRY301 the same end as any other
                peer = await self._first(found, path)
        except (OSError, ssl.SSLError, Closed, HttpStatus, ValueError, h11.ProtocolError) as error:
            why = said(error)
            self.latest[address] = why
            return Heard(None, None, time.monotonic() - began, began, {address: why})
        self.latest[address] = "answered"
        return Heard(peer, address, time.monotonic() - began, began)

    async def _first(self, hosts: Sequence[str], path: str) -> Peer:
        """Return the answer of the first host that gives one, or raise the first host's error."""
        if len(hosts) == 1:
            return await self._at(hosts[0], path)
        asking = [asyncio.ensure_future(self._at(host, path)) for host in hosts]
        try:
            for one in asyncio.as_completed(asking):
                try:
                    return await one
                except (OSError, Closed, HttpStatus, ValueError, h11.ProtocolError):
                    continue
            return asking[0].result()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _at(self, host: str, path: str) -> Peer:
        line = self._lines.get(host)
        if line is None:
            line = self._lines[host] = Line(Target(host, self._port, server_name(self._node)), self._context)
        return from_document(json.loads(await line.get(path, self._seconds)))
