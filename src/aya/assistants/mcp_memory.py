"""The file of the MCP reference server "memory": a document an entity, with what was observed and its relations; pure.

A line is {"type": "entity", name, entityType, observations} or {"type": "relation", from, to, relationType}. As in the
server, a line that is neither is passed over. Source: modelcontextprotocol/servers, src/memory/index.ts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aya.assistants.conversation import Labels, parsed_object, record, several, words
from aya.knowledge.validation import LONGEST_CATEGORY
from aya.records import Record


@dataclass(slots=True)
class Graph:
    """The whole file, which the server keeps in memory too. entities: name → (type, observations)."""

    entities: dict[str, tuple[str, list[str]]] = field(default_factory=dict[str, tuple[str, list[str]]])
    relations: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    passed_over: int = 0

    def take(self, line: bytes) -> None:
        """Take in one line."""
        try:
            found = parsed_object(json.loads(line))
        except (ValueError, RecursionError):
            found = {}
        if looks_like_one(found) and found["type"] == "entity":
            entity = self.entities.setdefault(words(found["name"]), (words(found.get("entityType")), []))
            entity[1].extend(text for each in several(found.get("observations")) if (text := words(each)))
        elif looks_like_one(found):
            one, other = words(found["from"]), words(found["to"])
            said = f"{one} {words(found.get('relationType'))} {other}"
            for name in dict.fromkeys((one, other)):
                self.relations.setdefault(name, []).append(said)
        else:
            self.passed_over += 1


def looks_like_one(found: dict[str, Any]) -> bool:
    """Return whether an object is a line of such a file."""
    entity = found.get("type") == "entity" and words(found.get("name")) != ""
    return entity or (found.get("type") == "relation" and all(words(found.get(end)) for end in ("from", "to")))


def read(where: str, place: str, lines: Iterable[bytes], labels: Labels) -> Iterator[Record]:
    """Yield a document an entity. where: the file as shown; place: as its documents are known."""
    graph = Graph()
    for line in lines:
        if line.strip():
            graph.take(line)
    for name in graph.entities:
        yield _entity(where, place, name, graph, labels)
    for number in range(graph.passed_over):
        yield Record(f"{where}: {number}", None, "a line that is neither an entity nor a relation")


def _entity(where: str, place: str, name: str, graph: Graph, labels: Labels) -> Record:
    kind, observations = graph.entities[name]
    relations = graph.relations.get(name, [])
    if not observations and not relations:
        return Record(f"{where}: {name}", None, "nothing is known of the entity")
    parts = [f"# {name}"]
    if observations:
        parts.append("\n".join(f"- {each}" for each in observations))
    if relations:
        parts.append("## Relations\n\n" + "\n".join(f"- {each}" for each in relations))
    return record(
        f"{where}: {name}",
        f"{place}#{name}",
        "\n\n".join(parts) + "\n",
        title=name,
        created_at=None,
        labels=labels,
        said={"source": "mcp-memory", "category": kind[:LONGEST_CATEGORY].strip(), "entity_type": kind},
    )
