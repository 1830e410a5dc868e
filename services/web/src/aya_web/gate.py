"""In front of the application: who may call, what a browser may do with the answers, and how long a call may take.

An ASGI application over another (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aya.access import Access, Reason, call_of
from aya_web.metrics import Metrics
from aya_web.refusals import Refusal, refused

REQUEST_SECONDS = 20.0
# Nothing from elsewhere is loaded, run, framed or sent to, and no script may make markup of a string.
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_REFUSALS: dict[Reason, Refusal] = {
    "host": Refusal(
        421,
        "misdirected",
        "the page is not known by the name in the Host header",
        "call it by its address, or name it in aya.toml: [web] allowed_hosts",
    ),
    "origin": Refusal(
        403, "forbidden", "a page from elsewhere may not call this one", "aya.toml: [web] allowed_hosts allows a host"
    ),
    "local_only": Refusal(403, "forbidden", "this is for clients on this machine", "call it there, by 127.0.0.1"),
    "token": Refusal(
        401,
        "unauthorized",
        "the page asks for its token",
        "send Authorization: Bearer …, with what the file in aya.toml, [web] token_file, holds",
    ),
}
_BODY = Refusal(413, "too_large", "no call takes a body", "leave it out")
_LATE = Refusal(504, "late", f"there was no answer within {REQUEST_SECONDS:.0f} s", "aya status")


class Gate:
    """Lets requests through, and counts them."""

    def __init__(self, app: ASGIApp, routes: list[Route], access: Access, metrics: Metrics) -> None:
        """routes: of `app`, by whose paths requests are counted."""
        self._app = app
        self._routes = routes
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        began = time.monotonic()
        code = 0

        async def guarded(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        try:
            await self._answer(scope, receive, guarded, self._refusal(scope, headers))
        except TimeoutError:
            if not code:
                await refused(_LATE)(scope, receive, guarded)
        finally:
            self._metrics.answered(self._path(scope), code, time.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, refusal: Refusal | None) -> None:
        if refusal is not None:
            await refused(refusal)(scope, receive, send)
            return
        async with asyncio.timeout(REQUEST_SECONDS):
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Refusal | None:
        reason = self._access.refusal(call_of(scope, headers))
        if reason is not None:
            return _REFUSALS[reason]
        announced = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        return _BODY if announced else None

    def _path(self, scope: Scope) -> str:
        return next((one.path for one in self._routes if one.matches(scope)[0] is not Match.NONE), "other")
