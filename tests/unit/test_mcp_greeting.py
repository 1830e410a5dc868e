"""The answer to `initialize` that does not wait for the SDK."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from aya.mcp_probe import Probe
from aya_mcp.greeting import HANDSHAKE_REVISIONS, WARMING_UP, greet, postponed, refusal
from aya_mcp.server import build
from aya_mcp.tools import Tools
from aya_mcp.warm import Warm, WarmingUp
from aya_mcp.words import explained

_HEAVY = (
    "mcp",
    "mcp_types",
    "pydantic",
    "anyio",
    "structlog",
    "asyncpg",
    "numpy",
    "httpx2",
    "pgvector",
    "aya.knowledge",
)

_STATELESS = "io.modelcontextprotocol/protocolVersion"


def _initialize(revision: str, request_id: object = 1, **changes: object) -> dict[str, Any]:
    client = {"name": "a client", "version": "1.0", "title": "A Client"}
    capabilities: dict[str, object] = {"sampling": {}}
    params = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": client, **changes}
    return {"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": params}


async def _answer_of_the_sdk(message: dict[str, Any]) -> dict[str, Any]:
    """Show `message` to the server object as the SDK serves it, and return its answer."""
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage](1)
    async with asyncio.TaskGroup() as tasks:
        server = build(Tools(Warm().base, tasks))
        tasks.create_task(server.run(incoming, outgoing, server.create_initialization_options()))
        async with to_server, from_server:
            await to_server.send(SessionMessage(types.jsonrpc_message_adapter.validate_python(message)))
            answer = (await from_server.receive()).message
    parsed: dict[str, Any] = json.loads(answer.model_dump_json(by_alias=True, exclude_unset=True))
    return parsed


def test_the_greeting_knows_the_revisions_that_the_sdk_knows() -> None:
    """An SDK with a new revision fails here, not at a client."""
    assert set(HANDSHAKE_REVISIONS) == set(HANDSHAKE_PROTOCOL_VERSIONS)


@pytest.mark.parametrize("revision", [*HANDSHAKE_REVISIONS, "2026-07-28", "1999-01-01", ""])
@pytest.mark.parametrize("request_id", [0, 7, "seven"])
async def test_the_greeting_is_the_answer_that_the_sdk_gives(revision: str, request_id: int | str) -> None:
    """Nobody can tell who answered; an unknown revision is answered with the newest."""
    message = _initialize(revision, request_id)
    greeting = greet(json.dumps(message).encode())
    assert greeting is not None
    assert json.loads(greeting.answer) == await _answer_of_the_sdk(message)
    assert json.loads(greeting.answer) == await _answer_of_the_sdk(json.loads(greeting.replay))


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        _initialize("2025-06-18", request_id=None),
        _initialize("2025-06-18", request_id=True),
        _initialize("2025-06-18", clientInfo={"name": "no version"}),
        _initialize("2025-06-18", capabilities=None),
        {**_initialize("2025-06-18"), "jsonrpc": "1.0"},
        {**_initialize("2025-06-18"), "params": None},
        [_initialize("2025-06-18")],
        "initialize",
        None,
    ],
)
def test_anything_but_a_well_formed_initialize_is_left_to_the_sdk(message: object) -> None:
    """The SDK says what is wrong with it."""
    assert greet(json.dumps(message).encode()) is None


@pytest.mark.parametrize("line", [b"", b"\xff\xfe", b"{", b"[" * 100_000])
def test_a_line_that_is_no_json_is_no_greeting(line: bytes) -> None:
    """Nor does it end the process."""
    assert greet(line) is None


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"id": 4}', 4),
        (b'{"id": "a"}', "a"),
        (b'{"id": true}', None),
        (b'{"id": []}', None),
    ],
)
def test_a_refusal_carries_the_id_where_there_is_one(line: bytes, request_id: object) -> None:
    """JSON-RPC 2.0, section 5: null when the id cannot be told."""
    assert json.loads(refusal(line, code=-32600, message="Invalid request")) == {
        "jsonrpc": "2.0",
        "id": request_id,
        "error": {"code": -32600, "message": "Invalid request"},
    }


@pytest.mark.parametrize(
    ("message", "answered"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}, True),
        ({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"_meta": {_STATELESS: "2026-07-28"}}}, True),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}, False),
        ({"jsonrpc": "2.0", "method": "tools/call", "params": {}}, False),
        ([], False),
    ],
)
def test_only_a_tool_call_can_be_postponed(message: object, *, answered: bool) -> None:
    """With a result that every revision takes."""
    answer = postponed(json.dumps(message).encode())
    assert (answer is not None) == answered
    if answer is not None:
        result = types.CallToolResult.model_validate(json.loads(answer)["result"], by_name=False)
        assert result.is_error
        assert result.content == [types.TextContent(text=WARMING_UP)]
        assert ("resultType" in json.loads(answer)["result"]) == (_STATELESS in json.dumps(message))


async def test_both_ways_of_warming_up_say_the_same() -> None:
    """Before the SDK is there and after."""
    with pytest.raises(WarmingUp) as warming:
        await Warm(wait_seconds=0.01).base()
    assert explained(warming.value) == WARMING_UP


def test_initialize_is_answered_before_anything_heavy_is_imported() -> None:
    """With every heavy module made impossible to import, the handshake is answered all the same."""
    script = f"import sys\nfor name in {_HEAVY!r}: sys.modules[name] = None\nfrom aya_mcp.main import main\nmain()\n"
    with Probe((sys.executable, "-c", script), stderr=subprocess.PIPE) as probe:
        # Without the notification that follows: it may have ended by then.
        client = {"name": "aya-test", "version": "1"}
        asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        answer = probe.ask("initialize", asked)
        assert probe.process.stderr is not None
        told = probe.process.stderr.read().decode()
        probe.process.stderr.close()
    assert answer["result"]["serverInfo"]["name"] == "aya-rag"
    # Then it does need them, says so and lets its supervisor know.
    assert "import of mcp" in told or "import of structlog" in told
    assert probe.process.returncode == 1
