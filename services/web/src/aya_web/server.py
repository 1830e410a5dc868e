"""Serving the page with uvicorn, inside the life of an AYA service."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Generator
from dataclasses import dataclass

import uvicorn
from starlette.routing import Route

from aya import log
from aya.access import HEALTH, Access
from aya.errors import ConfigError
from aya.secret_file import read_token
from aya_web.app import create_app
from aya_web.base import Base
from aya_web.config import Config
from aya_web.door import Door
from aya_web.gate import Gate
from aya_web.metrics import Metrics
from aya_web.static_files import read_all
from aya_web.watcher import Watcher

_BACKLOG = 128
_IDLE_SECONDS = 30
_HEAD_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Parts:
    """What is served."""

    config: Config
    base: Base
    watcher: Watcher


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Listen and answer until `stop` is set.

    Raises ConfigError when the address is taken, the token file is not fit, or the home does not say how the database
    is entered.
    """
    token = read_token(config.token_file) if config.token_file else None
    with contextlib.closing(listening(config.host, config.port)) as listener:
        async with Base.of(config.home, config.node) as base:
            watcher = Watcher(config.home, config.node, base)
            async with asyncio.TaskGroup() as tasks:
                looking = tasks.create_task(watcher.run(), name="watcher")
                await answer(Parts(config, base, watcher), listener, stop, token)
                looking.cancel()


async def answer(parts: Parts, listener: socket.socket, stop: asyncio.Event, token: str | None = None) -> None:
    """Answer on `listener` until `stop` is set, and let those that are answered read for a second."""
    metrics = Metrics(parts.watcher)
    app = create_app(parts.config.home, parts.base, parts.watcher, metrics)
    # The page itself holds no secret: it asks for the token, and says it with every call.
    access = Access(
        token,
        parts.config.allowed_hosts,
        open_paths=HEALTH | frozenset(read_all()),
        asks_everybody=token is not None,
    )
    gate = Gate(app, [route for route in app.routes if isinstance(route, Route)], access, metrics)
    server = _Server(
        uvicorn.Config(
            gate,
            http=Door,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,  # what clients do wrong is no line in our log
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=1,
        )
    )
    host, port = listener.getsockname()[:2]
    log.get_logger().info("server.listening", host=host, port=port, token=access.token is not None)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(server.serve(sockets=[listener]), name="http")
        await stop.wait()
        server.should_exit = True
        await answering


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: aya.service has set its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave SIGTERM and SIGINT alone."""
        yield


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one. Raises ConfigError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            f"the page cannot listen on {host} port {port}: {'the port is in use' if taken else error.strerror}",
            hint=f"lsof -i :{port} shows who has it" if taken else "aya.toml: [web] host",
        ) from error
    return listener
