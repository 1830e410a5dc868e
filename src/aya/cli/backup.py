"""`aya backup`: base backups and the WAL archive of a node on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from aya.cli import output, session
from aya.errors import EXIT_DEGRADED, EXIT_FAILED
from aya.home import Home
from aya.settings import load_config

if TYPE_CHECKING:
    from aya.backup.archive import Findings
    from aya.backup.catalogue import Backup

_HEADERS = ("BACKUP", "TAKEN", "SIZE", "TIMELINE", "FROM", "CHECKED", "STATE")
_SHOWN = 5


@click.group(name="backup")
def command() -> None:
    """Make, list and check base backups and the WAL archive. `aya restore` brings back a moment from them."""


@command.command(name="create")
@session.node_option
@session.json_option
@click.pass_obj
def create(home: Home, /, *, node: str | None, as_json: bool) -> None:
    """Copy the running server of a node, check the copy, and remove what is older than the ones to keep.

    aya.toml says how many are kept: [backup] keep = 3. The last good one is never removed.
    """
    # Here, not above: `aya backup --help` needs none of it.
    from aya.backup import create as creating  # noqa: PLC0415
    from aya.backup import failed  # noqa: PLC0415

    config = load_config(home)
    where = creating.place(home, config, session.chosen_node(home, node))
    made = asyncio.run(creating.create(where, output.progress))
    failed.forget(home, where.node)
    gone = creating.prune(where, config.backups_kept)
    if as_json:
        output.document({**document(made), "removed": list(gone.backups), "removed_files": gone.files})
        return
    output.line(f"backup {made.name} of {made.node}: {creating.size_text(made.size)}, checked")
    for name in gone.backups:
        output.line(f"backup {name} removed: {config.backups_kept} newer ones are good")


@command.command(name="list")
@session.node_option
@session.json_option
@click.pass_obj
def list_(home: Home, /, *, node: str | None, as_json: bool) -> None:
    """List the base backups of a node, oldest first."""
    from aya.backup import create as creating  # noqa: PLC0415 as above

    where = creating.place(home, load_config(home), session.chosen_node(home, node))
    backups = where.catalogue.all()
    if as_json:
        output.document({"node": where.node, "backups": [document(one) for one in backups]})
    elif backups:
        output.table(_HEADERS, [row(one, creating.size_text(one.size)) for one in backups])
    else:
        output.line(f"{where.node} has no base backup yet")
        output.line(f"  next: aya backup create --node {where.node}")


@command.command(name="verify")
@session.node_option
@session.json_option
@click.pass_obj
def verify(home: Home, /, *, node: str | None, as_json: bool) -> int:
    """Read every base backup and every archived file of a node, and compare them with their checksums.

    Exit code 0: all is good. 1: something is damaged, or the newest backup cannot be rolled forward to the end of the
    archive. 3: segments are missing between older backups; the newest one is not concerned.
    """
    from aya.backup import archive  # noqa: PLC0415 as above
    from aya.backup import create as creating  # noqa: PLC0415 as above

    where = creating.place(home, load_config(home), session.chosen_node(home, node))
    with where.locked("aya backup verify"):
        backups = asyncio.run(creating.verify(where, where.catalogue.all(), output.progress))
        findings = archive.audit(where.archive, backups, output.progress)
        recent = archive.gaps(where.archive, _newest(backups), archive.names(where.archive))
    code = exit_code(backups, findings, recent)
    if as_json:
        output.document(
            {
                "node": where.node,
                "good": code == 0,
                "backups": [document(one) for one in backups],
                "archive": {**asdict(findings), "directory": str(where.archive)},
            }
        )
        return code
    _print(where.node, backups, findings, creating.size_text(findings.size))
    for text in problems(where.node, backups, findings, recent):
        output.error(*text)
    return code


@command.command(name="drill")
@session.node_option
@session.json_option
@click.pass_obj
def drill(home: Home, /, *, node: str | None, as_json: bool) -> None:
    """Prove that a restore works: restore everything beside, read every row, search, and remove it again."""
    from aya.backup import restore  # noqa: PLC0415 as above
    from aya.backup.create import place  # noqa: PLC0415 as above

    began = time.monotonic()
    where = place(home, load_config(home), session.chosen_node(home, node))
    one, found = asyncio.run(restore.drill(where, output.progress))
    seconds = time.monotonic() - began
    if as_json:
        output.document({**asdict(one), "found": found, "seconds": round(seconds, 1)})
        return
    output.line(
        f"restored {one.node} from backup {one.backup} to {one.reached} in {seconds:.0f} s, and removed it again"
    )
    output.line(f"read {found['documents']} documents, {found['chunks']} chunks; a search found what it should")


def _newest(backups: Sequence[Backup]) -> list[Backup]:
    return [one for one in backups if one.is_known][-1:]


def exit_code(backups: Sequence[Backup], findings: Findings, recent: Sequence[object]) -> int:
    """Return what `verify` ends with; pure. recent: gaps since the newest base backup."""
    if findings.damaged or recent or any(one.problem for one in backups):
        return EXIT_FAILED
    return EXIT_DEGRADED if findings.gaps or not backups else 0


def problems(
    node: str, backups: Sequence[Backup], findings: Findings, recent: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return what is wrong, each with the next command; pure."""
    again = f"aya backup create --node {node}"
    found = [(f"backup {one.name} is damaged: {one.problem}", again) for one in backups if one.problem]
    found += [(f"{name} {why}", again) for name, why in findings.damaged[:_SHOWN]]
    if len(findings.damaged) > _SHOWN:
        found.append(
            (f"and {len(findings.damaged) - _SHOWN} more damaged files", f"aya backup verify --node {node} --json")
        )
    for first, last in findings.gaps:
        what = first if first == last else f"{first} to {last}"
        beside = "" if (first, last) in recent else "; the newest backup does not need it"
        found.append((f"the archive lacks {what}{beside}", again))
    if not backups:
        found.append((f"{node} has no base backup: nothing can be restored from the archive alone", again))
    return found


def _print(node: str, backups: Sequence[Backup], findings: Findings, size: str) -> None:
    for one in backups:
        output.line(f"backup {one.name}: {'damaged' if one.problem else 'good'}")
    reach = f", {findings.first} to {findings.last}" if findings.first else ""
    output.line(f"archive of {node}: {findings.files} files, {size}{reach}; {len(findings.damaged)} damaged")


def document(backup: Backup) -> dict[str, Any]:
    """Return a base backup as JSON has it: its fields, and positions as PostgreSQL writes them; pure."""
    from aya.backup.wal import lsn_text  # noqa: PLC0415 as above

    return {**asdict(backup), "start": lsn_text(backup.start), "end": lsn_text(backup.end), "good": backup.good}


def row(backup: Backup, size: str) -> tuple[str, ...]:
    """Return a base backup's line of the table; pure."""
    from aya.backup.wal import lsn_text  # noqa: PLC0415 as above

    state = "damaged" if backup.problem else "good" if backup.good else "not checked"
    return (
        backup.name,
        backup.ended_at[:19].replace("T", " "),
        size,
        str(backup.timeline),
        lsn_text(backup.start),
        backup.verified_at[:19].replace("T", " ") if backup.verified_at else "-",
        state,
    )
