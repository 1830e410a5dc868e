"""Documents as the tools read them: with a part of their text, never more than is shown; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a document was called and how it began, in 200 characters. characters: how many there are."""

    id: int
    title: str | None
    category: str | None
    content: str
    characters: int


@dataclass(frozen=True, slots=True)
class Part:
    """A document with a part of its text. characters: how many the whole has. Dates are None where SQL left them so."""

    id: int
    rev: int
    title: str | None
    category: str | None
    source: str | None
    created_at: datetime | None
    updated_at: datetime | None
    metadata: object
    uri: str | None
    indexed: bool
    content: str
    characters: int
