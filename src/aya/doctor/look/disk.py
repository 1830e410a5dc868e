"""Reads how much room there is, and how fast an archive takes it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aya.doctor.disk import Growth, Room, growth
from aya.doctor.look.place import Place

_MOST_FILES = 20000


def rooms(place: Place) -> list[Room]:
    """Return the file systems that this home is on, each once."""
    devices: dict[int, list[Path]] = {}
    for path in _paths(place):
        with suppress(OSError):
            devices.setdefault(path.stat().st_dev, []).append(path)
    return [_room(paths) for paths in devices.values()]


def _paths(place: Place) -> Iterator[Path]:
    home = place.home
    yield _existing(home.path)
    for node in place.nodes:
        yield home.data_directory(node.name)
        yield home.data_directory(node.name) / "pg_wal"
        yield home.archive_directory(node.name)
        yield home.backup_directory(node.name)


def _existing(path: Path) -> Path:
    """Return the path itself, or the nearest directory above that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def _room(paths: list[Path]) -> Room:
    # The outermost of them is enough: what is below it is on the same disk.
    shown = [path for path in paths if not any(other in path.parents for other in paths)]
    seen = os.statvfs(paths[0])
    usage = shutil.disk_usage(paths[0])
    return Room(tuple(str(path) for path in shown), usage.free, usage.total, seen.f_favail, seen.f_files)


def growths(place: Place) -> list[Growth]:
    """Return what each node's archive grows by."""
    found: list[Growth] = []
    for node in place.nodes:
        directory = place.home.archive_directory(node.name)
        if directory.is_dir():
            free = shutil.disk_usage(directory).free
            found.append(Growth(node.name, str(directory), free, growth(list(_files(directory)), time.time())))
    return found


def _files(directory: Path) -> Iterator[tuple[float, int]]:
    with os.scandir(directory) as entries:
        for _, entry in zip(range(_MOST_FILES), entries, strict=False):
            with suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                yield seen.st_mtime, seen.st_size
