"""Measures line after line, and removes what was inserted, whatever happens."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from aya.dsn import DEFAULT_DATABASE
from aya.errors import AyaError, ConfigError, DatabaseReadOnly, UsageError
from aya.home import ROLE_OF_NODE, Home
from aya.settings import Config
from aya.verify import arrival, assistant, copy, primary, standby
from aya.verify.checks import CHECKS
from aya.verify.judge import BLOCKED, blocked, measured, unmeasured
from aya.verify.marks import Marks, Swept
from aya.verify.places import Place, Places, find
from aya.verify.plan import Task, named, planned
from aya.verify.scene import Measure, Scene
from aya.verify.types import Check, Line, Result

MEASURES: dict[str, Measure] = {
    **primary.MEASURES,
    **standby.MEASURES,
    **copy.MEASURES,
    **assistant.MEASURES,
    **arrival.MEASURES,
}
_CLOSED = "aya status, then docs/operations/failover.md"
Done = dict[tuple[str, str], Line]


@dataclass(frozen=True, slots=True)
class Report:
    """A run. leader: who took writes when it began. left_over: documents of a run that was killed, by node.

    not_removed: why rows of this run may be there still; None: none are.
    """

    lines: tuple[Line, ...]
    leader: str | None
    left_over: Mapping[str, int]
    not_removed: str | None
    seconds: float


async def verify(  # noqa: PLR0913 - what is measured, and who is told
    home: Home,
    config: Config,
    *,
    nodes: Collection[str] = (),
    phases: Collection[int] = (),
    tell: Callable[[Line], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure the lines of `nodes` and `phases` (none: all), and remove what was inserted for it on every node.

    tell: called with each line as soon as it is judged; say: with what else a person wants to know.
    Raises UsageError for a node that is none, ConfigError where there is none at all, and AyaError when another run is
    at work.
    """
    began = time.monotonic()
    places = await find(home, config)
    _require(places, nodes)
    marks = Marks(places.writable, places.copy.database)
    async with marks.alone():
        before = await _swept(marks, say)
        left_over = {
            node: count
            for node, count in ((places.primary.node, before.leader), (places.copy.node, before.copy))
            if count
        }
        for node, count in left_over.items():
            say(f"removed {count} documents on {node}, which an earlier run that was killed had left")
        try:
            async with AsyncExitStack() as stack:
                scene = Scene(home, config, places, marks, stack)
                tasks = planned(CHECKS, places.roles(), nodes=nodes, phases=phases)
                lines = await _measured(scene, tasks, tell)
        finally:
            after = await _swept(marks, say)
            if after.problem:
                say(f"what was inserted may be there still, for {after.problem}: the next aya verify removes it")
    return Report(tuple(lines), places.leader, left_over, after.problem, time.monotonic() - began)


def _require(places: Places, nodes: Collection[str]) -> None:
    if all(place.missing and place.missing.result == "not_applicable" for place in places.all()):
        raise ConfigError("this machine has no nodes, and aya.toml names none", hint="aya up")
    for node in nodes:
        place = next((one for one in places.all() if one.node == node), None)
        if place is None:
            raise UsageError(f"there is no node {node!r}", hint=f"aya verify {' '.join(ROLE_OF_NODE)}")
        if place.missing is not None and place.missing.result == "not_applicable":
            raise UsageError(place.missing.why, hint=place.missing.hint)


async def _swept(marks: Marks, say: Callable[[str], None]) -> Swept:
    """Remove what is marked; whoever interrupts it waits for it. Never raises what keeps it from that."""
    sweeping = asyncio.create_task(_explained(marks.sweep(say)), name="sweep")
    try:
        return await asyncio.shield(sweeping)
    except asyncio.CancelledError:
        await sweeping
        raise


async def _explained(sweep: Awaitable[Swept]) -> Swept:
    try:
        return await sweep
    except AyaError as error:
        return Swept(0, 0, error.message)


async def _measured(scene: Scene, tasks: list[Task], tell: Callable[[Line], None]) -> list[Line]:
    done: Done = {}
    for task in tasks:
        line = await _line(scene, task, done)
        done[task.check.id, task.node] = line
        tell(line)
    return list(done.values())


async def _line(scene: Scene, task: Task, done: Done) -> Line:
    place = scene.places.of(task.role)
    check = named(task.check, _names(scene, place))
    about = (place.node, place.role)
    absent = _absent(scene, check, place)
    if absent is not None:
        return unmeasured(check, about, *absent)
    before = blocked(check, place.node, done)
    if before is not None:
        why = f"{BLOCKED}, for {before.id} did not pass"
        return unmeasured(check, about, "not_reached", why, before.hint)
    return await _tried(scene, check, place)


def _absent(scene: Scene, check: Check, place: Place) -> tuple[Result, str, str | None] | None:
    """Return why a check has nothing to be measured at, or no way to it; None when it has."""
    about = scene.places.of(check.of) if check.of else place
    for missing in (place.missing, about.missing):
        if missing is not None and missing.result == "not_applicable":
            return missing.result, missing.why, None
    if check.own and scene.config.dsn is not None:
        return "not_applicable", "the database is not AYA's own, but that of a DSN", None
    if place.missing is not None:
        return place.missing.result, place.missing.why, place.missing.hint
    if check.local and not place.here:
        return "not_reached", f"{place.node} is on another machine", f"on its own machine: aya verify {place.node}"
    return None


def _names(scene: Scene, place: Place) -> dict[str, str]:
    known = place.database
    return {
        **{str(role): node for role, node in scene.places.roles().items()},
        "node": place.node,
        "slot": scene.slot,
        "port": str(known.hosts[0][1]) if known else "of its PostgreSQL",
        "database": known.database if known else DEFAULT_DATABASE,
        "archive": shlex.quote(str(scene.home.archive_directory(place.node))),
        "logs": shlex.quote(str(scene.home.log_directory(place.node))),
    }


async def _tried(scene: Scene, check: Check, place: Place) -> Line:
    began = time.monotonic()
    about = (place.node, place.role)
    try:
        async with asyncio.timeout(check.patience_seconds):
            found = await MEASURES[check.id](scene, place)
    except TimeoutError:
        why, hint = f"nothing came of it within {check.patience_seconds:g} s", check.hint
    except DatabaseReadOnly as error:
        closed = scene.places.leader is None
        why, hint = ("nobody takes writes", _CLOSED) if closed else (error.message, check.hint)
    except AyaError as error:
        why, hint = error.message, error.hint or check.hint
    else:
        return measured(check, about, found, time.monotonic() - began)
    line = unmeasured(check, about, "failed", why, hint)
    return replace(line, seconds=round(time.monotonic() - began, 3))
