"""Answers as JSON, and the headers that say where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from fastapi import Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aya_embedder.embedder import Given, Timings

_MILLISECONDS = 1000


def reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `content`, in which NumPy arrays and dataclasses may stand, as JSON."""
    written = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(written, status, headers, media_type="application/json")


def timed(timings: Timings, given: Sequence[Given], device: str) -> dict[str, str]:
    """Return the headers of text-embeddings-inference (router/src/http/server.rs); times in whole milliseconds."""
    total = _milliseconds(timings.total_seconds)
    return {
        "x-compute-type": device,
        "x-compute-time": total,
        "x-compute-characters": str(sum(len(one) for one in given if isinstance(one, str))),
        "x-compute-tokens": str(timings.compute_tokens),
        "x-total-time": total,
        "x-tokenization-time": _milliseconds(timings.tokenization_seconds),
        "x-queue-time": _milliseconds(timings.queue_seconds),
        "x-inference-time": _milliseconds(timings.inference_seconds),
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * _MILLISECONDS))
