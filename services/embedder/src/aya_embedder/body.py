"""Reading a request's body: its declared type, its size, and how long it may take to come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aya_embedder.limits import MAX_BODY_BYTES
from aya_embedder.problems import Gone, NotJson, Slow, TooLarge

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.datastructures import Headers

_JSON = "application/json"
_CHARSETS = frozenset({"utf-8", "utf8"})
_AS_IT_SHOULD_BE = "send JSON in UTF-8, and say so: content-type: application/json"


async def read_body(request: Request, seconds: float) -> bytes:
    """Return the whole body.

    Raises NotJson when it says that it is something else, TooLarge over MAX_BODY_BYTES, as soon as that is known, Slow
    when it is not there within `seconds`, and Gone when the client leaves before its end.
    """
    _check_type(request.headers)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(seconds):
            return await _received(request)
    except TimeoutError as error:
        raise Slow(f"the body did not come within {seconds:g} s", hint="send it faster, or less at once") from error


async def _received(request: Request) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone("the client left before it had sent its request")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _check_type(headers: Headers) -> None:
    """Take a body that says nothing of itself: nothing but JSON makes sense here."""
    kind, *parameters = [part.strip() for part in headers.get("content-type", _JSON).split(";")]
    if kind.lower() != _JSON:
        raise NotJson(f"the body says that it is {kind or 'nothing'}", hint=_AS_IT_SHOULD_BE)
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in _CHARSETS:
            raise NotJson(f"the body says that it is in {value}", hint=_AS_IT_SHOULD_BE)
    coding = headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise NotJson(f"the body says that it is compressed ({coding})", hint="send it as it is")


def _too_large() -> TooLarge:
    return TooLarge(f"the body is over {MAX_BODY_BYTES} bytes", hint="send fewer texts at once")
