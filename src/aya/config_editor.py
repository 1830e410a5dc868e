"""Change one key of aya.toml and leave everything else as a person wrote it: comments, order, spaces, mode."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import cast

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from aya.errors import ConfigError
from aya.replacing import replace_file

# [embedder], embedder = {…}, and one whose parts stand in several places of the file.
_TABLES = (AbstractTable, OutOfOrderTableProxy)


def set_key(file: Path, section: str, key: str, value: str) -> bool:
    """Write `key = value` into [section] of `file`, making what is missing; return whether anything changed.

    The file is replaced whole or not at all, its mode and, where it is a link, the link are kept. Raises ConfigError
    when it is no TOML, [section] is no table, or it cannot be read or written.
    """
    target = file.resolve()
    try:
        before = target.read_bytes().decode() if target.exists() else ""
        after = edited(before, section, key, value)
        if after == before:
            return False
        replace_file(target, after)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be changed: {error.strerror}", hint=f"ls -l {shlex.quote(str(file))}"
        ) from error
    except (TOMLKitError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint=f"edit {shlex.quote(str(file))}") from error
    return True


def edited(text: str, section: str, key: str, value: str) -> str:
    """Return the TOML document `text` with `key = value` in [section], however that table is written; pure.

    Raises ValueError, TOMLKitError.
    """
    document = tomlkit.parse(text)
    table = cast("object", document.get(section))  # pyright: ignore[reportUnknownMemberType]
    if table is None:
        table = tomlkit.table()
        if document.body:
            document.add(tomlkit.nl())
        document.add(section, table)
    if not isinstance(table, _TABLES):
        raise ValueError(f"{section} is no table; write it as [{section}]")  # noqa: TRY004 it is about the file's content
    if table.get(key) != value:  # pyright: ignore[reportUnknownMemberType]
        table[key] = value
    return tomlkit.dumps(document)  # pyright: ignore[reportUnknownMemberType]
