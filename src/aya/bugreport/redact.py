"""Taking secrets, and what people have written, out of texts; pure.

Twice: what is known to be secret is replaced wherever it stands, in the forms in which it may be written; and what
looks like a secret is, too. `leaks` finds what went through, and then nothing is sent.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

from aya.json_object import json_object

_SHORTEST = 8
# Of a log line: what people have written or asked, and what they call their files.
_KNOWLEDGE = {"content", "chunk_text", "query", "text", "title", "uri", "path", "file", "files", "snippet", "context"}
# A value of a name that says what it is; the name stays.
_NAMED = re.compile(
    r"""(?ix)(["']?[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|credentials)["']?\s*[=:]\s*)
    (?: "(?:[^"\\]|\\.)+" | '[^']+' | [^\s,;&}\]"']+ )"""
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "<key>"),
    (re.compile(r"(?i)(?<=://)([^\s/:@]+):([^\s/@]+)@"), r"\1:<password>@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 <token>"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), "<secret>"),
    (re.compile(r"\bSCRAM-SHA-256\$[^\s\"']+"), "<verifier>"),
)


# A line of PostgreSQL's log: log_line_prefix of aya.postgres.config, severity, message.
_SERVER_LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \S+ \[\d+\] .*?)"
    r"\b(LOG|ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DEBUG\d?|DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION):  (.*)"
)
_ABOUT_DATA = {"DETAIL", "CONTEXT", "STATEMENT", "QUERY"}
_STATEMENT = re.compile(
    r"((?:[0-9A-Z]{5}: )?(?:duration: [\d.]+ ms  )?(?:statement|(?:execute|parse|bind) \S+(?: \S+)?): )(.+)"
)
# What is quoted there is what somebody wrote, and no name: a word without its quotes is taken for a column.
_VALUE = re.compile(r"invalid input|out of range|column .* does not exist")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")


class Redactor:
    """secrets: by what they are. user: the user's directory, which becomes ~."""

    def __init__(self, secrets: Mapping[str, str], user: str = "") -> None:
        known = {secret: what for what, secret in secrets.items() if len(secret) >= _SHORTEST}
        self._forms = {form: f"<{what}>" for secret, what in known.items() for form in _forms(secret)}
        found = sorted(self._forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, found))) if found else None
        self._user = re.compile(re.escape(user.rstrip("/")) + r"(?=/|\s|[\"']|$)") if len(user) > 1 else None

    def __call__(self, text: str) -> str:
        """Return the text without what nobody else should see."""
        if self._known:
            text = self._known.sub(lambda match: self._forms[match[0]], text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        text = _NAMED.sub(_said_only_what, text)
        return self._user.sub("~", text) if self._user else text

    def log(self, text: str) -> str:
        """Return a log, line by line: of what holds knowledge only the length.

        That is some fields of an event, and of PostgreSQL's lines statements, details, values, and what goes on in the
        next line.
        """
        return "\n".join(self(line) for line in _log_lines(text))

    def leaks(self, text: str) -> list[str]:
        """Return which known secrets are still in a text, by what they are."""
        if self._known is None:
            return []
        return sorted({self._forms[match[0]].strip("<>") for match in self._known.finditer(text)})


def _forms(secret: str) -> set[str]:
    """Return how a secret may be written: as it is, in JSON, in a URL, in base64 wherever it begins."""
    written = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")}
    for before in range(3):
        bits = 8 * before, 8 * (before + len(secret.encode()))
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        # A character is six bits: those at the ends hold some of what stands beside it.
        inner = coded[-(-bits[0] // 6) : bits[1] // 6]
        written |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for form in written if len(form) >= _SHORTEST}


def _said_only_what(match: re.Match[str]) -> str:
    value = match[0][len(match[1]) :]
    if value.strip("\"'").startswith("<") or value.strip("\"'").lower() in {"null", "none", "true", "false"}:
        return match[0]
    return f"{match[1]}<removed>" if value[:1] not in "\"'" else f"{match[1]}{value[0]}<removed>{value[0]}"


def _log_lines(text: str) -> Iterator[str]:
    in_server_line = False
    for line in text.split("\n"):
        match = _SERVER_LINE.fullmatch(line)
        if match:
            in_server_line = True
            yield f"{match[1]}{match[2]}:  {_server_message(match[2], match[3])}"
        elif in_server_line and line.startswith("\t"):
            yield f"\t<{len(line) - 1} characters>"
        else:
            in_server_line = False
            yield _without_knowledge(line)


def _server_message(severity: str, message: str) -> str:
    """Return a message of PostgreSQL without what may be somebody's text."""
    if severity in _ABOUT_DATA:
        return f"<{len(message)} characters>"
    if match := _STATEMENT.fullmatch(message):
        return f"{match[1]}<{len(match[2])} characters>"
    is_value = _VALUE.search(message) is not None
    # A quote that does not end goes on in the next line.
    closed = _QUOTED.sub(lambda match: _quoted(match, is_value=is_value), message)
    head, quote, rest = closed.rpartition('"')
    return closed if closed.count('"') % 2 == 0 else f"{head}{quote}<{len(rest)} characters>"


def _quoted(match: re.Match[str], *, is_value: bool) -> str:
    """Return a quoted word of a message: a name stays, a value does not."""
    if _NAME.fullmatch(match[1]) and not is_value:
        return match[0]
    return f'"<{len(match[1])} characters>"'


def _without_knowledge(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        event = json_object(json.loads(line))
    except ValueError:
        return line
    return line if event is None else json.dumps(without_knowledge(event), ensure_ascii=False)


def without_knowledge(value: object) -> object:
    """Return a JSON value in which what people have written is replaced by how long it is."""
    return _mapped(value, lambda text: f"<{len(text)} characters>")


def _mapped(value: object, instead: Callable[[str], str]) -> object:
    if isinstance(value, list):
        return [_mapped(one, instead) for one in cast("list[object]", value)]
    table = json_object(value)
    if table is None:
        return value
    return {name: _hidden(one, instead) if name in _KNOWLEDGE else _mapped(one, instead) for name, one in table.items()}


def _hidden(value: Any, instead: Callable[[str], str]) -> object:  # noqa: ANN401 - of JSON
    return value if value is None or isinstance(value, (bool, int, float)) else instead(str(value))
