"""Mail (RFC 5322, MIME): the words of a message, who wrote to whom and when, and the names of what is attached."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.policy import compat32
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast

from aya.readers import markdown
from aya.readers.formats import MOST_BYTES
from aya.readers.parts import Part, Unreadable, check_length, clean, one_line
from aya.readers.web import page_text
from aya.readers.whole import whole_file

MOST_PARTS = 10_000
_SHOWN = ("From", "To", "Cc", "Date")
_SEVEN_BITS = ("iso-2022-", "utf-7", "hz")


def read_mail(path: Path) -> Iterator[Part]:
    """Yield the one document of a file that holds one message."""
    yield message_part(whole_file(path, MOST_BYTES["mail"]))


def message_part(data: bytes) -> Part:
    """Return the document of one message; Unreadable for what is none. Pure.

    Of alternatives the plain text is taken where there is one, else HTML made text. Attached messages are part of it;
    attached files are named, with type and size, and not read. A charset that is unknown or wrong costs the letters
    that it concerns.
    """
    try:
        message: Message[str, str] = email.message_from_bytes(data, policy=compat32)
        if not message.keys():
            raise Unreadable("It is no mail: it has no header.")
        body, attached = _contents(message)
    except RecursionError as error:
        raise Unreadable("Its parts are nested too deeply.") from error
    headers = {name: one_line(_header(message, name), 1000) for name in ("Subject", *_SHOWN, "Message-ID")}
    title = headers["Subject"]
    lines = [f"{name}: {headers[name]}" for name in _SHOWN if headers[name]]
    blocks = [markdown.heading(1, title) if title else "", markdown.prose("\n".join(lines)), body, _listed(attached)]
    text = clean("\n\n".join(block for block in blocks if block.strip()))
    metadata: dict[str, object] = {name.lower(): value for name, value in headers.items() if value}
    metadata |= {"date": _date(headers["Date"])} if headers["Date"] else {}
    metadata |= {"attachments": [name for name, _ in attached]} if attached else {}
    return Part(check_length(text), title or "(no subject)", metadata=metadata)


def _contents(message: Message[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """Return the body as Markdown, and the attachments as (name, "type, size").

    Of what says the same in several forms (multipart/alternative) the plain one; everything else in order.
    """
    texts: list[tuple[int, str, str]] = []
    attached: list[tuple[str, str]] = []
    for number, (part, alternatives) in enumerate(_parts(message)):
        if number >= MOST_PARTS:
            raise Unreadable(f"It has more than {MOST_PARTS:,} parts.")
        if part.is_multipart():
            continue
        name, kind = part.get_filename(), part.get_content_type()
        if name or part.get_content_disposition() == "attachment" or not kind.startswith("text/"):
            size = len(_payload(part))
            attached.append((one_line(_decoded(name or ""), 200) or "without a name", f"{kind}, {size:,} bytes"))
        elif kind == "text/html":
            texts.append((alternatives, kind, page_text(_text(part))[1]))
        else:
            texts.append((alternatives, kind, markdown.prose(_text(part).replace("\r\n", "\n").strip())))
    said = {alternatives for alternatives, kind, text in texts if alternatives and kind != "text/html" and text.strip()}
    kept = [
        text
        for alternatives, kind, text in texts
        if text.strip() and not (kind == "text/html" and alternatives in said)
    ]
    return "\n\n".join(kept), attached


def _parts(message: Message[str, str]) -> Iterator[tuple[Message[str, str], int]]:
    """Yield every part in order, with the number of the alternatives that it is one of; 0: of none."""
    waiting: list[tuple[Message[str, str], int]] = [(message, 0)]
    groups = 0
    while waiting:
        part, alternatives = waiting.pop()
        yield part, alternatives
        if part.is_multipart():
            if part.get_content_type() == "multipart/alternative":
                groups += 1
                alternatives = groups
            inside = cast("list[Message[str, str]]", part.get_payload())
            waiting += [(each, alternatives) for each in reversed(inside)]


def _listed(attached: list[tuple[str, str]]) -> str:
    items = [f"- {name} ({about})" for name, about in attached]
    return "\n".join(["Attachments, which are not read:", "", *items]) if items else ""


def _payload(part: Message[str, str]) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: Message[str, str]) -> str:
    data = _payload(part)
    declared = part.get_content_charset()
    # Those of seven bits are valid UTF-8, too, and say something else as that.
    first = declared if declared and declared.startswith(_SEVEN_BITS) else None
    for encoding in (first, "utf-8", declared, "cp1252"):
        try:
            if encoding:
                return data.decode(encoding)
        except (LookupError, ValueError):
            continue
    return data.decode("utf-8", "replace")


def _header(message: Message[str, str], name: str) -> str:
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    written = str(raw).encode("utf-8", "surrogateescape")
    try:
        return _decoded(written.decode())
    except UnicodeDecodeError:
        return _decoded(written.decode("cp1252", "replace"))


def _decoded(value: str) -> str:
    """Return a header's value with its encoded words (RFC 2047) as characters; as it is where they are broken."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def _date(value: str | None) -> str | None:
    """Return an RFC 5322 date as ISO 8601; as it is written where it is none."""
    try:
        return parsedate_to_datetime(value).isoformat() if value else None
    except (ValueError, OverflowError, TypeError):
        return value
