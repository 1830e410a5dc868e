"""What the tools send back, and the words in which they fail."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from structlog.testing import capture_logs

from aya.dsn import DatabaseSettings
from aya.errors import AyaError, DatabaseUnavailable, DocumentError, ModelMismatch
from aya.knowledge.types import Hit
from aya.settings import NodeSettings
from aya_mcp.cursor import Cursor, decoded
from aya_mcp.names import Wanted, uri_of, wanted_by
from aya_mcp.parts import Part
from aya_mcp.resources import resource_of
from aya_mcp.results import as_object, described, following, result_of, shown
from aya_mcp.server import Context, Handlers
from aya_mcp.store import Base, answered_by
from aya_mcp.tools import Tools
from aya_mcp.warm import Warm, WarmingUp
from aya_mcp.words import explained

_HIT = Hit(
    chunk_id=3,
    chunk_ids=(3,),
    document_id=2,
    chunk_index=0,
    chunk_text="text",
    snippet="text",
    highlights=(),
    heading=None,
    char_start=0,
    char_end=4,
    page=None,
    score=0.5,
    distance=0.25,
    ranks={"vector": 1},
    title=None,
    uri=None,
    category="general",
    source="mcp_server",
    metadata={"a": 1},
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    document_content="text",
)
_MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - as PostgreSQL keeps it
_PART = Part(
    id=12,
    rev=3,
    title=None,
    category="general",
    source=None,
    created_at=_MOMENT,
    updated_at=_MOMENT,
    metadata={},
    uri=None,
    indexed=True,
    content="# Lemons\n\nyellow",
    characters=40,
)
_NO_CONTEXT = cast("Context", None)


def _called(name: str, arguments: dict[str, Any]) -> types.CallToolRequestParams:
    return types.CallToolRequestParams(name=name, arguments=arguments)


def _text(result: types.CallToolResult) -> str:
    return cast("types.TextContent", result.content[0]).text


def test_a_short_document_comes_whole() -> None:
    """Nothing says truncated where nothing was cut."""
    result = result_of(replace(_HIT, document_content="x" * 8_000))
    assert len(result["document_content"]) == 8_000
    assert "document_truncated" not in result


def test_a_long_document_is_cut_and_says_so() -> None:
    """8,000 characters, and how many there are."""
    result = result_of(replace(_HIT, document_content="x" * 8_001))
    assert len(result["document_content"]) == 8_000
    assert (result["document_truncated"], result["document_characters"]) == (True, 8_001)


@pytest.mark.parametrize("distance", [None, float("nan")])
def test_no_distance_is_null(distance: float | None) -> None:
    """A vector of zeros, typed by hand, has a distance that JSON cannot carry."""
    assert json.loads(json.dumps(result_of(replace(_HIT, distance=distance)), allow_nan=False))["distance"] is None


@pytest.mark.parametrize("metadata", [[1], "x", 5, None])
def test_metadata_typed_by_hand_comes_out_as_an_object(metadata: object) -> None:
    """The contract promises an object."""
    assert as_object(metadata) == {"value": metadata}


@pytest.mark.parametrize(
    ("node", "hosts", "expected"),
    [
        ("beta", ("localhost",), "beta"),
        ("", ("10.0.0.5",), "10.0.0.5:5432"),
        ("air", ("localhost", "alpha"), "air (10.0.0.5:5432)"),
    ],
)
def test_the_node_that_answered_is_named(node: str, hosts: tuple[str, ...], expected: str) -> None:
    """Where several servers may answer, the address says which one did."""
    database = DatabaseSettings(tuple((host, 5432) for host in hosts), "aya_rag", "aya_mcp")
    assert answered_by(NodeSettings(node, database, "http://127.0.0.1:9"), "10.0.0.5:5432") == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModelMismatch("two models", hint="aya reembed"), "two models. Next: aya reembed"),
        (AyaError("it failed"), "it failed."),
        (DatabaseUnavailable("down", hint="aya up"), "down (the same call may succeed later). Next: aya up"),
        (DocumentError("twin", hint="aya show -7"), "twin. Next: show_aya_document with document_id=-7"),
        (DocumentError("there is none", hint="aya list"), "there is none. Next: list_aya_documents"),
    ],
)
def test_an_error_says_what_why_and_what_next(error: AyaError, text: str) -> None:
    """In one line that a model can act on."""
    assert explained(error) == text


@pytest.mark.parametrize(
    ("hit", "resource"),
    [
        (_HIT, "aya://document/2#char=0,4"),
        (replace(_HIT, char_start=None, char_end=None), "aya://document/2"),
        (replace(_HIT, document_id=None), None),
    ],
)
def test_a_passage_has_a_uri_to_cite(hit: Hit, resource: str | None) -> None:
    """As near as is known; a chunk without a document has none."""
    assert result_of(hit)["resource"] == resource


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        (uri_of(12), Wanted(12)),
        (uri_of(-12), Wanted(-12)),
        (uri_of(12, 0, 4), Wanted(12, 0, 4)),
        ("aya://document/12#char=5,9999999999", Wanted(12, 5, 2**30)),
        ("aya://document/12#char=5,5", None),
        ("aya://document/12#char=9,5", None),
        ("aya://document/12#chars=1-5", None),
        ("aya://document/2147483648", None),
        ("aya://document/-2147483648", Wanted(-(2**31))),
        ("aya://document/", None),
        ("file:///etc/passwd", None),
    ],
)
def test_a_uri_names_a_document_or_a_passage_of_it(uri: str, wanted: Wanted | None) -> None:
    """Nothing else is looked up."""
    assert wanted_by(uri) == wanted


def test_dates_that_sql_left_empty_are_null() -> None:
    """And the others are UTC, to the second."""
    assert described(_PART)["created_at"] == "2026-01-02T03:04:05Z"
    assert described(replace(_PART, updated_at=None))["updated_at"] is None


@pytest.mark.parametrize(("offset", "following"), [(0, 16), (24, None), (30, None)])
def test_a_text_goes_on_until_its_end(offset: int, following: int | None) -> None:
    """next_offset is where the next part begins."""
    assert shown(_PART, offset)["next_offset"] == following


def test_a_full_page_has_a_next_one_until_there_were_enough() -> None:
    """A page that is not full is the last."""
    word = following([_PART, _PART], 2, Cursor(None, 99, 6))
    assert decoded(word) == Cursor(_MOMENT, 12, 8)
    assert following([_PART], 2, None) is None
    assert following([], 2, None) is None
    assert following([_PART, _PART], 2, Cursor(None, 99, 6), most=8) is None


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (_PART, "Lemons"),
        (replace(_PART, title="Citrus"), "Citrus"),
        (replace(_PART, content=" \n"), "document 12"),
        (replace(_PART, title="x" * 500), "x" * 80),
    ],
)
def test_a_resource_is_named_by_what_a_person_would_call_it(part: Part, name: str) -> None:
    """Its title, its first words, or its number."""
    assert resource_of(part).name == name


async def test_an_unknown_tool_is_a_json_rpc_error() -> None:
    """-32602, as the specification has it, with the tools there are."""
    async with asyncio.TaskGroup() as tasks:
        handlers = Handlers(Tools(Warm().base, tasks))
        with pytest.raises(MCPError) as refused:
            await handlers.call_tool(_NO_CONTEXT, _called("drop_tables", {}))
    assert refused.value.code == types.INVALID_PARAMS
    assert "query_aya_rag" in refused.value.message


async def test_a_call_while_the_server_warms_up_is_told_so() -> None:
    """A sentence, never a time-out."""
    async with asyncio.TaskGroup() as tasks:
        handlers = Handlers(Tools(Warm(wait_seconds=0.01).base, tasks))
        result = await handlers.call_tool(_NO_CONTEXT, _called("query_aya_rag", {"query": "why"}))
    assert result.is_error
    assert "warming up" in _text(result)
    assert "try again" in _text(result)
    with pytest.raises(WarmingUp):
        await Warm(wait_seconds=0.01).base()


async def test_services_that_never_answer_end_in_words() -> None:
    """Before the client gives up by itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = DatabaseSettings((("127.0.0.1", port),), "aya_rag", "aya_mcp")
        base = Base(NodeSettings("alpha", database, f"http://127.0.0.1:{port}"))

        async def opened() -> Base:
            return base

        async with asyncio.TaskGroup() as tasks:
            tools = Tools(opened, tasks, call_seconds=0.1)
            result = await Handlers(tools).call_tool(_NO_CONTEXT, _called("query_aya_rag", {"query": "why"}))
        await base.close()
    assert result.is_error
    assert _text(result).startswith("the search was not finished after 0.1 s (the same call may succeed later). Next: ")


async def test_an_unexpected_error_is_a_reference_and_its_traceback_stays_in_the_log() -> None:
    """Neither the client nor the log gets a password."""

    class Broken:
        """A base in which something goes wrong that nobody thought of."""

        settings = DatabaseSettings((("127.0.0.1", 1),), "aya_rag", "aya_mcp", "hunter2")

        def secrets(self) -> tuple[str, ...]:
            return ("hunter2",)

        @property
        def searcher(self) -> object:
            raise ValueError("cannot parse postgresql://aya_mcp:hunter2@127.0.0.1")

    async def broken() -> Base:
        return cast("Base", Broken())

    async with asyncio.TaskGroup() as tasks:
        with capture_logs() as logs:
            handlers = Handlers(Tools(broken, tasks))
            result = await handlers.call_tool(_NO_CONTEXT, _called("query_aya_rag", {"query": "why"}))
    assert result.is_error
    assert _text(result).startswith("internal error (reference ")
    assert logs[0]["event"] == "call.crashed"
    assert logs[0]["reference"] in _text(result)
    assert "ValueError" in logs[0]["traceback"]
    assert "hunter2" not in _text(result) + str(logs)
