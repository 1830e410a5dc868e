"""Asks a node's embedder what it runs and by what, and looks whether the configured model's files are here."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aya.doctor.look.place import Place
from aya.doctor.model import Failed, Seen, Weights
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError
from aya.home import Node
from aya.json_object import json_object
from aya.model_events import events

_SECONDS = 3.0


async def look(place: Place, node: Node, bound: tuple[str, str] | None) -> Seen:
    """Return what an embedder says. bound: fingerprint and name of the database's model."""
    url = f"http://127.0.0.1:{node.embedder_port}"
    try:
        async with asyncio.timeout(_SECONDS), EmbedderClient(url) as client:
            said = await client.health()
            failed = [one for one in await client.models() if one.state == "failed"]
    except AyaError as error:
        return Seen(node.name, place.platform, error=error.message)
    except TimeoutError:
        return Seen(node.name, place.platform, error=f"no answer within {_SECONDS:.0f} s")
    backend: dict[str, Any] = json_object(said.get("backend")) or {}
    return Seen(
        node.name,
        place.platform,
        status=str(said.get("status", "unhealthy")),
        device=cast("str | None", backend.get("device")),
        blas=cast("str | None", backend.get("blas")),
        model=said.get("model"),
        fingerprint=said.get("fingerprint"),
        failed=tuple(Failed(one.source, one.error or "", one.hint) for one in failed),
        bound=bound,
    )


def weights(place: Place) -> Weights:
    """Return whether the files of the configured model are on this machine; nothing is fetched."""
    model = place.config.model
    for event in events("list", model):
        if event.get("event") == "model" and model in {event.get("name"), event.get("source"), event.get("directory")}:
            return Weights(model, bool(event.get("here")), event.get("error"))
    return Weights(model, here=False)
