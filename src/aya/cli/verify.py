"""`aya verify`: what the owner checks by hand, measured.

Exit codes: 0 everything that was measured passed, 1 something failed or was not reached, 2 the call was wrong.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from aya.cli import output, session
from aya.errors import EXIT_FAILED
from aya.home import ROLE_OF_NODE, Home
from aya.settings import load_config
from aya.verify.checks import PHASES
from aya.verify.judge import BLOCKED, counted, exit_code, shown

if TYPE_CHECKING:
    from aya.verify.run import Report
    from aya.verify.types import Line, Result

_HEADERS = ("RESULT", "PHASE", "NODE", "CHECK", "LIMIT", "FOUND")
_WORDS: dict[Result, str] = {
    "passed": "passed",
    "failed": "FAILED",
    "not_reached": "not reached",
    "not_applicable": "does not apply",
}
_COLOURS: dict[Result, str] = {"passed": "green", "failed": "red", "not_reached": "yellow", "not_applicable": "blue"}
_BORN: dict[str, str] = {**ROLE_OF_NODE}
_NOW = {"primary": "leads", "standby": "follows", "copy": "copy"}
# The whole of it stands below the table.
_LONGEST_REASON = 60
# So wide that nearly every line's cells stand under each other, as they are printed one by one.
_WIDTHS = (11, 5, 5, 46, 14)


@click.command(name="verify")
@click.argument("nodes", metavar="[NODE]…", nargs=-1)
@click.option(
    "--phase", "phases", type=click.IntRange(min(PHASES), max(PHASES)), multiple=True, help="Only this phase; again."
)
@session.json_option
@click.pass_obj
def command(home: Home, /, *, nodes: tuple[str, ...], phases: tuple[int, ...], as_json: bool) -> int:
    """Measure what AYA promises, line by line, on the nodes as they run: all of them, or NODE only.

    Phases: 1 the primary, 2 the standby, 3 AIR's copy, 4 the MCP servers, 5 end to end. What is inserted for it is
    removed again, on every node. Exit code 0: all passed; 1: something failed or was not reached.
    """
    report = _run(home, nodes, phases, _teller(output.progress if as_json else output.line))
    if as_json:
        output.document(document(home, report))
    else:
        for text in ("", *reasons(report.lines), summary(report)):
            output.line(text)
    return 0 if _passed(report) else EXIT_FAILED


def _run(home: Home, nodes: tuple[str, ...], phases: tuple[int, ...], tell: Callable[[Line], None]) -> Report:
    # Here, not above: `aya verify --help` needs no database driver.
    from aya.verify.run import verify  # noqa: PLC0415

    async def work() -> Report:
        # As Ctrl-C: what was inserted is removed first.
        current = asyncio.current_task()
        if current is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
        return await verify(home, load_config(home), nodes=nodes, phases=phases, tell=tell, say=output.progress)

    try:
        return asyncio.run(work())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise KeyboardInterrupt("what was inserted is removed") from None


def _teller(say: Callable[[str], None]) -> Callable[[Line], None]:
    """Return what prints each line as soon as it is judged, the first one under the headers."""
    headers = iter([row(_HEADERS)])

    def tell(line: Line) -> None:
        for text in headers:
            say(text)
        say(_printed(line))

    return tell


def _printed(line: Line) -> str:
    text = row(cells(line))
    word = _WORDS[line.result]
    return click.style(word, fg=_COLOURS[line.result]) + text[len(word) :] if output.colours() else text


def cells(line: Line) -> tuple[str, ...]:
    """Return a line's cells; pure. A node whose role is not that of its birth says so; no figure: the reason."""
    node = line.node if line.role == _BORN[line.node] else f"{line.node}, {_NOW[line.role]}"
    found = shown(line.figure, line.unit) if line.figure is not None else _shortened(line.why)
    return (_WORDS[line.result], str(line.phase), node, line.title, line.limit, found)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def row(texts: tuple[str, ...]) -> str:
    """Return cells in columns of a fixed width, the last as long as it is; pure."""
    padded = [text + " " * (width - output.width(text)) for text, width in zip(texts, _WIDTHS, strict=False)]
    return "  ".join([*padded, *texts[len(_WIDTHS) :]]).rstrip()


def document(home: Home, report: Report) -> dict[str, Any]:
    """Return the document that aya.verify.types describes; pure."""
    return {
        "home": str(home.path),
        "passed": _passed(report),
        "leader": report.leader,
        "seconds": round(report.seconds, 3),
        "left_over": dict(report.left_over),
        "not_removed": report.not_removed,
        "counts": counted(report.lines),
        "checks": [line.to_json() for line in report.lines],
    }


def _passed(report: Report) -> bool:
    return exit_code(report.lines) == 0 and report.not_removed is None


def summary(report: Report) -> str:
    """Return how many lines have each result, in one line; pure."""
    counts = counted(report.lines)
    words = {"passed": "passed", "failed": "failed", "not_reached": "not reached", "not_applicable": "do not apply"}
    told = ", ".join(f"{count} {words[result]}" for result, count in counts.items() if count or result == "passed")
    leads = f"{report.leader} leads" if report.leader else "nobody takes writes"
    return f"{told}; {leads}; {report.seconds:.0f} s"


def reasons(lines: Sequence[Line]) -> list[str]:
    """Return why lines did not pass, and the next command; those of one node and one reason together; pure.

    What was not measured because of another line has that line's reason.
    """
    found: dict[tuple[str, str, str | None], list[Line]] = {}
    for line in lines:
        if line.result in {"failed", "not_reached"} and not line.why.startswith(BLOCKED):
            found.setdefault((line.node, line.why, line.hint), []).append(line)
    told: list[str] = []
    for (node, why, hint), same in found.items():
        title = f"{same[0].title}: " if len(same) == 1 else ""
        told.append(f"{', '.join(line.id for line in same)} on {node}: {title}{why}")
        told += [f"  next: {hint}"] if hint else []
    return told
