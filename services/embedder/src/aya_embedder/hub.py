"""What we ask of the hub: which files a repository has at a commit, with their sizes and hashes, and where they are.

The bytes themselves are fetched by aya.download: since 2.x huggingface_hub throws a partial file away when a download
is broken off, so that a model of a gigabyte begins anew after every Ctrl-C (huggingface_hub#4228). HF_ENDPOINT,
HF_TOKEN and HF_HUB_OFFLINE mean what they mean everywhere. Source: https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aya.download import NETWORK_ERRORS, DownloadError, Interrupted
from aya_embedder.describe import WEIGHTS

if TYPE_CHECKING:
    from aya_embedder.registry import Pinned

# What describe, tokens and network read: at the top, and of the steps after the transformer (1_Pooling/).
_WANTED = re.compile(rf"[^/]+\.json|\d+_[^/]+/[^/]+\.json|{re.escape(WEIGHTS)}")
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_UNREACHED: tuple[type[Exception], ...] = (*NETWORK_ERRORS, ValueError)  # a portal's page is no JSON
_FIRST_SERVER_ERROR = 500
_TOO_MANY, _TIMEOUT = 429, 408


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file. path: in the repository; blob: its hash, as git (40 hex digits) or Git LFS (64) computes it."""

    path: str
    size_bytes: int
    blob: str
    url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is to fetch. headers: that each request for a file carries, the token among them."""

    files: tuple[RemoteFile, ...]
    headers: dict[str, str]

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(file.size_bytes for file in self.files)


def cache_directory(hf_home: Path | None) -> Path:
    """Return where the hub's copies are kept: below `hf_home`, or where huggingface_hub keeps its own."""
    if hf_home:
        return hf_home / "hub"
    own = os.environ.get("HF_HUB_CACHE")
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return (Path(own) if own else home / "hub").expanduser()


def listing(model: Pinned) -> Listing:
    """Ask the hub for the files of `model` that the embedder reads; the weights come last.

    Raises Interrupted when the hub cannot be reached or is busy, DownloadError when it refuses.
    """
    # here, because it takes 0.8 s and only a download needs it
    from huggingface_hub import HfApi, get_token, hf_hub_url  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        info = HfApi(endpoint=endpoint).model_info(model.repository, revision=model.revision, files_metadata=True)
    except HfHubHTTPError as error:
        raise _refused(model, error.response.status_code, error) from error
    except _UNREACHED as error:
        raise Interrupted(f"the hub cannot be reached: {_first_line(error)}", hint=_offline_hint(model)) from error
    files = [
        RemoteFile(
            one.rfilename,
            one.size or 0,
            one.lfs.sha256 if one.lfs else one.blob_id or "",
            hf_hub_url(model.repository, one.rfilename, revision=model.revision, endpoint=endpoint),
        )
        for one in info.siblings or []
        if _WANTED.fullmatch(one.rfilename)
    ]
    _check_blobs(model, {file.path: file.blob for file in files})
    token = get_token()
    return Listing(
        tuple(sorted(files, key=lambda file: file.path == WEIGHTS)),
        {"Authorization": f"Bearer {token}"} if token else {},
    )


def _check_blobs(model: Pinned, blobs: dict[str, str]) -> None:
    """Refuse before a byte is fetched what could not be used, or is no hash: it becomes the name of a file."""
    strange = [path for path, blob in blobs.items() if not _HASH.fullmatch(blob)]
    if strange:
        raise DownloadError(f"the hub gives no hash for {strange[0]} of {model.repository}", hint="unset HF_ENDPOINT")
    if WEIGHTS not in blobs:
        raise DownloadError(f"{model.repository} has no {WEIGHTS} at {model.revision}", hint="aya models list")
    if model.weights_sha256 not in {None, blobs[WEIGHTS]}:
        raise DownloadError(
            f"the hub's {WEIGHTS} of {model.repository} has the hash {blobs[WEIGHTS]}, not {model.weights_sha256}",
            hint="unset HF_ENDPOINT, if it names a mirror",
        )


def _refused(model: Pinned, status: int, error: Exception) -> DownloadError:
    named = f"{model.repository} at {model.revision}"
    if status in {401, 403}:
        return DownloadError(
            f"the hub does not give {named} to you ({status}): it is private, gated or not there",
            hint="export HF_TOKEN=…, with a token that may read it",
        )
    if status == 404:  # noqa: PLR2004 the status is its own name
        return DownloadError(f"the hub has no {named}", hint="aya models list shows the models that have a name here")
    if status >= _FIRST_SERVER_ERROR or status in {_TOO_MANY, _TIMEOUT}:
        return Interrupted(f"the hub answers {status}", hint=_offline_hint(model))
    return DownloadError(f"the hub refuses {named}: {_first_line(error)}", hint="aya models list")


def _offline_hint(model: Pinned) -> str:
    return (
        "connect to the network, or copy the model here and export AYA_MODEL=/path/to/"
        f"{model.repository.rpartition('/')[2]}, or use the model that needs no network: export AYA_MODEL=minilm"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
