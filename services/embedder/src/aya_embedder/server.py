"""Serving the application with uvicorn, inside the life of an AYA service."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from aya import log
from aya.errors import ConfigError
from aya_embedder import sources
from aya_embedder.app import create_app
from aya_embedder.cache import VectorCache
from aya_embedder.disk_cache import opened
from aya_embedder.loaded import LoadedModels

if TYPE_CHECKING:
    from collections.abc import Generator

    from aya_embedder.config import Config
    from aya_embedder.embedder import Embedder

# After SIGTERM, accepted requests have this long to be computed; what is left then gets a 503, and a second to be
# read. With what follows, the process is gone within 5 s.
_DRAIN_SECONDS = 3
_FAREWELL_SECONDS = 1
_BACKLOG = 2048


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Listen, load the model, and answer until `stop` is set; then end what was accepted.

    HTTP answers from the start: /health says "loading" until the model's first forward pass has succeeded.
    Raises ConfigError when the address is taken, and what loading raises, in an ExceptionGroup.
    """
    with contextlib.closing(_listen(config.host, config.port)) as listener, opened(config) as disk:
        models = LoadedModels(
            partial(_load, config),
            VectorCache(config.cache_bytes),
            default=config.model,
            resolve=sources.resolve,
            disk=disk,
        )
        server = _Server(_settings(models))
        async with asyncio.TaskGroup() as tasks:
            computing = tasks.create_task(models.run(), name="models")
            answering = tasks.create_task(server.serve(sockets=[listener]), name="http")
            await stop.wait()
            server.should_exit = True
            await asyncio.wait([answering], timeout=_DRAIN_SECONDS)
            models.give_up()
            await answering
            computing.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: aya.service has set its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave SIGTERM and SIGINT alone."""
        yield


def _settings(models: LoadedModels) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(models),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS + _FAREWELL_SECONDS,
    )


def _load(config: Config, source: str) -> Embedder:
    from aya_embedder.model import load  # noqa: PLC0415 on the inference thread: HTTP answers while MLX is imported

    return load(source, config.hf_home, config.kernels)


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = bound(host, port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            f"the embedder cannot listen on {host} port {port}: {'the port is in use' if taken else error.strerror}",
            hint=f"lsof -i :{port} shows who has it; or export AYA_EMBEDDER_PORT=… to take another"
            if taken
            else "export AYA_EMBEDDER_HOST=127.0.0.1",
        ) from error
    logger = log.get_logger()
    logger.info("server.listening", host=host, port=listener.getsockname()[1])
    if not _is_loopback(host):
        logger.warning("server.exposed", host=host, meaning="anyone who reaches this address can use the embedder")
    return listener


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections send small answers at once. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP is said outright: asyncio sets TCP_NODELAY only where it sees it, and without that each answer waits
    # 40 ms for the client's delayed ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
