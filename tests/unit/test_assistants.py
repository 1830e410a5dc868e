"""What other assistants kept: their exports as they come, and what does not look like one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.assistants import chatgpt, claude, json_values, mcp_memory
from aya.assistants.conversation import Labels, parsed_object
from aya.assistants.json_values import elements
from aya.assistants.known import format_of
from aya.assistants.members import members
from aya.errors import DocumentError
from aya.knowledge.types import NewDocument
from aya.records import Record

UUID = "68c13686-4a3c-8329-940b-479ccb6a079f"


def node(parent: str | None, role: str, *parts: object, at: float = 1_622_376_000.25, **more: object) -> dict[str, Any]:
    """Return a node of ChatGPT's tree."""
    message: dict[str, Any] = {
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": at,
        "content": {"content_type": "text", "parts": list(parts)},
        "recipient": "all",
        "metadata": {},
        **more,
    }
    return {"id": "x", "message": message, "parent": parent, "children": []}


CHATGPT: dict[str, Any] = {
    "conversation_id": UUID,
    "title": "Descaling",
    "create_time": 1_622_376_000.25,
    "update_time": 1_622_376_060,
    "current_node": "good",
    "default_model_slug": "gpt-4o",
    "is_archived": False,
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["system"]},
        "system": node("root", "system", "You are helpful."),
        "about": node(
            "system", "user", "About me", metadata={"is_visually_hidden_from_conversation": True, "model_slug": "x"}
        ),
        "ask": node("about", "user", "How do I descale it?", {"content_type": "image_asset_pointer"}),
        "bad": node("ask", "assistant", "Use vinegar."),
        "think": node("ask", "assistant", content={"content_type": "thoughts", "thoughts": [{"content": "hm"}]}),
        "tool": node(
            "think",
            "assistant",
            recipient="python",
            content={"content_type": "code", "language": "python", "text": "1 + 1"},
        ),
        "ran": node("tool", "tool", content={"content_type": "execution_output", "text": "2"}),
        "code": node(
            "ran",
            "assistant",
            content={"content_type": "code", "language": "unknown", "text": "stir()"},
            create_time=None,
        ),
        "good": node(
            "code",
            "assistant",
            "Use citric acid.",
            {"content_type": "audio_transcription", "text": "And rinse.\x00\ud83d"},
            at=1_622_376_060,
        ),
    },
}

CLAUDE: dict[str, Any] = {
    "uuid": UUID,
    "name": "Beans",
    "summary": "",
    "created_at": "2021-05-30T12:00:00.250000Z",
    "updated_at": "2021-05-30T12:01:00Z",
    "account": {"uuid": "a"},
    "chat_messages": [
        {
            "uuid": "1",
            "sender": "human",
            "text": "When?",
            "content": [{"type": "text", "text": "When?"}],
            "created_at": "2021-05-30T12:00:00Z",
            "attachments": [{"file_name": "soil.txt", "file_type": "txt", "extracted_content": "Clay."}],
            "files": [{"file_name": "soil.png"}],
        },
        {
            "uuid": "2",
            "sender": "assistant",
            "text": "```\nThis block is not supported on your current device yet.\n```\n\nIn May.",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "tool_use", "name": "web_search", "input": {}},
                {"type": "text", "text": "In May."},
            ],
            "created_at": "2021-05-30T12:01:00Z",
            "attachments": [],
        },
        {"uuid": "3", "sender": "human", "text": "", "content": [], "created_at": "2021-05-30T12:02:00Z"},
    ],
}


def documents(records: Iterable[Record]) -> list[NewDocument]:
    """Return the documents of records that must all be one."""
    found = list(records)
    assert [record.reason for record in found] == [None] * len(found)
    return [record.document for record in found if record.document is not None]


def test_a_conversation_with_chatgpt_is_what_was_shown_last() -> None:
    """No branch that was left, no thoughts, no tools, nothing hidden; what cannot be kept is one character."""
    (document,) = documents(chatgpt.read("conversations.json", CHATGPT, Labels()))
    assert document == NewDocument(
        content=(
            "# Descaling\n\n## User, 2021-05-30 12:00\n\nHow do I descale it?\n\n## ChatGPT\n\n```\nstir()\n```\n\n"
            "## ChatGPT, 2021-05-30 12:01\n\nUse citric acid.\n\nAnd rinse.\ufffd\ufffd\n"
        ),
        category="conversation",
        source="chatgpt",
        metadata={"conversation_id": UUID, "updated": "2021-05-30T12:01:00Z", "model": "gpt-4o", "turns": 3},
        title="Descaling",
        uri=f"chatgpt:{UUID}",
        relabel=True,
        by_default=frozenset({"category", "source"}),
        created_at=datetime(2021, 5, 30, 12, 0, 0, 250_000, tzinfo=UTC),
    )


@pytest.mark.parametrize("current", [None, "gone", 5])
def test_without_an_end_the_newest_branch_counts(current: object) -> None:
    """Older exports do not say which was shown last."""
    (document,) = documents(chatgpt.read("f", {**CHATGPT, "current_node": current}, Labels()))
    assert "Use citric acid." in document.content
    assert "vinegar" not in document.content


def test_a_circle_of_messages_ends() -> None:
    """A file that was damaged ends no import."""
    circle = {"mapping": {"a": node("b", "user", "A"), "b": node("a", "user", "B")}, "current_node": "a"}
    (document,) = documents(chatgpt.read("f", circle, Labels()))
    assert (document.content.count("## User"), document.uri) == (2, None)


def test_a_conversation_with_claude() -> None:
    """The blocks that are text, and what was attached as text; not what a tool was asked."""
    (document,) = documents(claude.read("conversations.json", CLAUDE, Labels("talk", "mine", {"a": 1})))
    assert document == NewDocument(
        content=(
            "# Beans\n\n## Human, 2021-05-30 12:00\n\nWhen?\n\n### Attachment: soil.txt\n\nClay.\n\n"
            "## Claude, 2021-05-30 12:01\n\nIn May.\n"
        ),
        category="talk",
        source="mine",
        metadata={"conversation_id": UUID, "updated": "2021-05-30T12:01:00Z", "turns": 2, "a": 1},
        title="Beans",
        uri=f"claude:{UUID}",
        relabel=True,
        created_at=datetime(2021, 5, 30, 12, 0, 0, 250_000, tzinfo=UTC),
    )


def test_a_project_of_claudes_is_its_instructions_and_its_documents() -> None:
    """Each with a place of its own, under the project's name."""
    project = {
        "uuid": "p",
        "name": "Garden",
        "description": "",
        "prompt_template": "Answer as a gardener.",
        "created_at": "2021-05-30T12:00:00Z",
        "docs": [
            {"uuid": "d", "filename": "plan.md", "content": "# Plan\n\nBeans.", "created_at": "2021-05-31T12:00:00Z"},
            {"uuid": "e", "filename": "empty.md", "content": " "},
        ],
    }
    found = list(claude.read("projects/p.json", project, Labels()))
    assert [(each.where, each.reason) for each in found] == [
        ("projects/p.json: Garden", None),
        ("projects/p.json: Garden/plan.md", None),
        ("projects/p.json: Garden/empty.md", "nothing in the project's document"),
    ]
    instructions, plan = documents(found[:2])
    assert (instructions.uri, plan.uri) == ("claude:project/p", "claude:project/p/d")
    assert instructions.content == "# Garden\n\nAnswer as a gardener."
    assert (plan.title, plan.content, plan.category) == ("plan.md", "# Plan\n\nBeans.", "project")
    assert plan.metadata == {"project": "Garden", "project_id": "p"}


def test_claudes_memories_are_documents() -> None:
    """Of all conversations, and of each project."""
    memories = {"conversations_memory": "Likes rye.", "project_memories": {"p": "Grows beans."}, "account_uuid": "a"}
    found = documents(claude.read("memories.json", memories, Labels()))
    assert [(each.uri, each.content, each.category) for each in found] == [
        ("claude:memory/a", "Likes rye.", "memory"),
        ("claude:memory/a/p", "Grows beans.", "memory"),
    ]


def test_an_entity_of_the_memory_server_is_a_document() -> None:
    """With its observations, and the relations from it and to it."""
    lines = [
        b'{"type":"entity","name":"Ada","entityType":"person","observations":["Likes rye","Bakes \\ud83d"]}',
        b"",
        b'{"type":"entity","name":"Bakery","entityType":"place","observations":[]}',
        b'{"type":"entity","name":"Nothing","entityType":"","observations":[]}',
        b'{"type":"relation","from":"Ada","to":"Bakery","relationType":"works_at"}',
        b"no json",
        b'{"type":"entity"}',
    ]
    found = list(mcp_memory.read("memory.jsonl", "/m", lines, Labels()))
    assert [record.reason for record in found] == [
        None,
        None,
        "nothing is known of the entity",
        "a line that is neither an entity nor a relation",
        "a line that is neither an entity nor a relation",
    ]
    ada, bakery = documents(found[:2])
    assert ada.content == "# Ada\n\n- Likes rye\n- Bakes \ufffd\n\n## Relations\n\n- Ada works_at Bakery\n"
    assert (ada.uri, ada.category, ada.source, ada.title) == ("/m#Ada", "person", "mcp-memory", "Ada")
    assert bakery.content == "# Bakery\n\n## Relations\n\n- Ada works_at Bakery\n"


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "mapping",
                    "chat_messages",
                    "docs",
                    "message",
                    "content",
                    "parts",
                    "author",
                    "role",
                    "text",
                    "name",
                    "uuid",
                ]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(json_like)
def test_nothing_that_stands_in_a_file_is_an_error(element: object) -> None:
    """It is a document, or it has a reason."""
    for read in (chatgpt.read, claude.read):
        for record in read("f", element, Labels()):
            assert (record.document is None) != (record.reason is None)


@pytest.mark.parametrize("read", [chatgpt.read, claude.read])
@pytest.mark.parametrize("element", [None, 5, "x", [], {}, {"mapping": {}}, {"chat_messages": [], "mapping": {}}])
def test_what_says_nothing_is_skipped_with_a_reason(read: Callable[..., Any], element: object) -> None:
    """One that has no messages, and one that is something else."""
    assert [record.document for record in read("f", element, Labels())] == [None]


@given(st.lists(json_like.filter(lambda value: json.dumps(value).find("NaN") < 0), max_size=6), st.integers(1, 40))
def test_an_array_is_read_piece_by_piece(values: list[object], chunk: int) -> None:
    """Wherever a piece ends: within a string, a number, an escape."""
    text = json.dumps(values, indent=1 if chunk % 2 else None)
    before, json_values.CHUNK = json_values.CHUNK, chunk
    try:
        assert json.dumps(list(elements(io.StringIO(text), "f"))) == json.dumps(json.loads(text))
    finally:
        json_values.CHUNK = before


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a"', '[{"a": 1}, {"a": tru', '[{"a": 1}, "x', '[{"a": 1}', '[{"a": 1},']
)
def test_a_file_that_was_cut_gives_what_was_whole(text: str) -> None:
    """And says that it is not."""
    found = elements(io.StringIO(text), "f")
    assert next(found) == {"a": 1}
    with pytest.raises(DocumentError, match="f is no JSON that is whole"):
        next(found)


def test_a_file_that_is_wrong_is_not_read_to_its_end() -> None:
    """Nobody waits for half a gigabyte to be told."""
    stream = io.StringIO('[{"a": nothing}, ' + '"x", ' * json_values.CHUNK)
    with pytest.raises(DocumentError, match="no JSON"):
        next(elements(stream, "f"))
    assert stream.tell() <= 2 * json_values.CHUNK


@pytest.mark.parametrize(("text", "values"), [("", []), (" \n", []), ("[]", []), ('{"a": 1}', [{"a": 1}]), ("5", [5])])
def test_one_value_is_itself(text: str, values: list[object]) -> None:
    """A file of one object is read like an array of it."""
    assert list(elements(io.StringIO(text), "f")) == values


def exported(path: Path, files: dict[str, object], *, packed: bool) -> Path:
    """Make an export, as a .zip or a folder."""
    if packed:
        with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for name, value in files.items():
                archive.writestr(name, json.dumps(value))
        return path.with_suffix(".zip")
    for name, value in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_an_export_is_read_as_it_comes(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001 - both ways
    """A .zip or its folder, in one file or numbered ones, whatever else is in it."""
    one, other = {**CHATGPT, "title": "One"}, {**CHATGPT, "title": "Other"}
    path = exported(
        tmp_path / "export",
        {
            "data/conversations-001.json": [other],
            "data/conversations-000.json": [one],
            "data/user.json": {"id": "x"},
            "data/shared_conversations.json": [{"id": "x"}],
        },
        packed=packed,
    )
    titles = [
        parsed_object(element)["title"] for member in members(path, chatgpt.FILES) for element in member.elements()
    ]
    assert titles == ["One", "Other"]
    assert format_of(path) == "chatgpt"


@pytest.mark.parametrize("packed", [True, False])
def test_claudes_export_has_more_than_conversations(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001 - both ways
    """Projects and memories, in a file each or all in one."""
    memory: dict[str, Any] = {"conversations_memory": "x", "project_memories": {}}
    path = exported(
        tmp_path / "data",
        {
            "conversations.json": [CLAUDE],
            "projects/p.json": {"uuid": "p", "docs": [], "prompt_template": ""},
            "memories.json": [memory],
            "memories/a.json": memory,
            "users.json": [{"uuid": "u"}],
        },
        packed=packed,
    )
    assert [member.name for member in members(path, claude.FILES)] == [
        "conversations.json",
        "memories.json",
        "memories/a.json",
        "projects/p.json",
    ]
    assert format_of(path) == "claude"


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    """Whatever its name; and one that is unknown is none of them."""
    file = tmp_path / "file"
    for text, known in (
        (json.dumps([CHATGPT]), "chatgpt"),
        (json.dumps([CLAUDE], indent=2), "claude"),
        ('{"type": "relation", "from": "a", "to": "b", "relationType": "c"}\n', "mcp-memory"),
        ('{"text": "a record of AYA"}\n', None),
        ("SQLite format 3\x00 and so on", "sqlite"),
        ("[", None),
        ("", None),
    ):
        file.write_text(text)
        assert format_of(file) == known, text
    assert format_of(tmp_path / "none") is None
    assert format_of(tmp_path) is None


def test_an_archive_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """One without conversations, one that is cut, one that is not there."""
    path = exported(tmp_path / "export", {"user.json": {}}, packed=True)
    with pytest.raises(DocumentError, match=r"no conversations\.json"):
        members(path, chatgpt.FILES)
    with pytest.raises(DocumentError, match="cannot be read"):
        members(tmp_path / "none.zip", chatgpt.FILES)
    whole = exported(tmp_path / "whole", {"conversations.json": [CHATGPT] * 9}, packed=True)
    data = bytearray(whole.read_bytes())
    data[60:200] = b"\xff" * 140
    whole.write_bytes(data)
    with pytest.raises(DocumentError, match=r"conversations\.json cannot be read"):
        list(members(whole, chatgpt.FILES)[0].elements())
