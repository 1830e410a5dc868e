"""The rest of a document's life through the server's process, in the oldest revision, on a real database."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import jsonschema  # type: ignore[import-untyped] # the MCP SDK brings it, without stubs
import pytest
from tests.conftest import TEMPLATE, Server

from aya import migrations
from aya.dsn import OWNER, DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import DocumentError
from aya.knowledge.binding import bind
from aya.mcp_probe import Probe
from aya.settings import NodeSettings
from aya_mcp.store import Base
from aya_mcp.tools import Tools, TooSlow

pytestmark = pytest.mark.database

_SCHEMAS: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Served:
    """A server's process that has shaken hands, and its database, entered as the owner."""

    probe: Probe
    database: DatabaseSettings

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Return what a tool answers, held against the output schema that the server listed for it."""
        result = self.probe.call(tool, arguments)
        said: str = result["content"][0]["text"]
        assert not result.get("isError"), said
        content: dict[str, Any] = json.loads(said)
        assert result.get("structuredContent", content) == content
        if not _SCHEMAS:
            listed = self.probe.ask("tools/list")["result"]["tools"]
            _SCHEMAS.update({tool["name"]: _exact(tool["outputSchema"]) for tool in listed})
        jsonschema.validate(content, _SCHEMAS[tool])
        return content

    def refused(self, tool: str, **arguments: object) -> str:
        """Return the words in which a tool refuses."""
        result = self.probe.call(tool, arguments)
        said: str = result["content"][0]["text"]
        assert result.get("isError"), said
        return said

    def add(self, content: str, **more: object) -> int:
        """Keep a text and return its document's id."""
        document_id: int = self.call("add_to_aya_rag", content=content, **more)["document_id"]
        return document_id

    def sql(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - one value of a query of the test's
        """Run a statement as the owner and return its first value."""

        async def run() -> object:
            connection = await asyncpg.connect(self.database.dsn())
            try:
                return await connection.fetchval(statement, *arguments)
            finally:
                await connection.close()

        return asyncio.run(run())


def _exact(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without room for what it does not name."""
    closed: dict[str, Any] = json.loads(json.dumps(schema), object_hook=_closed)
    return closed


def _closed(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "additionalProperties": False} if "properties" in part else part


@contextmanager
def _serving(server: Server, database: DatabaseSettings, embedder_url: str, node: str) -> Generator[Served]:
    ((host, port),) = database.hosts
    environment = {
        **os.environ,
        "AYA_NODE": node,
        "DB_HOST": host,
        "DB_PORT": str(port),
        "DB_NAME": database.database,
        "DB_USER": "aya_mcp",
        "DB_PASSWORD": server.secrets["aya_mcp"],
        "EMBEDDING_URL": embedder_url,
    }
    with Probe(environ=environment, stderr=subprocess.DEVNULL) as probe:
        probe.initialize("2024-11-05")
        served, give_up_at = Served(probe, database), time.monotonic() + 120
        while "warming up" in json.dumps(probe.call("list_aya_documents", {"limit": 1})):
            assert time.monotonic() < give_up_at
        yield served


async def _bind(database: DatabaseSettings, embedder_url: str) -> None:
    async with EmbedderClient(embedder_url) as embedder:
        await bind(database, await embedder.identity())


@pytest.fixture(scope="module")
def served(server: Server, embedder_url: str) -> Iterator[Served]:
    """One process for all of the file's tests, each in a category of its own."""
    name = "aya_mcp_documents"
    asyncio.run(server.run_as_superuser(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {TEMPLATE}"))
    database = server.settings(name)
    asyncio.run(_bind(database, embedder_url))
    with _serving(server, database, embedder_url, "alpha") as served:
        yield served
    asyncio.run(server.run_as_superuser(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def air(server: Server, empty_database: DatabaseSettings, embedder_url: str) -> Iterator[Served]:
    """AIR without a network: its own copy, with the triggers that queue what is written, and no daemon."""
    asyncio.run(migrations.migrate(empty_database, node="air"))
    asyncio.run(_bind(empty_database, embedder_url))
    with _serving(server, empty_database, embedder_url, "air") as served:
        yield served


def test_a_documents_life(served: Served) -> None:
    """Added, shown, changed, found as changed, deleted, not there any more."""
    number = served.add("The ferry leaves at nine.", category="life", context={"port": "Kiel"})
    shown = served.call("show_aya_document", document_id=number)
    assert (shown["content"], shown["next_offset"], shown["characters"]) == ("The ferry leaves at nine.", None, 25)
    assert (shown["rev"], shown["source"], shown["metadata"]) == (1, "mcp_server", {"port": "Kiel"})
    assert (shown["indexed"], shown["node"], shown["role"], shown["stale_seconds"]) == (True, "alpha", "primary", 0)

    changed = served.call(
        "update_aya_document", document_id=number, content="The ferry leaves at noon.", title="Ferry", expected_rev=1
    )
    assert (changed["rev"], changed["chunk_count"], changed["durability"]) == (2, 1, "primary")
    best = served.call("query_aya_rag", query="When does the ferry leave?", category="life")["results"][0]
    assert (best["document_content"], best["title"], best["category"]) == ("The ferry leaves at noon.", "Ferry", "life")
    assert best["metadata"] == {"port": "Kiel"}

    gone = served.call("delete_aya_documents", document_ids=[number, number, 2_000_000])
    (what,) = gone["deleted"]
    assert (what["document_id"], what["title"], what["content"]) == (number, "Ferry", "The ferry leaves at noon.")
    assert gone["missing"] == [2_000_000]
    again = served.call("delete_aya_documents", document_ids=[number])
    assert (again["deleted"], again["missing"]) == ([], [number])
    assert "there is no document" in served.refused("show_aya_document", document_id=number)
    assert served.sql("SELECT count(*) FROM chunks WHERE document_id = $1", number) == 0


def test_a_long_document_is_read_page_by_page(served: Served) -> None:
    """20,000 characters at a time, no character twice, none left out, whatever their bytes."""
    whole = "".join(f"Zeile {number} über Leuchttürme 🗼.\n" for number in range(1500))
    number = served.sql("INSERT INTO documents (content, category) VALUES ($1, 'long') RETURNING id", whole)
    pages: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = served.call("show_aya_document", document_id=number, offset=offset)
        assert (page["offset"], page["characters"]) == (offset, len(whole))
        pages.append(page["content"])
        offset = page["next_offset"]
    assert "".join(pages) == whole
    assert [len(page) for page in pages[:-1]] == [20_000] * (len(pages) - 1)
    part = served.call("show_aya_document", document_id=number, offset=100.0, length=50)
    assert (part["content"], part["next_offset"]) == (whole[100:150], 150)
    said = served.refused("show_aya_document", document_id=number, offset=len(whole))
    assert said.endswith(f"Next: send an offset below {len(whole)}, or leave it out")


def test_documents_are_listed_newest_first_in_pages_that_neither_repeat_nor_skip(served: Served) -> None:
    """Also where SQL left the date empty, where dates are equal, and while others add and delete."""
    for day in range(7):
        made = None if day == 0 else f"2026-03-{(day + 1) // 2:02}"
        served.sql(
            "INSERT INTO documents (content, category, created_at) VALUES ($1, 'pages', $2::text::timestamp)",
            f"Day {day}. " + "x" * 300,
            made,
        )
    expected, seen = [0, 6, 5, 4, 3, 2, 1], list[int]()
    cursor: dict[str, str] = {}
    while True:
        page = served.call("list_aya_documents", category="pages", limit=2, **cursor)
        assert page["count"] == len(page["documents"])
        seen += [int(one["content"][4]) for one in page["documents"]]
        assert {len(one["content"]) for one in page["documents"]} == {200}
        served.sql("INSERT INTO documents (content, category) VALUES ('Day 9: made meanwhile', 'pages')")
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == expected
    served.sql("DELETE FROM documents WHERE category = 'pages'")


_FILTERED: list[tuple[dict[str, object], set[str]]] = [
    ({}, {"a", "b", "c"}),
    ({"source": "web"}, {"b"}),
    ({"context": {"project": "garden"}}, {"a", "b"}),
    ({"context": {"project": "garden", "tags": ["x"]}}, {"a"}),
    ({"since": "2026-02-01"}, {"b", "c"}),
    ({"until": "2026-03-01T00:00:00Z"}, {"a", "b"}),
    ({"since": "2026-02-01T01:00:00+01:00", "until": "2026-03-01"}, {"b"}),
    ({"since": None, "source": "nobody"}, set()),
]


@pytest.mark.parametrize(("filters", "expected"), _FILTERED)
def test_a_list_and_a_search_take_the_same_filters(
    served: Served, filters: Mapping[str, object], expected: set[str]
) -> None:
    """Category, source, metadata that contains an object, and dates: every filter that the base has is reachable."""
    if not served.sql("SELECT count(*) FROM documents WHERE category = 'filters'"):
        for name, source, metadata, made in (
            ("a", "mail", '{"project": "garden", "tags": ["x", "y"]}', "2026-01-01"),
            ("b", "web", '{"project": "garden"}', "2026-02-01"),
            ("c", "mail", "{}", "2026-03-01"),
        ):
            number = served.add(f"The hedgehog of {name} sleeps.", category="filters", context=json.loads(metadata))
            served.sql(
                "UPDATE documents SET title = $2, source = $3, created_at = $4::text::timestamp WHERE id = $1",
                number,
                name,
                source,
                made,
            )
    listed = served.call("list_aya_documents", category="filters", **filters)["documents"]
    assert {one["title"] for one in listed} == expected
    found = served.call("query_aya_rag", query="Where does the hedgehog sleep?", category="filters", **filters)
    assert {one["title"] for one in found["results"]} == expected


def test_a_change_of_labels_leaves_the_text_and_its_vectors(served: Served) -> None:
    """What is left out stays; metadata is replaced whole."""
    number = served.add("Labels change, words stay.", category="labels", context={"a": 1, "b": 2})
    chunks = served.sql("SELECT array_agg(id) FROM chunks WHERE document_id = $1", number)
    changed = served.call("update_aya_document", document_id=number, context={"c": 3}, source="me", content=None)
    assert (changed["rev"], changed["chunk_count"], changed["characters"]) == (2, 1, 26)
    shown = served.call("show_aya_document", document_id=number)
    assert (shown["metadata"], shown["source"], shown["category"]) == ({"c": 3}, "me", "labels")
    assert served.sql("SELECT array_agg(id) FROM chunks WHERE document_id = $1", number) == chunks


def test_a_change_whose_answer_was_lost_may_be_sent_again(served: Served) -> None:
    """It is found made, and not refused as somebody else's."""
    number = served.add("Sent once.", category="again")
    for _ in range(2):
        changed = served.call("update_aya_document", document_id=number, content="Sent twice.", expected_rev=1)
        assert changed["rev"] == 2
    said = served.refused("update_aya_document", document_id=number, content="Sent twice.", title="t", expected_rev=1)
    assert "it is at revision 2" in said


def test_somebody_elses_change_is_not_overwritten(served: Served) -> None:
    """A rev that has moved on is refused, and the refusal names the tool that shows what is there now."""
    number = served.add("The first word.", category="rev")
    served.call("update_aya_document", document_id=number, content="The second word.", expected_rev=1)
    said = served.refused("update_aya_document", document_id=number, content="The third word.", expected_rev=1)
    assert "was changed meanwhile (it is at revision 2)" in said
    assert said.endswith(f"Next: show_aya_document with document_id={number}")
    assert served.call("show_aya_document", document_id=number)["content"] == "The second word."
    served.call("update_aya_document", document_id=number, content="The last word.")


def test_a_text_that_another_document_has_is_refused_by_name(served: Served) -> None:
    """Equal content is one document, on every way in."""
    first, second = served.add("One of a kind.", category="twin"), served.add("Another kind.", category="twin")
    said = served.refused("update_aya_document", document_id=second, content="One of a kind.")
    assert said.startswith(f"document {first} already has exactly this content")
    assert said.endswith(f"Next: show_aya_document with document_id={first}")


def test_what_is_refused_changes_nothing(served: Served) -> None:
    """Every refusal is one line with what to send instead."""
    number = served.add("Stays as it is.", category="refused")
    for tool, arguments in (
        ("update_aya_document", {"document_id": number}),
        ("update_aya_document", {"document_id": number, "content": " "}),
        ("update_aya_document", {"document_id": number, "category": "x" * 51}),
        ("update_aya_document", {"document_id": number, "context": {"a": "b\x00"}}),
        ("update_aya_document", {"document_id": number, "text": "new"}),
        ("update_aya_document", {"document_id": 2_000_000, "title": "t"}),
        ("delete_aya_documents", {"document_ids": number}),
        ("delete_aya_documents", {"document_ids": [number, "all"]}),
        ("delete_aya_documents", {"document_id": number}),
        ("list_aya_documents", {"cursor": "WzEsMl0"}),
        ("list_aya_documents", {"since": "yesterday"}),
        ("show_aya_document", {"document_id": "first"}),
    ):
        said = served.refused(tool, **arguments)
        assert "Next: " in said
        assert "internal error" not in said
        assert "\n" not in said
    shown = served.call("show_aya_document", document_id=number)
    assert (shown["content"], shown["rev"]) == ("Stays as it is.", 1)


async def test_a_change_that_takes_too_long_goes_on_by_itself(
    server: Server, served: Served, embedder_url: str
) -> None:
    """The call ends in words while the client still listens; what it began is finished, and is seen later."""
    number = served.add("Slow to change.", category="slow")
    base = Base(NodeSettings("alpha", server.settings(served.database.database, "aya_mcp"), embedder_url))

    async def opened() -> Base:
        return base

    async with asyncio.TaskGroup() as tasks:
        hasty = Tools(opened, tasks, call_seconds=0.0001)
        with pytest.raises(TooSlow, match="the update was not finished"):
            await hasty.update_document({"document_id": number, "content": "Changed all the same."})
        await hasty.idle.wait()
        shown = await Tools(opened, tasks).show_document({"document_id": number})
        assert (shown["content"], shown["rev"]) == ("Changed all the same.", 2)
        with pytest.raises(TooSlow, match="the deletion was not finished"):
            await hasty.delete_documents({"document_ids": [number]})
        await hasty.idle.wait()
        with pytest.raises(DocumentError, match="there is no document"):
            await Tools(opened, tasks).show_document({"document_id": number})
    await base.close()


def test_the_newest_documents_are_resources(served: Served) -> None:
    """Named by title or first words, in pages of 50; a passage is read by the URI that a search gave."""
    served.sql("INSERT INTO documents (content, category) SELECT 'Filler ' || n, 'many' FROM generate_series(1, 60) n")
    number = served.add("# Lemons\n\nThey are yellow.\n\n## Limes\n\nThey are green.", category="resources")
    page = served.probe.ask("resources/list")["result"]
    first = page["resources"][0]
    assert (first["uri"], first["name"], first["mimeType"]) == (f"aya://document/{number}", "Lemons", "text/plain")
    assert first["description"].startswith("resources · mcp_server · 20")
    more = served.probe.ask("resources/list", {"cursor": page["nextCursor"]})["result"]
    uris = [one["uri"] for one in page["resources"] + more["resources"]]
    assert len(page["resources"]) == 50
    assert len(set(uris)) == len(uris) > 60
    hit = served.call("query_aya_rag", query="Which fruit is yellow?", category="resources")["results"][0]
    passage = served.probe.ask("resources/read", {"uri": hit["resource"]})["result"]["contents"][0]
    assert (passage["uri"], passage["text"]) == (hit["resource"], hit["chunk_text"])
    cut = served.probe.ask("resources/read", {"uri": f"aya://document/{number}#char=2,8"})["result"]["contents"][0]
    assert (cut["text"], cut["_meta"]["rev"]) == ("Lemons", 1)
    far = served.probe.ask("resources/read", {"uri": f"aya://document/{number}#char=900,910"})["error"]
    assert far == {"code": -32002, "message": f"document {number} has 53 characters"}
    wrong = served.probe.ask("resources/list", {"cursor": "page 2"})["error"]
    assert (wrong["code"], "is no cursor" in wrong["message"]) == (-32602, True)


def test_resources_end_after_five_hundred(served: Served) -> None:
    """Some hosts fetch every page when they start."""
    served.sql("INSERT INTO documents (content, category) SELECT 'More ' || n, 'many' FROM generate_series(1, 600) n")
    pages = 0
    cursor: dict[str, str] = {}
    while True:
        page = served.probe.ask("resources/list", cursor)["result"]
        pages += 1
        if page.get("nextCursor") is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert pages == 10


def test_on_air_offline_a_change_is_made_here_and_queued(air: Served) -> None:
    """Under a negative number until the primary has taken it; a deletion waits only for what the primary has."""
    added = air.call("add_to_aya_rag", content="Written on the train.")
    number = added["document_id"]
    assert (number < 0, added["durability"], added["node"]) == (True, "queued_offline", "air")
    changed = air.call("update_aya_document", document_id=number, content="Rewritten on the train.", expected_rev=1)
    assert (changed["rev"], changed["durability"]) == (2, "queued_offline")
    shown = air.call("show_aya_document", document_id=number)
    assert (shown["content"], shown["role"], shown["stale_seconds"]) == ("Rewritten on the train.", "copy", None)
    read = air.probe.ask("resources/read", {"uri": f"aya://document/{number}"})["result"]["contents"][0]
    assert read["text"] == "Rewritten on the train."
    waiting = "SELECT string_agg(operation || ' ' || status, ', ') FROM write_queue WHERE NOT synced"
    assert air.sql(waiting) == "INSERT waiting"
    gone = air.call("delete_aya_documents", document_ids=[number])
    assert (gone["deleted"][0]["content"], gone["durability"]) == ("Rewritten on the train.", "queued_offline")
    assert air.sql(waiting) is None
    air.sql(
        "WITH copied AS (SELECT set_config('aya.applying', 'pull', true))"
        " INSERT INTO documents (id, content, content_sha256) SELECT 7, 'x', '' FROM copied"
    )
    assert air.sql(waiting) is None
    assert air.call("delete_aya_documents", document_ids=[7])["missing"] == []
    assert air.sql(waiting) == "DELETE waiting"
