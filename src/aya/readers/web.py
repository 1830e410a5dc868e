"""HTML: the main text as Markdown, read by Lexbor as a browser reads it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser, LexborNode

from aya.readers.formats import MOST_BYTES
from aya.readers.outline import Outline
from aya.readers.parts import Part, Unreadable, check_length, clean, one_line
from aya.readers.whole import whole_file

DEEPEST = 4_000
"""Elements inside each other; a parser that keeps to the standard needs the square of it in time."""

_NEVER = """
    script style noscript template svg canvas iframe object embed head nav button select option input textarea
    datalist dialog audio video map"""
_NEVER_TEXT = frozenset(_NEVER.split())
_BESIDE_THE_TEXT = frozenset({"header", "footer", "aside"})
"""Left out where a page does not say which part of it is the main text."""
_BLOCK = """
    address article aside body center dd details div dl dt fieldset figcaption figure footer form header hgroup hr
    legend main p section summary caption"""
_BLOCKS = frozenset(_BLOCK.split())
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_LISTS = ("ul", "ol", "menu")
_CODE = frozenset({"code", "kbd", "samp", "tt"})
_CLOSE_THEMSELVES = b"area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr|p|li|dt|dd|tr|td|th|option"
_TAG = re.compile(rb"<(/?)(?!(?:" + _CLOSE_THEMSELVES + rb")[\s/>])[a-zA-Z][^<>]{0,4096}>", re.IGNORECASE)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_LANGUAGE = re.compile(r"\b(?:lang|language|highlight(?:-source)?)-([\w+#-]+)")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_html(path: Path) -> Iterator[Part]:
    """Yield the one document of a page."""
    title, text = page_text(decoded(whole_file(path, MOST_BYTES["html"])))
    if not text.strip():
        raise Unreadable("It has no text; pages that a script fills in are empty without it.")
    yield Part(check_length(text), title)


def decoded(data: bytes) -> str:
    """Return a page's characters: by its mark, as UTF-8, as it declares, as Windows-1252.

    UTF-8 goes before the declaration, which is wrong more often than bytes are valid UTF-8 by chance. The last is what
    the standard prescribes for pages that say nothing (https://html.spec.whatwg.org, "determining the character
    encoding"), and never fails.
    """
    named = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    declared = _DECLARED.search(data[:4096])
    candidates = [named, "utf-8", declared[1].decode("ascii", "replace") if declared else None]
    for encoding in candidates:
        try:
            if encoding:
                return data.decode(encoding)
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")


def page_text(html: str) -> tuple[str | None, str]:
    """Return the title and the main text of a page or a piece of one, as Markdown; pure.

    The main text is what stands in the only <main>, else in the only <article>, else the body without its headers,
    footers and asides. Raises Unreadable for what is nested deeper than DEEPEST.
    """
    _check_depth(html.encode("utf-8", "replace"))
    page = LexborHTMLParser(clean(html))
    root = _only(page, "main, [role=main]") or _only(page, "article")
    outline = Outline()
    if node := root or page.body:
        _Telling(outline, whole_page=root is None).tree(node)
    text = outline.markdown()
    found = page.css_first("head > title")
    return one_line(found.text() if found else None) or one_line(outline.first_heading), text


def _check_depth(data: bytes) -> None:
    depth = 0
    for tag in _TAG.finditer(data):
        depth = max(0, depth - 1) if tag[1] else depth + (not tag[0].endswith(b"/>"))
        if depth > DEEPEST:
            raise Unreadable(f"Its elements are nested more than {DEEPEST:,} deep.")


def _only(page: LexborHTMLParser, selector: str) -> LexborNode | None:
    found = page.css(selector)
    return found[0] if len(found) == 1 else None


class _Telling:
    """Tells an outline a tree of elements."""

    def __init__(self, outline: Outline, *, whole_page: bool) -> None:
        self.outline = outline
        self.layouts = set[int]()
        self._whole_page = whole_page

    def tree(self, root: LexborNode) -> None:
        """Walk depth first without recursion: a page may be nested deeper than Python's stack."""
        node = root
        while True:
            inside = self._begin(node)
            child = node.first_child if inside else None
            if child is not None:
                node = child
                continue
            if inside:
                self._end(node)
            while node.mem_id != root.mem_id and node.next is None and node.parent is not None:
                node = node.parent
                self._end(node)
            if node.mem_id == root.mem_id or node.next is None:
                return
            node = node.next

    def _begin(self, node: LexborNode) -> bool:
        """Tell an element's beginning, or a text; return whether to go inside."""
        if node.is_text_node:
            self.outline.text(node.text_content or "")
            return False
        tag = node.tag or ""
        if not node.is_element_node or _left_out(node, tag, whole_page=self._whole_page):
            return False
        if handler := _BEGINNINGS.get(tag):
            handler(self, node)
        return True

    def _end(self, node: LexborNode) -> None:
        if handler := _ENDS.get(node.tag or ""):
            handler(self, node)

    def begin_table(self, table: LexborNode) -> None:
        """Begin a table; one that holds tables, headings or lists arranges a page, and its cells are blocks."""
        if self.layouts or table.css_first("table table, h1, h2, h3, ul, ol, pre") is not None:
            self.layouts.add(table.mem_id)
            self.outline.block()
        else:
            self.outline.table(begin=True)

    def end_table(self, table: LexborNode) -> None:
        """End what begin_table began."""
        if self.layouts:
            self.layouts.discard(table.mem_id)
            self.outline.block()
        else:
            self.outline.table(begin=False)

    def row(self, _: LexborNode) -> None:
        """Begin a row, in a layout a block."""
        if self.layouts:
            self.outline.block()
        else:
            self.outline.row()

    def cell(self, cell: LexborNode) -> None:
        """Begin a cell, in a layout a block."""
        if self.layouts:
            self.outline.block()
        else:
            self.outline.cell(_number(cell.attributes.get("colspan")))

    def begin_list(self, node: LexborNode) -> None:
        """Begin a list, numbered from where it says."""
        self.outline.open("list", ordered=node.tag == "ol", first=_number(node.attributes.get("start")))


def _mark_code(telling: _Telling, _: LexborNode) -> None:
    telling.outline.mark("`")


def _block(telling: _Telling, _: LexborNode) -> None:
    telling.outline.block()


def _begin_heading(telling: _Telling, node: LexborNode) -> None:
    telling.outline.heading(int((node.tag or "h1")[1]))


def _end_heading(telling: _Telling, _: LexborNode) -> None:
    telling.outline.heading(0)


_Handler = Callable[[_Telling, LexborNode], None]
_BOTH: Mapping[str, _Handler] = {**dict.fromkeys(_CODE, _mark_code), **dict.fromkeys(_BLOCKS, _block)}
_BEGINNINGS: Mapping[str, _Handler] = {
    **_BOTH,
    **dict.fromkeys(_HEADINGS, _begin_heading),
    **dict.fromkeys(_LISTS, _Telling.begin_list),
    **dict.fromkeys(("td", "th"), _Telling.cell),
    "br": lambda telling, _: telling.outline.line_break(),
    "img": lambda telling, node: telling.outline.text(f" {node.attributes.get('alt') or ''} "),
    "pre": lambda telling, node: telling.outline.pre(_language(node)),
    "blockquote": lambda telling, _: telling.outline.open("quote"),
    "li": lambda telling, _: telling.outline.open("item"),
    "table": _Telling.begin_table,
    "tr": _Telling.row,
}
_ENDS: Mapping[str, _Handler] = {
    **_BOTH,
    **dict.fromkeys(_HEADINGS, _end_heading),
    **dict.fromkeys(_LISTS, lambda telling, _: telling.outline.close("list")),
    "pre": lambda telling, _: telling.outline.pre(None),
    "blockquote": lambda telling, _: telling.outline.close("quote"),
    "li": lambda telling, _: telling.outline.close("item"),
    "table": _Telling.end_table,
}


def _left_out(node: LexborNode, tag: str, *, whole_page: bool) -> bool:
    if tag in _NEVER_TEXT:
        return True
    attributes = node.attributes
    if "hidden" in attributes or attributes.get("aria-hidden") == "true" or attributes.get("role") == "navigation":
        return True
    if tag == "a" and "headerlink" in (attributes.get("class") or ""):
        return True
    return whole_page and tag in _BESIDE_THE_TEXT and node.css_first("h1, article") is None


def _language(pre: LexborNode) -> str:
    code = pre.css_first("code")
    classes = f"{pre.attributes.get('class') or ''} {(code.attributes.get('class') or '') if code else ''}"
    found = _LANGUAGE.search(classes)
    return found[1] if found else ""


def _number(value: str | None) -> int:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 7 else 1  # noqa: PLR2004
