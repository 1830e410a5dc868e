"""Where a list goes on: after which document, in a word that a client hands back as it got it; pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime

from aya.errors import UsageError
from aya_mcp.given import shown
from aya_mcp.names import LARGEST_ID

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last document that was listed, and how many were. created_at: None where SQL left it empty."""

    created_at: datetime | None
    document_id: int
    listed: int

    def encoded(self) -> str:
        """Return it as ASCII without padding."""
        moment = self.created_at.isoformat() if self.created_at else None
        word = json.dumps([moment, self.document_id, self.listed]).encode()
        return base64.urlsafe_b64encode(word).decode().rstrip("=")


def decoded(word: object) -> Cursor:
    """Return the cursor that `encoded` made. Raises UsageError for anything else."""
    try:
        return _cursor(_parts(word))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{shown(word)} is no cursor", hint="send the next_cursor of the page before, or leave it out"
        ) from error


def _parts(word: object) -> object:
    if not isinstance(word, str) or len(word) > _LONGEST:
        raise ValueError("no cursor")
    parts: object = json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
    return parts


def _cursor(parts: object) -> Cursor:
    match parts:
        case [(str() | None) as moment, int() as document_id, int() as listed] if (
            abs(document_id) <= LARGEST_ID and listed >= 0
        ):
            return Cursor(_moment(moment), document_id, listed)
        case _:
            raise ValueError("no cursor")


def _moment(word: str | None) -> datetime | None:
    moment = None if word is None else datetime.fromisoformat(word)
    if moment is not None and moment.tzinfo is not None:
        raise ValueError("the dates here have no zone")
    return moment
