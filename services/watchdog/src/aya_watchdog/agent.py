"""What the partner asks over mutual TLS: GET /peer. Who is let in is decided at the connection (aya_watchdog.door)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aya_watchdog.board import Board
from aya_watchdog.wire import to_document


def create_app(board: Board) -> Starlette:
    """Return the application. /peer?nudge=1 says that the partner has news."""

    async def peer(request: Request) -> Response:
        if "nudge" in request.query_params:
            board.nudged()
        return JSONResponse(to_document(board.peer()), headers={"cache-control": "no-store"})

    return Starlette(routes=[Route("/peer", peer)])
