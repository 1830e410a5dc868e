"""Who may read the secrets and enter the directories of a home; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.doctor.mends import Chmod

Holds = Literal["secret", "directory", "data", "home"]
# data: PostgreSQL takes 0750 too (initdb --allow-group-access).
_FORBIDDEN: dict[Holds, int] = {"secret": 0o077, "directory": 0o077, "data": 0o027, "home": 0o022}
_WANTED: dict[Holds, int] = {"secret": 0o600, "directory": 0o700, "data": 0o700}
_KINDS: dict[Holds, str] = {
    "secret": "permissions.file-open",
    "directory": "permissions.directory-open",
    "data": "permissions.directory-open",
    "home": "permissions.home-writable",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a directory of a home. mode: its permission bits. owner, expected_owner: user ids."""

    path: Path
    holds: Holds
    mode: int
    owner: int
    expected_owner: int
    is_link: bool = False
    node: str | None = None


def judge(entry: Entry) -> list[Finding]:
    """Return what is wrong with one entry."""
    quoted = shlex.quote(str(entry.path))
    if entry.is_link:
        what = f"{entry.path} is a link"
        return [finding("permissions.link", what, f"ls -l {quoted}; put the file itself there", node=entry.node)]
    found: list[Finding] = []
    if entry.owner != entry.expected_owner:
        what = f"{entry.path} belongs to user {entry.owner}, not {entry.expected_owner}"
        hint = f"sudo chown {entry.expected_owner} {quoted}"
        found.append(finding("permissions.wrong-owner", what, hint, node=entry.node))
    if entry.mode & _FORBIDDEN[entry.holds]:
        mend = Chmod(entry.path, _WANTED.get(entry.holds, entry.mode & ~_FORBIDDEN[entry.holds]))
        what = f"{entry.path} has mode {entry.mode:04o}"
        found.append(finding(_KINDS[entry.holds], what, str(mend), node=entry.node, mend=mend))
    return found
