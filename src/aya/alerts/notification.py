"""A notification of macOS. It appears for whoever is logged in; a daemon's user has no screen, and then nothing does.

Tried on no Mac yet: what is run is checked, what the screen shows is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aya.alerts.command import Command

_OSASCRIPT = "/usr/bin/osascript"
_LONGEST = 200
# The texts are arguments: nothing in them is read as AppleScript.
_SCRIPT = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv) subtitle (item 3 of argv)",
    "end run",
)


def words(document: Mapping[str, Any], program: str = _OSASCRIPT) -> list[str]:
    """Return the command that shows an event; pure."""
    script = [part for line in _SCRIPT for part in ("-e", line)]
    why = str(document.get("why") or document.get("error") or document.get("condition") or "")
    texts = (f"AYA: {document['node'] or document['service']}", str(document["summary"]), why)
    return [program, *script, *(" ".join(text.split())[:_LONGEST] for text in texts)]


class Notification:
    """The screen of the person who is logged in."""

    name = "notification"

    def __init__(self, program: str = _OSASCRIPT) -> None:
        self._program = program

    async def tell(self, document: Mapping[str, Any]) -> None:
        """Show it, unless it is only news. Raises Failed."""
        if document["severity"] == "info":
            return
        shown: Sequence[str] = words(document, self._program)
        await Command(shown).tell(document)
