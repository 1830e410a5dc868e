"""Phase 4: the MCP server of each node of this machine, as an IDE starts it."""

from __future__ import annotations

import json
from functools import partial

from aya.errors import AyaError
from aya.json_object import json_object
from aya.verify.marks import CATEGORY
from aya.verify.mcp_client import McpClient
from aya.verify.places import Place
from aya.verify.scene import Measure, Scene
from aya.verify.types import Measured

_LIMIT = 5


async def protocol(scene: Scene, place: Place) -> Measured:
    """Start the server and shake hands."""
    client = await scene.stack.enter_async_context(McpClient(scene.home, place.node))
    scene.greetings[place.node] = await client.initialize()
    scene.servers[place.node] = client
    return Measured(_text(scene, place, "protocolVersion"))


async def capabilities(scene: Scene, place: Place) -> Measured:
    """Look at what the server said it can."""
    said = json_object(scene.greetings.get(place.node, {}).get("capabilities"))
    return Measured(", ".join(sorted(said)) if said else None)


async def server(scene: Scene, place: Place) -> Measured:
    """Look at who the server said it is."""
    said = json_object(scene.greetings.get(place.node, {}).get("serverInfo")) or {}
    return Measured(said.get("name"), f"version {said.get('version')}")


async def listed(tool: str, scene: Scene, place: Place) -> Measured:
    """Ask which tools there are."""
    names = await _client(scene, place).tools()
    return Measured("listed" if tool in names else "missing", f"{len(names)} tools")


async def add(scene: Scene, place: Place) -> Measured:
    """Have a text added."""
    text = scene.marks.text(f"an assistant on {place.node}")
    context = json.loads(scene.marks.metadata)
    said = await _client(scene, place).call(
        "add_to_aya_rag", {"content": text, "category": CATEGORY, "context": context}
    )
    scene.added[place.node] = text
    word = "success" if said.get("success") is True else "no success"
    return Measured(word, f"document {said.get('document_id')}, {said.get('durability', 'kept')}")


async def query(scene: Scene, place: Place) -> Measured:
    """Ask for it by its meaning."""
    text = scene.added[place.node]
    said = await _client(scene, place).call("query_aya_rag", {"query": text, "limit": _LIMIT})
    results = [found for found in map(json_object, said.get("results", [])) if found]
    for number, found in enumerate(results, 1):
        if text in str(found.get("document_content")):
            return Measured(number, f"of {said.get('count')}, at distance {found.get('distance')}")
    raise AyaError(f"it is not among the {len(results)} results")


def _client(scene: Scene, place: Place) -> McpClient:
    client = scene.servers.get(place.node)
    if client is None:
        raise AyaError("the server did not answer initialize")
    return client


def _text(scene: Scene, place: Place, key: str) -> str | None:
    said = scene.greetings[place.node].get(key)
    return None if said is None else str(said)


MEASURES: dict[str, Measure] = {
    "4.protocol": protocol,
    "4.capabilities": capabilities,
    "4.server": server,
    "4.query_listed": partial(listed, "query_aya_rag"),
    "4.add_listed": partial(listed, "add_to_aya_rag"),
    "4.add": add,
    "4.query": query,
}
