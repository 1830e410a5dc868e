"""aya.toml as `aya init` writes it: anew with a word on every line, or an existing one changed where it says otherwise.

Pure: text in, text out. A person's comments, order and other keys stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.items import AbstractTable, InlineTable

from aya.members import Member

_TABLES = (AbstractTable, InlineTable, OutOfOrderTableProxy)
_HEAD = """\
# What this machine's part of AYA is told. `aya init` wrote it; change it as you like, then: aya up
# (`aya init` changes only what it is asked for, and keeps the former file beside this one.)
"""


def fresh(wanted: Mapping[str, Any]) -> str:
    """Return a new aya.toml. wanted: as `values` returns it."""
    lines = [_HEAD]
    for section, keys in wanted.items():
        simple = {key: value for key, value in keys.items() if not isinstance(value, dict)}
        if simple:
            lines += ["", f"[{section}]", *(_line(section, key, value) for key, value in simple.items())]
        for name, table in keys.items():
            if isinstance(table, dict):
                entries = cast("dict[str, Any]", table)
                lines += ["", f"[{section}.{name}]", *(_line(section, key, value) for key, value in entries.items())]
    return "\n".join((*lines, ""))


_WORDS = {
    "pg_config": "the installed PostgreSQL that is used",
    "major": "PostgreSQL's major version",
    "dsn": "a database of your own",
    "clients": "machines or networks whose programs are let in, AIR's first",
    "tls": "whether the servers speak TLS; then nobody enters without",
    "addresses": "every way by which the other machines reach it",
    "postgres_port": "PostgreSQL",
    "agent_port": "the watchdogs speak to each other there",
    "health_port": "/primary and /patroni, for whoever asks",
    "model": "what makes the vectors",
}


def _line(section: str, key: str, value: object) -> str:
    del section
    said = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    return f"{said:<44} # {_WORDS[key]}" if key in _WORDS else said


def changed(text: str, wanted: Mapping[str, Any]) -> str:
    """Return `text` saying what is wanted. Raises ValueError, TOMLKitError for what is no TOML or no table."""
    document = tomlkit.parse(text)
    for section, keys in wanted.items():
        _merge(document, section, keys)
    return tomlkit.dumps(document)  # pyright: ignore[reportUnknownMemberType]


def _merge(parent: Any, name: str, keys: Mapping[str, Any]) -> None:  # noqa: ANN401 - tomlkit's containers share no type
    table = parent.get(name)
    if table is None:
        table = tomlkit.table()
        parent[name] = table
        table = parent[name]
    if not isinstance(table, _TABLES):
        raise ValueError(f"{name} is no table; write it as [{name}]")  # noqa: TRY004 it is about the file's content
    for key, value in keys.items():
        if isinstance(value, dict):
            _merge(table, key, cast("dict[str, Any]", value))
        elif table.get(key) != value:  # pyright: ignore[reportUnknownMemberType]
            table[key] = value


def says(table: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether the parsed file has all that is wanted."""
    for key, value in wanted.items():
        if isinstance(value, dict):
            inner = table.get(key)
            if not isinstance(inner, dict) or not says(cast("dict[str, Any]", inner), cast("dict[str, Any]", value)):
                return False
        elif table.get(key) != value:
            return False
    return True


def values(  # noqa: PLR0913 - each by its name
    *,
    members: Sequence[Member],
    clients: Sequence[str] = (),
    pg_config: str | None = None,
    dsn: str | None = None,
    major: int | None = None,
    model: str | None = None,
    tls: bool | None = None,
) -> dict[str, Any]:
    """Return what the file is to say, by section and key; what is None is not spoken of."""
    postgres = {"major": major, "pg_config": pg_config, "dsn": dsn}
    cluster: dict[str, Any] = {"clients": list(clients)} if clients else {}
    if tls is not None and members:
        cluster["tls"] = tls
    for member in members:
        cluster[member.name] = {
            "addresses": list(member.addresses),
            "postgres_port": member.postgres_port,
            "agent_port": member.agent_port,
            "health_port": member.health_port,
        }
    sections = {
        "postgres": {key: value for key, value in postgres.items() if value is not None},
        "embedder": {"model": model} if model else {},
        "cluster": cluster,
    }
    return {section: keys for section, keys in sections.items() if keys}
