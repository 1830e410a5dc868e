"""Which steps lead from what is there to what is wanted; pure. They are what a dry run prints and what a run takes.

The order: a file is whole and owned before launchd reads it; a job that is loaded is booted out and awaited, because
bootout returns before it is gone, and a bootstrap into the rest of it fails with 5; enable before bootstrap, because a
label that somebody disabled fails with 5, too.

`kickstart -k` right after a bootstrap would end the PostgreSQL that has just begun to recover: there it is kickstart
alone, which only hastens a start. -k restarts what holds nothing; a server is booted out and bootstrapped, for then
its ExitTimeOut holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aya.launchctl.jobs import Job
from aya.processes.plist import SERVERS

Act = Literal["write", "bootout", "gone", "enable", "bootstrap", "kickstart", "healthy", "remove"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is of a job. same_file: its file is just what would be written, mode and owner included."""

    file: bool = False
    same_file: bool = False
    loaded: bool = False
    running: bool = False
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step. command: what is run, without "launchctl"; empty where it is done by ourselves."""

    act: Act
    job: Job
    text: str
    command: tuple[str, ...] = ()


def install(jobs: Sequence[Job], seen: Mapping[str, Seen]) -> tuple[Step, ...]:
    """Return the steps after which every job runs as its plist says; none for one that does already.

    jobs: in starting order. seen: by label.
    """
    steps: list[Step] = []
    changed = [job for job in jobs if not _stands(seen[job.label])]
    for job in reversed(changed):
        steps += _end(job, seen[job.label])
    for job in jobs:
        if job in changed:
            steps += [] if seen[job.label].same_file else [_write(job)]
            steps += _begin(job)
        elif not seen[job.label].running:
            steps.append(_kickstart(job))
    return (*steps, *_awaited(steps))


def _stands(seen: Seen) -> bool:
    return seen.same_file and seen.loaded and not seen.disabled


def uninstall(jobs: Sequence[Job], seen: Mapping[str, Seen]) -> tuple[Step, ...]:
    """Return the steps after which launchd knows none of them and their files are gone; nothing else is touched."""
    ends = [step for job in reversed(jobs) for step in _end(job, seen[job.label])]
    removes = [Step("remove", job, f"remove {job.file}") for job in jobs if seen[job.label].file]
    return (*ends, *removes)


def stop(jobs: Sequence[Job], seen: Mapping[str, Seen]) -> tuple[Step, ...]:
    """Return the steps after which none of them runs until `start` or the next start of the machine."""
    return tuple(step for job in reversed(jobs) for step in _end(job, seen[job.label]))


def start(jobs: Sequence[Job], seen: Mapping[str, Seen]) -> tuple[Step, ...]:
    """Return the steps after which each of them runs; their files are there."""
    steps: list[Step] = []
    for job in jobs:
        one = seen[job.label]
        if not one.loaded:
            steps += _begin(job)
        elif not one.running:
            steps.append(_kickstart(job))
    return (*steps, *_awaited(steps))


def restart(jobs: Sequence[Job], seen: Mapping[str, Seen]) -> tuple[Step, ...]:
    """Return the steps after which each of them has begun anew: servers end first and begin first."""
    anew = [job for job in jobs if job.process.service in SERVERS or not seen[job.label].loaded]
    steps: list[Step] = []
    for job in reversed(anew):
        steps += _end(job, seen[job.label])
    for job in jobs:
        steps += _begin(job) if job in anew else [_kickstart(job, "-k")]
    return (*steps, *_awaited(steps))


def _begin(job: Job) -> list[Step]:
    return [
        Step("enable", job, f"let launchd run {job.label}", ("enable", job.target)),
        Step("bootstrap", job, f"load {job.label}", ("bootstrap", job.domain, str(job.file))),
        _kickstart(job),
    ]


def _end(job: Job, seen: Seen) -> list[Step]:
    if not seen.loaded:
        return []
    seconds = job.process.exit_timeout_seconds
    return [
        Step("bootout", job, f"unload {job.label}", ("bootout", job.target)),
        Step("gone", job, f"wait until {job.label} is gone: it has {seconds} s to end", ("print", job.target)),
    ]


def _write(job: Job) -> Step:
    whose = "root:wheel" if job.kind == "daemon" else f"user {job.owner[0]}"
    return Step("write", job, f"write {job.file} ({whose}, mode 644)")


def _kickstart(job: Job, *options: str) -> Step:
    return Step("kickstart", job, f"start {job.label} now", ("kickstart", *options, job.target))


def _awaited(steps: Sequence[Step]) -> list[Step]:
    """Return a wait for each job that is started, after all of them: a primary may wait for its standby to open."""
    started = (step.job for step in steps if step.act == "kickstart")
    return [Step("healthy", job, f"wait until {job.label} runs", ("print", job.target)) for job in started]
