"""Answers as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from fastapi import Response

if TYPE_CHECKING:
    from collections.abc import Mapping


def reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `content`, in which NumPy arrays and dataclasses may stand, as JSON."""
    written = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(written, status, headers, media_type="application/json")
