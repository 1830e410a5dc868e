"""ChatGPT's data export: conversations.json, or since 2026 conversations-000.json and so on; pure.

A conversation is a tree of messages, `mapping` by node id: regenerated answers and edited questions are branches, and
`current_node` is the end of the one that was shown last. There is no description of the format by its maker; what is
read here is what the exports of many people have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from aya.assistants.conversation import Labels, Turn, markdown, moment, parsed_object, record, several, words
from aya.records import Record

FILES = re.compile(r"(?:^|/)conversations(?:-\d+)?\.json$")
_WHO = {"user": "User", "assistant": "ChatGPT"}
# A message to a tool, or what a model thought, is no part of what was shown as the conversation.
_SHOWN = {"text", "multimodal_text", "code"}


def looks_like_one(element: object) -> bool:
    """Return whether an element of an array is a conversation of this export."""
    return isinstance(parsed_object(element).get("mapping"), dict)


def read(where: str, element: object, labels: Labels) -> Iterator[Record]:
    """Yield the document of one conversation, or why there is none. where: the file."""
    conversation = parsed_object(element)
    identity = words(conversation.get("conversation_id")) or words(conversation.get("id"))
    title = words(conversation.get("title"))
    shown = f"{where}: {title or identity or '?'}"
    if not looks_like_one(element):
        yield Record(shown, None, "no conversation: it has no mapping")
        return
    turns = [turn for message in _branch(conversation) if (turn := _turn(message)) is not None]
    if not turns:
        yield Record(shown, None, "no message in it")
        return
    yield record(
        shown,
        f"chatgpt:{identity}" if identity else "",
        markdown(title, turns),
        title=title,
        created_at=moment(conversation.get("create_time")) or turns[0].at,
        labels=labels,
        said={
            "source": "chatgpt",
            "category": "conversation",
            "conversation_id": identity,
            "updated": _iso(moment(conversation.get("update_time"))),
            "model": words(conversation.get("default_model_slug")),
            "archived": conversation.get("is_archived") or None,
            "turns": len(turns),
        },
    )


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat().replace("+00:00", "Z")


def _branch(conversation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of the branch that was shown last, the first one first."""
    nodes = parsed_object(conversation.get("mapping"))
    node = conversation.get("current_node")
    if not isinstance(node, str) or node not in nodes:
        node = _newest(nodes)
    branch: list[dict[str, Any]] = []
    seen: set[str] = set()
    while isinstance(node, str) and node in nodes and node not in seen:
        seen.add(node)
        found = parsed_object(nodes[node])
        branch.append(parsed_object(found.get("message")))
        node = found.get("parent")
    return branch[::-1]


def _newest(nodes: Mapping[str, Any]) -> str | None:
    """Return the node without children whose message is the newest; None when there is no node."""
    leaves = [name for name, node in nodes.items() if not parsed_object(node).get("children")]

    def when(name: str) -> float:
        found = moment(parsed_object(parsed_object(nodes[name]).get("message")).get("create_time"))
        return 0.0 if found is None else found.timestamp()

    return max(leaves or list(nodes), key=when, default=None)


def _turn(message: Mapping[str, Any]) -> Turn | None:
    """Return what one message said; None for one that was not shown, or says nothing."""
    content, metadata = parsed_object(message.get("content")), parsed_object(message.get("metadata"))
    who = _WHO.get(words(parsed_object(message.get("author")).get("role")))
    kind = content.get("content_type", "text")
    hidden = bool(metadata.get("is_visually_hidden_from_conversation")) or message.get("channel") == "analysis"
    if who is None or hidden or kind not in _SHOWN or message.get("recipient") not in (None, "all"):
        return None
    text = _code(content) if kind == "code" else "\n\n".join(filter(None, map(_part, several(content.get("parts")))))
    return Turn(who, moment(message.get("create_time")), text) if text else None


def _code(content: Mapping[str, Any]) -> str:
    language = words(content.get("language"))
    text = words(content.get("text"))
    return f"```{'' if language == 'unknown' else language}\n{text}\n```" if text else ""


def _part(part: object) -> str:
    """Return the words of a part: of a text, of speech; an image has none."""
    return words(part) or words(parsed_object(part).get("text"))
