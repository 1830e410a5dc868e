"""Refusing cheaply: under overload a refusal must cost much less than what it refuses, or refusing is all that is done.

A request for vectors that comes while many connections are open, and that would have to wait for too long, is refused
by its first line: nothing of it is parsed, so that also texts whose vectors are remembered are refused then.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aya_embedder.problems import Busy, Problem
from aya_embedder.refusals import refusal

if TYPE_CHECKING:
    from aya_embedder.loaded import LoadedModels
    from aya_embedder.metrics import Metrics

# Fewer clients than that are answered in full.
CROWD = 128
_COSTLY = {b"POST /embed ": "/embed", b"POST /v1/embeddings ": "/v1/embeddings"}


def shed(head: bytes, models: LoadedModels, metrics: Metrics) -> bytes | None:
    """Return the whole answer to a request that begins with `head` and must be refused; None for any other."""
    path = next((path for line, path in _COSTLY.items() if head.startswith(line)), None)
    if path is None:
        return None
    try:
        with metrics.refusals():
            models.default.refuse_late(("",))
    except Busy as busy:
        return _rendered(busy, path)
    except Problem:
        return None
    return None


def is_whole(request: bytes) -> bool:
    """Return whether these bytes are one whole request, with a body of a known length; pure."""
    head, end, body = request.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(lengths) == 1 and lengths[0].strip() == str(len(body)).encode()


def _rendered(problem: Problem, path: str) -> bytes:
    answer = refusal(problem, path)
    lines = [f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", bytes(answer.body)])
