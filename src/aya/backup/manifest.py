"""A base backup compared with its manifest, as pg_verifybackup does it (PostgreSQL's documentation, 69.1).

In our own words, because the pg_verifybackup of the embedded PostgreSQL 18 does not start on Linux: its file is damaged
(docs/adr/0018). The WAL that belongs to the copy is read by pg_waldump.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aya.backup import archive_program, wal
from aya.errors import BackupError
from aya.postgres import files

MANIFEST = "backup_manifest"
_LAST_LINE = '"Manifest-Checksum":'
# What a copy may have beside the files of its manifest.
_BESIDE = (MANIFEST, "postgresql.auto.conf", "recovery.signal", "standby.signal")
_TOLD_SECONDS = 2.0
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Range:
    """A part of the WAL without which the copy is of no use; positions as PostgreSQL writes them."""

    timeline: int
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a copy holds: of each file its size and its SHA-256; and the WAL that it needs."""

    files: dict[str, tuple[int, str]]
    ranges: tuple[Range, ...]


def read(data: Path) -> Manifest:
    """Read the manifest of a copy and check its own checksum. Raises BackupError."""
    try:
        return parse(files.read_text(data / MANIFEST))
    except (OSError, *_UNREADABLE) as error:
        raise BackupError(f"{data / MANIFEST} cannot be used: {error}", hint="aya backup create") from error


def parse(text: str) -> Manifest:
    """Return what a manifest says; pure. Raises one of _UNREADABLE for anything else than a whole one."""
    body, found, _ = text.rpartition(_LAST_LINE)
    document: dict[str, Any] = json.loads(text)
    if not found or hashlib.sha256(body.encode()).hexdigest() != document["Manifest-Checksum"]:
        raise ValueError("its own checksum differs")
    entries: dict[str, tuple[int, str]] = {}
    for entry in document["Files"]:
        if entry["Checksum-Algorithm"] != "SHA256":
            raise ValueError(f"its checksums are {entry['Checksum-Algorithm']}, not SHA256")
        name = entry.get("Path") or os.fsdecode(bytes.fromhex(entry["Encoded-Path"]))
        if "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"its file {name!r:.200} is not in the copy")
        entries[name] = (int(entry["Size"]), str(entry["Checksum"]))
    ranges = tuple(
        Range(int(one["Timeline"]), _lsn(one["Start-LSN"]), _lsn(one["End-LSN"])) for one in document["WAL-Ranges"]
    )
    return Manifest(entries, ranges)


def _lsn(text: str) -> str:
    wal.position(text)
    return text


def check(data: Path, progress: Callable[[str], None] = lambda _: None) -> Manifest:
    """Read every file of a copy; BackupError names the first that is missing, too many or different."""
    manifest = read(data)
    told = time.monotonic()
    for number, (name, (size, checksum)) in enumerate(manifest.files.items()):
        if problem := _problem(data / name, size, checksum):
            raise BackupError(f"{name} {problem}", hint="aya backup create")
        if time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            progress(f"{number + 1} of {len(manifest.files)} files checked")
    for name in _present(data):
        if name not in manifest.files and name not in _BESIDE:
            raise BackupError(f"{name} was not copied: it came later", hint="aya backup create")
    return manifest


def _problem(file: Path, size: int, checksum: str) -> str | None:
    try:
        if file.lstat().st_size != size:
            return f"has {file.lstat().st_size} bytes, not {size}"
        differs = archive_program.file_digest(str(file), from_disk=True) != checksum
    except FileNotFoundError:
        return "is missing"
    except (OSError, archive_program.Refused) as error:
        return f"cannot be read: {error}"
    return "is not what was copied: its checksum differs" if differs else None


def _present(data: Path) -> Iterator[str]:
    """Return the files of a copy, without its WAL."""
    for folder, directories, names in os.walk(data):
        if Path(folder) == data and "pg_wal" in directories:
            directories.remove("pg_wal")
        for name in names:
            yield str((Path(folder) / name).relative_to(data))
