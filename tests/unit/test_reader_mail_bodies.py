"""What a message says: every part of it once, in the letters that it was written in."""

from __future__ import annotations

import pytest

from aya.readers.mail import message_part

HEAD = b"From: a@b\nSubject: s\nMIME-Version: 1.0\n"


def multipart(kind: bytes, *parts: bytes) -> bytes:
    """Return a message, or a part of one, of several parts."""
    edge = b"edge-" + kind
    inside = b"".join(b"--" + edge + b"\n" + part + b"\n" for part in parts)
    return b"Content-Type: multipart/" + kind + b'; boundary="' + edge + b'"\n\n' + inside + b"--" + edge + b"--\n"


PLAIN = b"Content-Type: text/plain\n\nplain words\n"
PAGE = b"Content-Type: text/html\n\n<p>page words</p>\n"
FOOTER = b"Content-Type: text/plain\n\nlist footer\n"
RELATED = multipart(b"related", PAGE)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (multipart(b"alternative", PLAIN, PAGE), {"plain words"}),
        (multipart(b"alternative", PAGE), {"page words"}),
        (multipart(b"mixed", PAGE, FOOTER), {"page words", "list footer"}),
        (multipart(b"mixed", multipart(b"alternative", PLAIN, PAGE), FOOTER), {"plain words", "list footer"}),
        (multipart(b"mixed", multipart(b"alternative", RELATED), FOOTER), {"page words", "list footer"}),
    ],
)  # fmt: skip
def test_every_part_is_read_once(message: bytes, said: set[str]) -> None:
    """Of alternatives one; a footer that a list adds does not take the place of the body."""
    text = message_part(HEAD + message).text
    assert {words for words in ("plain words", "page words", "list footer") if words in text} == said


def test_seven_bits_are_read_as_they_say() -> None:
    """Japanese mail is valid ASCII, and something else."""
    body = "こんにちは".encode("iso-2022-jp")
    message = HEAD + b"Content-Type: text/plain; charset=ISO-2022-JP\nContent-Transfer-Encoding: 7bit\n\n" + body
    assert "こんにちは" in message_part(message).text


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_header_of_eight_bits_keeps_its_letters(encoding: str) -> None:
    """Against the rules, and common."""
    assert message_part("Subject: Grüße\nFrom: a@b\n\nx\n".encode(encoding)).title == "Grüße"
