"""Change one member of a JSON document that may have comments and trailing commas; pure.

What editors write themselves (VS Code, Zed) is JSON with comments. Everything but the member stays to the byte: the
document is never printed anew, only cut at the places where its tokens are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>[\s\ufeff]+)|(?P<comment>//[^\r\n]*|/\*.*?\*/)|(?P<string>"(?:[^"\\\x00-\x1f]|\\.)*")"""
    r"""|(?P<mark>[{}\[\]:,])|(?P<word>[^\s{}\[\]:,"/]+)""",
    re.DOTALL,
)
_INDENT = "  "
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    value: _Value


@dataclass(frozen=True, slots=True)
class _Value:
    """start, end: where it stands. members: of an object, None for everything else."""

    start: int
    end: int
    members: tuple[_Member, ...] | None = None

    def member(self, key: str) -> _Member | None:
        """Return the member of that name; of several the last, which is the one that counts (RFC 8259, 4)."""
        return next((one for one in reversed(self.members or ()) if one.key == key), None)


def with_entry(text: str, group: str, name: str, entry: Mapping[str, object]) -> str:
    """Return the document with `entry` as member `name` of its object `group`; both are made where they are missing.

    Raises ValueError, with the line, when the document is none, or it or `group` is no object.
    """
    if not text.strip("\ufeff \t\r\n"):
        return json.dumps({group: {name: entry}}, indent=2, ensure_ascii=False) + "\n"
    root = _object(_parsed(text), "the document")
    found = root.member(group)
    if found is None:
        return _inserted(text, root, group, {name: entry})
    servers = _object(found.value, f'"{group}"')
    if (old := servers.member(name)) is not None:
        indent = _indent_at(text, old.start)
        return text[: old.value.start] + _printed(text, entry, indent) + text[old.value.end :]
    return _inserted(text, servers, name, entry)


def entry_of(text: str, group: str, name: str) -> object:
    """Return what stands as member `name` of the object `group`; None when it does not. Raises ValueError."""
    if not text.strip("\ufeff \t\r\n"):
        return None
    found = _object(_parsed(text), "the document").member(group)
    member = _object(found.value, f'"{group}"').member(name) if found else None
    return None if member is None else plain(text[member.value.start : member.value.end])


def without_entry(text: str, group: str, name: str) -> str:
    """Return the document without member `name` of its object `group`. Raises ValueError."""
    if not text.strip("\ufeff \t\r\n"):
        return text
    found = _object(_parsed(text), "the document").member(group)
    servers = _object(found.value, f'"{group}"') if found else None
    while servers is not None and (member := servers.member(name)) is not None:
        text = _cut(text, servers, member)
        again = _object(_parsed(text), "the document").member(group)
        servers = again.value if again else None
    return text


def plain(text: str) -> object:
    """Return the value of a JSON text with comments and trailing commas. Raises ValueError."""
    tokens = [token for token in _tokens(text) if token.kind not in {"space", "comment"}]
    kept = [
        token.text
        for token, after in zip(tokens, [*tokens[1:], None], strict=True)
        if not (token.text == "," and after is not None and after.text in {"}", "]"})
    ]
    return json.loads(" ".join(kept))


def _object(value: _Value, what: str) -> _Value:
    if value.members is None:
        raise ValueError(f"{what} is no object")
    return value


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"line {_line(text, at)} is no JSON: {text[at : at + 20]!r}")
        yield _Token(str(match.lastgroup), at, match.end(), match[0])
        at = match.end()


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


class _Reader:
    """The tokens that mean something, one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [token for token in _tokens(text) if token.kind not in {"space", "comment"}]
        self._at = 0

    def next(self) -> _Token:
        if self._at == len(self._tokens):
            raise ValueError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def takes(self, mark: str) -> bool:
        """Return whether the next token is this one, and go past it."""
        if self._at < len(self._tokens) and self._tokens[self._at].text == mark:
            self._at += 1
            return True
        return False

    def need(self, mark: str) -> _Token:
        token = self.next()
        if token.text != mark:
            raise self.wrong(token)
        return token

    def wrong(self, token: _Token) -> ValueError:
        return ValueError(f"line {_line(self._text, token.start)} is no JSON: {token.text[:20]!r}")

    def value(self, depth: int = 0) -> _Value:
        token = self.next()
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if token.text == "{":
            return self._members(token, depth)
        if token.text == "[":
            return self._items(token, depth)
        if token.kind == "mark":
            raise self.wrong(token)
        try:
            json.loads(token.text)
        except ValueError:
            raise self.wrong(token) from None
        return _Value(token.start, token.end)

    def _members(self, opened: _Token, depth: int) -> _Value:
        members: list[_Member] = []
        while not self.takes("}"):
            if members:
                self.need(",")
                if self.takes("}"):
                    break
            key = self.next()
            if key.kind != "string":
                raise self.wrong(key)
            self.need(":")
            members.append(_Member(str(json.loads(key.text, strict=False)), key.start, self.value(depth + 1)))
        return _Value(opened.start, self._tokens[self._at - 1].end, tuple(members))

    def _items(self, opened: _Token, depth: int) -> _Value:
        first = True
        while not self.takes("]"):
            if not first:
                self.need(",")
                if self.takes("]"):
                    break
            self.value(depth + 1)
            first = False
        return _Value(opened.start, self._tokens[self._at - 1].end)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self.wrong(self._tokens[self._at])


def _parsed(text: str) -> _Value:
    reader = _Reader(text)
    root = reader.value()
    reader.end()
    return root


def _inserted(text: str, where: _Value, key: str, value: object) -> str:
    """Add a member behind the last one of an object, and behind the comments that follow it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    closing = where.end - 1
    outer = _indent_at(text, where.start)
    inner = outer + _unit(text)
    last = (where.members or (None,))[-1]
    if last is not None:
        if "\n" in text[where.start : last.start]:
            inner = _indent_at(text, last.start)
        rest = [token for token in _tokens(text[last.value.end : closing]) if token.kind != "space"]
        if not any(token.text == "," for token in rest):
            text = f"{text[: last.value.end]},{text[last.value.end :]}"
            closing += 1
    head, tail = text[:closing].rstrip(" \t\r\n"), text[closing:]
    member = f"{json.dumps(key, ensure_ascii=False)}: {_printed(text, value, inner)}"
    return f"{head}{newline}{inner}{member}{newline}{outer}{tail}"


def _cut(text: str, where: _Value, member: _Member) -> str:
    """Take a member out, with the comma that parts it from the others and the line that it leaves empty."""
    start, end = member.start, member.value.end
    members = where.members or ()
    before = next((one for one in reversed(members) if one.value.end <= start), None)
    follows = next((one for one in members if one.start >= end), None)
    comma = _comma(text, end, follows.start if follows else where.end - 1)
    if comma is not None:
        end = comma + 1
    elif before is not None and (parting := _comma(text, before.value.end, start)) is not None:
        text = text[:parting] + text[parting + 1 :]
        start, end = start - 1, end - 1
    line = text.rfind("\n", 0, start) + 1
    rest = re.match(r"[ \t]*\r?\n", text[end:])
    if rest is not None and not text[line:start].strip(" \t"):
        start, end = line, end + rest.end()
    return text[:start] + text[end:]


def _comma(text: str, start: int, end: int) -> int | None:
    return next((start + token.start for token in _tokens(text[start:end]) if token.text == ","), None)


def _printed(text: str, value: object, indent: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = json.dumps(value, indent=_unit(text), ensure_ascii=False).split("\n")
    return f"{newline}{indent}".join(lines)


def _indent_at(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """Return by what the document indents: what its first indented line has."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else _INDENT
