"""`aya conflicts`: what was changed on both sides. Nothing of it is lost; a person decides which version stands."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from aya.cli import output, session
from aya.home import Home

if TYPE_CHECKING:
    from aya.cli.session import Session
    from aya.knowledge.types import Document
    from aya.sync.conflicts import Conflict

_HEADERS = ("CONFLICT", "WHEN", "DOCUMENT", "TITLE", "WHAT HAPPENED", "STATE")
_number = click.argument("number", type=click.IntRange(min=1))


@click.group(name="conflicts", invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Those that were decided on, too.")
@session.json_option
@click.pass_context
def command(context: click.Context, /, *, everything: bool, as_json: bool) -> None:
    """List what was changed on both sides, AIR's and the primary's. The newer version stands until you decide.

    They are at the primary: it has to be reached.
    """
    if context.invoked_subcommand is not None:
        return
    from aya.sync import conflicts  # noqa: PLC0415 as in aya.cli.status

    found = session.run(context.obj, None, lambda opened: conflicts.listed(opened.database, everything=everything))
    if as_json:
        output.document({"conflicts": [asdict(one) for one in found]})
    elif found:
        output.table(_HEADERS, [row(one) for one in found])
        output.line("  next: aya conflicts show NUMBER")
    else:
        output.line("nothing was changed on both sides" if everything else "no conflict waits for a decision")


@command.command(name="show")
@_number
@session.json_option
@click.pass_obj
def show(home: Home, /, *, number: int, as_json: bool) -> None:
    """Show both versions: what they are called, and the difference between their texts."""
    from aya.sync import conflicts  # noqa: PLC0415 as in aya.cli.status

    async def work(opened: Session) -> tuple[Conflict, Document | None]:
        found = await conflicts.get(opened.database, number)
        head = await opened.documents.get(found.document_id) if found.document_id is not None else None
        return found, head

    found, head = session.run(home, None, work)
    if as_json:
        output.document({"conflict": asdict(found), "head": asdict(head) if head else None})
        return
    for text in described(found, head):
        output.line(text)


@command.command(name="keep")
@_number
@click.pass_obj
def keep(home: Home, /, *, number: int) -> None:
    """Leave the head as it is."""
    from aya.sync import conflicts  # noqa: PLC0415 as in aya.cli.status

    async def work(opened: Session) -> None:
        await conflicts.keep(opened.database, await conflicts.get(opened.database, number))

    session.run(home, None, work)
    output.line(f"conflict {number}: the head is kept")


@command.command(name="take")
@_number
@click.pass_obj
def take(home: Home, /, *, number: int) -> None:
    """Have the version that lost take the head's place."""
    from aya.sync import conflicts  # noqa: PLC0415 as in aya.cli.status

    async def work(opened: Session) -> None:
        await conflicts.take(opened.database, opened.documents, await conflicts.get(opened.database, number))

    session.run(home, None, work)
    output.line(f"conflict {number}: the version that lost is taken")


@command.command(name="both")
@_number
@click.pass_obj
def both(home: Home, /, *, number: int) -> None:
    """Make a document of its own of the version that lost, beside the head."""
    from aya.sync import conflicts  # noqa: PLC0415 as in aya.cli.status

    async def work(opened: Session) -> int:
        found = await conflicts.get(opened.database, number)
        return await conflicts.keep_both(opened.database, opened.documents, found)

    made = session.run(home, None, work)
    output.line(f"conflict {number}: both are kept, the one that lost as document {made}. Next: aya show {made}")


def row(one: Conflict) -> tuple[str, ...]:
    """Return a conflict's line of the table; pure."""
    return (
        str(one.id),
        f"{one.created_at:%Y-%m-%d %H:%M}",
        str(one.document_id) if one.document_id is not None else "gone",
        one.title or "-",
        one.reason.replace("the sender", one.origin).replace("sender", one.origin),
        one.resolution or "open",
    )


def described(found: Conflict, head: Document | None) -> list[str]:
    """Return both versions, as lines; pure."""
    lost = "the primary's" if found.loser == "here" else f"{found.origin}'s"
    lines = [f"conflict {found.id}, {found.created_at:%Y-%m-%d %H:%M}: {row(found)[4]}"]
    if head is None:
        lines.append("the head: gone")
    else:
        lines.append(
            f"the head: document {head.id}, {head.title or 'no title'}, category {head.category}, source {head.source}"
        )
    if found.is_deletion:
        lines.append(f"the version that lost ({lost}): a deletion")
    elif found.document is not None:
        other = found.document
        lines.append(
            f"the version that lost ({lost}): {other.get('title') or 'no title'}, category {other.get('category')},"
            f" source {other.get('source')}"
        )
    text = head.content if head else ""
    if found.document is not None:
        lines += _difference(text, str(found.document.get("content") or ""))
    else:
        lines += [f"  {chunk}" for chunk in found.chunks]
    if found.resolved_at is None:
        lines.append(f"  next: aya conflicts keep {found.id} | take {found.id} | both {found.id}")
    else:
        lines.append(f"decided {found.resolved_at:%Y-%m-%d %H:%M}: {found.resolution}")
    return lines


def _difference(head: str, lost: str) -> list[str]:
    if head == lost:
        return ["their texts are the same"]
    told = difflib.unified_diff(
        head.splitlines(), lost.splitlines(), "the head", "the version that lost", lineterm="", n=2
    )
    return list(told)
