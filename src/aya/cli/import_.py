"""`aya import`: knowledge that other programs kept. One format, one command; a file alone is a JSON Lines file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from aya.cli import LazyGroup

_JSONL = "jsonl"
_HELP = ("-h", "--help")


class FormatGroup(LazyGroup):
    """The formats; what names none of them goes to `jsonl`, which `aya import FILE.jsonl` has always been."""

    verbs: ClassVar[Mapping[str, tuple[str, str]]] = {
        _JSONL: ("aya.cli.import_jsonl:command", "A JSON object a line; the format may be left out."),
        "sqlite": ("aya.cli.import_sqlite:command", "Any table of a SQLite file; asks what the columns are."),
        "chatgpt": ("aya.cli.import_exports:chatgpt", "ChatGPT's data export: a document a conversation."),
        "claude": ("aya.cli.import_exports:claude", "Claude's data export: conversations, projects, memories."),
        "mcp-memory": ("aya.cli.import_exports:mcp_memory", "The MCP memory server's file: a document an entity."),
    }

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `jsonl` before a call that names no format."""
        if args and args[0] not in self.verbs and args[0] not in _HELP:
            args = [_JSONL, *args]
        return super().parse_args(ctx, args)


@click.group(name="import", cls=FormatGroup, context_settings={"help_option_names": list(_HELP)})
def command() -> None:
    """Import what another program kept, once or again and again: what is there already is not doubled.

    \b
    aya import FILE.jsonl                 a JSON object a line
    aya import sqlite notes.db            shows the tables and asks
    aya import sqlite notes.db --mapping notes.toml --yes
    aya import chatgpt export.zip         the .zip as it came, its folder, or conversations.json
    aya import claude data-2026.zip
    aya import mcp-memory memory.jsonl

    Folders of Markdown (Claude Code's, Cursor's, an Obsidian vault) need no import: aya add FOLDER
    """  # noqa: D301 - \b keeps click from joining the lines
