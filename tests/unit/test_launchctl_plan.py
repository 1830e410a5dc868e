"""Which steps lead from what is there to what is wanted; what stands already is left alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.test_launchctl_failures import ME, WHERE
from tests.unit.test_launchd_plists import NAMES

from aya.launchctl import jobs, plan
from aya.launchctl.plan import Seen, Step
from aya.launchctl.venv import problems
from aya.processes import plist

POSTGRES, INDEXER = (jobs.job(plist.template(name), NAMES, "daemon", ME, WHERE) for name in ("postgres", "indexer"))
BOTH = (POSTGRES, INDEXER)
NOTHING = Seen()
STOPPED = Seen(file=True, same_file=True)
RUNNING = Seen(file=True, same_file=True, loaded=True, running=True)
OLD = Seen(file=True, loaded=True, running=True)
DEAD = Seen(file=True, same_file=True, loaded=True)
OFF = Seen(file=True, same_file=True, loaded=True, running=True, disabled=True)


def said(steps: tuple[Step, ...]) -> str:
    """Return the steps in short: what, of which service."""
    return " ".join(f"{step.act}:{step.job.process.service[0]}" for step in steps)


BEGIN_P, BEGIN_I = "enable:p bootstrap:p kickstart:p", "enable:i bootstrap:i kickstart:i"


@pytest.mark.parametrize(
    ("postgres", "indexer", "expected"),
    [
        (NOTHING, NOTHING, f"write:p {BEGIN_P} write:i {BEGIN_I} healthy:p healthy:i"),
        (RUNNING, RUNNING, ""),
        (STOPPED, STOPPED, f"{BEGIN_P} {BEGIN_I} healthy:p healthy:i"),
        (OLD, OLD, f"bootout:i gone:i bootout:p gone:p write:p {BEGIN_P} write:i {BEGIN_I} healthy:p healthy:i"),
        (RUNNING, OLD, f"bootout:i gone:i write:i {BEGIN_I} healthy:i"),
        (RUNNING, DEAD, "kickstart:i healthy:i"),
        (OFF, RUNNING, f"bootout:p gone:p {BEGIN_P} healthy:p"),
    ],
)
def test_install(postgres: Seen, indexer: Seen, expected: str) -> None:
    """Whole files first, the old ones ended in reverse order and awaited; again is nothing."""
    steps = plan.install(BOTH, {POSTGRES.label: postgres, INDEXER.label: indexer})
    assert said(steps) == expected


@pytest.mark.parametrize(
    ("seen", "uninstall", "stop", "start", "restart"),
    [
        (NOTHING, "", "", BEGIN_P + " healthy:p", BEGIN_P + " healthy:p"),
        (STOPPED, "remove:p", "", BEGIN_P + " healthy:p", BEGIN_P + " healthy:p"),
        (RUNNING, "bootout:p gone:p remove:p", "bootout:p gone:p", "", f"bootout:p gone:p {BEGIN_P} healthy:p"),
        (DEAD, "bootout:p gone:p remove:p", "bootout:p gone:p", "kickstart:p healthy:p",
         f"bootout:p gone:p {BEGIN_P} healthy:p"),
    ],
)  # fmt: skip
def test_the_other_verbs(seen: Seen, uninstall: str, stop: str, start: str, restart: str) -> None:
    """Each does what is missing; a server is never killed for a restart."""
    now = {POSTGRES.label: seen}
    for verb, expected in (
        (plan.uninstall, uninstall),
        (plan.stop, stop),
        (plan.start, start),
        (plan.restart, restart),
    ):
        assert said(verb((POSTGRES,), now)) == expected


EVERYTHING = [
    Seen(file, same, loaded, running, disabled)
    for file, same in ((False, False), (True, False), (True, True))
    for loaded, running in ((False, False), (True, False), (True, True))
    for disabled in (False, True)
]


class Stage:
    """What launchd would have of one job after each step; it refuses what launchd refuses."""

    def __init__(self, seen: Seen) -> None:
        self.file, self.same = seen.file, seen.same_file
        self.loaded, self.running, self.disabled = seen.loaded, seen.running, seen.disabled
        # Which file launchd has read: what is loaded may be older than what is on disk.
        self.current = seen.loaded and seen.same_file

    def take(self, step: Step) -> None:
        """Take one step."""
        match step.act:
            case "write":
                assert not self.loaded, "a plist is exchanged under a job that is loaded"
                self.file = self.same = True
            case "bootout":
                assert self.loaded
                self.loaded = self.running = False
            case "gone":
                assert not self.loaded
            case "enable":
                self.disabled = False
            case "bootstrap":
                assert self.file
                assert not self.loaded
                assert not self.disabled
                self.loaded, self.current = True, self.same
            case "kickstart":
                assert self.loaded
                self.running = True
            case "healthy":
                assert self.running
            case "remove":
                assert not self.loaded
                self.file = self.same = False


@pytest.mark.parametrize("verb", [plan.install, plan.uninstall, plan.stop, plan.start, plan.restart])
def test_from_wherever_it_begins_a_plan_ends_where_it_should(verb: Callable[..., tuple[Step, ...]]) -> None:
    """Every state of two jobs: no step is refused by launchd, and the same verb again has nothing to change."""
    for first, second in itertools.product(EVERYTHING, repeat=2):
        if verb in {plan.start, plan.restart} and not (first.file and second.file):
            continue  # refused before it is planned
        stages = {POSTGRES.label: Stage(first), INDEXER.label: Stage(second)}
        for step in verb(BOTH, {POSTGRES.label: first, INDEXER.label: second}):
            stages[step.job.label].take(step)
        for stage in stages.values():
            if verb is plan.install:
                assert (stage.current, stage.running, stage.disabled) == (True, True, False)
            elif verb is plan.uninstall:
                assert (stage.file, stage.loaded) == (False, False)
            else:
                assert stage.running is (verb is not plan.stop)
        again = {name: Seen(one.file, one.same, one.loaded, one.running, one.disabled) for name, one in stages.items()}
        assert verb is plan.restart or verb(BOTH, again) == ()


def test_a_restart_kills_only_what_holds_nothing() -> None:
    """Kickstart -k for the indexer; a server is booted out first, and begins first."""
    steps = plan.restart(BOTH, {POSTGRES.label: RUNNING, INDEXER.label: RUNNING})
    assert said(steps) == f"bootout:p gone:p {BEGIN_P} kickstart:i healthy:p healthy:i"
    assert next(step.command for step in steps if step.job is INDEXER) == ("kickstart", "-k", INDEXER.target)


def test_steps_are_launchctls_commands() -> None:
    """As a person would type them."""
    steps = plan.install((POSTGRES,), {POSTGRES.label: OLD})
    assert [" ".join(step.command) or step.text for step in steps] == [
        "bootout system/com.aya.alpha.postgres",
        "print system/com.aya.alpha.postgres",
        "write /Library/LaunchDaemons/com.aya.alpha.postgres.plist (root:wheel, mode 644)",
        "enable system/com.aya.alpha.postgres",
        "bootstrap system /Library/LaunchDaemons/com.aya.alpha.postgres.plist",
        "kickstart system/com.aya.alpha.postgres",
        "print system/com.aya.alpha.postgres",
    ]


@pytest.mark.parametrize(
    ("program", "editable", "said"),
    [
        ("/opt/aya/.venv/bin/python", [], []),
        ("/opt/aya/.venv/bin/python", ["aya", "aya-mcp"], ["aya, aya-mcp: links to a checkout"]),
        ("/Users/me/Documents/aya/.venv/bin/python", [], ["it is in ~/Documents"]),
        ("/Users/me/Documents-old/.venv/bin/python", [], []),
        ("/Volumes/usb/aya/.venv/bin/python", [], ["it is on another volume"]),
    ],
)
def test_a_python_that_launchd_cannot_rely_on(program: str, editable: list[str], said: list[str]) -> None:
    """A link to a checkout, a folder that macOS guards, another volume."""
    found = problems(Path(program), editable, Path("/Users/me"))
    assert [problem[: len(words)] for problem, words in zip(found, said, strict=True)] == said
