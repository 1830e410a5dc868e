"""Real clients before the real server: the official Python SDK's, over standard streams and over loopback HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import uvicorn
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import TextResourceContents
from tests.conftest import Server, free_port

from aya import __version__
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.knowledge.binding import bind
from aya.settings import NodeSettings
from aya_mcp.server import build
from aya_mcp.store import Base
from aya_mcp.tools import Tools

pytestmark = [pytest.mark.database, pytest.mark.slow]

_NOTE = "The bakery opens at seven, but the rye bread is only there on Saturdays."


@pytest.fixture
async def settings(server: Server, database: DatabaseSettings, embedder_url: str) -> NodeSettings:
    """A bound database, entered as the server's own role."""
    async with EmbedderClient(embedder_url) as embedder:
        await bind(database, await embedder.identity())
    return NodeSettings("alpha", server.settings(database.database, "aya_mcp"), embedder_url)


def _over_stdio(settings: NodeSettings) -> StdioServerParameters:
    ((host, port),) = settings.database.hosts
    environment = {
        "AYA_NODE": settings.node,
        "DB_HOST": host,
        "DB_PORT": str(port),
        "DB_NAME": settings.database.database,
        "DB_USER": settings.database.user,
        "DB_PASSWORD": settings.database.password or "",
        "EMBEDDING_URL": settings.embedder_url,
    }
    return StdioServerParameters(command=sys.executable, args=["-m", "aya_mcp"], env=environment, cwd="/")


@asynccontextmanager
async def _over_http(settings: NodeSettings) -> AsyncGenerator[str]:
    """The same server object over loopback HTTP, as the conformance suite wants it."""
    async with asyncio.TaskGroup() as tasks:
        base = Base(settings)

        async def opened() -> Base:
            return base

        port = free_port()
        app = build(Tools(opened, tasks)).streamable_http_app()
        http = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
        serving = tasks.create_task(http.serve())
        while not http.started:  # noqa: ASYNC110 - uvicorn has a flag, no event
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}/mcp"
        http.should_exit = True
        await serving
        await base.close()


async def _use(client: Client) -> None:
    """What a person does: look at the tools, keep something, find it, read it, and make two mistakes."""
    assert client.server_info is not None
    assert (client.server_info.name, client.server_info.version) == ("aya-rag", __version__)
    assert len((await client.list_tools()).tools) == 6
    added = await client.call_tool("add_to_aya_rag", {"content": _NOTE, "context": {"street": "Mill Lane"}})
    assert not added.is_error
    assert added.structured_content is not None
    # The SDK's client checks structured content against the output schema by itself.
    found = await client.call_tool("query_aya_rag", {"query": "When is there rye bread?", "limit": 3})
    content: dict[str, Any] = found.structured_content or {}
    assert content["results"][0]["document_content"] == _NOTE
    assert content["results"][0]["metadata"] == {"street": "Mill Lane"}
    number = added.structured_content["document_id"]
    read = await client.read_resource(f"aya://document/{number}")
    assert isinstance(read.contents[0], TextResourceContents)
    assert read.contents[0].text == _NOTE
    passage = await client.read_resource(content["results"][0]["resource"])
    assert passage.contents[0].uri == f"aya://document/{number}#char=0,{len(_NOTE)}"
    assert [resource.uri for resource in (await client.list_resources()).resources] == [f"aya://document/{number}"]
    await _change(client, number)
    wrong = await client.call_tool("query_aya_rag", {"query": "bread", "limit": "five"})
    assert wrong.is_error
    with pytest.raises(MCPError) as unknown:
        await client.call_tool("no_such_tool", {})
    assert unknown.value.code == -32602


async def _change(client: Client, number: int) -> None:
    """The rest of the document's life."""
    changes = {"document_id": number, "title": "Bakery", "expected_rev": 1}
    for tool, arguments in (
        ("list_aya_documents", {"context": {"street": "Mill Lane"}, "limit": 1}),
        ("update_aya_document", changes),
        ("show_aya_document", {"document_id": number, "length": 10}),
        ("delete_aya_documents", {"document_ids": [number]}),
    ):
        answered = await client.call_tool(tool, arguments)
        assert not answered.is_error, answered.content
        assert str(number) in str(answered.structured_content)
    late = await client.call_tool("update_aya_document", changes)
    assert late.is_error


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_python_sdks_client_over_standard_streams(
    settings: NodeSettings, mode: Literal["auto", "legacy"]
) -> None:
    """Auto speaks 2026-07-28 without a handshake, legacy shakes hands."""
    async with Client(stdio_client(_over_stdio(settings)), mode=mode) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        await _use(client)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_python_sdks_client_over_http(settings: NodeSettings, mode: Literal["auto", "legacy"]) -> None:
    """One server object for every transport."""
    async with _over_http(settings) as url, Client(streamable_http_client(url), mode=mode) as client:
        await _use(client)
