"""Replacing a file that a person or another program has written: whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from aya.flush import flush

NEW_FILE_MODE = 0o644


def replace_file(file: Path, text: str, *, new_mode: int = NEW_FILE_MODE) -> None:
    """Write `text` in place of a file; its mode and, where it is a link, the link stay. Raises OSError.

    new_mode: of a file that was not there.
    """
    target = file.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else new_mode
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            flush(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
