"""The one place where a parsed JSON value becomes a typed object."""

from __future__ import annotations

from typing import Any, cast


def json_object(value: object) -> dict[str, Any] | None:
    """Return `value`, as json.loads made it, if it is an object; None when it is a list, a string or anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
