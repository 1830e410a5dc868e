"""The three ways in: the partner's agent (mutual TLS), whoever asks for health (plain), a person (a unix socket)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aya.certificates import Identity
from aya.errors import AyaError, ConfigError
from aya_watchdog.partner import to_document

if TYPE_CHECKING:
    from aya_watchdog.loop import Watchdog

OK, UNAVAILABLE, REFUSED = 200, 503, 409
_READ = ["GET", "HEAD", "OPTIONS"]
_ORDERS = ("switchover", "failover", "force", "degrade", "rejoin")


def agent(watchdog: Watchdog) -> Starlette:
    """Return what the partner asks."""

    async def peer(request: Request) -> Response:
        if "nudge" in request.query_params:
            watchdog.nudged()
        return JSONResponse(to_document(watchdog.peer()))

    return Starlette(routes=[Route("/peer", peer)])


def health(watchdog: Watchdog) -> Starlette:
    """Return the read-only calls of Patroni's REST API, as load balancers and scripts know them.

    https://patroni.readthedocs.io/en/latest/rest_api.html: 200 when the node is what the path says, else 503.
    """

    def answers(is_so: Any) -> Any:  # noqa: ANN401 - a function of the status
        async def call(_: Request) -> Response:
            said = watchdog.status()
            return JSONResponse(_patroni(said), OK if is_so(said) else UNAVAILABLE)

        return call

    def running(said: dict[str, Any]) -> bool:
        return said["server"] == "running"

    def leads(said: dict[str, Any]) -> bool:
        return bool(said["writable"])

    def follows(said: dict[str, Any]) -> bool:
        return running(said) and said["role"] == "standby" and said["in_recovery"] is True

    async def status(_: Request) -> Response:
        return JSONResponse(_patroni(watchdog.status()))

    async def metrics(_: Request) -> Response:
        return Response(_metrics(watchdog.status()), media_type="text/plain; version=0.0.4")

    paths = {
        leads: ("/", "/primary", "/master", "/leader", "/read-write"),
        follows: ("/replica", "/secondary", "/standby"),
        lambda said: leads(said) or follows(said): ("/read-only",),
        lambda said: follows(said) and said["condition"] == "ARMED": ("/synchronous", "/sync"),
        lambda said: follows(said) and said["condition"] != "ARMED": ("/asynchronous", "/async"),
        running: ("/health", "/readiness"),
        lambda _: True: ("/liveness",),
    }
    routes = [Route(path, answers(is_so), methods=_READ) for is_so, names in paths.items() for path in names]
    more = [Route(path, status, methods=_READ) for path in ("/status", "/patroni")]
    return Starlette(routes=[*routes, *more, Route("/metrics", metrics)])


def control(watchdog: Watchdog) -> Starlette:
    """Return what a person may have done. Who can open the socket is this machine's owner."""

    async def status(_: Request) -> Response:
        return JSONResponse(watchdog.status())

    async def history(_: Request) -> Response:
        return JSONResponse({"epochs": await watchdog.history()})

    async def order(request: Request) -> Response:
        wanted = request.path_params["order"]
        try:
            if wanted in {"pause", "resume"}:
                watchdog.set_paused(paused=wanted == "pause")
                return JSONResponse(watchdog.status())
            return JSONResponse(await watchdog.ask_for(wanted))
        except AyaError as error:
            return JSONResponse({"error": {"message": error.message, "hint": error.hint}}, REFUSED)

    return Starlette(
        routes=[
            Route("/status", status),
            Route("/history", history),
            *(Route(f"/{{order:path}}", order, methods=["POST"]) for _ in (1,)),
        ]
    )


def _patroni(said: dict[str, Any]) -> dict[str, Any]:
    """Return the status in Patroni's words, with ours under "aya"; pure."""
    role = "primary" if said["role"] == "primary" else "replica"
    return {
        "state": said["server"],
        "role": role,
        "timeline": said["timeline"],
        "xlog": {"location": said["position"]} if role == "primary" else {"replayed_location": said["position"]},
        "pause": said["paused"],
        "patroni": {"scope": "aya", "name": said["node"]},
        "aya": said,
    }


def _metrics(said: dict[str, Any]) -> str:
    """Return Prometheus text; pure."""
    partner = said["partner"] or {}
    values = {
        "aya_watchdog_epoch": said["epoch"],
        "aya_watchdog_primary": int(said["role"] == "primary"),
        "aya_watchdog_writable": int(said["writable"]),
        "aya_watchdog_paused": int(said["paused"]),
        "aya_watchdog_server_running": int(said["server"] == "running"),
        "aya_watchdog_position_bytes": said["position"] or 0,
        "aya_watchdog_partner_age_seconds": partner.get("age_seconds") if partner.get("age_seconds") is not None else "NaN",
    }
    lines = [f"# TYPE {name} gauge\n{name} {value}" for name, value in values.items()]
    condition = f'aya_watchdog_condition{{condition="{said["condition"]}"}} 1'
    return "\n".join([*lines, "# TYPE aya_watchdog_condition gauge", condition, ""])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: aya.service has set its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave SIGTERM and SIGINT alone."""
        yield


@asynccontextmanager
async def served(
    watchdog: Watchdog, identity: Identity, *, host: str, agent_port: int, health_port: int, socket: Path
) -> AsyncGenerator[None]:
    """Answer all three for as long as the block lasts. ConfigError when a port is taken."""
    socket.unlink(missing_ok=True)
    settings = [
        _settings(agent(watchdog), host=host, port=agent_port, identity=identity),
        _settings(health(watchdog), host=host, port=health_port),
        _settings(control(watchdog), uds=str(socket)),
    ]
    servers = [_Server(each) for each in settings]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_serve(server), name=f"http.{number}") for number, server in enumerate(servers)]
        while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        socket.chmod(0o600)
        try:
            yield
        finally:
            for server in servers:
                server.should_exit = server.force_exit = True
            await asyncio.gather(*running, return_exceptions=True)


async def _serve(server: _Server) -> None:
    try:
        await server.serve()
    except SystemExit as error:
        where = server.config.uds or f"{server.config.host} port {server.config.port}"
        raise ConfigError(f"the watchdog cannot listen on {where}", hint="aya status; lsof -i shows who has it") from error


def _settings(
    app: Starlette, *, host: str = "", port: int = 0, uds: str | None = None, identity: Identity | None = None
) -> uvicorn.Config:
    secured: dict[str, Any] = {}
    if identity is not None:
        secured = {
            "ssl_certfile": str(identity.certificate),
            "ssl_keyfile": str(identity.key),
            "ssl_ca_certs": str(identity.authority),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }
    return uvicorn.Config(
        app, host=host, port=port, uds=uds, http="h11", ws="none", lifespan="off", log_config=None,
        log_level=logging.CRITICAL, access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=1, **secured,
    )  # fmt: skip
