"""Passages follow the document's structure, cover it all and stay within the model's window."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aya.chunking import MIN_MAX_TOKENS, Chunk, chunk
from aya.markdown_blocks import first_heading, front_matter_end

LIMIT = 64
TARGET = 40


def token_starts(text: str) -> list[int]:
    """Tokens of at most six letters, as a word-piece model's; every other sign is one."""
    return [found.start() for found in re.finditer(r"\w{1,6}|[^\w\s]", text)]


def cut(text: str, *, markdown: bool = True, limit: int = LIMIT, target: int = TARGET) -> list[Chunk]:
    """Cut a text under a small limit, so that short texts show the behaviour."""
    return chunk(text, token_starts(text), max_tokens=limit, target_tokens=target, markdown=markdown)


def sentences(count: int, word: str = "word") -> str:
    """Return sentences of six tokens each."""
    return " ".join(f"This {word} is number {number}." for number in range(count))


MARKDOWN = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "# Title",
                "## Section *two*",
                "###",
                "Setext\n---",
                "===",
                "---",
                "- item\n- other",
                "1. one\n   two",
                "> quoted",
                "```\n# code",
                "```",
                "~~~",
                "| a | b |\n|---|---|\n| 1 | 2 |",
                "    indented",
                "<div>",
                "<!--",
                "-->",
                "[a]: b",
                "key: value",
                "数据库。很好！",  # noqa: RUF001
                "\ufeff",
                "\x1c",
                "\u2028",
                "ﷺ" * 9,
                sentences(12),
                "x" * 300,
                " " * 700 + "a",
            ]
        ),
        st.text(max_size=40),
    ),
    max_size=25,
).flatmap(lambda parts: st.sampled_from(["\n", "\n\n", "\r\n", "\r", "\n\r\n \n"]).map(lambda line: line.join(parts)))


@settings(max_examples=400, deadline=None)
@given(text=MARKDOWN, markdown=st.booleans(), limit=st.integers(MIN_MAX_TOKENS, 90), target=st.integers(1, 200))
@example(text="---\na: b\n---\n# T\n", markdown=True, limit=32, target=1)
def test_chunks_cover_everything_once_in_order_within_the_limit(
    text: str, limit: int, target: int, *, markdown: bool
) -> None:
    """Whatever the text, its chunks put together are the text but for blanks, and none is over the limit."""
    starts = token_starts(text)
    chunks = chunk(text, starts, max_tokens=limit, target_tokens=target, markdown=markdown)
    rest, at = "", 0
    for position, each in enumerate(chunks):
        assert each.index == position
        assert each.text == text[each.start : each.end] == each.text.strip() != ""
        assert each.tokens == sum(each.start <= start < each.end for start in starts) <= limit
        assert at <= each.start < each.end
        rest, at = rest + text[at : each.start], each.end
    assert not (rest + text[at:]).strip()


@settings(max_examples=100, deadline=None)
@given(text=MARKDOWN, window=st.integers(1, 6), tokens=st.sampled_from([10**6]))
def test_parsing_in_windows_finds_the_same_blocks(text: str, window: int, tokens: int) -> None:
    """Where the windows fall makes no difference to the chunks."""
    whole = cut(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aya.markdown_blocks.WINDOW_LINES", window)
        patch.setattr("aya.markdown_blocks.MOST_PARSER_TOKENS", tokens)
        assert cut(text) == whole


def test_an_endless_block_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of any length is parsed in bounded memory, and nothing of it is lost."""
    monkeypatch.setattr("aya.markdown_blocks.WINDOW_LINES", 4)
    monkeypatch.setattr("aya.markdown_blocks.MOST_PARSER_TOKENS", 20)
    text = "# List\n\n" + "\n".join(f"- item {number}" for number in range(300))
    chunks = cut(text)
    assert {each.heading for each in chunks} == {"List"}
    assert "".join(each.text for each in chunks).replace("\n", "") == text.replace("\n", "")


HEADINGS = [
    ("atx", "# Coffee\n\nintro\n\n## Descaling\n\n" + sentences(9), "Coffee > Descaling"),
    ("setext", "Coffee\n======\n\nDescaling\n---------\n\n" + sentences(9), "Coffee > Descaling"),
    ("closed and marked up", "# *Coffee* `x` [link](http://a) #\n\n" + sentences(9), "Coffee x link"),
    ("a sibling ends the one before", "## A\n\n" + sentences(9) + "\n\n## B\n\n" + sentences(9), "B"),
    ("a level left out", "# A\n\n#### D\n\n" + sentences(9), "A > D"),
    ("a sign inside a fence", "# A\n\n```sh\n# no heading\n```\n\n" + sentences(9), "A"),
    ("a sign inside a longer fence", "# A\n\n````\n```\n# no\n````\n\n" + sentences(9), "A"),
    ("a sign inside a comment", "# A\n\n<!--\n# no\n-->\n\n" + sentences(9), "A"),
    ("a sign inside a quotation", "# A\n\n> # no\n\n" + sentences(9), "A"),
    ("no space after the sign", "# A\n\n#hashtag\n\n" + sentences(9), "A"),
    ("none", sentences(9), None),
    ("an empty one", "#\n\n" + sentences(9), None),
    ("front matter", "---\ntitle: x\n---\n\n" + sentences(9), None),
    ("front matter without a blank line", "---\ntitle: x\nb: y\n---\n# A\n" + sentences(9), "A"),
    ("a very long one", "# " + "word " * 100 + "\n\n" + sentences(9), ("word " * 24)[:119] + "…"),
]


@pytest.mark.parametrize(("text", "heading"), [row[1:] for row in HEADINGS], ids=[row[0] for row in HEADINGS])
def test_the_heading_is_the_path_above_the_passage(text: str, heading: str | None) -> None:
    """The last passage of each document stands under the path of headings of CommonMark."""
    assert cut(text)[-1].heading == heading


def test_a_passage_of_several_sections_is_named_after_what_they_share() -> None:
    """Tiny sections are merged under the heading above them."""
    (only,) = cut("# Kitchen\n\n### Salt\n\nTop shelf.\n\n### Pepper\n\nLower shelf.")
    assert only.heading == "Kitchen"


def test_a_heading_stays_with_what_follows_it() -> None:
    """No passage ends with a heading when words follow below."""
    text = "\n\n".join(f"{'#' * (1 + number % 4)} Head{number}\n\n{sentences(number % 7 + 1)}" for number in range(40))
    for each in cut(text):
        assert not each.text.splitlines()[-1].startswith("#")


def test_headings_alone_are_passages_too() -> None:
    """An outline without a word below is found by its headings."""
    chunks = cut("\n\n".join(f"## Heading number {number}" for number in range(50)))
    assert len(chunks) > 1
    assert chunks[-1].heading == "Heading number 49"


def test_a_new_section_starts_a_new_passage_unless_the_one_before_is_tiny() -> None:
    """Twenty tokens are a passage of their own, a line is not."""
    assert len(cut("## A\n\n" + sentences(3) + "\n\n## B\n\n" + sentences(1))) == 2
    assert len(cut("## A\n\nShort.\n\n## B\n\n" + sentences(1))) == 1


def test_the_end_of_a_long_section_is_not_mixed_with_the_next() -> None:
    """A last short paragraph that fits nowhere keeps its own heading."""
    text = "## A\n\n" + sentences(6) + "\n\n" + sentences(6) + "\n\nLast words.\n\n## B\n\n" + sentences(2)
    assert [each.heading for each in cut(text)] == ["A", "A", "B"]
    apart = text.replace("Last words.", sentences(2))
    assert [each.heading for each in cut(apart)] == ["A", "A", "A", "B"]


def test_small_neighbours_are_merged_up_to_the_target() -> None:
    """Forty paragraphs of three tokens make four passages of about thirty, not forty."""
    chunks = cut("\n\n".join(["One more."] * 40))
    assert len(chunks) <= 4
    assert all(each.tokens <= TARGET * 5 // 4 for each in chunks)


ENDS = [
    ("paragraphs", sentences(5) + "\n\n" + sentences(5), r"\."),
    ("sentences of one paragraph", sentences(60), r"\."),
    (
        "sentences of wrapped lines",
        "\n".join(re.findall(r".{1,50}(?: |$)", "the end of it is here. So " * 60)),
        r"\.|So",
    ),
    ("questions and quotations", 'He asked "why?" She said "no!" ' * 40, r'[?!]"'),
    ("items of a list", "\n".join(f"- item {number} of the list" for number in range(60)), "list"),
    ("rows of a table", "| a | b |\n|---|---|\n" + "| one | two |\n" * 60, r"\|"),
    ("lines of code", "```\n" + "call(one, two)\n" * 60 + "```", r"\)|```"),
    ("lines of a log", "2024-01-01 Started well\n" * 60, "well"),
    ("sentences of Chinese", "数据库很好。他问：「为什么？」" * 40, "。|」"),  # noqa: RUF001
    ("words of an endless sentence", "word " * 400, "word"),
]


@pytest.mark.parametrize(("text", "end"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_large_block_is_cut_where_its_kind_allows(text: str, end: str) -> None:
    """Items, rows, lines and sentences stay whole while they fit."""
    chunks = cut(text)
    assert len(chunks) > 1
    assert [each.text[-8:] for each in chunks if not re.search(rf"(?:{end})$", each.text)] == []


def test_a_cut_block_leaves_no_crumbs() -> None:
    """A paragraph just over the target is cut in halves, not in one large and one tiny part."""
    sizes = [each.tokens for each in cut(sentences(11), limit=200, target=50)]
    assert max(sizes) - min(sizes) <= 7


def test_a_word_over_the_limit_is_cut_at_its_tokens() -> None:
    """A base64 blob is cut where tokens begin, in parts of about equal size."""
    text = "a" * 6 * 1000
    chunks = cut(text, limit=100, target=80)
    assert {each.start % 6 for each in chunks} == {0}
    assert min(each.tokens for each in chunks) * 2 >= max(each.tokens for each in chunks)


def test_text_that_makes_no_tokens_is_bounded_by_its_length() -> None:
    """A megabyte that a model takes for one unknown word does not become one passage."""
    chunks = chunk("x" * 1_000_000, [0], max_tokens=254, markdown=False)
    assert max(len(each.text) for each in chunks) <= 254 * 16


def test_plain_text_knows_no_headings() -> None:
    """A comment sign in a log is no heading."""
    assert [each.heading for each in cut("# not a heading\n\nwords", markdown=False)] == [None]


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t", "\u2003\x1c"])
def test_a_blank_text_has_no_chunks(text: str) -> None:
    """White space of any kind is nothing to search for."""
    assert cut(text) == cut(text, markdown=False) == []


@pytest.mark.parametrize(("limit", "target"), [(MIN_MAX_TOKENS - 1, 10), (0, 10), (100, 0)])
def test_a_limit_that_cannot_be_met_is_refused(limit: int, target: int) -> None:
    """One letter can need 18 tokens, so a limit below that cannot be kept."""
    with pytest.raises(ValueError, match="max_tokens"):
        cut("text", limit=limit, target=target)


FRONT_MATTER = [
    ("---\na: b\n---\nrest", 13),
    ("---\r\na: b\r\n...\r\nrest", 16),
    ("---\n# comment\na: b\n---", 22),
    ("---\na: b\n", 0),
    ("---\n\na: b\n---\n", 0),
    ("---\nSome words\n---\n", 0),
    ("\n---\na: b\n---\n", 0),
    ("----\na: b\n----\n", 0),
    ("---\na: b\n----\n", 0),
    ("", 0),
]


@pytest.mark.parametrize(("text", "end"), FRONT_MATTER)
def test_front_matter_ends_after_its_closing_line(text: str, end: int) -> None:
    """A rule at the top is not front matter; front matter that never closes is text."""
    assert front_matter_end(text) == end


def test_the_first_heading_is_found_past_front_matter_and_fences() -> None:
    """The title is the first real heading, without its markup."""
    assert first_heading("---\na: b\n---\n\n```\n# no\n```\n\n## The **real** one\n\n# Other") == "The real one"
    assert first_heading("No heading\n\nhere") is None


PATHOLOGICAL = {
    "no spaces": "a" * 200_000,
    "full stops": "." * 200_000,
    "full stops and blanks": ("." + " " * 39) * 5_000,
    "blank lines": "a" + "\n \t" * 60_000 + "a",
    "nested quotations": "> " * 100_000,
    "nested lists": "\n".join("  " * depth + "- a" for depth in range(400)),
    "brackets in a heading": "# " + "[" * 200_000,
    "stars in a heading": "# " + "*a_" * 60_000,
    "front matter without an end": "---\na: b\n" + "a: b\n" * 10_000,
    "delimiter rows": "|a|\n|-|\n" * 5_000,
    "fences": "```\n" * 20_000,
    "headings": "# a\n" * 10_000,
    "lines": "a\n" * 50_000,
    "items": "- a\n" * 25_000,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_hostile_text_takes_linear_time(text: str) -> None:
    """Nothing in a text makes a cutter or the parser go over it again and again."""
    assert cut(text)
    assert cut(text, markdown=False)
