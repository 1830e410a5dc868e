"""Pages become Markdown: their words, their headings, nothing of what stands around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.markdown_blocks import markdown_blocks
from aya.readers.parts import Unreadable
from aya.readers.web import DEEPEST, decoded, page_text

PAGES = [
    ("headings", "<h1>One</h1><p>a</p><h3>Two <em>b</em></h3>", "# One\n\na\n\n### Two b"),
    ("white space is folded", "<p>a\n   b<b> c</b>d</p>", "a b cd"),
    ("line breaks stay", "a<br>b", "a\nb"),
    ("scripts and styles", "<style>p{}</style>a<script>alert(1)</script><noscript>b</noscript>", "a"),
    ("what is hidden", "<p hidden>a</p><p aria-hidden=true>b</p>c", "c"),
    ("the frame of a page", "<header>x</header><nav>y</nav><p>a</p><aside>z</aside><footer>w</footer>", "a"),
    ("only the main part", "<p>x</p><main><header>h</header><p>a</p></main><p>y</p>", "h\n\na"),
    ("only the article", "<p>x</p><article><p>a</p></article>", "a"),
    ("several articles are all meant", "<article>a</article><article>b</article>", "a\n\nb"),
    ("lists", "<ul><li>a<li>b<ol start=3><li>c<li>d</ol></ul>", "- a\n- b\n  3. c\n  4. d"),
    ("paragraphs of an item", "<ul><li><p>a</p><p>b</p></li></ul>", "- a\n\n  b"),
    ("quotations", "<blockquote>a<blockquote>b</blockquote></blockquote>", "> a\n\n> > b"),
    ("code", "<pre><code class='language-py'>if a:\n    b\n</code></pre>", "```py\nif a:\n    b\n```"),
    ("code that holds fences", "<pre>```\na</pre>", "````\n```\na\n````"),
    ("inline code", "<p>say <code>a b</code></p>", "say `a b`"),
    (
        "tables",
        "<table><tr><th>A<th>B<tr><td>1|2<td><p>x</p><p>y</p></table>",
        "| A | B |\n| --- | --- |\n| 1\\|2 | x y |",
    ),
    ("wide cells", "<table><tr><td colspan=2>a<tr><td>b<td>c</table>", "| a |  |\n| --- | --- |\n| b | c |"),
    ("tables that arrange a page", "<table><tr><td><h2>a</h2>b<td><table><tr><td>c</table></table>", "## a\n\nb\n\nc"),
    ("pictures by their description", "<img alt='a cat'><img src=x>", "a cat"),
    ("text that looks like a heading", "<p># a</p><p>---</p><p>```</p>", "\\# a\n\n\\---\n\n\\```"),
    ("anchors of documentation tools", "<h2>a<a class=headerlink>¶</a></h2>", "## a"),
    ("what is never closed", "<ul><li><b>a<table><tr><td>b", "- a\n\n  | b |\n  | --- |"),
    ("letters that cannot be kept", "<p>a&#0;b\x01c</p>", "a\ufffdbc"),
]


@pytest.mark.parametrize(("html", "markdown"), [row[1:] for row in PAGES], ids=[row[0] for row in PAGES])
def test_a_page_as_markdown(html: str, markdown: str) -> None:
    """Each element as its like."""
    assert page_text(html)[1] == markdown


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title> A\n b </title><h1>c</h1>", "A b"),
        ("<title></title><h2>c</h2>", "c"),
        ("<svg><title>no</title></svg>a", None),
    ],
)
def test_the_title_of_a_page(html: str, title: str | None) -> None:
    """As it says, else its first heading."""
    assert page_text(html)[0] == title


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("ä数".encode(), "ä数"),
        ("\ufeffä".encode("utf-16-le"), "ä"),
        ("<meta charset=koi8-r>ж".encode("koi8-r"), "<meta charset=koi8-r>ж"),
        ("<meta charset=koi8-r>ж".encode(), "<meta charset=koi8-r>ж"),
        ("<meta charset=nonsense>ä“".encode("cp1252"), "<meta charset=nonsense>ä“"),
        (b"\x81", "\ufffd"),
    ],
)
def test_the_characters_of_a_page(data: bytes, text: str) -> None:
    """By its mark, as UTF-8, as it declares, as Windows-1252: in this order."""
    assert decoded(data) == text


def test_a_page_that_is_nested_too_deep_is_refused() -> None:
    """It would take the square of its depth in time; what is closed again does not count."""
    with pytest.raises(Unreadable, match="nested more than"):
        page_text("<div>" * (DEEPEST + 1))
    assert page_text("<div>a</div>" * (DEEPEST + 1))[1].count("a") == DEEPEST + 1
    assert page_text("<ul><li>" * (DEEPEST - 1) + "end")[1].endswith("end")


TAGS = st.sampled_from(
    "p h1 h6 ul ol li table tr td th pre code blockquote br main article nav b template select svg math".split()  # noqa: SIM905
)
PIECES = st.one_of(st.text(max_size=5), TAGS.map("<{}>".format), TAGS.map("</{}>".format))


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_page_becomes_markdown_that_can_be_kept(html: str) -> None:
    """No order of elements breaks the writer, and what it writes is one of our texts."""
    text = page_text(html)[1]
    assert "\0" not in text
    text.encode()
    assert sum(len(text[block.start : block.end]) for block in markdown_blocks(text)) <= len(text)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20))
def test_no_word_of_the_body_is_lost(word: str) -> None:
    """Whatever plain element it stands in."""
    for tag in ("p", "h2", "li", "td", "pre", "code", "blockquote", "span", "dd", "unknown"):
        assert word in page_text(f"<{tag}>{word}")[1]
