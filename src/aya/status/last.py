"""The last thing that a log tells; pure.

Three forms: a service's JSON lines (aya.log), PostgreSQL's lines (log_line_prefix '%m [%p] …'), and plain words.
"""

from __future__ import annotations

import json
import re
from typing import cast

from aya.status.types import LastEvent

_POSTGRES = re.compile(r"^(?P<day>\d{4}-\d\d-\d\d) (?P<time>[\d:.]+) UTC \[\d+\] .*?(?P<level>[A-Z]+):\s+(?P<text>.*)$")
_LEVELS_TOLD = ("FATAL", "PANIC", "ERROR", "WARNING")
# What PostgreSQL tells of whoever asks too early, we ourselves as a rule: not what it did.
_ASKED_TOO_EARLY = "FATAL: the database system is starting up"
# What says when, who and where, and not what.
_COMMON = ("event", "timestamp", "level", "node", "service", "exception")


def last_event(text: str) -> LastEvent | None:
    """Return the last line of `text` that tells something; None when there is none.

    Continued lines of PostgreSQL's messages (they start with a tab), tracebacks' frames and answers to those who ask
    a server too early are passed over.
    """
    for line in reversed(text.splitlines()):
        if line.strip() and not line.startswith(("\t", " ")):
            told = _from_json(line) or _from_postgres(line) or LastEvent(None, line.strip())
            if told.event != _ASKED_TOO_EARLY:
                return told
    return None


def _from_json(line: str) -> LastEvent | None:
    try:
        parsed: object = json.loads(line)
    except ValueError:
        return None
    entry = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
    if "event" not in entry:
        return None
    details = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _COMMON)
    time = entry.get("timestamp")
    return LastEvent(str(time) if time else None, f"{entry['event']} {details}".strip())


def _from_postgres(line: str) -> LastEvent | None:
    match = _POSTGRES.match(line)
    if match is None:
        return None
    level = f"{match['level']}: " if match["level"] in _LEVELS_TOLD else ""
    return LastEvent(f"{match['day']}T{match['time']}Z", f"{level}{match['text']}")
