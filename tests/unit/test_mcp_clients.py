"""The entry of our server in the configuration of every client: added, changed, taken out, and all else left."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.json_object import json_object
from aya.mcp_clients import configuration, jsonc
from aya.mcp_clients.clients import CLIENTS, Client, Server, System, add_command

SERVER = Server("/opt/my aya/.venv/bin/python", ("-P", "-m", "aya_mcp"), {"AYA_HOME": "/home/me/.aya"})
JSON_CLIENTS = [client for client in CLIENTS.values() if client.format == "json"]
ZED = CLIENTS["zed"]

SETTINGS = """// Zed settings
{
    "theme": "One Dark", // I like it
    /* servers */
    "context_servers": {
        "other": {"command": "/bin/other", "args": ["{", "//"],},
        // the end of the servers
    },
    "vim_mode": true, // last
}
"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(["mcpServers", "aya-rag", "other", "a", ""]) | st.text(max_size=5)
SPACES = st.sampled_from(["", " ", "\n", "\n    ", "/* a, b } */", " // c\n", "\r\n\t"])


def test_comments_and_other_servers_stay() -> None:
    """Nothing but the entry is new; taking it out gives the file of before, but for a comma at the end."""
    after = configuration.installed(SETTINGS, ZED, SERVER)
    assert jsonc.plain(after) == {
        **as_object(SETTINGS),
        "context_servers": {"other": {"command": "/bin/other", "args": ["{", "//"]}, "aya-rag": ZED.entry(SERVER)},
    }
    kept = iter(after.splitlines())
    assert all(line in kept for line in SETTINGS.splitlines()), after
    assert '\n        "aya-rag": {\n            "source": "custom"' in after
    assert configuration.installed(after, ZED, SERVER) == after
    assert configuration.removed(after, ZED) == SETTINGS.replace('"//"],},', '"//"],}')
    assert configuration.removed(SETTINGS, ZED) == SETTINGS


def as_object(text: str) -> dict[str, Any]:
    """Return what a document says."""
    value = json_object(jsonc.plain(text))
    assert value is not None
    return value


@pytest.mark.parametrize(
    "text",
    ["", "{}", "{ }\n", '{"mcpServers":{}}', '{"a":1}', '{"a": 1}\n', '{\n\t"a": 1\n}\n', '{\r\n  "a": [1,],\r\n}\r\n',
     '\ufeff{"a": 1}', '{"mcpServers": {"x": {}, "y": {} /* c */}, "b": 2}', "{// c\n}", '{"mcpServers": {},}'],
)  # fmt: skip
@pytest.mark.parametrize("client", JSON_CLIENTS, ids=lambda client: client.name)
def test_any_layout_gets_the_entry_and_loses_it(text: str, client: Client) -> None:
    """The result is read as the old content and the entry; installing twice, or removing, changes nothing else."""
    after = configuration.installed(text, client, SERVER)
    before = as_object(text.lstrip("\ufeff")) if text else {}
    group = before.get(client.group, {})
    assert as_object(after.lstrip("\ufeff")) == {**before, client.group: {**group, "aya-rag": client.entry(SERVER)}}
    assert configuration.installed(after, client, SERVER) == after
    assert as_object(configuration.removed(after, client).lstrip("\ufeff")) == {**before, client.group: group}
    if "//" not in text and "/*" not in text and ",}" not in text and ",]" not in text and ",\r" not in text:
        json.loads(after.lstrip("\ufeff"))
    assert ("\r\n" in after) == ("\r\n" in text)


def test_an_old_entry_is_replaced_where_it_stands() -> None:
    """Its order and its neighbours stay; of two of one name the one that counts is changed."""
    old = '{"mcpServers": {"a": 1, "aya-rag": {"command": "old"}, "aya-rag": {"command": "older"}, "z": 2}}'
    cursor = CLIENTS["cursor"]
    after = configuration.installed(old, cursor, SERVER)
    assert list(as_object(after)["mcpServers"]) == ["a", "aya-rag", "z"]
    assert as_object(after)["mcpServers"]["aya-rag"] == cursor.entry(SERVER)
    assert as_object(configuration.removed(old, cursor)) == {"mcpServers": {"a": 1, "z": 2}}


@given(
    st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3), max_size=4), SPACES, SPACES, st.booleans()
)
def test_whatever_the_document_says_stays(
    document: dict[str, Any],
    before: str,
    after: str,
    trailing: bool,  # noqa: FBT001 - drawn
) -> None:
    """Any object in any layout: what is read afterwards differs by the entry alone."""
    text = written(document, before, after, trailing=trailing)
    assert jsonc.plain(text) == document
    group = json_object(document.get("mcpServers", {}))
    if group is None:
        with pytest.raises(ValueError, match="no object"):
            jsonc.with_entry(text, "mcpServers", "aya-rag", {"command": "x"})
        return
    added = jsonc.with_entry(text, "mcpServers", "aya-rag", {"command": "x"})
    assert jsonc.plain(added) == {**document, "mcpServers": {**group, "aya-rag": {"command": "x"}}}
    assert jsonc.entry_of(added, "mcpServers", "aya-rag") == {"command": "x"}
    rest = {name: value for name, value in group.items() if name != "aya-rag"}
    assert jsonc.plain(jsonc.without_entry(added, "mcpServers", "aya-rag")) == {**document, "mcpServers": rest}
    assert [part in added for part in (before, after)] == [part in text or not document for part in (before, after)]


def written(value: object, before: str, after: str, *, trailing: bool) -> str:
    """Return a JSON text with comments and spaces between its tokens."""
    if (members := json_object(value)) is not None:
        parts = [
            f"{json.dumps(key)}{after}:{before}{written(one, before, after, trailing=trailing)}"
            for key, one in members.items()
        ]
        return f"{before}{{{f'{after},{before}'.join(parts)}{',' if trailing and parts else ''}{after}}}{after}"
    return json.dumps(value)


@given(st.text() | st.text(alphabet='{}[]":,/*\\ \na1'))
def test_any_text_is_changed_or_refused(text: str) -> None:
    """No document ends in a traceback: it is a ValueError that says so, or an object with the entry in it."""
    for client in (CLIENTS["cursor"], CLIENTS["codex"]):
        try:
            after = configuration.installed(text, client, SERVER)
        except ValueError:
            continue
        assert configuration.has_entry(after, client)


@pytest.mark.parametrize(
    "text", ["[]", "1", '{"mcpServers": 3}', '{"a"}', "{'a': 1}", "{", '{"a": 1 "b": 2}', "[" * 100_000]
)
def test_what_is_no_such_document_is_refused(text: str) -> None:
    """With a reason; nothing is guessed."""
    with pytest.raises(ValueError, match=r"."):
        configuration.installed(text, CLIENTS["cursor"], SERVER)


@pytest.mark.parametrize(
    "text",
    ["", 'model = "o5" # mine\n', '[mcp_servers.other]\ncommand = "x"\n\n[profiles.a]\nb = 1\n',
     'mcp_servers = { other = { command = "x" } }\n', '[mcp_servers."aya-rag"]\ncommand = "old" # why\nargs = []\n'],
)  # fmt: skip
def test_codex_keeps_its_file(text: str) -> None:
    """TOML: however its servers are written, comments and other tables stay."""
    codex = CLIENTS["codex"]
    after = configuration.installed(text, codex, SERVER)
    before = tomllib.loads(text)
    servers = before.get("mcp_servers", {})
    assert tomllib.loads(after) == {**before, "mcp_servers": {**servers, "aya-rag": codex.entry(SERVER)}}
    assert "# mine" in after or "# mine" not in text
    assert configuration.installed(after, codex, SERVER) == after
    rest = tomllib.loads(configuration.removed(after, codex)).get("mcp_servers", {})
    assert rest == {name: value for name, value in servers.items() if name != "aya-rag"}


@pytest.mark.parametrize(
    ("name", "system", "environ", "path"),
    [
        ("claude-desktop", "darwin", {}, "Library/Application Support/Claude/claude_desktop_config.json"),
        ("cursor", "darwin", {}, ".cursor/mcp.json"),
        ("vscode", "darwin", {}, "Library/Application Support/Code/User/mcp.json"),
        ("vscode", "linux", {"XDG_CONFIG_HOME": "/u/conf"}, "/u/conf/Code/User/mcp.json"),
        ("zed", "darwin", {}, ".config/zed/settings.json"),
        ("windsurf", "linux", {}, ".codeium/windsurf/mcp_config.json"),
        ("codex", "darwin", {"CODEX_HOME": "/u/codex"}, "/u/codex/config.toml"),
        ("gemini", "darwin", {}, ".gemini/settings.json"),
    ],
)
def test_where_a_client_keeps_its_servers(name: str, system: System, environ: dict[str, str], path: str) -> None:
    """As the client's documentation says."""
    assert CLIENTS[name].file(system, Path("/u"), environ) == Path("/u") / path


def test_no_entry_holds_a_secret_or_a_relative_path() -> None:
    """Hosts start programs in / with a tiny PATH; -P keeps a repository's own modules out."""
    for client in CLIENTS.values():
        entry = client.entry(SERVER)
        assert Path(str(entry["command"])).is_absolute()
        assert entry["args"] == ["-P", "-m", "aya_mcp"]
        assert entry["env"] == {"AYA_HOME": "/home/me/.aya"}
    words = add_command(SERVER)
    assert words[words.index("--") + 1 :] == [SERVER.program, *SERVER.arguments]
    assert words.index("aya-rag") < words.index("--env") < words.index("--")
