"""Serving the application with uvicorn, inside the life of an AYA service."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, cast

import uvicorn

from aya import log
from aya.access import Access, is_loopback
from aya.errors import ConfigError
from aya.secret_file import read_token
from aya_embedder import sources
from aya_embedder.access import embedder_access
from aya_embedder.app import create_app
from aya_embedder.cache import VectorCache
from aya_embedder.connection import Connection, Shed, waiting
from aya_embedder.disk_cache import opened
from aya_embedder.door import Door
from aya_embedder.gate import Gate
from aya_embedder.limits import MAX_HEAD_BYTES, Patience
from aya_embedder.loaded import LoadedModels
from aya_embedder.metrics import Metrics
from aya_embedder.shedding import CROWD, shed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from aya_embedder.config import Config
    from aya_embedder.embedder import Embedder

_BACKLOG = 8192
_ON_THE_WAY_SECONDS = 0.5
# asyncio says when a connection's buffer runs low, not when it is empty.
_LOOK_SECONDS = 0.02


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Listen, load the model, and answer until `stop` is set; then end what was accepted.

    HTTP answers from the start: /health says "loading" until the model's first forward pass has succeeded.
    Raises ConfigError when the address is taken or the token file is not fit, and what loading raises, in an
    ExceptionGroup.
    """
    token = read_token(config.token_file) if config.token_file else None
    access = embedder_access(token, config.allowed_hosts)
    patience = Patience(work=config.request_seconds)
    metrics = Metrics()
    with contextlib.closing(_listen(config.host, config.port)) as listener, opened(config) as disk:
        models = LoadedModels(
            partial(_load, config),
            VectorCache(config.cache_bytes),
            default=config.model,
            resolve=sources.resolve,
            disk=disk,
            observe=metrics.of,
        )
        async with asyncio.TaskGroup() as tasks:
            computing = tasks.create_task(models.run(), name="models")
            await answer(models, listener, access, stop, patience=patience, metrics=metrics)
            computing.cancel()


async def answer(  # noqa: PLR0913 each is a choice of its own
    models: LoadedModels,
    listener: socket.socket,
    access: Access,
    stop: asyncio.Event,
    *,
    patience: Patience,
    metrics: Metrics | None = None,
) -> None:
    """Answer on `listener` until `stop` is set, then until what was accepted is answered and the answers are read.

    Accepted is a request whose head has come before `stop`, and whose body comes within patience.reading. What is not
    computed within patience.drain gets a 503, and so does, from `stop` on, every new request; idle connections are
    closed. What is not read within patience.drain is lost, and so is the answer of a client that stops reading.
    """
    metrics = metrics or Metrics()
    gate = Gate(create_app(models, patience, metrics), access, patience.unread)
    door = Door()

    def refused(head: bytes) -> bytes | None:
        return shed(head, models, metrics) if len(door.open) > CROWD else None

    server = _Server(_settings(gate, patience, door, refused))
    async with asyncio.TaskGroup() as tasks:
        # No sockets: uvicorn would accept without a bound.
        answering = tasks.create_task(server.serve(sockets=[]), name="http")
        accepting = tasks.create_task(door.accept(listener, server.connection, refused), name="door")
        await stop.wait()
        gate.leave()
        server.close_idle()
        last = asyncio.get_running_loop().time() + patience.drain
        await _drain(gate, models, patience)
        await _until_read(server, last)
        accepting.cancel()
        listener.close()
        server.should_exit = True
        await answering


async def _drain(gate: Gate, models: LoadedModels, patience: Patience) -> None:
    try:
        async with asyncio.timeout(patience.reading):
            await gate.until_answered()
            return
    except TimeoutError:
        gate.stop_reading()
        models.stop_accepting()
    try:
        async with asyncio.timeout(patience.drain - patience.reading):
            await gate.until_answered()
            return
    except TimeoutError:
        log.get_logger().warning("drain.ended", unanswered=gate.in_flight)
        models.give_up()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience.farewell):
            await gate.until_answered()


async def _until_read(server: _Server, last: float) -> None:
    """Wait for the clients to take their answers, until the loop's time `last`: the process's end loses the rest."""
    try:
        async with asyncio.timeout_at(last):
            await server.until_read()
    except TimeoutError:
        log.get_logger().warning("drain.ended", unread_bytes=server.unread_bytes)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: aya.service has set its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave SIGTERM and SIGINT alone."""
        yield

    def connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, as uvicorn makes it for the sockets that it accepts itself."""
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state={})

    def close_idle(self) -> None:
        """Close the connections that are idle; all others end after their next answer.

        One that became idle a moment ago may have its next request on the way, which shall be answered, by a 503.
        """
        for connection in self._connections():
            idle_seconds = connection.idle_seconds()
            if idle_seconds is not None and idle_seconds > _ON_THE_WAY_SECONDS:
                connection.shutdown()

    @property
    def unread_bytes(self) -> int:
        """How much of the answers waits in our buffers."""
        return sum(connection.unread_bytes for connection in self._connections())

    async def until_read(self) -> None:
        """Wait until the kernel has all answers; connections whose client stops reading are cut off meanwhile."""
        for connection in self._connections():
            connection.hurry_reader()
        while self.unread_bytes:  # noqa: ASYNC110 see _LOOK_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)

    def _connections(self) -> set[Connection]:
        return cast("set[Connection]", self.server_state.connections.copy())


def _settings(gate: Gate, patience: Patience, door: Door, refused: Shed) -> uvicorn.Config:
    return uvicorn.Config(
        gate,
        http=waiting(patience, door, refused),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL,  # what clients do wrong is no line in our log; what we do wrong refusals.py logs
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody may say where a request came from (docs/adr/0013)
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=int(patience.idle),
        timeout_graceful_shutdown=max(1, int(patience.farewell)),
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
    if not is_loopback(host):
        logger.warning(
            "server.exposed", host=host, meaning="whoever reaches this address and knows the token is served"
        )
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
