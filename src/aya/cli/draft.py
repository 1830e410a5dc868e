"""A document's text in a file of its own while a person edits it: what was typed is never thrown away."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aya.cli import output
from aya.errors import AyaError
from aya.home import Home


@contextmanager
def draft(home: Home, document_id: int, content: str) -> Generator[Path]:
    """Lend a file (mode 600, in HOME/edits) that holds `content`.

    It is removed when the block ends well, or when nothing was typed into it. Otherwise it stays, whatever ended the
    block, and the error says where: in the hint of an AyaError, else in a line of its own.
    """
    before = content.encode("utf-8")
    file = _new_file(home, f"document-{document_id}-{time.strftime('%Y%m%d-%H%M%S')}-")
    file.write_bytes(before)
    try:
        yield file
    except BaseException as error:
        if not _typed(file, before):
            file.unlink(missing_ok=True)
            raise
        kept = f"your text is kept: aya edit {document_id} --file {shlex.quote(str(file))}"
        if isinstance(error, AyaError):
            error.hint = f"{error.hint}; {kept}" if error.hint else kept
        else:
            output.progress(kept)
        raise
    file.unlink(missing_ok=True)


def _new_file(home: Home, prefix: str) -> Path:
    """Make an empty file with mode 600: in the home, or where temporary files go when that is somebody else's."""
    directory = home.path / "edits"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=directory, prefix=prefix, suffix=".md")
    except OSError:
        handle, name = tempfile.mkstemp(prefix=f"aya-{prefix}", suffix=".md")
    os.close(handle)
    return Path(name)


def _typed(file: Path, before: bytes) -> bool:
    """Return whether the file holds words that it did not hold before; an editor that took it away left none."""
    try:
        now = file.read_bytes()
    except OSError:
        return False
    return bool(now.strip()) and now != before
