"""How an error looks on the wire: ours, and OpenAI's under /v1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from fastapi import FastAPI, Request, Response

from aya import log
from aya_embedder.problems import Failed, NotLoaded, Problem, TooLong, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_FOUND, _WRONG_METHOD, _INTERNAL = 404, 405, 500
_OVERLOADED, _FIRST_SERVER_ERROR = 429, 500
_SEE_DOCS = "GET /docs lists the calls"
# OpenAI says 400 where we say 422, and its clients raise by the status.
_OPENAI_STATUS = {422: 400}
_OPENAI_FAMILY = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_OPENAI_CODE = {"model_not_loaded": "model_not_found"}
# What is at fault where the problem itself does not know the request's fields.
_OPENAI_PARAM: dict[type[Problem], str] = {NotLoaded: "model", TooLong: "input", Failed: "input"}


def add_refusals(app: FastAPI) -> None:
    """Give every error that `app` can answer its shape."""

    @app.exception_handler(Problem)
    async def explained(request: Request, problem: Problem) -> Response:
        return refusal(problem, request.url.path)

    @app.exception_handler(_NOT_FOUND)
    async def not_found(request: Request, _: Exception) -> Response:
        return _unknown(request, _NOT_FOUND, "not_found", "no such call")

    @app.exception_handler(_WRONG_METHOD)
    async def wrong_method(request: Request, error: Exception) -> Response:
        message = f"{request.method} does not go with this call"
        return _unknown(request, _WRONG_METHOD, "method_not_allowed", message, getattr(error, "headers", None))

    @app.exception_handler(Exception)
    async def unexplained(request: Request, error: Exception) -> Response:
        log.get_logger().error("request.failed", path=request.url.path, exc_info=error)
        problem = Problem("the embedder failed", hint="see the embedder's log")
        return refusal(problem, request.url.path)


def refusal(problem: Problem, path: str) -> Response:
    """Return the answer to a call of `path` that ended in `problem`."""
    wait = problem.retry_after_seconds
    headers = {"retry-after": str(wait)} if wait is not None else {}
    if isinstance(problem, Unauthorized):
        headers["www-authenticate"] = 'Bearer realm="aya-embedder"'
    if path.startswith("/v1/"):
        param = problem.field or _OPENAI_PARAM.get(type(problem))
        shape = _openai(problem.status, problem.kind, problem.message, problem.hint, param)
        return _answer(_OPENAI_STATUS.get(problem.status, problem.status), shape, headers)
    return _answer(problem.status, _ours(problem.kind, problem.message, problem.hint), headers)


def _unknown(
    request: Request, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    if request.url.path.startswith("/v1/"):
        return _answer(status, _openai(status, kind, message, _SEE_DOCS, None), headers)
    return _answer(status, _ours(kind, message, _SEE_DOCS), headers)


def _answer(status: int, shape: Mapping[str, str | None], headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps({"error": shape}), status, headers, media_type="application/json")


def _ours(kind: str, message: str, hint: str | None) -> dict[str, str | None]:
    return {"type": kind, "message": message, "hint": hint}


def _openai(status: int, kind: str, message: str, hint: str | None, param: str | None) -> dict[str, str | None]:
    """OpenAI's shape (https://platform.openai.com/docs/guides/error-codes); our own type is the code."""
    return {
        "message": f"{message} ({hint})" if hint else message,
        "type": _OPENAI_FAMILY.get(
            status, "server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
        ),
        "param": param,
        "code": _OPENAI_CODE.get(kind, kind),
    }
