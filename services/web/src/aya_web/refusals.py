"""How an error looks on the wire: {"error": {"type", "message", "hint"}}."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from aya import log
from aya.errors import AyaError, DatabaseError, DocumentError, EmbedderError, UsageError

_NOT_FOUND, _WRONG_METHOD, _UNPROCESSABLE = 404, 405, 422
_INTERNAL, _UNAVAILABLE = 500, 503
_UNAUTHORIZED, _TOO_LARGE = 401, 413


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error. hint: the next command, or what to do else."""

    status: int
    kind: str
    message: str
    hint: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


class ErrorBody(BaseModel):
    """What went wrong."""

    type: str
    message: str
    hint: str | None


class ErrorAnswer(BaseModel):
    """The shape of every error."""

    error: ErrorBody


RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "The token was not said"},
    403: {"model": ErrorAnswer, "description": "A page from elsewhere calls"},
    413: {"model": ErrorAnswer, "description": "The request has a body"},
    421: {"model": ErrorAnswer, "description": "The Host header is no name of ours"},
    422: {"model": ErrorAnswer, "description": "A parameter cannot be used"},
    503: {"model": ErrorAnswer, "description": "The database or the embedder does not answer"},
    504: {"model": ErrorAnswer, "description": "It took too long"},
}


def refused(refusal: Refusal) -> JSONResponse:
    """Return the answer."""
    headers = dict(refusal.headers)
    if refusal.status == _UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="aya-web"'
    if refusal.status == _TOO_LARGE:
        headers["connection"] = "close"
    shape = {"error": {"type": refusal.kind, "message": refusal.message, "hint": refusal.hint}}
    return JSONResponse(shape, refusal.status, {**headers, "cache-control": "no-store"})


def of_error(error: AyaError) -> Refusal:
    """Return how an error that AYA explains is told."""
    if isinstance(error, UsageError):
        return Refusal(_UNPROCESSABLE, "invalid", error.message, error.hint)
    if isinstance(error, DocumentError):
        return Refusal(_NOT_FOUND, "not_found", error.message, error.hint)
    kind = next(
        (
            name
            for known, name in ((DatabaseError, "database"), (EmbedderError, "embedder"))
            if isinstance(error, known)
        ),
        "failed",
    )
    headers = {"retry-after": "5"} if error.retryable else {}
    return Refusal(_UNAVAILABLE, kind, error.message, error.hint, headers)


def add_refusals(app: FastAPI) -> None:
    """Give every error that `app` can answer its shape."""

    @app.exception_handler(AyaError)
    async def explained(_: Request, error: AyaError) -> JSONResponse:
        return refused(of_error(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return refused(
            Refusal(_UNPROCESSABLE, "invalid", f"{where}: {first['msg']}", "GET /openapi.json says what fits")
        )

    @app.exception_handler(_NOT_FOUND)
    async def not_found(_: Request, __: Exception) -> JSONResponse:
        return refused(Refusal(_NOT_FOUND, "not_found", "there is nothing here", "GET /openapi.json lists the calls"))

    @app.exception_handler(_WRONG_METHOD)
    async def wrong_method(request: Request, _: Exception) -> JSONResponse:
        message = f"{request.method} does not go with this: the page only reads"
        return refused(Refusal(_WRONG_METHOD, "method_not_allowed", message, "use GET", {"allow": "GET, HEAD"}))

    @app.exception_handler(Exception)
    async def unexplained(request: Request, error: Exception) -> JSONResponse:
        log.get_logger().error("request.failed", path=request.url.path, exc_info=error)
        return refused(Refusal(_INTERNAL, "failed", "the page failed", "see its log: nodes/NAME/log/web.log"))
