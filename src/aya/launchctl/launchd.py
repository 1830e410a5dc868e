"""The steps of aya.launchctl.plan, taken with launchctl; each may be taken again, and a run that broke off goes on.

It has never run on a Mac. The tests give it a launchctl that answers as the real one does, and runs real processes.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aya.errors import ServiceManagerError
from aya.flush import flush
from aya.launchctl import failures, parse, plan
from aya.launchctl.circumstances import look
from aya.launchctl.exits import ended
from aya.launchctl.failures import Explained
from aya.launchctl.jobs import MODE, Job
from aya.launchctl.manager import Managed, Report, ServiceState, Verb
from aya.launchctl.parse import Printed
from aya.launchctl.plan import Seen, Step
from aya.launchctl.program import Answer, Launchctl
from aya.local.wait import failed

_POLL_SECONDS = 0.1
# launchd needs a moment after the last process has gone.
_SPARE_SECONDS = 15.0
_BOOTSTRAP_SECONDS = 5.0
# It lives when the same process has been there for so long.
_SETTLED_SECONDS = 1.0
_START_SECONDS = 30.0
# A process that was started so often meanwhile is not going to come up.
_LIVES = 2
# What a moment may mend.
_PASSING = frozenset({"still-ending", "already-loaded", "unknown"})
# Already gone, or being ended: what a bootout is for.
_GONE = frozenset({3, 36, 113})

_PLANS: dict[Verb, Callable[[Sequence[Job], Mapping[str, Seen]], tuple[Step, ...]]] = {
    "install": plan.install,
    "uninstall": plan.uninstall,
    "start": plan.start,
    "stop": plan.stop,
    "restart": plan.restart,
}

Ready = Callable[[Job], None]


class Launchd:
    """launchd, for the jobs it is given in starting order.

    uid: who asks. folders: where files of jobs may be, of any home. ready: returns when a job that runs is of use, or
    raises AyaError.
    """

    name = "launchd"

    def __init__(
        self,
        jobs: Sequence[Job],
        launchctl: Launchctl,
        *,
        uid: int,
        folders: Sequence[Path] = (),
        ready: Ready = lambda _job: None,
    ) -> None:
        self._jobs = tuple(jobs)
        self._launchctl = launchctl
        self._uid = uid
        self._folders = tuple(folders)
        self._ready = ready

    def texts(self) -> dict[Path, str]:
        """Return the plists as they would be written."""
        return {job.file: job.content.decode("utf-8") for job in self._jobs}

    def steps(self, verb: Verb) -> list[str]:
        """Return what would be done: launchctl's commands as they would be typed, and the rest in words."""
        return [
            f"launchctl {' '.join(step.command)}" if step.command and step.act not in {"gone", "healthy"} else step.text
            for step in self._planned(verb)
        ]

    def carry_out(self, verb: Verb, report: Report) -> list[str]:
        """Take the steps; ServiceManagerError explains the first that is refused, and what to do."""
        if verb in {"start", "restart"}:
            self._require_files()
        done: list[str] = []
        for step in self._planned(verb):
            report(step.text)
            self._take(step)
            done.append(step.text)
        return done

    def states(self) -> list[ServiceState]:
        """Return what launchd knows of each job."""
        off = {domain: self._disabled(domain) for domain in {job.domain for job in self._jobs}}
        return [self._state(job, disabled=job.label in off[job.domain]) for job in self._jobs]

    def strays(self) -> list[str]:
        """Return the targets of ours that launchd has loaded in the asker's domain, and whose files are gone."""
        loaded = parse.listed(self._launchctl.run("list").out)
        ours = [label for label in loaded if label.startswith("com.aya.")]
        domain = "system" if self._uid == 0 else f"gui/{self._uid}"
        return [
            f"{domain}/{label}"
            for label in ours
            if not any((folder / f"{label}.plist").exists() for folder in self._folders)
        ]

    def _state(self, job: Job, *, disabled: bool) -> ServiceState:
        known = self._launchctl.run("print", job.target)
        printed = parse.printed(known.out)
        loaded = known.code == 0
        absent: Managed = "disabled" if disabled else "not loaded" if job.file.exists() else "not installed"
        return ServiceState(
            label=job.label,
            node=job.process.node,
            service=job.process.service,
            state=printed.state if loaded else absent,
            pid=printed.pid,
            last_exit=ended(printed.exit_code, printed.exit_signal) if loaded else None,
            runs=printed.runs,
            throttle_seconds=printed.throttle_seconds if loaded else job.process.throttle_seconds,
            file=str(job.file),
        )

    def _planned(self, verb: Verb) -> tuple[Step, ...]:
        return _PLANS[verb](self._jobs, {job.label: self._seen(job) for job in self._jobs})

    def _seen(self, job: Job) -> Seen:
        known = self._launchctl.run("print", job.target)
        return Seen(
            file=job.file.exists(),
            same_file=_is_written(job),
            loaded=known.code == 0,
            running=known.code == 0 and parse.printed(known.out).pid is not None,
            disabled=job.label in self._disabled(job.domain),
        )

    def _disabled(self, domain: str) -> frozenset[str]:
        return parse.disabled(self._launchctl.run("print-disabled", domain).out)

    def _require_files(self) -> None:
        absent = [job for job in self._jobs if not job.file.exists()]
        if absent:
            raise ServiceManagerError(f"{absent[0].file} was not installed", hint="aya launchd install")

    def _take(self, step: Step) -> None:
        match step.act:
            case "write":
                write(step.job)
            case "remove":
                step.job.file.unlink(missing_ok=True)
            case "gone":
                self._await_gone(step.job)
            case "healthy":
                self._await_alive(step.job)
                self._ready(step.job)
            case "bootstrap":
                self._bootstrap(step)
            case "bootout" | "enable" | "kickstart":
                self._order(step)

    def _order(self, step: Step) -> None:
        answer = self._launchctl.run(*step.command)
        if answer.code == 0:
            return
        refused = failures.refusal(step.act, answer.code, answer.text)
        if step.act == "bootout" and refused.code in _GONE:
            return
        if step.act == "kickstart" and self._printed(step.job).pid is not None:
            return  # it runs already: nothing was to be hastened
        raise _error(step, self._explained(step, answer), answer)

    def _bootstrap(self, step: Step) -> None:
        """Load a job; launchctl says 5 while the last one is torn down, and at times of one that it has just loaded."""
        until = time.monotonic() + _BOOTSTRAP_SECONDS
        while True:
            answer = self._launchctl.run(*step.command)
            if answer.code == 0 or self._is_loaded_from(step.job):
                return
            told = self._explained(step, answer)
            if told.name not in _PASSING or time.monotonic() > until:
                raise _error(step, told, answer)
            time.sleep(_POLL_SECONDS)

    def _is_loaded_from(self, job: Job) -> bool:
        known = self._launchctl.run("print", job.target)
        printed = parse.printed(known.out)
        return known.code == 0 and printed.state != "stopping" and printed.path == str(job.file)

    def _explained(self, step: Step, answer: Answer) -> Explained:
        refused = failures.refusal(step.act, answer.code, answer.text)
        return failures.explain(refused, step.job, look(step.job, self._launchctl, uid=self._uid))

    def _printed(self, job: Job) -> Printed:
        return parse.printed(self._launchctl.run("print", job.target).out)

    def _await_gone(self, job: Job) -> None:
        until = time.monotonic() + job.process.exit_timeout_seconds + _SPARE_SECONDS
        while self._launchctl.run("print", job.target).code == 0:
            if time.monotonic() > until:
                raise ServiceManagerError(
                    f"{job.label} did not end in {job.process.exit_timeout_seconds} s, nor did launchd end it",
                    hint=f"launchctl print {job.target}",
                )
            time.sleep(_POLL_SECONDS)

    def _await_alive(self, job: Job) -> None:
        """Wait until one process of it has lived for a second; an error with its log's end when they keep ending."""
        until = time.monotonic() + max(_START_SECONDS, _LIVES * job.process.throttle_seconds)
        first = self._printed(job).runs or 0
        pid, since = None, 0.0
        while True:
            now, known = time.monotonic(), self._printed(job)
            if known.pid != pid:
                pid, since = known.pid, now
            if pid is not None and now - since >= _SETTLED_SECONDS:
                return
            if now > until or (known.runs or 0) - first >= _LIVES:
                what = f"{job.process.service} of node {job.process.node}"
                raise failed(f"{what} does not start", Path(job.process.stderr))
            time.sleep(_POLL_SECONDS)


def _error(step: Step, told: Explained, answer: Answer) -> ServiceManagerError:
    said = " ".join(answer.text.split()) or str(answer.code)
    return ServiceManagerError(
        f"{step.job.label}: {told.message} ({told.name}; launchctl said: {said})", hint=told.hint
    )


def _is_written(job: Job) -> bool:
    try:
        status = job.file.stat()
        whole = job.file.read_bytes() == job.content
    except OSError:
        return False
    return whole and stat.S_IMODE(status.st_mode) == MODE and (status.st_uid, status.st_gid) == job.owner


def write(job: Job) -> None:
    """Write a job's plist: whole or not at all, with its owner and mode before it has its name."""
    folder = job.file.parent
    try:
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o755)
            os.chown(folder, *job.owner)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{job.label}.")
    except OSError as error:
        raise ServiceManagerError(
            f"{folder} cannot be written to: {error.strerror}", hint=f"ls -led {folder}"
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(job.content)
            os.fchown(stream.fileno(), *job.owner)
            os.fchmod(stream.fileno(), MODE)
            stream.flush()
            flush(stream.fileno())
        Path(name).replace(job.file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
