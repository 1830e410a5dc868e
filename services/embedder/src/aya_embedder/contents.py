"""Which weights and which tokenizer a directory holds, as hashes; computed once for each state of a file.

The hash of the weights is that of model.safetensors. The tokenizer's is of what it says, in one fixed form, without the
truncation and padding that some copies have baked in and that we turn off: one tokenizer saved twice has one hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aya.errors import ConfigError
from aya_embedder.describe import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOKENIZER = "tokenizer.json"
_TURNED_OFF = ("truncation", "padding")


def weights_sha256(directory: Path, memory: Path | None = None) -> str:
    """Return the hash of the weights in `directory`, 64 hex digits.

    memory: the file where hashes are remembered, by path, size and times of what they were made from; by default
    digests.json in the user's cache directory. When it cannot be read or written, everything is computed again.
    Raises ConfigError, naming the file, when it is missing or cannot be read.
    """
    return _hash(directory / WEIGHTS, _sha256, memory or _default_memory())


def digest(directory: Path, memory: Path | None = None) -> str:
    """Return one hash for weights and tokenizer; computation.digest adds how they are used."""
    tokenizer = _hash(directory / TOKENIZER, _tokenizer_sha256, memory or _default_memory())
    return hashlib.sha256(f"{weights_sha256(directory, memory)} {tokenizer}".encode()).hexdigest()


def _hash(path: Path, compute: Callable[[Path], str], memory: Path) -> str:
    known = _read(memory)
    entry = _remembered(known, path, compute)
    name = str(path.resolve())
    if known.get(name) != entry:
        with suppress(OSError):
            _write(memory, {**known, name: entry})
    return str(entry["hash"])


def _remembered(known: Mapping[str, Any], path: Path, compute: Callable[[Path], str]) -> dict[str, Any]:
    try:
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        entry = known.get(str(path.resolve()))
        if isinstance(entry, dict) and cast("dict[str, Any]", entry).get("state") == state:
            return cast("dict[str, Any]", entry)
        return {"state": state, "hash": compute(path)}
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint=f"ls -lL {shlex.quote(str(path.parent))}"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}", hint=f"fetch {path.name} of the model again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tokenizer_sha256(path: Path) -> str:
    said = cast("dict[str, Any]", json.loads(path.read_bytes()))
    if not hasattr(said, "items"):
        raise ValueError("no object")
    kept = {key: value for key, value in said.items() if key not in _TURNED_OFF}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _default_memory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "aya" / "digests.json"


def _read(memory: Path) -> dict[str, Any]:
    try:
        said = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _write(memory: Path, known: Mapping[str, Any]) -> None:
    """Replace the file whole: several embedders may start at once, and the worst is that a hash is computed again."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=memory.parent, prefix=".digests.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(known, stream)
        Path(name).replace(memory)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
