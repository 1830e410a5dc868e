"""Change one key of aya.toml and leave everything else as a person wrote it: comments, order, spaces, mode."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from pathlib import Path
from typing import cast

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from aya.errors import ConfigError

_NEW_FILE_MODE = 0o644
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
        write(target, after)
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


def write(file: Path, text: str) -> None:
    """Replace a file whole or not at all; its mode and, where it is a link, the link are kept. Raises OSError."""
    target = file.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else _NEW_FILE_MODE
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
