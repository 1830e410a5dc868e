"""The contract's two tools and the resource, through the server's process: real database, real vectors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Server
from tests.integration.conftest import Knowledge

from aya.home import Home, Node
from aya.knowledge.binding import bind
from aya.mcp_probe import Probe
from aya.settings import NodeSettings
from aya_mcp.store import Base
from aya_mcp.tools import Tools, TooSlow

pytestmark = pytest.mark.database

Started = Callable[..., Probe]
_RESULT_FIELDS = {
    *("chunk_id", "chunk_text", "distance", "document_content", "metadata", "category", "source"),
    *("document_id", "chunk_index", "heading", "char_start", "char_end", "page", "snippet", "score", "uri", "title"),
    "resource",
}
_GARDEN = "# Garden\n\nThe tomatoes are watered every morning at six.\n\n## Compost\n\nTurn it once a week."
_COUNT = "SELECT count(*) FROM documents"
_HALF_DONE = "SELECT count(*) FROM documents AS d WHERE NOT EXISTS (SELECT FROM chunks WHERE document_id = d.id)"


@pytest.fixture
def environment(server: Server, knowledge: Knowledge) -> dict[str, str]:
    """The contract's names for the test's database, entered as the server's own role."""
    settings = server.settings(knowledge.settings.database, "aya_mcp")
    ((host, port),) = settings.hosts
    return {
        **os.environ,
        "AYA_NODE": "alpha",
        "DB_HOST": host,
        "DB_PORT": str(port),
        "DB_NAME": settings.database,
        "DB_USER": settings.user,
        "DB_PASSWORD": server.secrets["aya_mcp"],
        "EMBEDDING_URL": knowledge.embedder.url,
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Started]:
    """Start servers that have shaken hands and are warm; keywords change their environment."""
    with ExitStack() as stack:

        def start(**changes: str) -> Probe:
            probe = stack.enter_context(Probe(environ={**environment, **changes}, stderr=subprocess.DEVNULL))
            probe.initialize("2025-11-25")
            _until_warm(probe)
            return probe

        yield start


def _until_warm(probe: Probe) -> None:
    """Ask until the server has imported what it needs; a call waits for some seconds by itself."""
    give_up_at = time.monotonic() + 120
    while "the server is still warming up" in _said(probe.call("query_aya_rag", {"query": "x", "mode": "text"})):
        assert time.monotonic() < give_up_at


def _said(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text


def _content(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("isError"), _said(result)
    content: dict[str, Any] = result["structuredContent"]
    assert json.loads(_said(result)) == content
    return content


async def _one(knowledge: Knowledge, query: str) -> int:
    async with knowledge.database.connection() as connection:
        number: int = await connection.fetchval(query)
    return number


async def test_what_was_added_is_found(start: Started, knowledge: Knowledge) -> None:
    """With every field that the contract promises, and where it stands."""
    probe = start()
    sent = {"content": _GARDEN, "category": "home", "context": {"author": "x", "nested": {"a": [1, None]}}}
    added = _content(probe.call("add_to_aya_rag", sent))
    assert (added["success"], added["duplicate_of"], added["durability"]) == (True, None, "primary")
    assert added["chunk_id"] == added["chunk_ids"][0]

    found = _content(probe.call("query_aya_rag", {"query": "When do the tomatoes get water?"}))
    assert (found["node"], found["role"], found["stale_seconds"]) == ("alpha", "primary", 0)
    assert found["took_ms"] > 0
    assert found["count"] == len(found["results"]) >= 1
    best = found["results"][0]
    assert set(best) == _RESULT_FIELDS
    assert best["document_id"] == added["document_id"]
    assert best["chunk_id"] in added["chunk_ids"]
    assert (best["category"], best["source"], best["metadata"]) == ("home", "mcp_server", sent["context"])
    assert best["document_content"] == _GARDEN
    assert _GARDEN[best["char_start"] : best["char_end"]] == best["chunk_text"]
    assert 0 < best["distance"] < 1

    document = await knowledge.documents.get(added["document_id"])
    assert (document.source, document.content, document.indexed) == ("mcp_server", _GARDEN, True)


async def test_the_same_content_twice_is_one_document(start: Started, knowledge: Knowledge) -> None:
    """A retry never doubles: the second answer names the first document."""
    probe = start()
    first = _content(probe.call("add_to_aya_rag", {"content": _GARDEN}))
    second = _content(probe.call("add_to_aya_rag", {"content": _GARDEN, "category": "other"}))
    assert second["duplicate_of"] == second["document_id"] == first["document_id"]
    assert second["chunk_ids"] == first["chunk_ids"]
    assert await _one(knowledge, _COUNT) == 1


async def test_two_servers_at_once_keep_one_document_and_see_each_others(start: Started, knowledge: Knowledge) -> None:
    """IDEs start two: all state is in PostgreSQL."""
    probes = [start(), start()]
    asked = [
        [probe.start("tools/call", {"name": "add_to_aya_rag", "arguments": {"content": _GARDEN}}) for _ in range(3)]
        for probe in probes
    ]
    answers = [[probe.receive() for _ in ids] for probe, ids in zip(probes, asked, strict=True)]
    added = [_content(answer["result"]) for own in answers for answer in own]
    assert len({one["document_id"] for one in added}) == 1
    assert sum(one["duplicate_of"] is None for one in added) == 1
    assert await _one(knowledge, _COUNT) == 1
    assert all(_content(probe.call("query_aya_rag", {"query": "compost"}))["count"] for probe in probes)


async def test_the_limit_the_category_and_the_mode_are_kept(start: Started, knowledge: Knowledge) -> None:
    """5 and 5.0 are one number; another category is not searched."""
    probe = start()
    for number in range(4):
        sent = {"content": f"Note {number} about the harbour.", "category": "even" if number % 2 == 0 else "odd"}
        _content(probe.call("add_to_aya_rag", sent))
    for limit in (3, 3.0):
        assert _content(probe.call("query_aya_rag", {"query": "harbour", "limit": limit}))["count"] == 3
    even = _content(probe.call("query_aya_rag", {"query": "harbour", "category": "even"}))
    assert {result["category"] for result in even["results"]} == {"even"}
    text = _content(probe.call("query_aya_rag", {"query": "harbour", "mode": "text"}))
    assert {result["distance"] for result in text["results"]} == {None}


def test_an_empty_base_answers_with_nothing(start: Started) -> None:
    """Not with an error."""
    found = _content(start().call("query_aya_rag", {"query": "anything at all"}))
    assert (found["results"], found["count"]) == ([], 0)


def test_a_long_document_is_cut_in_the_result_and_whole_as_a_resource(start: Started) -> None:
    """8,000 characters beside each passage; aya://document/{id} has all, with its metadata."""
    probe = start()
    content = "\n\n".join(f"Paragraph {number} speaks of lighthouses and the sea. Ünïcode 🗼." for number in range(140))
    added = _content(probe.call("add_to_aya_rag", {"content": content, "context": {"coast": "north"}}))
    assert len(added["chunk_ids"]) > 1
    best = _content(probe.call("query_aya_rag", {"query": "lighthouses", "limit": 1}))["results"][0]
    assert best["document_content"] == content[:8_000]
    assert (best["document_truncated"], best["document_characters"]) == (True, len(content))
    uri = f"aya://document/{added['document_id']}"
    resource = probe.ask("resources/read", {"uri": uri})["result"]["contents"][0]
    assert (resource["uri"], resource["text"], resource["mimeType"]) == (uri, content, "text/plain")
    assert resource["_meta"]["metadata"] == {"coast": "north"}
    missing = probe.ask("resources/read", {"uri": "aya://document/999999"})
    assert missing["error"] == {"code": -32002, "message": "there is no document 999999"}


@pytest.mark.parametrize(
    "sent",
    [
        {"content": ""},
        {"content": "a\x00b"},
        {"content": "text", "context": "no object"},
        {"content": "text", "context": {"a": "b\x00c"}},
        {"content": "text", "category": "x" * 51},
        {"content": "text", "unknown": 1},
    ],
)
async def test_what_cannot_be_kept_leaves_nothing_behind(
    start: Started, knowledge: Knowledge, sent: dict[str, Any]
) -> None:
    """An error with a next step, and no row."""
    result = start().call("add_to_aya_rag", sent)
    assert result["isError"]
    assert "Next: " in _said(result)
    assert await _one(knowledge, _COUNT) == 0


def test_a_failed_embedding_is_an_error_and_words_alone_still_search(start: Started) -> None:
    """It used to come back as success."""
    _content(start().call("add_to_aya_rag", {"content": _GARDEN}))
    probe = start(EMBEDDING_URL="http://127.0.0.1:9")
    for tool, arguments in (("query_aya_rag", {"query": "tomatoes"}), ("add_to_aya_rag", {"content": "new"})):
        result = probe.call(tool, arguments)
        assert result["isError"]
        assert "the embedder at http://127.0.0.1:9 cannot be reached" in _said(result)
    assert _content(probe.call("query_aya_rag", {"query": "tomatoes", "mode": "text"}))["count"] == 1


async def test_vectors_of_another_model_are_not_mixed(start: Started, knowledge: Knowledge) -> None:
    """The error names both models and how to come out of it."""
    other = replace(await knowledge.embedder.identity(), fingerprint="other", model="another-model")
    await bind(knowledge.settings, other)
    result = start().call("query_aya_rag", {"query": "tomatoes"})
    assert result["isError"]
    assert "another-model" in _said(result)
    assert "aya reembed" in _said(result)


def test_a_wrong_password_is_an_error_in_words_without_the_password(start: Started) -> None:
    """And the server goes on."""
    probe = start(DB_PASSWORD="hunter2")
    result = probe.call("query_aya_rag", {"query": "tomatoes", "mode": "text"})
    assert result["isError"]
    assert "refused aya_mcp" in _said(result)
    assert "hunter2" not in _said(result)
    assert probe.ask("ping")["result"] == {}


def test_a_server_that_was_started_before_aya_finds_it_later(server: Server, start: Started, tmp_path: Path) -> None:
    """Settings that are missing are what the tools answer; `aya up` later, the same server works."""
    home = Home(tmp_path)
    probe = start(DB_HOST="", AYA_HOME=str(home.path), AYA_DSN="", AYA_NODE="")
    result = probe.call("query_aya_rag", {"query": "tomatoes", "mode": "text"})
    assert result["isError"]
    assert _said(result).endswith("Next: aya up")
    home.save_nodes({"alpha": Node("alpha", "primary", server.cluster.config.port, 1)})
    home.save_secrets("alpha", server.secrets)
    assert "does not exist" in _said(probe.call("query_aya_rag", {"query": "tomatoes", "mode": "text"}))


async def test_adding_is_finished_when_the_client_goes(start: Started, knowledge: Knowledge) -> None:
    """Standard input closed in the middle: the answers still come, and the rows are there."""
    probe = start()
    for number in range(5):
        sent = {"name": "add_to_aya_rag", "arguments": {"content": f"Parting note {number}."}}
        probe.start("tools/call", sent)
    probe.hang_up()
    added = [_content(probe.receive()["result"]) for _ in range(5)]
    assert probe.process.wait(20) == 0
    assert await _one(knowledge, _COUNT) == len({one["document_id"] for one in added}) == 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_in_the_middle_of_adding_leaves_no_half_document(
    start: Started, knowledge: Knowledge, signum: signal.Signals
) -> None:
    """Exit 0 in under two seconds; each document is there with its chunks, or not at all; a retry never doubles."""
    probe = start()
    _content(probe.call("add_to_aya_rag", {"content": "warm"}))
    texts = [f"Note {number}. " + "The harbour is quiet in winter. " * 400 for number in range(6)]
    for text in texts:
        probe.start("tools/call", {"name": "add_to_aya_rag", "arguments": {"content": text}})
    started = time.monotonic()
    probe.process.send_signal(signum)
    assert probe.process.wait(10) == 0
    assert time.monotonic() - started < 2
    assert await _one(knowledge, _HALF_DONE) == 0
    again = start()
    for text in texts:
        _content(again.call("add_to_aya_rag", {"content": text}))
    assert await _one(knowledge, _COUNT) == 7


async def test_a_cancelled_add_is_finished_and_found_by_a_retry(start: Started, knowledge: Knowledge) -> None:
    """A client that gave up waiting sends the same again and gets the one document."""
    probe = start()
    request_id = probe.start("tools/call", {"name": "add_to_aya_rag", "arguments": {"content": _GARDEN}})
    probe.notify("notifications/cancelled", {"requestId": request_id})
    added = _content(probe.call("add_to_aya_rag", {"content": _GARDEN}))
    assert added["success"]
    probe.hang_up()
    assert probe.process.wait(20) == 0
    assert await _one(knowledge, _COUNT) == 1
    assert await _one(knowledge, _HALF_DONE) == 0


async def test_adding_that_takes_too_long_goes_on_and_is_found_by_a_retry(server: Server, knowledge: Knowledge) -> None:
    """The call ends in words while the client still listens; the text is kept once."""
    settings = NodeSettings("alpha", server.settings(knowledge.settings.database, "aya_mcp"), knowledge.embedder.url)
    base = Base(settings)

    async def opened() -> Base:
        return base

    async with asyncio.TaskGroup() as tasks:
        hasty = Tools(opened, tasks, call_seconds=0.001)
        with pytest.raises(TooSlow, match="goes on by itself"):
            await hasty.add({"content": _GARDEN})
        await hasty.idle.wait()
        again = await Tools(opened, tasks).add({"content": _GARDEN})
    assert again["duplicate_of"] == again["document_id"]
    assert await _one(knowledge, _COUNT) == 1
    await base.close()


async def test_a_lost_connection_is_reopened_by_the_next_call(
    server: Server, start: Started, knowledge: Knowledge
) -> None:
    """The backends are terminated between two calls; the second does not notice."""
    probe = start()
    _content(probe.call("add_to_aya_rag", {"content": _GARDEN}))
    ours = f"datname = '{knowledge.settings.database}' AND application_name = 'aya-mcp'"
    await server.run_as_superuser(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")  # noqa: S608
    assert _content(probe.call("query_aya_rag", {"query": "tomatoes"}))["count"] >= 1
