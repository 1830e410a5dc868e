"""Who may read the secrets and enter the directories of a home; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.doctor.mends import Chmod
from aya.doctor.servers import Access, ServerFacts

Holds = Literal["secret", "directory", "data", "home"]
# data: PostgreSQL takes 0750 too (initdb --allow-group-access).
_FORBIDDEN: dict[Holds, int] = {"secret": 0o077, "directory": 0o077, "data": 0o027, "home": 0o022}
_WANTED: dict[Holds, int] = {"secret": 0o600, "directory": 0o700, "data": 0o700}
_WEAK = frozenset({"trust", "password", "md5", "ident"})
_ANYWHERE = frozenset({"0.0.0.0/0.0.0.0", "0.0.0.0/0", "::/::", "::/0", "all"})
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
        wanted = _WANTED.get(entry.holds, entry.mode & ~_FORBIDDEN[entry.holds])
        mend = Chmod(entry.path, wanted, entry.expected_owner)
        what = f"{entry.path} has mode {entry.mode:04o}"
        # Whoever owns it instead may have put it there for that.
        is_ours = entry.owner == entry.expected_owner
        found.append(finding(_KINDS[entry.holds], what, str(mend), node=entry.node, mend=mend if is_ours else None))
    return found


def judge_access(seen: ServerFacts) -> list[Finding]:
    """Return the lines of pg_hba.conf that let in whom nobody named, or without a password that is worth the name."""
    hint = (
        "aya down, then aya up writes it anew"
        if seen.ours
        else "scram-sha-256 and named hosts there; psql: SELECT pg_reload_conf()"
    )
    found = [(one, why) for one in seen.access if (why := _weakness(one))]
    return [
        finding("permissions.weak-access", f"line {one.line} of pg_hba.conf {why}", hint, node=seen.node)
        for one, why in found
    ]


def _weakness(one: Access) -> str | None:
    if one.error:
        return f"cannot be read: {one.error}"
    if one.method in _WEAK:
        return f"lets {one.users} in by {one.method}"
    if one.method != "reject" and one.kind != "local" and one.address in _ANYWHERE:
        return f"lets {one.users} in from any address"
    return None
