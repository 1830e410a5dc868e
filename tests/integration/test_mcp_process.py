"""The server's process: what goes over its standard streams, and how it leaves. No database is needed for any of it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from aya import __version__
from aya.mcp_probe import Probe
from aya_mcp.wire import LONGEST_LINE

HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_NOWHERE = {"DB_HOST": "127.0.0.1", "DB_PORT": "9", "DB_PASSWORD": "hunter2", "EMBEDDING_URL": "http://127.0.0.1:9"}
_ENVIRONMENT = {**os.environ, **_NOWHERE}
_TOOLS = [
    *("query_aya_rag", "add_to_aya_rag", "show_aya_document"),
    *("list_aya_documents", "update_aya_document", "delete_aya_documents"),
]
_STATELESS = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "probe", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


@pytest.fixture
def probe() -> Iterator[Probe]:
    """A server that has not been spoken to yet."""
    with Probe(environ=_ENVIRONMENT, stderr=subprocess.DEVNULL) as probe:
        yield probe


@pytest.mark.parametrize("revision", HANDSHAKES)
def test_every_revision_with_a_handshake_is_spoken(probe: Probe, revision: str) -> None:
    """Handshake, lists, ping and a call, in the revision that was asked for."""
    answer = probe.initialize(revision)["result"]
    assert answer["protocolVersion"] == revision
    assert answer["serverInfo"] == {"name": "aya-rag", "title": "AYA knowledge base", "version": __version__}
    assert set(answer["capabilities"]) == {"tools", "resources"}
    assert "untrusted" in answer["instructions"]
    tools = probe.ask("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in tools] == _TOOLS
    templates = probe.ask("resources/templates/list")["result"]["resourceTemplates"]
    assert [template["uriTemplate"] for template in templates] == [
        "aya://document/{document_id}",
        "aya://document/{document_id}#char={char_start},{char_end}",
    ]
    assert "cannot be reached" in probe.ask("resources/list")["error"]["message"]
    assert probe.ask("ping")["result"] == {}
    assert probe.call("query_aya_rag", {"query": ""})["isError"]


def test_the_stateless_revision_needs_no_handshake(probe: Probe) -> None:
    """2026-07-28: every request carries its envelope, and every result says who answered."""
    found = probe.ask("server/discover", _STATELESS)["result"]
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["version"] == __version__
    tools = probe.ask("tools/list", _STATELESS)["result"]["tools"]
    assert [tool["name"] for tool in tools] == _TOOLS
    result = probe.ask("tools/call", {**_STATELESS, "name": "query_aya_rag", "arguments": {"query": ""}})["result"]
    assert (result["isError"], result["resultType"]) == (True, "complete")
    missing = probe.ask("resources/read", {**_STATELESS, "uri": "aya://document/none"})
    assert missing["error"]["code"] == -32602


def test_the_tools_say_what_they_do(probe: Probe) -> None:
    """Hints, closed argument lists and output schemas, so that hosts can decide what to ask the user about."""
    probe.initialize("2025-11-25")
    tools = {tool["name"]: tool for tool in probe.ask("tools/list")["result"]["tools"]}
    reads = {"readOnlyHint": True, "openWorldHint": False}
    writes = {"readOnlyHint": False, "idempotentHint": True, "openWorldHint": False}
    assert {name: tool["annotations"] for name, tool in tools.items()} == {
        "query_aya_rag": reads,
        "add_to_aya_rag": {**writes, "destructiveHint": False},
        "show_aya_document": reads,
        "list_aya_documents": reads,
        "update_aya_document": {**writes, "destructiveHint": True},
        "delete_aya_documents": {**writes, "destructiveHint": True},
    }
    for tool in tools.values():
        assert tool["inputSchema"]["additionalProperties"] is False
        assert tool["outputSchema"]["type"] == "object"
    assert tools["query_aya_rag"]["inputSchema"]["properties"]["limit"]["type"] == "number"


def test_the_list_of_tools_stays_small(probe: Probe) -> None:
    """A host puts all of it into every context: under 5 kB for what a model reads, 12 kB with the output schemas."""
    probe.initialize("2025-11-25")
    tools = probe.ask("tools/list")["result"]["tools"]
    read = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in tools]
    assert len(json.dumps(read, separators=(",", ":"))) < 5_000
    assert len(json.dumps(tools, separators=(",", ":"))) < 12_000


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("tools/call", {"name": "drop_tables", "arguments": {}}, -32602),
        ("tools/call", {"arguments": {}}, -32602),
        ("resources/read", {"uri": "aya://document/x"}, -32002),
        ("resources/read", {"uri": "file:///etc/passwd"}, -32002),
        ("resources/read", {"uri": "aya://document/9999999999"}, -32002),
        ("resources/read", {"uri": "aya://document/1#char=9,3"}, -32002),
        ("resources/list", {"cursor": "page 2"}, -32602),
        ("prompts/list", None, -32601),
        ("no/such/method", None, -32601),
    ],
)
def test_a_wrong_call_gets_its_json_rpc_error(
    probe: Probe, method: str, params: dict[str, Any] | None, code: int
) -> None:
    """And the next call is served."""
    probe.initialize("2025-11-25")
    assert probe.ask(method, params)["error"]["code"] == code
    assert probe.ask("ping")["result"] == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"query": "why", "limit": 0}, "limit must be a whole number from 1 to 200, not 0. Next: send limit=5"),
        (
            {"query": "why", "limit": "five"},
            "limit must be a whole number from 1 to 200, not 'five'. Next: send limit=5",
        ),
        ({"query": "why", "top_k": 3}, "query_aya_rag has no argument 'top_k'. Next: send only query, limit"),
        ({}, "query is missing. Next: send query as a string"),
        ({"query": "why", "mode": "text"}, "postgresql://aya_user@127.0.0.1:9/aya_rag cannot be reached"),
        ({"query": "why", "mode": "vector"}, "postgresql://aya_user@127.0.0.1:9/aya_rag cannot be reached"),
    ],
)
def test_a_failed_call_is_a_result_in_words(probe: Probe, arguments: dict[str, Any], text: str) -> None:
    """isError, one sentence, the next step; no password, no address of a validation library."""
    probe.initialize("2025-11-25")
    result = probe.call("query_aya_rag", arguments)
    said = result["content"][0]["text"]
    assert result["isError"]
    assert said.startswith(text)
    assert "Next: " in said
    assert "hunter2" not in said
    assert "https://" not in said
    assert "structuredContent" not in result


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"this is no JSON", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method":', -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}', -32700),
        (b"[" * 100_000, -32700),
        (b'"a string"', -32600),
        (b'{"id": 12, "method": "ping"}', -32600),
        (b"[]", -32600),
    ],
)
def test_a_line_that_is_no_message_is_answered_and_the_next_is_served(probe: Probe, line: bytes, code: int) -> None:
    """A parse error used to get no answer at all."""
    probe.initialize("2025-11-25")
    probe.send_line(line)
    answer = probe.receive()
    assert (answer["error"]["code"], answer["id"]) == (code, 12 if b"12" in line else None)
    assert probe.ask("ping")["result"] == {}


def test_a_line_longer_than_any_message_is_thrown_away(probe: Probe) -> None:
    """64 MiB is where reading into memory ends; what follows is served."""
    probe.initialize("2025-11-25")
    probe.send_line(b"x" * (LONGEST_LINE + 10))
    assert probe.receive()["error"]["code"] == -32700
    assert probe.ask("ping")["result"] == {}


def test_a_batch_is_answered_in_one_array(probe: Probe) -> None:
    """2025-03-26 has servers take batches: two requests, a notification and something that is no message."""
    probe.initialize("2025-03-26")
    asked = [
        {"jsonrpc": "2.0", "id": "a", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "id": "b", "method": "no/such/method"},
        5,
    ]
    probe.send_line(json.dumps(asked).encode())
    answers = cast("list[dict[str, Any]]", probe.receive())
    assert {answer["id"]: answer.get("error", {}).get("code") for answer in answers} == {
        "a": None,
        "b": -32601,
        None: -32600,
    }
    assert probe.ask("ping")["result"] == {}


def test_an_empty_line_is_no_message(probe: Probe) -> None:
    """Nothing is answered to it."""
    probe.initialize("2025-11-25")
    probe.send_line(b"")
    assert probe.ask("ping")["result"] == {}


def test_what_is_printed_never_reaches_the_client() -> None:
    """Neither Python's print nor a child's: standard output belongs to the protocol from the first line of main."""
    script = (
        "import os, sys\n"
        "from aya_mcp import main, warm\n"
        "load = warm._load_serving\n"
        "def noisy():\n"
        "    print('printed', flush=True)\n"
        "    os.write(1, b'written')\n"
        "    os.system('echo by a child; cat')\n"
        "    return load()\n"
        "warm._load_serving = noisy\n"
        "main.main()\n"
    )
    with Probe((sys.executable, "-c", script), _ENVIRONMENT, subprocess.PIPE) as probe:
        probe.initialize("2025-11-25")
        assert probe.ask("ping")["result"] == {}
        probe.hang_up()
        assert probe.process.stderr is not None
        told = probe.process.stderr.read().decode()
        probe.process.stderr.close()
    assert "printed" in told
    assert "written" in told
    assert "by a child" in told
    assert probe.process.returncode == 0


def test_no_call_waits_for_a_slow_import() -> None:
    """A tool that was called too early is told so while the SDK is still on its way; then everything is served."""
    script = (
        "import time\n"
        "from aya_mcp import main, warm\n"
        "load = warm._load_serving\n"
        "def slow():\n"
        "    time.sleep(2)\n"
        "    return load()\n"
        "warm._load_serving = slow\n"
        "main.WAIT_SECONDS = 0.2\n"
        "main.main()\n"
    )
    with Probe((sys.executable, "-c", script), _ENVIRONMENT, subprocess.DEVNULL) as probe:
        probe.initialize("2025-11-25")
        listed = probe.start("tools/list")
        told = probe.start("tools/call", {"name": "query_aya_rag", "arguments": {"query": "why"}})
        first, second = probe.receive(), probe.receive()
        assert (first["id"], first["result"]["isError"]) == (told, True)
        assert "warming up" in first["result"]["content"][0]["text"]
        assert (second["id"], len(second["result"]["tools"])) == (listed, len(_TOOLS))
        assert "cannot be reached" in probe.call("query_aya_rag", {"query": "why"})["content"][0]["text"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("warm", [True, False], ids=["serving", "warming-up"])
def test_a_signal_ends_the_process_well(probe: Probe, signum: signal.Signals, *, warm: bool) -> None:
    """Exit 0 in under two seconds, whether it serves or still imports."""
    probe.initialize("2025-11-25")
    if warm:
        probe.ask("tools/list")
    started = time.monotonic()
    probe.process.send_signal(signum)
    assert probe.process.wait(10) == 0
    assert time.monotonic() - started < 2


def test_a_client_that_does_not_read_cannot_hold_up_a_signal() -> None:
    """The pipe is full, the writer waits, and the process leaves all the same."""
    command = (sys.executable, "-m", "aya_mcp")
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT
    )
    with server:
        assert server.stdin is not None
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": _STATELESS}
        for _ in range(100):
            server.stdin.write(json.dumps(asked).encode() + b"\n")
        server.stdin.flush()
        # The first of 400 kB is there; the pipe takes 64.
        assert server.stdout is not None
        assert select.select([server.stdout], [], [], 30)[0]
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("spoken_to", [True, False])
def test_the_process_ends_when_its_client_goes(probe: Probe, *, spoken_to: bool) -> None:
    """Standard input closed: exit 0."""
    if spoken_to:
        probe.initialize("2025-11-25")
        probe.ask("ping")
    probe.hang_up()
    assert probe.process.wait(10) == 0


def test_what_was_asked_before_the_client_went_is_answered(probe: Probe) -> None:
    """A script that pipes its requests in and closes gets every answer."""
    probe.initialize("2025-11-25")
    asked = {
        probe.start("tools/list"),
        probe.start("tools/call", {"name": "query_aya_rag", "arguments": {"query": "a"}}),
    }
    probe.hang_up()
    assert {probe.receive()["id"], probe.receive()["id"]} == asked
    assert probe.process.wait(10) == 0


def test_the_log_is_made_of_json_lines_without_secrets() -> None:
    """Standard error: what happened, one object a line, and never the password."""
    with Probe(environ={**_ENVIRONMENT, "AYA_LOG_LEVEL": "debug"}, stderr=subprocess.PIPE) as probe:
        probe.initialize("2025-11-25")
        probe.send_line(b"garbage")
        probe.receive()
        probe.call("query_aya_rag", {"query": "a"})
        probe.hang_up()
        assert probe.process.stderr is not None
        lines = probe.process.stderr.read().decode().splitlines()
        probe.process.stderr.close()
    events = [json.loads(line)["event"] for line in lines]
    assert events == ["session.started", "line.refused", "call.refused", "session.ended"]
    assert "hunter2" not in str(lines)
