"""PostgreSQL refuses to run as root: when we are root, its processes run as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from aya.errors import PostgresError

# The first of these that the machine has; a data directory that exists keeps the user that owns it.
CANDIDATES = ("aya", "postgres", "_postgres", "nobody")


class ProcessIdentity(TypedDict, total=False):
    """Keyword arguments for subprocess: empty when no privilege is dropped."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user that PostgreSQL's processes run as. uid None: the user we are, which is not root."""

    uid: int | None
    gid: int | None
    name: str

    def process_identity(self) -> ProcessIdentity:
        """Return the keyword arguments for subprocess.run and Popen."""
        if self.uid is None or self.gid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, file: Path | int) -> None:
        """Give a path, or what a descriptor has open, to this user; of a link the link itself."""
        if self.uid is None or self.gid is None:
            return
        if isinstance(file, int):
            os.fchown(file, self.uid, self.gid)
        else:
            os.chown(file, self.uid, self.gid, follow_symlinks=False)

    def make_directory(self, path: Path, mode: int = 0o700) -> None:
        """Create `path` for this user; the directories above it stay ours.

        Raises PostgresError when a link or somebody else's directory is in its place, as anybody could put one into
        a shared /tmp.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
        handle = _open_directory(path)
        try:
            if os.fstat(handle).st_uid not in {os.geteuid(), self.uid}:
                raise PostgresError(f"{path} belongs to somebody else", hint=f"look at it, then remove {path}")
            os.fchmod(handle, mode)
            self.own(handle)
        finally:
            os.close(handle)


def _open_directory(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise PostgresError(f"{path} is no directory of its own: {error.strerror}", hint=f"remove {path}") from error


def run_as(data_directory: Path) -> RunAs:
    """Return who PostgreSQL runs as for `data_directory`: ourselves, or for root the owner or an unprivileged user.

    AYA_PG_USER names another one. Raises PostgresError when root finds nobody to become, or a user without a name.
    """
    if os.geteuid() != 0:
        return RunAs(None, None, _account(os.geteuid()).pw_name)
    if data_directory.exists() and data_directory.stat().st_uid != 0:
        entry = _account(data_directory.stat().st_uid)
        return RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name)
    wanted = os.environ.get("AYA_PG_USER")
    for name in (wanted,) if wanted else CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name)
    raise PostgresError(
        f"PostgreSQL does not run as root, and there is no user {wanted or ' or '.join(CANDIDATES)} to run it as",
        hint="useradd --system aya, or set AYA_PG_USER",
    )


def _account(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError as error:
        raise PostgresError(
            f"PostgreSQL would run as user id {uid}, which has no name on this machine (initdb refuses that)",
            hint=f"useradd --uid {uid} aya, or chown the data directory to a user that exists",
        ) from error


def can_enter(user: RunAs, directory: Path) -> bool:
    """Return whether `user` may reach `directory` and list it: every parent searchable, the last readable."""
    if user.uid is None:
        return os.access(directory, os.R_OK | os.X_OK)
    path = directory.resolve()
    return all(_allows(user, part, 0o1) for part in (path, *path.parents)) and _allows(user, path, 0o4)


def can_run(user: RunAs, program: Path) -> bool:
    """Return whether `user` may run `program`, which need not exist."""
    path = program.resolve()
    if not path.is_file():
        return False
    if user.uid is None:
        return os.access(path, os.X_OK)
    return all(_allows(user, part, 0o1) for part in (path, *path.parents))


def _allows(user: RunAs, path: Path, bit: int) -> bool:
    status = path.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode >> 6 & bit)
    if status.st_gid == user.gid:
        return bool(status.st_mode >> 3 & bit)
    return bool(status.st_mode & bit)


def copy_readable(source: Path, target: Path) -> None:
    """Copy a tree so that everybody can read it; whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, symlinks=True)
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    partial.replace(target)
