"""Where the hub's models lie on this machine, and whether one is whole.

The directories are huggingface_hub's. It links the files of a snapshot one by one, in no order, so that one which was
broken off may have weights and still lack what says how long a text may be. Which files belong to a snapshot is known
once the hub was asked: a pull that came to its end writes their names down beside it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from aya_embedder import hub
from aya_embedder.contents import TOKENIZER
from aya_embedder.describe import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aya_embedder.registry import Pinned

_REQUIRED = ("config.json", "modules.json", TOKENIZER, WEIGHTS)


def folder(model: Pinned, hf_home: Path | None) -> Path:
    """Return where everything of a repository lies."""
    return hub.cache_directory(hf_home) / f"models--{model.repository.replace('/', '--')}"


def directory(model: Pinned, hf_home: Path | None) -> Path:
    """Return where the files of `model` are linked; it need not be there."""
    return folder(model, hf_home) / "snapshots" / model.revision


def whole(model: Pinned, hf_home: Path | None) -> Path | None:
    """Return the directory of `model` when all that the hub listed for it is here, else None; nothing is fetched."""
    names = _listed(_marker(model, hf_home))
    found = directory(model, hf_home)
    return found if names and all((found / name).exists() for name in names) else None


def usable(model: Pinned, hf_home: Path | None) -> Path | None:
    """Return the directory of `model` when it could be loaded, else None: a copy, perhaps, that lacks a small file."""
    found = directory(model, hf_home)
    return found if all((found / name).exists() for name in (*_REQUIRED, *_steps(found))) else None


def mark(model: Pinned, hf_home: Path | None, names: Iterable[str]) -> None:
    """Write down that `names` are all the files of `model`, and are here. Raises OSError."""
    marker = _marker(model, hf_home)
    fresh = marker.with_suffix(".new")
    fresh.write_text(json.dumps(sorted(names)), encoding="utf-8")
    fresh.replace(marker)


def _marker(model: Pinned, hf_home: Path | None) -> Path:
    return folder(model, hf_home) / f"aya.{model.revision}.files"


def _listed(marker: Path) -> list[str]:
    try:
        return [str(name) for name in cast("list[object]", json.loads(marker.read_bytes()))]
    except (OSError, ValueError, TypeError):
        return []


def _steps(found: Path) -> list[str]:
    """Return the settings of the pooling that modules.json names."""
    try:
        listed = cast("list[dict[str, str]]", json.loads((found / "modules.json").read_bytes()))
        return [f"{one['path']}/config.json" for one in listed if one["type"].rpartition(".")[2] == "Pooling"]
    except (OSError, ValueError, LookupError, TypeError):
        return ["modules.json"]
