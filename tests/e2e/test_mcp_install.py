"""`aya mcp install` as a person types it, in a home of his own: files changed, kept, and the server really started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from aya.home import Home, Node
from aya.mcp_clients.clients import CLIENTS
from aya.mcp_clients.install import handshake, our_server
from aya.mcp_probe import ProbeFailed

_COMMAND = (sys.executable, "-c", "from aya.cli import main; main()")
# The parts of Claude Code's command that are used: it keeps what it is told, and answers as the real one does.
_CLAUDE = """#!/bin/sh
echo "$@" >> "$HOME/calls"
case "$2" in
  get) test -e "$HOME/known" || { echo "No MCP server found with name: $3" >&2; exit 1; } ;;
  add) touch "$HOME/known" ;;
  remove) rm "$HOME/known" ;;
esac
"""


@dataclass(frozen=True)
class Person:
    """A user's directory with a home of one node."""

    directory: Path

    @property
    def home(self) -> Path:
        """AYA_HOME, in a path with a space."""
        return self.directory / "my aya"

    def type(self, *words: str, expect: int = 0) -> str:
        """Return what `aya mcp install …` prints."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AYA_", "DB_", "XDG_"))}
        environ |= {"HOME": str(self.directory), "PATH": f"{self.directory}:/usr/bin:/bin"}
        done = subprocess.run(
            [*_COMMAND, "--home", str(self.home), "mcp", "install", *words],
            env=environ, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def file(self, client: str) -> Path:
        """Return a client's configuration."""
        return CLIENTS[client].file("darwin" if sys.platform == "darwin" else "linux", self.directory, {})


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """A person who has two programs."""
    made = Person(tmp_path)
    made.home.mkdir()
    Home(made.home).save_nodes({"alpha": Node("alpha", "primary", 6001, 6002)})
    for client in ("cursor", "zed"):
        made.file(client).parent.mkdir(parents=True)
    return made


def test_a_client_is_given_the_server_and_starts_it(person: Person) -> None:
    """What was there stays, the file of before is kept, and the entry works as it stands in the file."""
    file = person.file("cursor")
    file.write_text('{\n  "mcpServers": {"mine": {"command": "/bin/x"}} // mine\n}\n')
    file.chmod(0o640)
    said = person.type("--client", "cursor")
    assert "2 tools" not in said
    assert "started as they start it: 6 tools" in said
    assert file.stat().st_mode & 0o777 == 0o640
    assert "// mine" in file.read_text()
    assert "aya-rag" not in (backup := file.with_name("mcp.json.before-aya")).read_text()
    entry = json.loads(file.read_text().replace("// mine", ""))["mcpServers"]["aya-rag"]
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}})  # fmt: skip
    started = subprocess.run(
        [entry["command"], *entry["args"]], env=entry["env"], cwd="/", input=asked + "\n",
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert json.loads(started.stdout)["result"]["serverInfo"]["name"] == "aya-rag"
    before = file.read_bytes()
    assert "nothing to change" in person.type("--client", "cursor")
    assert file.read_bytes() == before
    assert "removed from" in person.type("--client", "cursor", "--remove")
    assert "aya-rag" not in file.read_text()
    assert "aya-rag" not in backup.read_text()


def test_nothing_is_written_by_looking(person: Person) -> None:
    """--print, --dry-run and the list of programs; a dry run shows the lines that would be new."""
    before = sorted(person.directory.rglob("*"))
    printed = person.type("--client", "zed", "--client", "codex", "--print")
    assert '"context_servers"' in printed
    assert "[mcp_servers.aya-rag]" in printed
    assert '+  "context_servers": {' in person.type("--client", "zed", "--dry-run")
    listed = json.loads(person.type("--json"))["clients"]
    assert [one["client"] for one in listed if one["found"]] == ["cursor", "zed"]
    assert not any(one["installed"] for one in listed)
    assert sorted(person.directory.rglob("*")) == before


def test_a_broken_file_is_left_alone(person: Person) -> None:
    """The error says where, and what to do instead."""
    file = person.file("zed")
    file.write_text('{\n"a": 1\n"b": 2}')
    said = person.type("--client", "zed", expect=1)
    assert "line 3 is no JSON" in said
    assert "--print" in said
    assert file.read_text() == '{\n"a": 1\n"b": 2}'
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(person: Person) -> None:
    """Settings are often kept in a repository of one's own."""
    real = person.directory / "dotfiles.json"
    real.write_text("{}")
    person.file("zed").symlink_to(real)
    person.type("--client", "zed")
    assert person.file("zed").is_symlink()
    assert "aya-rag" in real.read_text()


def test_claude_code_does_it_itself(person: Person) -> None:
    """By its own command, for running sessions rewrite its file; without it the words to type are said."""
    assert "claude mcp add --scope user" in person.type("--client", "claude-code", expect=2)
    program = person.directory / "claude"
    program.write_text(_CLAUDE)
    program.chmod(0o755)
    assert "added to" in person.type("--client", "claude-code")
    assert "changed in" in person.type("--client", "claude-code")
    assert "removed from" in person.type("--client", "claude-code", "--remove")
    assert "nothing to change" in person.type("--client", "claude-code", "--remove")
    adding = (person.directory / "calls").read_text().splitlines()[1]
    assert adding == (
        f"mcp add --scope user --transport stdio aya-rag --env AYA_HOME={person.home} -- {sys.executable} -P -m aya_mcp"
    )


def test_a_base_that_does_not_answer_is_told(person: Person) -> None:
    """The entry is right and the server starts; what a tool says of the base is said here, not first in the client."""
    assert "but a tool says: node alpha has no password" in person.type("--client", "cursor")
    assert json.loads(person.type("--client", "cursor", "--json"))["handshake"]["trouble"].startswith("node alpha")


def test_an_interpreter_without_the_server_is_told(person: Person) -> None:
    """The handshake fails as the client's would, and so does the whole."""
    program = person.directory / "python"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(ProbeFailed, match="it has ended"):
        handshake(our_server(person.home, None, str(program)))


def test_an_unknown_node_is_refused(person: Person) -> None:
    """Before anything is written."""
    assert "no node 'gamma'" in person.type("--client", "cursor", "--node", "gamma", expect=2)
    assert not person.file("cursor").exists()


def test_a_folders_own_modules_are_not_imported(person: Person) -> None:
    """A client starts the server in a repository that may be anybody's."""
    (trap := person.directory / "trap").mkdir()
    (trap / "aya_mcp.py").write_text("open('sprung', 'w').close()")
    person.type("--client", "cursor")
    entry = json.loads(person.file("cursor").read_text())["mcpServers"]["aya-rag"]
    for command in (
        [entry["command"], *entry["args"]],
        [str(Path(sys.executable).with_name("aya")), "mcp", "serve"],
    ):
        subprocess.run(
            command, cwd=trap, env=entry["env"], input="", capture_output=True, text=True, check=True, timeout=30
        )
    assert not (trap / "sprung").exists()
