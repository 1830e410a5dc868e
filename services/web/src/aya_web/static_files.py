"""The page's own files, read once: there are few, and what is served is what was installed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file. etag: of its content, as HTTP has it (RFC 9110, 8.8.3)."""

    content: bytes
    media_type: str
    etag: str


def read_all() -> dict[str, StaticFile]:
    """Return the files by the path under which they are served; index.html is "/"."""
    found: dict[str, StaticFile] = {}
    for file in files("aya_web").joinpath("static").iterdir():
        media_type = _TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            content = file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            path = "/" if file.name == "index.html" else f"/{file.name}"
            found[path] = StaticFile(content, media_type, etag)
    return found
