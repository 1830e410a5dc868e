"""`aya doctor`: looks at this machine and its nodes; each failure ends in the command that mends it.

Exit codes: 0 no failure and no warning, 3 warnings only, 1 failures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from aya.cli import output, session
from aya.home import Home

if TYPE_CHECKING:
    from aya.doctor.findings import Finding

_WORDS = {"failure": "FAILURE", "warning": "warning", "note": "note", "ok": "ok", "skipped": "skipped"}
_COLOURS = {"failure": "red", "warning": "yellow", "ok": "green"}


@click.command(name="doctor")
@click.option("--fix", is_flag=True, help="Mend what is safe to mend (modes, proven leftovers), then look again.")
@click.option("--all", "everything", is_flag=True, help="Show what is well, and what was not looked at, too.")
@click.option("--node", metavar="NODE", help="Only this node, and the machine.")
@session.json_option
@click.pass_obj
def command(home: Home, /, *, fix: bool, everything: bool, node: str | None, as_json: bool) -> int:
    """Look at this machine and its nodes, and say of each thing that is wrong how to mend it.

    Works also when nothing runs. Exit code 3: warnings only; 1: failures. docs/operations/doctor.md has every id.
    """
    # Here, not above: `aya doctor --help` needs no database driver.
    from aya.doctor.catalogue import TOPICS  # noqa: PLC0415
    from aya.doctor.findings import exit_code, in_order  # noqa: PLC0415

    found, done = asyncio.run(_examine(home, node, fix=fix))
    found = in_order(found, TOPICS)
    if as_json:
        output.document(document(home, found, done))
    else:
        _print(found, everything=everything)
    return exit_code(found)


async def _examine(home: Home, node: str | None, *, fix: bool) -> tuple[list[Finding], list[dict[str, Any]]]:
    from aya.doctor.checks import examine  # noqa: PLC0415 as above

    found = await examine(home, node)
    done = await _mend(home, found) if fix else []
    return (await examine(home, node) if done else found), done


async def _mend(home: Home, found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Do every mend there is, each told on standard error; one that fails leaves the others alone."""
    from aya.doctor.look.configuration import read  # noqa: PLC0415 as above
    from aya.doctor.mend import mend  # noqa: PLC0415
    from aya.errors import AyaError  # noqa: PLC0415

    place, _ = read(home)
    done: list[dict[str, Any]] = []
    for one in found:
        if one.mend is None:
            continue
        error = None
        try:
            said = await mend(place, one.mend)
            output.progress(f"{one.id}: {said}")
        except (AyaError, OSError) as failed:
            said, error = str(one.mend), str(failed)
            output.error(f"{one.id}: {said}: {failed}")
        done.append({"id": one.id, "node": one.node, "did": said, "error": error})
    return done


def document(home: Home, found: Sequence[Finding], done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what --json prints; pure. fixed: what --fix did, or tried."""
    from aya.doctor.findings import counts  # noqa: PLC0415 as above

    return {
        "home": str(home.path),
        "counts": counts(found),
        "fixed": list(done),
        "findings": [one.to_json() for one in found],
    }


def lines(found: Sequence[Finding], *, everything: bool) -> list[str]:
    """Return what a person reads: by topic, what, why and the next command; pure."""
    shown = [one for one in found if everything or one.severity not in {"ok", "skipped"}]
    said: list[str] = []
    for topic in dict.fromkeys(one.topic for one in shown):
        said += ["", topic]
        for one in shown:
            if one.topic == topic:
                said += _of(one)
    return said


def _of(one: Finding) -> list[str]:
    where = f"{one.node}: " if one.node else ""
    word = click.style(f"{_WORDS[one.severity]:<8}", fg=_COLOURS.get(one.severity), bold=one.severity == "failure")
    head = f"  {word if output.colours() else _WORDS[one.severity].ljust(8)} {where}{one.what}"
    if one.severity in {"ok", "skipped"}:
        return [head]
    return [f"{head}  [{one.id}]", f"           {one.why}", f"           next: {one.hint}"]


def summary(found: Sequence[Finding]) -> str:
    """Return the line of counts; pure."""
    from aya.doctor.findings import counts  # noqa: PLC0415 as above

    there = counts(found)
    words = {"failure": "failures", "warning": "warnings", "note": "notes", "ok": "ok", "skipped": "not looked at"}
    parts = [f"{count} {_one(words[severity]) if count == 1 else words[severity]}" for severity, count in there.items()]
    fixable = sum(one.fixable for one in found)
    return ", ".join(parts) + (f"; aya doctor --fix mends {fixable}" if fixable else "")


def _one(word: str) -> str:
    return word.removesuffix("s")


def _print(found: Sequence[Finding], *, everything: bool) -> None:
    for line in lines(found, everything=everything):
        output.line(line)
    output.line()
    output.line(summary(found))
