"""How an error looks on the wire: ours, and OpenAI's under /v1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from fastapi import FastAPI, Request, Response

from aya_embedder.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_FOUND, _WRONG_METHOD, _INTERNAL = 404, 405, 500
_OVERLOADED, _FIRST_SERVER_ERROR = 429, 500
# OpenAI says 400 where we say 422, and its clients raise by the status.
_OPENAI_STATUS = {422: 400}


def add_refusals(app: FastAPI) -> None:
    """Give every error that `app` can answer its shape."""

    @app.exception_handler(Problem)
    async def explained(request: Request, problem: Problem) -> Response:
        wait = problem.retry_after_seconds
        headers = {"retry-after": str(wait)} if wait is not None else {}
        return _refusal(request, problem.status, problem.kind, problem.message, problem.hint, headers=headers)

    @app.exception_handler(_NOT_FOUND)
    async def not_found(request: Request, _: Exception) -> Response:
        return _refusal(
            request, _NOT_FOUND, "not_found", f"no such call: {request.url.path}", "GET /docs lists the calls"
        )

    @app.exception_handler(_WRONG_METHOD)
    async def wrong_method(request: Request, error: Exception) -> Response:
        message = f"{request.method} does not go with {request.url.path}"
        headers = getattr(error, "headers", None)
        return _refusal(
            request, _WRONG_METHOD, "method_not_allowed", message, "GET /docs lists the calls", headers=headers
        )

    @app.exception_handler(Exception)
    async def unexplained(request: Request, _: Exception) -> Response:
        return _refusal(request, _INTERNAL, "internal_error", "the embedder failed", "see the embedder's log")


def _refusal(  # noqa: PLR0913 one argument for each part of the answer
    request: Request,
    status: int,
    kind: str,
    message: str,
    hint: str | None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    if request.url.path.startswith("/v1/"):
        status = _OPENAI_STATUS.get(status, status)
        shape = _openai(status, kind, message, hint)
    else:
        shape = _ours(kind, message, hint)
    return Response(orjson.dumps({"error": shape}), status, headers, media_type="application/json")


def _ours(kind: str, message: str, hint: str | None) -> dict[str, str | None]:
    return {"type": kind, "message": message, "hint": hint}


def _openai(status: int, kind: str, message: str, hint: str | None) -> dict[str, str | None]:
    """OpenAI's shape (https://platform.openai.com/docs/guides/error-codes); our own type is the code."""
    if status == _OVERLOADED:
        family = "rate_limit_error"
    else:
        family = "server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    return {"message": f"{message} ({hint})" if hint else message, "type": family, "param": None, "code": kind}
