"""The report as one file: a tar archive, compressed, for its owner's eyes until he has looked into it."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aya.bugreport.collect import parts, secrets_of, text_of
from aya.bugreport.redact import Redactor
from aya.errors import AyaError, ConfigError
from aya.home import Home

_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Report:
    """file: where it is. parts: what is in it, with sizes in bytes."""

    file: Path
    parts: tuple[tuple[str, int], ...]


def write(home: Home, file: Path, tell: Callable[[str, int], None]) -> Report:
    """Write the report of a home; tell: called with each part, as it is there.

    Raises ConfigError when the file cannot be written or is there already, AyaError when a secret would be in it.
    """
    secrets = secrets_of(home)
    redactor = Redactor(secrets, str(Path.home()))
    texts: list[tuple[str, str]] = []
    for part in parts(home):
        text = text_of(part, redactor)
        if leaked := redactor.leaks(text):
            raise AyaError(
                f"nothing was written: {part.name} would hold the {leaked[0]}",
                hint=f"leave it out and report that {part.name} does",
            )
        texts.append((part.name, text))
        tell(part.name, len(text.encode()))
    _save(file, texts)
    return Report(file, tuple((name, len(text.encode())) for name, text in texts))


def _save(file: Path, texts: list[tuple[str, str]]) -> None:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}", hint="aya bugreport --output FILE") from error
    folder = file.name.removesuffix(".gz").removesuffix(".tar")
    try:
        with os.fdopen(handle, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in texts:
                content = text.encode()
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mode, member.mtime = len(content), _MODE, int(time.time())
                archive.addfile(member, io.BytesIO(content))
    except BaseException:
        file.unlink(missing_ok=True)
        raise
