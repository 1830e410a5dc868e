"""PDF: the text layer, page by page, by PDFium."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Protocol, cast

import pypdfium2  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

from aya.readers.parts import MOST_CHARACTERS, Part, Unreadable, check_length, clean, one_line


class _Layer(Protocol):
    """A page's text (pypdfium2.PdfTextPage)."""

    def get_text_range(self) -> str: ...
    def close(self) -> None: ...


class _Page(Protocol):
    def get_textpage(self) -> _Layer: ...
    def close(self) -> None: ...


class _Document(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> _Page: ...
    def get_metadata_value(self, key: str) -> str: ...


_pdfium = cast("Any", pypdfium2)
_BETWEEN_PAGES = "\n\n"
_NO_TITLE = re.compile(r"untitled\b|microsoft word|\S+\.(?:docx?|tex|dvi|indd|qxd|pdf|rtf|odt)$", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n?")


def read_pdf(path: Path) -> Iterator[Part]:
    """Yield the one document of a PDF, with `pages` and, where some have no text, `pages_without_text`.

    A hyphen at the end of a line is taken out (PDFium marks it), as the word goes on in the next.
    """
    try:
        document = _pdfium.PdfDocument(path)
    except _pdfium.PdfiumError as error:
        raise Unreadable(_why_not_opened(error.err_code)) from error
    with document:
        texts = list(_texts(document))
        title = _title(document)
    if not any(texts):
        raise Unreadable(
            f"It is scanned: none of its {len(texts)} pages has text. Recognise it first: ocrmypdf IN.pdf OUT.pdf"
        )
    text, pages = paged(texts)
    empty = [number for number, each in enumerate(texts, start=1) if not each]
    metadata = {"pages": pages} | ({"pages_without_text": empty} if empty else {})
    yield Part(check_length(text), title, markdown=False, metadata=metadata, notes=_notes(empty))


def paged(texts: Sequence[str]) -> tuple[str, list[int]]:
    """Return the pages' texts as one, and the offset of each page's beginning in it; pure.

    A page without text begins where the next page with text begins, or at the end of the text.
    """
    lengths = [len(text) + len(_BETWEEN_PAGES) if text else 0 for text in texts]
    whole = _BETWEEN_PAGES.join(text for text in texts if text)
    starts = [0, *accumulate(lengths[:-1])] if lengths else []
    return whole, [min(start, len(whole)) for start in starts]


def ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as a person writes them, "1, 4–7"; pure."""
    runs = [list(run) for _, run in groupby(enumerate(numbers), key=lambda each: each[1] - each[0])]
    ends = [(run[0][1], run[-1][1]) for run in runs]
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ends)


def _notes(empty: Sequence[int]) -> tuple[str, ...]:
    if not empty:
        return ()
    return (f"Page{'s' * (len(empty) > 1)} {ranges(empty)} {'have' if len(empty) > 1 else 'has'} no text.",)


def _texts(document: _Document) -> Iterator[str]:
    total = 0
    for index in range(len(document)):
        text = _page_text(document, index)
        total += len(text)
        if total > MOST_CHARACTERS:
            raise Unreadable(f"It holds more than {MOST_CHARACTERS:,} characters of text.")
        yield text


def _page_text(document: _Document, index: int) -> str:
    try:
        page = document[index]
        layer = page.get_textpage()
        text = layer.get_text_range()
        layer.close()
        page.close()
    except _pdfium.PdfiumError as error:
        raise Unreadable(f"Its page {index + 1} is damaged ({error}).") from error
    return clean(_LINE_END.sub("\n", text)).strip()


def _title(document: _Document) -> str | None:
    title = one_line(document.get_metadata_value("Title"))
    return None if title is None or _NO_TITLE.match(title) else title


def _why_not_opened(code: int | None) -> str:
    """FPDF_ERR_PASSWORD is 4, FPDF_ERR_SECURITY 5 (public/fpdfview.h)."""
    match code:
        case 4:
            return "It is encrypted, and a password is needed to read it. Save it without one: qpdf --decrypt …"
        case 5:
            return "It is encrypted in a way that PDFium does not know."
        case _:
            return "It is damaged, or no PDF."
