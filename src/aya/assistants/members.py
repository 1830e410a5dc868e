"""The files of an export: in a .zip as it came, in a folder, or one by itself."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from aya.assistants.json_values import elements
from aya.errors import DocumentError
from aya.textfile import shown_path

_MOST_MEMBERS = 200_000


@dataclass(frozen=True, slots=True)
class Member:
    """One file. name: below the export, with slashes."""

    name: str
    open: Callable[[], BinaryIO]

    def elements(self) -> Generator[object]:
        """Yield what its JSON array holds, one at a time. Raises DocumentError."""
        try:
            with self.open() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
                yield from elements(text, self.name)
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DocumentError(f"{self.name} cannot be read: {error}", hint="get the export again") from error


def members(path: Path, names: re.Pattern[str]) -> list[Member]:
    """Return the files of an export whose names match, in order; a file by itself matches whatever its name.

    Raises DocumentError when the path cannot be read, or none matches.
    """
    try:
        if path.is_dir():
            found = [_in_folder(path, file) for file in path.rglob("*.json")]
        elif zipfile.is_zipfile(path):
            found = _in_archive(path)
        else:
            path.open("rb").close()
            return [Member(path.name, lambda: path.open("rb"))]
    except (OSError, zipfile.BadZipFile) as error:
        raise DocumentError(f"{shown_path(path)} cannot be read: {error}", hint="name the export") from error
    fitting = sorted((each for each in found if names.search(each.name)), key=lambda each: each.name)
    if not fitting:
        raise DocumentError(
            f"there is no conversations.json in {shown_path(path)}", hint="name the export: its .zip, folder or .json"
        )
    return fitting


def _in_folder(folder: Path, file: Path) -> Member:
    return Member(file.relative_to(folder).as_posix(), lambda: file.open("rb"))


def _in_archive(path: Path) -> list[Member]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()[:_MOST_MEMBERS]
    # macOS puts a folder of its own beside the files of an archive.
    return [_zipped(path, name) for name in names if "__MACOSX" not in PurePosixPath(name).parts]


def _zipped(path: Path, name: str) -> Member:
    def opened() -> BinaryIO:
        archive = zipfile.ZipFile(path)
        stream = cast("BinaryIO", archive.open(name))
        # The stream keeps the file open that it reads; the archive has nothing else to do.
        archive.close()
        return stream

    return Member(name, opened)
