"""A small disk of its own for a node, which can really be full. Needs root and Linux."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

# A cluster, a copy of it beside, and the WAL that is kept.
_SIZE = "1g"
_BALLAST = "ballast"
_STEPS = (64 << 20, 1 << 20, 64 << 10, 4 << 10)


class Disk:
    """A file system in memory at `path`. elsewhere: a folder in it that only grows, and which one that is outside."""

    def __init__(self, path: Path, elsewhere: tuple[str, Path] | None = None) -> None:
        self._path, self._elsewhere = path, elsewhere

    def make(self) -> None:
        """Mount it; the directory is made."""
        self._path.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=755", "tmpfs", str(self._path))
        if self._elsewhere:
            name, outside = self._elsewhere
            (self._path / name).mkdir(mode=0o700)
            outside.mkdir(parents=True)
            _run("mount", "--bind", str(outside), str(self._path / name))

    def fill(self) -> None:
        """Leave not a page free."""
        with (self._path / _BALLAST).open("ab") as ballast:
            for step in _STEPS:
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, step)

    @property
    def is_full(self) -> bool:
        """Return whether it was filled, and not emptied since."""
        return (self._path / _BALLAST).exists()

    def empty(self) -> None:
        """Have room again."""
        (self._path / _BALLAST).unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it, with all that is on it."""
        inside = [self._path / self._elsewhere[0]] if self._elsewhere else []
        for path in (*inside, self._path):
            with suppress(subprocess.CalledProcessError):
                _run("umount", str(path))


def is_possible(directory: Path) -> bool:
    """Return whether a disk can be mounted in a directory: tried, not guessed."""
    tried = directory / f"disk-{os.getpid()}"
    tried.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tried))
        _run("umount", str(tried))
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        tried.rmdir()
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)
