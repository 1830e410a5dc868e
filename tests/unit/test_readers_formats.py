"""Files of each format, made by the tools that people use, become documents; what is hostile ends in a reason."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.document import Document
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st

from aya.readers.formats import SUFFIXES, format_of
from aya.readers.mail import message_part
from aya.readers.mbox import messages, read_mbox
from aya.readers.notebook import read_notebook
from aya.readers.objects import read_json
from aya.readers.parts import LONGEST_FRAGMENT, Fragments, Missing, Part, Unreadable
from aya.readers.pdf import paged, ranges, read_pdf
from aya.readers.rows import ROWS_IN_A_DOCUMENT, documents, read_rows
from aya.readers.word import read_docx


def written(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pdf(*pages: str, title: str | None = None, password: str | None = None) -> bytes:
    """Return a PDF with one line of text a page; a page for "" has a drawing and no text."""
    document = FPDF()
    document.set_font("Helvetica")
    if title is not None:
        document.set_title(title)
    if password is not None:
        document.set_encryption(owner_password="owner", user_password=password)
    for text in pages:
        document.add_page()
        if text:
            document.cell(text=text)
        else:
            document.rect(10, 10, 50, 50)
    return bytes(document.output())


def word(fill: Callable[[Document], object], title: str = "") -> bytes:
    """Return a DOCX file."""
    document = docx.Document()
    document.core_properties.title = title
    fill(document)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


# PDF


def test_a_pdf_tells_where_its_pages_begin(tmp_path: Path) -> None:
    """pages[i] is the offset at which page i+1 begins, also where a page between has no text."""
    (part,) = read_pdf(written(tmp_path, "a.pdf", pdf("First words.", "", "Third words.", title="A paper")))
    assert part.text == "First words.\n\nThird words."
    assert part.metadata == {"pages": [0, 14, 14], "pages_without_text": [2]}
    assert (part.title, part.notes, part.markdown) == ("A paper", ("Page 2 has no text.",), False)


@pytest.mark.parametrize("title", [None, "Microsoft Word - letter", "thesis.tex", "Untitled document", " "])
def test_what_a_program_wrote_is_no_title(tmp_path: Path, title: str | None) -> None:
    """Then the file's name is better."""
    (part,) = read_pdf(written(tmp_path, "a.pdf", pdf("Words.", title=title)))
    assert part.title is None


REFUSED_PDFS = [
    ("scanned", pdf("", ""), "It is scanned: none of its 2 pages has text."),
    ("encrypted", pdf("Words.", password="secret"), "It is encrypted, and a password is needed"),
    ("cut", pdf("Words.")[:300], "It is damaged, or no PDF."),
    ("something else", b"words", "It is damaged, or no PDF."),
]


@pytest.mark.parametrize(("data", "reason"), [row[1:] for row in REFUSED_PDFS], ids=[row[0] for row in REFUSED_PDFS])
def test_a_pdf_without_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    """With what to do, where something can be done."""
    with pytest.raises(Unreadable, match=reason):
        list(read_pdf(written(tmp_path, "a.pdf", data)))


def test_a_pdf_that_everybody_may_read_is_read(tmp_path: Path) -> None:
    """An owner's password forbids changing, not reading."""
    (part,) = read_pdf(written(tmp_path, "a.pdf", pdf("Words.", password="")))
    assert part.text == "Words."


@given(st.lists(st.text(alphabet="ab \n", max_size=5).map(str.strip), max_size=8))
def test_every_page_stands_where_it_is_said_to_begin(texts: list[str]) -> None:
    """However many of them are empty."""
    text, pages = paged(texts)
    assert len(pages) == len(texts)
    assert pages == sorted(pages)
    assert all(text.startswith(page, start) for page, start in zip(texts, pages, strict=True))


@pytest.mark.parametrize(("numbers", "said"), [([3], "3"), ([1, 2, 3], "1–3"), ([1, 3, 4, 9], "1, 3–4, 9"), ([], "")])
def test_numbers_are_told_as_ranges(numbers: list[int], said: str) -> None:
    """As a person writes them."""
    assert ranges(numbers) == said


# DOCX


def test_a_docx_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    """As Word's own styles say it."""

    def fill(document: Document) -> None:
        document.add_heading("Kettle", 0)
        document.add_heading("Scale", 1)
        document.add_paragraph("Use vinegar.")
        document.add_paragraph("pour", style="List Bullet")
        document.add_paragraph("wait", style="List Bullet")
        table = document.add_table(rows=2, cols=2)
        for at, text in enumerate(["Part", "Price", "lid", "3"]):
            table.cell(at // 2, at % 2).text = text

    (part,) = read_docx(written(tmp_path, "a.docx", word(fill, title="About kettles")))
    assert part.title == "About kettles"
    assert part.text == (
        "# Kettle\n\n# Scale\n\nUse vinegar.\n\n- pour\n- wait\n\n| Part | Price |\n| --- | --- |\n| lid | 3 |"
    )


def archive(**parts: bytes) -> bytes:
    """Return a DOCX file with parts replaced; "__" stands for "/", "_" for "."."""
    stream = io.BytesIO()
    good = zipfile.ZipFile(io.BytesIO(word(lambda document: document.add_paragraph("Words."))))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        given_parts = {name.replace("__", "/").replace("_", "."): data for name, data in parts.items()}
        for name in {*good.namelist(), *given_parts}:
            made.writestr(name, given_parts.get(name, good.read(name) if name in good.namelist() else b""))
    return stream.getvalue()


BOMB = b"""<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><w>&b;</w>"""
HOSTILE_DOCX = [
    ("an entity bomb", archive(word__document_xml=BOMB), "declares a document type"),
    ("an entity bomb in a corner", archive(word__numbering_xml=BOMB), "declares a document type"),
    ("a zip bomb", archive(word__document_xml=bytes(70 * 1024 * 1024)), "would inflate to more than 67,108,864 bytes"),
    ("deep nesting", archive(word__document_xml=b"<a>" * 1000 + b"</a>" * 1000), "nested more than 256 deep"),
    ("broken XML", archive(word__document_xml=b"<a><b></a>"), "word/document.xml is damaged"),
    ("another document", archive(word__document_xml=b"<a/>"), "It is damaged, or no DOCX"),
    ("no text", word(lambda _: None), "It has no text."),
    ("no archive", b"words", "It is damaged, or no DOCX"),
    ("cut", archive()[:-100], "It is damaged, or no DOCX"),
    ("encrypted", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "encrypted with a password, or a .doc"),
]


@pytest.mark.parametrize(("data", "reason"), [row[1:] for row in HOSTILE_DOCX], ids=[row[0] for row in HOSTILE_DOCX])
def test_a_hostile_docx_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    """Before its parts are made a tree."""
    with pytest.raises(Unreadable, match=reason):
        list(read_docx(written(tmp_path, "a.docx", data)))


def test_an_archive_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    """What is inflated never exceeds what is declared."""
    data = archive(word__document_xml=b"<a>" + b" " * 100_000 + b"</a>")
    size, lie = (100_007).to_bytes(4, "little"), (7).to_bytes(4, "little")
    assert size in data
    with pytest.raises(Unreadable, match="damaged"):
        list(read_docx(written(tmp_path, "a.docx", data.replace(size, lie))))


# Notebooks

NOTEBOOK: dict[str, Any] = {
    "metadata": {"language_info": {"name": "python"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Trees\n", "Words."]},
        {"cell_type": "code", "source": "a = 1\nb = '```'", "outputs": [{"text": "derived"}]},
        {"cell_type": "code", "source": []},
        {"cell_type": "raw", "source": "raw"},
    ],
}


def test_a_notebook_keeps_its_cells_and_not_their_outputs(tmp_path: Path) -> None:
    """Markdown as it is, code fenced in the notebook's language."""
    (part,) = read_notebook(written(tmp_path, "a.ipynb", json.dumps(NOTEBOOK)))
    assert part.text == "# Trees\nWords.\n\n````python\na = 1\nb = '```'\n````\n\nraw"
    assert (part.title, part.metadata) == ("Trees", {"language": "python"})


def test_a_notebook_of_format_3_is_read(tmp_path: Path) -> None:
    """Its cells stand in worksheets, its code in "input"."""
    cells = [{"cell_type": "heading", "level": 2, "source": ["Old"]}, {"cell_type": "code", "input": ["x"]}]
    (part,) = read_notebook(written(tmp_path, "a.ipynb", json.dumps({"worksheets": [{"cells": cells}]})))
    assert part.text == "## Old\n\n```\nx\n```"


@pytest.mark.parametrize("data", ["{}", "[]", "no", '{"cells": 3}', "[" * 100_000, '{"cells": [1, null, {}]}', "\xff"])
def test_what_is_no_notebook_is_refused(tmp_path: Path, data: str) -> None:
    """With a reason, however deep it is nested."""
    with pytest.raises(Unreadable):
        list(read_notebook(written(tmp_path, "a.ipynb", data.encode("latin-1"))))


# Mail


def letter(body: str | None = None, html: str | None = None, **headers: str) -> EmailMessage:
    """Return a message."""
    message = EmailMessage()
    for name, value in {"Subject": "Käse", "From": "Ann <ann@example.org>", "To": "b@example.org", **headers}.items():
        message[name.replace("_", "-")] = value
    if body is not None:
        message.set_content(body)
    if html is not None:
        message.add_alternative(html, subtype="html") if body is not None else message.set_content(html, subtype="html")
    return message


def test_a_message_tells_who_wrote_what_and_when() -> None:
    """In its text, where words are found, and in its metadata, where filters look."""
    part = message_part(bytes(letter("Words.\n# not a heading", Date="Tue, 03 Feb 2026 10:00:00 +0100")))
    assert part.title == "Käse"
    assert part.text == (
        "# Käse\n\nFrom: Ann <ann@example.org>\nTo: b@example.org\nDate: Tue, 03 Feb 2026 10:00:00 +0100\n\n"
        "Words.\n\\# not a heading"
    )
    assert part.metadata["date"] == "2026-02-03T10:00:00+01:00"
    assert part.metadata["from"] == "Ann <ann@example.org>"


def test_html_is_read_only_where_there_is_no_plain_text() -> None:
    """A message often says the same twice."""
    assert "<" not in message_part(bytes(letter(html="<h2>Big</h2><p>words</p>"))).text.partition("b@example.org")[2]
    assert "## Big" in message_part(bytes(letter(html="<h2>Big</h2><p>words</p>"))).text
    assert "Big" not in message_part(bytes(letter("plain", html="<h2>Big</h2>"))).text


def test_attachments_are_named() -> None:
    """With type and size; a message that is attached is read."""
    message = letter("Words.")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Rechnung März.pdf")
    message.add_attachment(letter("Inner words."))
    part = message_part(bytes(message))
    assert "- Rechnung März.pdf (application/pdf, 4 bytes)" in part.text
    assert part.metadata["attachments"] == ["Rechnung März.pdf"]
    assert "Inner words." in part.text


ODD_MAIL = [
    (b"Subject: =?utf-8?b?w6?=\n\nx", "x"),
    (b"Subject: =?nonsense?q?a?=\n\nx", "x"),
    (b"Subject: a\nContent-Type: text/plain; charset=nonsense\n\n\xe4", "ä"),
    (b"Subject: a\nContent-Type: text/plain; charset=utf-8\n\n\xe4", "ä"),
    (b"Subject: a\nDate: never\n\nx", "never"),
    (b"Subject: a\nContent-Transfer-Encoding: base64\n\n!!!", "# a"),
    (b"Subject: a\nContent-Type: multipart/mixed\n\nx", "# a"),
    (b"Subject: a\0b\n\nx\0y", "xy"),
]


@pytest.mark.parametrize(("data", "words"), ODD_MAIL)
def test_odd_mail_is_read_all_the_same(data: bytes, words: str) -> None:
    """Broken words, charsets and dates cost what they concern."""
    part = message_part(data)
    assert words in part.text
    assert "\0" not in part.text


def test_what_is_no_mail_is_refused() -> None:
    """Also what is nested without end."""
    with pytest.raises(Unreadable, match="no header"):
        message_part(b"\xff\xd8 words")
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(2000))
    with pytest.raises(Unreadable, match="nested too deeply"):
        message_part(b"Subject: a\n" + nested)


def test_an_archive_of_mail_is_a_document_a_message(tmp_path: Path) -> None:
    """Named by Message-ID; a second with the same one, and one without, are told apart; ">From " is taken back."""
    mails = [letter("One.", Message_ID="<1@x>"), letter("Two.", Message_ID="<1@x>"), letter("\n>From here\n")]
    content = b"".join(b"From a@b Tue Feb  3 10:00:00 2026\n" + bytes(mail) + b"\n" for mail in mails)
    parts = [part for part in read_mbox(written(tmp_path, "a.mbox", content)) if isinstance(part, Part)]
    assert [part.fragment for part in parts][:2] == ["1@x", "1@x~2"]
    assert len(parts[2].fragment or "") == 32
    assert parts[2].text.endswith("\nFrom here")


def test_a_message_that_is_none_does_not_hide_the_others(tmp_path: Path) -> None:
    """It is reported by its number."""
    content = b"From x\nno header\n\nFrom y\n" + bytes(letter("Words."))
    bad, good = read_mbox(written(tmp_path, "a.mbox", content))
    assert isinstance(bad, Missing)
    assert bad.reason.startswith("Message 1: It is no mail")
    assert isinstance(good, Part)


def test_a_message_that_is_too_large_is_not_held_in_memory() -> None:
    """Only its beginning is; its size is told."""
    lines = [b"From x\n", *[b"a" * 99 + b"\n"] * 100, b"\n", b"From y\n", b"b\n"]
    assert [(len(data), size) for data, size in messages(lines, 1_000)] == [(1_000, 10_001), (2, 2)]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"Subject: a\n\nb"])
def test_what_is_no_archive_of_mail_is_refused(tmp_path: Path, content: bytes) -> None:
    """One message alone is an .eml."""
    with pytest.raises(Unreadable):
        list(read_mbox(written(tmp_path, "a.mbox", content)))


# Tables


def test_rows_carry_the_names_of_their_columns(tmp_path: Path) -> None:
    """Each is a section; blank rows are none, and a row may be longer or shorter than the head."""
    table = "Name;Price\nkettle;30\n;;\n\nlid;3;spare\nspout\n"
    (part,) = read_rows(written(tmp_path, "shop.csv", table))
    assert part.text == (
        "# shop, rows 1 to 5\n\n## kettle\n\n- Name: kettle\n- Price: 30\n\n"
        "## lid\n\n- Name: lid\n- Price: 3\n- column 3: spare\n\n## spout\n\n- Name: spout"
    )
    assert (part.fragment, part.metadata) == ("row-1", {"rows": [1, 5]})


def test_rows_that_are_added_leave_the_documents_before_them(tmp_path: Path) -> None:
    """Only the last document changes, under the same name."""
    rows = [f"{number},x\n" for number in range(1, ROWS_IN_A_DOCUMENT * 2 + 10)]
    before = list(documents(["n,v\n", *rows], "t", None))
    after = list(documents(["n,v\n", *rows, "new,x\n"], "t", None))
    assert [part.fragment for part in before] == ["row-1", "row-51", "row-101"]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "content", "cell"),
    [
        ("a.tsv", "a\tb,c\n1\t2,3\n", "- b,c: 2,3"),
        ("a.csv", 'a,b\n"x\ny, z",2\n', "- a: x y, z"),
        ("a.csv", "\ufeffa,b\nä,2\n", "- a: ä"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, name: str, content: str, cell: str) -> None:
    """Separators, quotes, marks."""
    (part,) = read_rows(written(tmp_path, name, content))
    assert cell in part.text
    (wide,) = read_rows(written(tmp_path, name, content.lstrip("\ufeff").encode("utf-16")))
    assert cell in wide.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no rows"),
        (b"a,b\n", "no rows"),
        (b"PK\0\0", "binary"),
        (b"a\n\xe4\n", "not valid UTF-8"),
        (b",".join([b"a"] * 3000), "columns"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """With the reason."""
    with pytest.raises(Unreadable, match=reason):
        list(read_rows(written(tmp_path, "a.csv", content)))


# JSON


def test_an_array_of_objects_is_a_document_an_object(tmp_path: Path) -> None:
    """Named by its id, or its place; a long text stands below a heading."""
    value = [{"id": 7, "name": "Kettle", "tags": ["a", "b"], "none": None, "text": "One.\n\nTwo."}, {"x": True}]
    one, two = read_json(written(tmp_path, "a.json", json.dumps(value)))
    assert one.text == '# Kettle\n\n- id: 7\n- name: Kettle\n- tags: ["a", "b"]\n\n## text\n\nOne.\n\nTwo.'
    assert (one.fragment, one.title, two.fragment, two.title) == ("7", "Kettle", "2", "a, 2")


@pytest.mark.parametrize("data", ['{"a": 1}', "[1, 2]", '[{"a": 1}, 2]', "[]", '"x"'])
def test_other_json_is_kept_as_it_is_written(tmp_path: Path, data: str) -> None:
    """It is no list of things."""
    (part,) = read_json(written(tmp_path, "a.json", data))
    assert (part.text, part.markdown, part.title) == (data, False, "a.json")


@pytest.mark.parametrize("data", ["{", "[" * 100_000, "\\", "1 2"])
def test_what_is_no_json_is_refused(tmp_path: Path, data: str) -> None:
    """Also what is nested without end."""
    with pytest.raises(Unreadable, match="no JSON"):
        list(read_json(written(tmp_path, "a.json", data)))


# Names


@given(st.lists(st.one_of(st.sampled_from(["a", "a~2", "ä b\n"]), st.text()), max_size=8))
def test_documents_of_a_file_have_different_names(identities: list[str]) -> None:
    """That fit into a URI, whatever their identities are."""
    names = Fragments()
    taken = [names.take(identity) for identity in identities]
    assert all(name.isascii() and name.isprintable() and len(name) < LONGEST_FRAGMENT + 9 for name in taken)
    assert len(set(taken)) == len(taken)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.PDF", "pdf"), ("a.py", "code"), ("README", "text"), ("a.md", "text"), ("a.htm", "html")]
)
def test_a_suffix_tells_the_format(name: str, kind: str) -> None:
    """In capitals or not; what has none is tried as text."""
    assert format_of(Path(name)) == kind
    assert not Path(name).suffix or Path(name).suffix.lower() in SUFFIXES
