"""Turns of a conversation as one Markdown document; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aya.json_object import json_object
from aya.knowledge.types import NewDocument
from aya.records import Record
from aya.sqlite_import import dates

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Turn:
    """Who said what, when. at: None where the export does not say."""

    who: str
    at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Labels:
    """What every document of one call gets. category, source: None where nobody gave one."""

    category: str | None = None
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def clean(text: str) -> str:
    """Return `text` with U+FFFD for what PostgreSQL cannot keep: of a long conversation, one character is lost."""
    return _UNKEEPABLE.sub("\ufffd", text)


def words(value: object) -> str:
    """Return a string of an export, cleaned and without space around it; "" for anything else."""
    return clean(value).strip() if isinstance(value, str) else ""


def several(value: object) -> list[Any]:
    """Return an array of an export; [] for anything else."""
    return list(value) if isinstance(value, list) else []  # pyright: ignore[reportUnknownArgumentType] - JSON


def moment(value: object) -> datetime | None:
    """Return a date of an export, in UTC: seconds since 1970, or ISO 8601."""
    return dates.moment(value, "iso") or dates.moment(value, "unix")


def markdown(title: str, turns: Sequence[Turn]) -> str:
    """Return the conversation: its title, and each turn under who and when (UTC)."""
    parts = [f"# {title}"] if title else []
    for turn in turns:
        when = "" if turn.at is None else f", {turn.at:%Y-%m-%d %H:%M}"
        parts.append(f"## {turn.who}{when}\n\n{turn.text}")
    return "\n\n".join(parts) + "\n"


def record(  # noqa: PLR0913 - all that a document is made of
    where: str, uri: str, text: str, *, title: str, created_at: datetime | None, labels: Labels, said: Mapping[str, Any]
) -> Record:
    """Return a document of an export. said: what the export says of it, without what is None or empty.

    uri: "" for none. labels: their category and source go before what the export says ("category", "source" in said).
    """
    metadata = {name: value for name, value in said.items() if value not in (None, "", [])}
    category, source = metadata.pop("category", "general"), metadata.pop("source")
    return Record(
        where,
        NewDocument(
            content=text,
            category=labels.category or category,
            source=labels.source or source,
            metadata={**metadata, **labels.metadata},
            title=title or None,
            uri=uri or None,
            relabel=True,
            by_default=frozenset(
                name for name, given in (("category", labels.category), ("source", labels.source)) if given is None
            ),
            created_at=created_at,
        ),
    )


def parsed_object(value: object) -> dict[str, Any]:
    """Return an object of an export; {} for anything else."""
    return json_object(value) or {}
