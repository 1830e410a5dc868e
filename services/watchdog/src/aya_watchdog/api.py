"""What load balancers, scripts and monitoring ask, in the convention of Patroni's REST API: plain HTTP, read-only.

https://patroni.readthedocs.io/en/latest/rest_api.html: 200 when the node is what the path says, else 503. GET has the
node's document with it, HEAD and OPTIONS have the status alone. A primary that is fenced or in quarantine is none.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aya import __version__
from aya.errors import AyaError
from aya_watchdog.board import Board
from aya_watchdog.metrics import CONTENT_TYPE

_OK, _WRONG, _UNAVAILABLE = 200, 400, 503
_READ = ["GET", "HEAD", "OPTIONS"]
_SCOPE = "aya"
# A watchdog that has not looked for so long hangs, and should be restarted.
_BEAT_SECONDS = 30.0
# What it saw so long ago does not say that it leads.
_STALE_SECONDS = 10.0
_LEADING = frozenset({"SYNC", "SOLO", "ARMING"})
# maximum_lag_on_failover's default in Patroni
_READY_LAG = 1024 * 1024
_HISTORY_SECONDS = 5.0
_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}

Status = Mapping[str, Any]
_Call = Callable[[Request], Awaitable[Response]]


def leads(said: Status) -> bool:
    """Return whether clients may write here; pure. It is not so while the server is about to be closed to them."""
    leading = said["role"] == "primary" and said["condition"] in _LEADING and not _is_stale(said)
    return leading and said["server"] == "running" and bool(said["writable"])


def follows(said: Status) -> bool:
    """Return whether it is a standby that can be read; pure."""
    return said["role"] == "standby" and said["server"] == "running" and said["in_recovery"] is True


def is_synchronous(said: Status) -> bool:
    """Return whether it is a standby that has every acknowledged row; pure."""
    return follows(said) and said["condition"] == "ARMED"


def is_within(said: Status, most: int | None) -> bool:
    """Return whether it lags behind by less than `most` bytes; what is not known is too much; pure."""
    lag = said.get("lag_bytes")
    return most is None or (lag is not None and lag <= most)


def _beat_age(said: Status) -> float:
    return float(said.get("beat_age_seconds") or 0.0)


def _is_stale(said: Status) -> bool:
    return _beat_age(said) > _STALE_SECONDS


def _is_ready(said: Status, most: int | None) -> bool:
    keeps_up = follows(said) and said["condition"] in {"ARMED", "FOLLOW"}
    return leads(said) or (keeps_up and is_within(said, _READY_LAG if most is None else most))


_Is = Callable[[Status, int | None], bool]
_PATHS: tuple[tuple[tuple[str, ...], _Is], ...] = (
    (("/", "/primary", "/master", "/read-write", "/leader"), lambda said, _: leads(said)),
    (("/standby-leader", "/standby_leader"), lambda _said, _most: False),
    (("/replica", "/secondary"), lambda said, most: follows(said) and is_within(said, most)),
    (("/read-only",), lambda said, most: leads(said) or (follows(said) and is_within(said, most))),
    (("/synchronous", "/sync"), lambda said, _: is_synchronous(said)),
    (("/read-only-sync",), lambda said, _: leads(said) or is_synchronous(said)),
    (
        ("/asynchronous", "/async"),
        lambda said, most: follows(said) and not is_synchronous(said) and is_within(said, most),
    ),
    (("/health",), lambda said, _: said["server"] == "running"),
    (("/liveness",), lambda said, _: _beat_age(said) <= _BEAT_SECONDS),
    (("/readiness",), _is_ready),
    (("/patroni", "/status"), lambda _said, _most: True),
)


def create_app(board: Board) -> Starlette:
    """Return the application."""
    remembered = _Remembered(board)

    async def history(request: Request) -> Response:
        try:
            return _answer(request, rows(await remembered.history()))
        except AyaError as error:
            return _answer(request, {"error": {"message": error.message, "hint": error.hint}}, _UNAVAILABLE)

    async def members(request: Request) -> Response:
        return _answer(request, cluster(board.status()))

    async def metrics(request: Request) -> Response:
        del request
        return Response(board.metrics(), media_type=CONTENT_TYPE)

    return Starlette(
        routes=[
            *(Route(path, _checking(board, is_so), methods=_READ) for names, is_so in _PATHS for path in names),
            Route("/history", history, methods=_READ),
            Route("/cluster", members, methods=_READ),
            Route("/metrics", metrics),
        ]
    )


def _checking(board: Board, is_so: _Is) -> _Call:
    async def call(request: Request) -> Response:
        try:
            most = parsed_size(request.query_params.get("lag"))
        except ValueError as error:
            return _answer(request, {"error": {"message": str(error), "hint": "lag=16MB"}}, _WRONG)
        said = board.status()
        return _answer(request, document(said), _OK if is_so(said, most) else _UNAVAILABLE)

    return call


def _answer(request: Request, value: object, status: int = _OK) -> Response:
    headers = {"cache-control": "no-store"}
    if request.method == "OPTIONS":
        return Response(None, status, headers=headers)
    return JSONResponse(value, status, headers=headers)


def parsed_size(text: str | None) -> int | None:
    """Return a size in bytes, as 1048576, 1024kB, 16MB or 1GB; None for None; pure. Raises ValueError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9]{1,15})\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError(f"lag is {text!r}, which is no size")
    return int(found[1]) * _UNITS[found[2].upper()]


def document(said: Status) -> dict[str, Any]:
    """Return a status in Patroni's words, with ours under "aya"; pure. What is not known is left out."""
    primary = said["role"] == "primary"
    role = "primary" if primary else "replica"
    shown: dict[str, Any] = {"state": said["server"], "role": role}
    if said.get("server_version") is not None:
        shown["server_version"] = said["server_version"]
    if primary:
        shown["xlog"] = {"location": said.get("position")}
    else:
        shown["xlog"] = {
            "received_location": said.get("received"),
            "replayed_location": said.get("position"),
            "paused": bool(said.get("replay_paused")),
        }
        shown["sync_standby"] = is_synchronous(said)
    shown["timeline"] = said.get("timeline")
    if said["paused"]:
        shown["pause"] = True
    shown["patroni"] = {"version": __version__, "scope": _SCOPE, "name": said["node"]}
    shown["aya"] = dict(said)
    return shown


def cluster(said: Status) -> dict[str, Any]:
    """Return both nodes, as this one sees them; pure."""
    members = [_member(said["node"], said["role"], said["server"], said.get("timeline"), sync=is_synchronous(said))]
    partner: Mapping[str, Any] = said.get("partner") or {}
    if partner:
        heard: Mapping[str, Any] = partner.get("said") or {}
        state = "unreachable" if partner.get("error") or not heard else heard.get("server", "unknown")
        sync = said["condition"] == "SYNC" and heard.get("role") == "standby"
        members.append(_member(partner["node"], heard.get("role"), state, heard.get("timeline"), sync=sync))
    for member in members:
        if member["role"] not in {"leader", "unknown"} and said.get("lag_bytes") is not None:
            member["lag"] = said["lag_bytes"]
    return {"members": members, "scope": _SCOPE, **({"pause": True} if said["paused"] else {})}


def _member(name: str, role: str | None, state: str, timeline: int | None, *, sync: bool) -> dict[str, Any]:
    follower = "sync_standby" if sync else "replica"
    called = {"primary": "leader", "standby": follower}.get(role or "", "unknown")
    return {"name": name, "role": called, "state": state, "timeline": timeline}


def rows(epochs: list[dict[str, Any]]) -> list[list[Any]]:
    """Return the changes of leader as Patroni lists them, the oldest first; pure.

    A row: the timeline that ended, where it ended (0: we do not keep it), why, when, who has led since.
    """
    oldest = sorted(epochs, key=lambda epoch: epoch["epoch"])
    return [
        [before["timeline"], 0, after["reason"], after["began_at"], after["node"]] for before, after in pairwise(oldest)
    ]


class _Remembered:
    """The history, asked of the server at most once in a while: anybody may ask us."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = asyncio.Lock()
        self._found: list[dict[str, Any]] = []
        self._until = 0.0

    async def history(self) -> list[dict[str, Any]]:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._found = await self._board.history()
                self._until = time.monotonic() + _HISTORY_SECONDS
            return self._found
