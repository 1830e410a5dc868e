"""Where each client keeps its servers, and what the entry for ours looks like there; pure.

Places and keys are those of the clients' own documentation. AYA has tried none of the programs that run only on a Mac.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SERVER_NAME = "aya-rag"
System = Literal["darwin", "linux"]
Format = Literal["json", "toml", "command"]


@dataclass(frozen=True, slots=True)
class Server:
    """How the server is started: an absolute program, its arguments and the few names that are no secret."""

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Client:
    """A program that starts MCP servers.

    group: under which key they stand. darwin, linux: the file, below the user's directory; override: a variable that
    names the directory of the file instead. more: what the entry says besides. then: what makes it read the file.
    """

    name: str
    title: str
    group: str
    darwin: str
    linux: str
    format: Format = "json"
    override: str = ""
    more: Mapping[str, str] = field(default_factory=dict[str, str])
    then: str = "restart it"

    def file(self, system: System, user: Path, environ: Mapping[str, str]) -> Path:
        """Return its configuration file, which need not exist."""
        below = self.darwin if system == "darwin" else self.linux
        if self.override and environ.get(self.override):
            return Path(environ[self.override]) / Path(below).name
        if system == "linux" and below.startswith(".config/") and environ.get("XDG_CONFIG_HOME"):
            return Path(environ["XDG_CONFIG_HOME"]) / below.removeprefix(".config/")
        return user / below

    def entry(self, server: Server) -> dict[str, object]:
        """Return what stands under the server's name."""
        return {
            **self.more,
            "command": server.program,
            "args": list(server.arguments),
            "env": dict(server.environment),
        }


_APPLICATION_SUPPORT = "Library/Application Support"
CLIENTS: dict[str, Client] = {
    client.name: client
    for client in (
        Client(
            "claude-desktop", "Claude Desktop", "mcpServers",
            f"{_APPLICATION_SUPPORT}/Claude/claude_desktop_config.json", ".config/Claude/claude_desktop_config.json",
            then="quit Claude Desktop and open it again",
        ),
        Client(
            "claude-code", "Claude Code", "mcpServers", ".claude.json", ".claude.json",
            format="command", then="start a new session, or /mcp in a running one",
        ),
        Client("cursor", "Cursor", "mcpServers", ".cursor/mcp.json", ".cursor/mcp.json"),
        Client(
            "vscode", "VS Code", "servers",
            f"{_APPLICATION_SUPPORT}/Code/User/mcp.json", ".config/Code/User/mcp.json",
            more={"type": "stdio"}, then="run 'MCP: List Servers' in it and start aya-rag",
        ),
        Client(
            "zed", "Zed", "context_servers", ".config/zed/settings.json", ".config/zed/settings.json",
            more={"source": "custom"}, then="nothing: it reads the file by itself",
        ),
        Client(
            "windsurf", "Windsurf", "mcpServers", ".codeium/windsurf/mcp_config.json",
            ".codeium/windsurf/mcp_config.json", then="press Refresh in its list of MCP servers",
        ),
        Client(
            "codex", "Codex", "mcp_servers", ".codex/config.toml", ".codex/config.toml",
            format="toml", override="CODEX_HOME", then="start a new session",
        ),
        Client(
            "gemini", "Gemini CLI", "mcpServers", ".gemini/settings.json", ".gemini/settings.json",
            then="start a new session, or /mcp in a running one",
        ),
    )
}  # fmt: skip


def add_command(server: Server) -> list[str]:
    """Return what Claude Code is called with to add the server for all of a user's projects.

    Everything behind `--` is the server's command; the options with several values stand before the name.
    """
    named = [part for name, value in server.environment.items() for part in ("--env", f"{name}={value}")]
    return ["mcp", "add", "--scope", "user", "--transport", "stdio", SERVER_NAME, *named, "--", server.program,
            *server.arguments]  # fmt: skip


def remove_command() -> list[str]:
    """Return what Claude Code is called with to forget the server."""
    return ["mcp", "remove", "--scope", "user", SERVER_NAME]


def get_command() -> list[str]:
    """Return what Claude Code is called with to say what it has; it fails when it has none."""
    return ["mcp", "get", SERVER_NAME]
