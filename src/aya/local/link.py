"""The links between nodes that are on one machine: they can be cut there, as a cable can (aya dev cut | offline).

One process a node, `python -m aya.local.link`: what a server and its watchdog send to the partner's goes through it,
and what air sends to either server. Cut, it passes nothing on, either way: who has a connection hears nothing more, who
makes one is not answered; healed, it passes on what has waited, as TCP does after a short break. SIGUSR1 cuts, SIGUSR2
heals.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from aya import home as homes
from aya import log, service
from aya.errors import AyaError, ConfigError
from aya.postgres.config import SERVERS

_HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Way:
    """One port that is listened on, and where it leads to."""

    port: int
    target: int


class Link:
    """Passes on while it is whole."""

    def __init__(self) -> None:
        self._whole = asyncio.Event()
        self._whole.set()
        self._joins: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Pass nothing on from now on."""
        self._whole.clear()
        log.get_logger().warning("link.cut")

    def heal(self) -> None:
        """Pass on again, what has waited first."""
        self._whole.set()
        log.get_logger().info("link.healed")

    async def run(self, ways: tuple[Way, ...], stop: asyncio.Event) -> None:
        """Pass on until `stop` is set. Raises ConfigError when a port is taken."""
        async with asyncio.TaskGroup() as tasks:
            servers = [await self._listen(way, tasks) for way in ways]
            await stop.wait()
            for server in servers:
                server.close()
            for join in self._joins:
                join.cancel()

    async def _listen(self, way: Way, tasks: asyncio.TaskGroup) -> asyncio.Server:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            join = tasks.create_task(self._join(reader, writer, way.target))
            self._joins.add(join)
            join.add_done_callback(self._joins.discard)

        try:
            return await asyncio.start_server(accepted, _HOST, way.port)
        except OSError as error:
            raise ConfigError(f"port {way.port} cannot be listened on: {error.strerror}", hint="aya status") from error

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        try:
            await self._whole.wait()
            there, back = await asyncio.open_connection(_HOST, target)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, back))
                both.create_task(self._pump(there, writer))
        finally:
            writer.transport.abort()
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                await self._whole.wait()
                writer.write(piece)
                await writer.drain()
            await self._whole.wait()
            if writer.can_write_eof():
                writer.write_eof()


def ways(environ: Mapping[str, str] = os.environ) -> tuple[str, tuple[Way, ...]]:
    """Return the node and its ways to the others. Raises ConfigError."""
    name = environ.get("AYA_NODE") or ""
    nodes = homes.locate(environ.get("AYA_HOME")).nodes()
    own = nodes.get(name)
    if own is None:
        raise ConfigError(f"there is no node {name!r} that a link could lead from", hint="aya up")
    if name not in SERVERS:
        to = {"alpha": own.link_alpha_port, "beta": own.link_beta_port}
        return name, tuple(Way(port, nodes[each].postgres_port) for each, port in to.items() if each in nodes)
    other = nodes.get(next(each for each in SERVERS if each != name))
    if other is None:
        return name, ()
    return name, (Way(own.link_postgres_port, other.postgres_port), Way(own.link_agent_port, other.agent_port))


async def _work(found: tuple[Way, ...], stop: asyncio.Event) -> None:
    link = Link()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, link.cut)
    loop.add_signal_handler(signal.SIGUSR2, link.heal)
    await link.run(found, stop)


def main() -> None:
    """Run until SIGTERM; exit 0 then, 1 on a failure that a restart may mend."""
    try:
        name, found = ways()
    except AyaError as error:
        sys.exit(f"aya-link: {error.message}" + (f"\n  next: {error.hint}" if error.hint else ""))
    sys.exit(service.run("link", lambda stop: _work(found, stop), node=name))


if __name__ == "__main__":
    main()
