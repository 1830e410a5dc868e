"""Claude's data export: conversations, projects and memories; pure.

conversations.json is an array of {uuid, name, created_at, chat_messages}. projects.json is an array of {uuid, name,
description, prompt_template, docs}, or a file each in projects/. memories.json has {conversations_memory,
project_memories by project}, or a file each in memories/. There is no description of the format by its maker; what is
read here is what the exports of many people have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aya.assistants.conversation import Labels, Turn, markdown, moment, parsed_object, record, several, words
from aya.records import Record

FILES = re.compile(r"(?:^|/)(?:(?:conversations(?:-\d+)?|projects|memories)\.json|(?:projects|memories)/[^/]+\.json)$")
_WHO = {"human": "Human", "assistant": "Claude"}


def looks_like_one(element: object) -> bool:
    """Return whether an element is one of this export's."""
    found = parsed_object(element)
    return "chat_messages" in found or "conversations_memory" in found or {"docs", "prompt_template"} <= found.keys()


def read(where: str, element: object, labels: Labels) -> Iterator[Record]:
    """Yield the documents of one element, or why there is none. where: the file."""
    found = parsed_object(element)
    if "chat_messages" in found:
        yield _conversation(where, found, labels)
    elif "conversations_memory" in found or "project_memories" in found:
        yield from _memories(where, found, labels)
    elif "docs" in found or "prompt_template" in found:
        yield from _project(where, found, labels)
    else:
        yield Record(where, None, "neither a conversation, nor a project, nor a memory")


def _conversation(where: str, found: Mapping[str, Any], labels: Labels) -> Record:
    identity, title = words(found.get("uuid")), words(found.get("name"))
    shown = f"{where}: {title or identity or '?'}"
    turns = [turn for message in several(found.get("chat_messages")) if (turn := _turn(parsed_object(message)))]
    if not turns:
        return Record(shown, None, "no message in it")
    return record(
        shown,
        f"claude:{identity}" if identity else "",
        markdown(title, turns),
        title=title,
        created_at=moment(found.get("created_at")) or turns[0].at,
        labels=labels,
        said={
            "source": "claude",
            "category": "conversation",
            "conversation_id": identity,
            "updated": words(found.get("updated_at")),
            "summary": words(found.get("summary")),
            "turns": len(turns),
        },
    )


def _turn(message: Mapping[str, Any]) -> Turn | None:
    sender = words(message.get("sender"))
    blocks = [parsed_object(block) for block in several(message.get("content"))]
    # The blocks leave out what `text` has in place of a tool's call: "This block is not supported …".
    said = [words(block.get("text")) for block in blocks if block.get("type") == "text"]
    text = "\n\n".join(filter(None, said)) or words(message.get("text"))
    attached = [_attachment(parsed_object(each)) for each in several(message.get("attachments"))]
    whole = "\n\n".join(filter(None, [text, *attached]))
    return Turn(_WHO.get(sender, sender or "?"), moment(message.get("created_at")), whole) if whole else None


def _attachment(found: Mapping[str, Any]) -> str:
    text = words(found.get("extracted_content"))
    return f"### Attachment: {words(found.get('file_name')) or 'pasted'}\n\n{text}" if text else ""


def _project(where: str, found: Mapping[str, Any], labels: Labels) -> Iterator[Record]:
    identity, name = words(found.get("uuid")), words(found.get("name"))
    said = {"source": "claude", "category": "project", "project": name, "project_id": identity}
    parts = [words(found.get("description")), words(found.get("prompt_template"))]
    text = "\n\n".join(filter(None, [f"# {name}" if name else "", *parts]))
    if any(parts):
        created_at = moment(found.get("created_at"))
        yield record(
            f"{where}: {name}",
            _project_place(identity, ""),
            text,
            title=name,
            created_at=created_at,
            labels=labels,
            said=said,
        )
    documents = [parsed_object(each) for each in several(found.get("docs"))]
    if not documents and not any(parts):
        yield Record(f"{where}: {name or identity}", None, "nothing in the project")
    for number, document in enumerate(documents):
        file = words(document.get("filename"))
        shown = f"{where}: {name}/{file}"
        content = words(document.get("content"))
        if not content:
            yield Record(shown, None, "nothing in the project's document")
            continue
        yield record(
            shown,
            _project_place(identity, "/" + (words(document.get("uuid")) or file or str(number))),
            content,
            title=file,
            created_at=moment(document.get("created_at")),
            labels=labels,
            said=said,
        )


def _project_place(identity: str, rest: str) -> str:
    return f"claude:project/{identity}{rest}" if identity else ""


def _memories(where: str, found: Mapping[str, Any], labels: Labels) -> Iterator[Record]:
    account = words(found.get("account_uuid"))
    memories = {"": found.get("conversations_memory"), **parsed_object(found.get("project_memories"))}
    for project, value in memories.items():
        text = words(value)
        title = f"Claude's memory of project {project}" if project else "Claude's memory"
        if not text:
            yield Record(f"{where}: {title}", None, "nothing in the memory")
            continue
        yield record(
            f"{where}: {title}",
            f"claude:memory/{account}{'/' if project else ''}{project}",
            text,
            title=title,
            created_at=None,
            labels=labels,
            said={"source": "claude", "category": "memory", "project_id": project},
        )
