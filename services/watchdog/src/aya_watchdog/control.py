"""What a person may have done, over a unix socket: whoever can open it is this machine's owner.

POST /switchover, /failover {force}, /degrade {partner_is_off}, /rejoin, /pause, /resume, each with {by, reason}
GET  /status, /history

An order is taken, not done, when it is answered (202): {"will": what will be done, "when": what must hold first,
"status": the status}. A refusal (409) is {"error": {"message", "hint"}}. An order that is given twice is one.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aya import log
from aya.errors import AyaError, UsageError
from aya_watchdog.board import Board
from aya_watchdog.views import Order

_ACCEPTED, _WRONG, _REFUSED = 202, 400, 409
_LARGEST_BODY = 4096
_LONGEST_WORDS = 200

# order → (what will be done, what must hold first); shown to a person
_WORDS: dict[Order, tuple[str, str]] = {
    "switchover": (
        "stop this primary, and let the partner take over in the next epoch; no row is lost",
        "both nodes have every acknowledged row (SYNC)",
    ),
    "failover": (
        "promote this node in the next epoch; no acknowledged row is lost",
        "this node is armed: it has replayed everything that was ever acknowledged",
    ),
    "force": (
        "promote this node in the next epoch with what it has; rows that it never received are lost",
        "the primary is off: somebody answers for that",
    ),
    "degrade": (
        "let this primary acknowledge alone; the partner is armed again when it is back",
        "the partner is off and was never promoted: somebody answers for that",
    ),
    "rejoin": (
        "stop this standby, rewind or copy it anew, and follow the primary",
        "the primary of this epoch answers",
    ),
}


def create_app(board: Board) -> Starlette:
    """Return the application."""

    def taking(choose: Callable[[Mapping[str, Any]], Order]) -> Callable[[Request], Awaitable[Response]]:
        async def call(request: Request) -> Response:
            said = await _body(request)
            order, by = choose(said), _by(said)
            log.get_logger().warning("order.received", order=order, by=by)
            status = await board.order(order, by)
            will, when = _WORDS[order]
            return JSONResponse({"order": order, "will": will, "when": when, "status": status}, _ACCEPTED)

        return call

    def pausing(*, paused: bool) -> Callable[[Request], Awaitable[Response]]:
        async def call(request: Request) -> Response:
            board.set_paused(paused, _by(await _body(request)))
            return JSONResponse({"status": board.status()})

        return call

    async def status(_: Request) -> Response:
        return JSONResponse(board.status())

    async def history(_: Request) -> Response:
        return JSONResponse({"epochs": await board.history()})

    posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/switchover": taking(lambda _: "switchover"),
        "/failover": taking(lambda said: "force" if _flag(said, "force") else "failover"),
        "/degrade": taking(_degrade),
        "/rejoin": taking(lambda _: "rejoin"),
        "/pause": pausing(paused=True),
        "/resume": pausing(paused=False),
    }
    return Starlette(
        routes=[
            *(Route(path, call, methods=["POST"]) for path, call in posts.items()),
            Route("/status", status),
            Route("/history", history),
        ],
        exception_handlers={AyaError: _refused, HTTPException: _unknown},
    )


def _degrade(said: Mapping[str, Any]) -> Order:
    if not _flag(said, "partner_is_off"):
        raise UsageError(
            "going on alone is safe only when the partner is off, and somebody has to answer for that",
            hint="make sure that it is off, then: aya degrade --partner-is-off",
        )
    return "degrade"


def _flag(said: Mapping[str, Any], name: str) -> bool:
    value = said.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}, and may be true or false", hint="aya --help")
    return value


def _by(said: Mapping[str, Any]) -> str:
    """Return who gave an order and why, in one printable line."""
    who, why = (" ".join(str(said.get(key) or "").split())[:_LONGEST_WORDS] for key in ("by", "reason"))
    return f"{who or 'somebody'}: {why}" if why else who or "somebody"


async def _body(request: Request) -> Mapping[str, Any]:
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > _LARGEST_BODY:
            raise UsageError(f"the body is longer than {_LARGEST_BODY} bytes", hint="aya --help")
    if not raw:
        return {}
    try:
        said: object = json.loads(raw)
    except ValueError as error:
        raise UsageError(f"the body is no JSON: {error}", hint="aya --help") from error
    if not isinstance(said, dict):
        raise UsageError("the body is no JSON object", hint="aya --help")
    return cast("Mapping[str, Any]", said)


async def _refused(_: Request, error: Exception) -> Response:
    known = error if isinstance(error, AyaError) else AyaError(str(error))
    status = _WRONG if isinstance(error, UsageError) else _REFUSED
    return JSONResponse({"error": {"message": known.message, "hint": known.hint}}, status)


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else _WRONG
    message = f"there is no {request.method} {request.url.path} here"
    return JSONResponse({"error": {"message": message, "hint": "aya --help"}}, status)
