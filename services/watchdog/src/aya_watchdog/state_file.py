"""The file that holds a node's promises: written whole, fsynced, before anybody hears of what it says."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from aya.errors import ConfigError
from aya.home import read_json, write_private_json
from aya_watchdog.protocol import ProtocolError, State, check

_VERSION = 1


def path(node_directory: Path) -> Path:
    """Return where a node's state is kept."""
    return node_directory / "watchdog.json"


def load(file: Path) -> State | None:
    """Return the state; None when there is no file. Raises ConfigError for a damaged one: nothing is guessed."""
    if not file.exists():
        return None
    document = read_json(file)
    if document.pop("version", None) != _VERSION:
        raise ConfigError(f"{file} was written by another version of AYA", hint="docs/operations/failover.md")
    try:
        return check(State(**{field.name: document[field.name] for field in fields(State)}))
    except (KeyError, TypeError, ProtocolError) as error:
        raise ConfigError(f"{file} is damaged: {error}", hint="docs/operations/failover.md") from error


def save(file: Path, state: State) -> None:
    """Write the state; it is on disk when this returns."""
    write_private_json(file, {"version": _VERSION, **asdict(check(state))})
