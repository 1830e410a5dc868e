"""The watchdog's three servers: for the partner (mutual TLS), for whoever asks (plain), for a person (a unix socket).

They answer from the board alone, in the watchdog's own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from aya.certificates import Identity, server_context
from aya.errors import AyaError, ConfigError
from aya_watchdog import agent, api, control
from aya_watchdog.board import Board
from aya_watchdog.door import door

_BACKLOG = 128
_IDLE_SECONDS = 30
# Who shakes hands for longer is no agent.
_HANDSHAKE_SECONDS = 3.0
_SOCKET_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Where:
    """Where the servers listen. host: "" is every address of this machine, IPv6 and IPv4."""

    host: str
    agent_port: int
    health_port: int
    socket: Path


@asynccontextmanager
async def hosted(board: Board, identity: Identity, partner: str | None, where: Where) -> AsyncGenerator[None]:
    """Answer for as long as the block lasts. partner: whose certificate is let in; None: there is no agent to ask.

    Raises ConfigError when an address is taken, naming it, before anything answers; what a server raises later ends the
    block, in an ExceptionGroup.
    """
    with ExitStack() as opened:
        health = opened.enter_context(_listening(where.host, where.health_port))
        own = opened.enter_context(_listening_on_path(where.socket))
        servers = [(_Server(api.create_app(board)), health), (_Server(control.create_app(board)), own)]
        if partner is not None:
            context = server_context(identity)
            listener = opened.enter_context(_listening(where.host, where.agent_port))
            servers.append((_Server(agent.create_app(board), only=partner, context=context), listener))
        async with asyncio.TaskGroup() as tasks:
            for server, listener in servers:
                tasks.create_task(server.serve(sockets=[listener]), name=f"http {listener.getsockname()}")
            try:
                yield
            finally:
                for server, _ in servers:
                    server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: aya.service has set its own; and with a bound on the handshake."""

    def __init__(self, app: ASGIApp, *, only: str | None = None, context: ssl.SSLContext | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=door(only),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL,  # what clients do wrong is no line in our log
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        self._context = context

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave SIGTERM and SIGINT alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on `sockets`."""
        protocol = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        make = partial(protocol, config=self.config, server_state=self.server_state, app_state={})
        limit = _HANDSHAKE_SECONDS if self._context else None
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(make, sock=each, ssl=self._context, ssl_handshake_timeout=limit, backlog=_BACKLOG)
            for each in sockets or ()
        ]
        self.started = True


@contextlib.contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    try:
        listener = _bound(host, port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            f"the watchdog cannot listen on {host or 'any address'} port {port}: "
            f"{'the port is in use' if taken else error.strerror}",
            hint=f"lsof -i :{port} shows who has it" if taken else "aya status",
        ) from error
    with listener:
        yield listener


def _bound(host: str, port: int) -> socket.socket:
    both = host == "" and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    # IPPROTO_TCP is said outright: asyncio sets TCP_NODELAY only where it sees it
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _listening_on_path(path: Path) -> Generator[socket.socket]:
    """Listen on a unix socket, mode 600; one that a dead process has left is replaced, a living one's is not."""
    if _is_answered(path):
        raise ConfigError(f"another watchdog answers on {path}", hint="aya status shows it; aya down ends it")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        # Nobody can connect before listen().
        path.chmod(_SOCKET_MODE)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AyaError(f"the watchdog cannot listen on {path}: {error.strerror or error}", hint="aya up") from error
    with listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True
