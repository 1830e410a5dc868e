"""The pieces of the tools' JSON schemas (draft 2020-12); pure."""

from __future__ import annotations

from typing import Any

from aya.knowledge.validation import LONGEST_CATEGORY

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
COUNT = {"type": "integer", "minimum": 0}
OBJECT = {"type": "object"}
# anyOf, where a list of types would do: some hosts' dialects know one type at a time.
MAYBE_TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}]}
MAYBE_COUNT = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
MAYBE_NUMBER = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def of_object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of a result: all but the optional are always there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def of_arguments(properties: dict[str, Any], *, required: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of a tool's arguments: no others are taken."""
    optional = tuple(name for name in properties if name not in required)
    return {**of_object(properties, optional=optional), "additionalProperties": False}


def described(schema: dict[str, Any], description: str, **more: object) -> dict[str, Any]:
    """Return a schema with what it means."""
    return {**schema, "description": description, **more}


def undescribed(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return properties without what they mean: another tool of the same list has said it."""
    return {
        name: {key: value for key, value in schema.items() if key != "description"}
        for name, schema in properties.items()
    }


Properties = dict[str, dict[str, Any]]
FILTERS: Properties = {
    "category": described(TEXT, "only documents of this category"),
    "source": described(TEXT, "only documents of this source"),
    "context": described(OBJECT, "only documents whose metadata contains this object"),
    "since": described(TEXT, "ISO date: created at or after it, UTC"),
    "until": described(TEXT, "ISO date: created before it, UTC"),
}
CATEGORY = described(TEXT, "one word to file it under", maxLength=LONGEST_CATEGORY)
ANSWERED: Properties = {
    "node": described(TEXT, "which node answered"),
    "role": {"type": "string", "enum": ["primary", "standby", "copy"]},
    "stale_seconds": described(MAYBE_NUMBER, "how old that node's copy may be; 0 on the primary, null when unknown"),
    "took_ms": {"type": "number"},
}
KEPT: Properties = {
    "durability": described(
        TEXT,
        "replicated: also on the synchronous standby; primary: on one node;"
        " queued_offline: on AIR, and sent to the primary when it is reached",
        enum=["replicated", "primary", "queued_offline"],
    ),
    "node": TEXT,
    "took_ms": {"type": "number"},
}
