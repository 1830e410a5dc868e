"""Bring a model of the hub here: byte for byte, resumable, checked, and never half a model that looks whole.

The files lie as huggingface_hub keeps them (blobs by hash, snapshots of links by commit), so that a copy made by
another program is found, and ours by others. A file's link is made when its hash was right, and when all are there, the
snapshot is marked as whole (aya_embedder.snapshots). One process pulls a repository at a time; others wait, and find it
done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shlex
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from aya.download import DownloadError, Interrupted, Persistence, Target, arrived_bytes, disk_error, fetch
from aya.errors import EmbedderError, EmbedderUnavailable
from aya.flush import flush
from aya_embedder import hub, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from aya_embedder.hub import Listing, RemoteFile
    from aya_embedder.registry import Pinned

PERSISTENCE = Persistence(time.sleep, random.uniform)
_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is, after each piece and each change.

    event: "started", "moved", "retrying" (note says why and when), "finished". file: which one, of the repository.
    done_bytes: of total_bytes, what was here before included; new_bytes: what this call fetched, in `seconds`.
    """

    event: Literal["started", "moved", "retrying", "finished"]
    model: str
    file: str
    files: int
    done_bytes: int
    total_bytes: int
    new_bytes: int
    seconds: float
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, with the rate and the time left where they are known, ready for JSON."""
        rate = self.new_bytes / self.seconds if self.seconds and self.new_bytes else None
        left = (self.total_bytes - self.done_bytes) / rate if rate else None
        return {**asdict(self), "bytes_per_second": rate, "seconds_left": left}


def pull(
    model: Pinned, hf_home: Path | None, report: Callable[[Progress], None], persistence: Persistence = PERSISTENCE
) -> Path:
    """Return the directory of `model`, fetching what is not here.

    report: is told how far it is, from this thread. A broken connection is taken up again, and whatever ends the call
    leaves what has arrived for the next one. A copy that another program left is completed, or, when the hub does not
    answer, used as it is. Raises EmbedderUnavailable when the hub cannot be reached, and EmbedderError when it refuses,
    the disk is full, or a file is not the one that the hub announced.
    """
    here = snapshots.whole(model, hf_home)
    if here:
        return here
    try:
        with _alone(snapshots.folder(model, hf_home)):
            return snapshots.whole(model, hf_home) or _Pull(model, hf_home, report, persistence).run()
    except DownloadError as error:
        kind = EmbedderUnavailable if isinstance(error, Interrupted) else EmbedderError
        raise kind(
            f"{model.repository} could not be fetched: {error.message}",
            hint=error.hint or f"aya models pull {model.name}",
        ) from error


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "aya.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise disk_error(error, folder) from error


class _Pull:
    """One pull: what there is to fetch, and how far it is."""

    def __init__(
        self, model: Pinned, hf_home: Path | None, report: Callable[[Progress], None], persistence: Persistence
    ) -> None:
        self._model = model
        self._hf_home = hf_home
        self._blobs = snapshots.folder(model, hf_home) / "blobs"
        self._snapshot = snapshots.directory(model, hf_home)
        self._report = report
        self._persistence = persistence
        self._listing: Listing = hub.Listing((), {})
        self._file = ""
        self._done: dict[str, int] = {}
        self._before = 0
        self._began = time.monotonic()

    def run(self) -> Path:
        """Fetch, check and link every file; return the snapshot."""
        if snapshots.usable(self._model, self._hf_home) and not self._listed_at_once():
            return self._snapshot
        if not self._listing.files:
            self._persistence.persist(self._list, lambda: 0, self._retrying)
        self._done = {file.path: self._arrived(file) for file in self._listing.files}
        self._before = sum(self._done.values())
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._check_room()
        self._tell("started")
        self._began = time.monotonic()
        with self._persistence.client() as client:
            for file in self._listing.files:
                self._file = file.path
                if not (self._blobs / file.blob).exists():
                    target = Target(file.url, self._partial(file), file.size_bytes, self._listing.headers)
                    self._persistence.persist(
                        partial(fetch, client, target, self._moved),
                        partial(arrived_bytes, target.partial),
                        self._retrying,
                    )
                    self._keep(file)
                self._link(file)
        snapshots.mark(self._model, self._hf_home, [file.path for file in self._listing.files])
        self._tell("finished")
        return self._snapshot

    def _listed_at_once(self) -> bool:
        """Ask the hub once what belongs to a copy that another program left; return whether it answered."""
        try:
            self._list()
        except DownloadError as error:
            self._retrying(f"{error.message}; what another program fetched is used as it is")
            return False
        return True

    def _list(self) -> None:
        self._listing = hub.listing(self._model)

    def _arrived(self, file: RemoteFile) -> int:
        blob = self._blobs / file.blob
        return file.size_bytes if blob.exists() else min(arrived_bytes(self._partial(file)), file.size_bytes)

    def _partial(self, file: RemoteFile) -> Path:
        return self._blobs / f"{file.blob}.incomplete"

    def _check_room(self) -> None:
        missing = self._listing.total_bytes - self._before
        free = shutil.disk_usage(self._blobs).free
        if missing > free:
            raise DownloadError(
                f"the disk is full: {missing:,} bytes are still to come, and {self._blobs} has room for {free:,}",
                hint=f"df -h {shlex.quote(str(self._blobs))}; or export AYA_HF_HOME=… to keep models elsewhere",
            )

    def _keep(self, file: RemoteFile) -> None:
        """Make the partial file a blob, if it is what the hub announced; otherwise it goes."""
        fetched = self._partial(file)
        found = _blob_hash(fetched, file)
        if found != file.blob:
            fetched.unlink()
            raise DownloadError(
                f"{file.path} has the hash {found}, and not {file.blob}; what had arrived was thrown away",
                hint=f"aya models pull {self._model.name}; if it happens again, the network or a mirror changes files",
            )
        with fetched.open("rb") as written:
            flush(written.fileno())
        fetched.replace(self._blobs / file.blob)

    def _link(self, file: RemoteFile) -> None:
        link = self._snapshot / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(self._blobs / file.blob, link.parent))

    def _moved(self, here: int) -> None:
        self._done[self._file] = here
        self._tell("moved")

    def _retrying(self, why: str) -> None:
        self._tell("retrying", why)

    def _tell(self, event: Literal["started", "moved", "retrying", "finished"], note: str | None = None) -> None:
        done = sum(self._done.values())
        self._report(
            Progress(
                event,
                self._model.name,
                self._file,
                len(self._listing.files),
                done,
                self._listing.total_bytes,
                max(0, done - self._before),
                time.monotonic() - self._began,
                note,
            )
        )


def _blob_hash(path: Path, file: RemoteFile) -> str:
    """Hash a file as the hub does: Git LFS by SHA-256; git by SHA-1 with a header (git-hash-object(1))."""
    if len(file.blob) == _SHA256_DIGITS:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    body = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
