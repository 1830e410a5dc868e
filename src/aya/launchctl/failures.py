"""Why launchctl refused, in words, with the next command; pure.

launchctl ends with launchd's error (`launchctl error N` prints its text): an errno below 107, one of launchd's own from
there on. 5, "Input/output error", is said for almost anything, and 1 for some of it; then the cause is looked for, in
the order of the table: the first one that `Circumstances` bear out. Codes 107 to 161 and their texts: xpc errors, as
`launchctl error` of macOS 14 to 26 has them; what 5 was seen to hide: docs/operations/launchd.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aya.launchctl.jobs import MODE, Job

_SAID = re.compile(r"(?:failed|error):? (\d{1,3}):? ", re.IGNORECASE)
# "Operation not permitted" and "Input/output error": said for almost anything.
_VAGUE = frozenset({1, 5})
_WRITABLE_BY_OTHERS = 0o022


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was looked at. file_*: of the plist; None where it is not there. loaded_from: the path that launchd has.

    is_root: who asked. domain_exists: of an agent, somebody is logged in at the screen. ending: it was told to stop.
    quarantined: which file of it is.
    """

    is_root: bool = True
    domain_exists: bool = True
    loaded: bool = False
    loaded_from: str | None = None
    ending: bool = False
    disabled: bool = False
    file_exists: bool = True
    file_owner: tuple[int, int] | None = None
    file_mode: int | None = None
    file_parses: bool = True
    folder_mode: int | None = None
    quarantined: str | None = None
    program_exists: bool = True
    program_runs: bool = True
    user_exists: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """What launchctl said. verb: bootstrap, bootout …; code: launchd's error; text: its words."""

    verb: str
    code: int
    text: str


Test = Callable[[Refusal, Job, Circumstances], bool]


@dataclass(frozen=True, slots=True)
class Cause:
    """One row. name: as its section in the runbook is called. codes: that say it. holds: when the circumstances do.

    message, hint: with what `_names` gives.
    """

    name: str
    codes: frozenset[int]
    holds: Test | None
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A refusal, explained: the name of its cause, what and why, and the next command."""

    name: str
    message: str
    hint: str


def _row(name: str, codes: set[int], holds: Test | None, message: str, hint: str) -> Cause:
    return Cause(name, frozenset(codes), holds, message, hint)


CAUSES: tuple[Cause, ...] = (
    _row("not-root", set(), lambda _said, job, now: job.kind == "daemon" and not now.is_root,
         "only root may change {domain}", "sudo, and the same command again"),
    _row("not-loaded", {3, 113}, lambda said, _job, now: said.verb in {"bootout", "kickstart"} and not now.loaded,
         "launchd does not know {target}", "aya launchd start"),
    _row("no-login-session", {112, 125, 134}, lambda _said, _job, now: not now.domain_exists,
         "there is no domain {domain}: agents run only where their user is logged in at the screen, not over ssh",
         "log in at the Mac's screen, or install daemons: sudo aya launchd install --daemon"),
    _row("still-ending", {16, 36, 37}, lambda _said, _job, now: now.ending,
         "launchd still ends the last {label}, which has {seconds} s to stop", "wait until then, then again"),
    _row("already-loaded", {17, 37}, lambda said, _job, now: said.verb == "bootstrap" and now.loaded,
         "{target} is loaded already, from {found}", "aya launchd restart"),
    _row("disabled", {119}, lambda _said, _job, now: now.disabled,
         "{target} is disabled: somebody typed launchctl disable, which outlives every reinstallation",
         "{sudo}launchctl enable {target}; then aya launchd start"),
    _row("no-file", {2, 108}, lambda _said, _job, now: not now.file_exists,
         "{file} is not there", "aya launchd install"),
    _row("not-a-plist", {107, 109, 110}, lambda _said, _job, now: not now.file_parses,
         "{file} is no property list that launchd can read", "plutil -lint {file}; then aya launchd install"),
    _row("wrong-owner", {122}, lambda _said, job, now: now.file_owner not in {None, job.owner},
         "{file} belongs to {found}, and launchd loads only what belongs to {whose}",
         "{sudo}chown {whose} {file}; then aya launchd start"),
    _row("wrong-mode", {122}, lambda _said, _job, now: any(
             mode is not None and mode & _WRITABLE_BY_OTHERS for mode in (now.file_mode, now.folder_mode)),
         "{file} or its folder may be written by others than its owner ({found}), and launchd loads no such plist",
         "{sudo}chmod 644 {file}; {sudo}chmod go-w {folder}; then aya launchd start"),
    _row("quarantined", {155}, lambda _said, _job, now: now.quarantined is not None,
         "{found} came from the network and is quarantined by macOS",
         "{sudo}xattr -d com.apple.quarantine {found}; then aya launchd start"),
    _row("no-program", {111}, lambda _said, _job, now: not now.program_exists,
         "the program of {label}, {program}, is not there: the Python environment was moved or removed",
         "install AYA again, then aya launchd install"),
    _row("program-not-executable", set(), lambda _said, _job, now: not now.program_runs,
         "the program of {label}, {program}, may not be run by {user}",
         "ls -le {program}; every folder above it must let {user} through"),
    _row("no-user", {114, 115}, lambda _said, _job, now: not now.user_exists,
         "{label} is to run as {user}, who is no user of this Mac",
         "dscl . -list /Users; chown the home to one of them"),
    _row("system-integrity-protection", {150}, None,
         "macOS's System Integrity Protection keeps {target} from being changed",
         "csrutil status; a label com.aya.… is never protected: look who is called so"),
    _row("background-item-switched-off", {161}, None,
         "macOS does not let {label} run in the background: it is switched off among the login items",
         "System Settings > General > Login Items & Extensions: allow it in the background; then aya launchd start"),
    _row("wrong-domain", {125}, None,
         "{domain} does not take this: nobody is logged in at the screen, or the item is switched off in"
         " System Settings > General > Login Items & Extensions",
         "launchctl print {domain}; or install daemons: sudo aya launchd install --daemon"),
    _row("wrong-folder", {121, 123}, None,
         "launchd does not take jobs of {domain} from {file}", "aya launchd install"),
    _row("shutting-down", {124}, None,
         "{domain} is ending: the Mac shuts down, or the user logs out", "wait for the next login or start"),
    _row("login-under-way", {146}, None,
         "{domain} starts nothing until the login is over", "wait half a minute, then aya launchd status"),
    _row("not-entitled", {144, 154, 159}, None,
         "macOS does not let this program speak to launchd: it runs in a sandbox",
         "type it in Terminal, outside of any sandbox"),
)  # fmt: skip
_BY_NAME = {cause.name: cause for cause in CAUSES}
# launchctl does not always give a code with its words.
_WORDS = (
    ("could not find service", "not-loaded"),
    ("no such process", "not-loaded"),
    ("could not find domain", "no-login-session"),
    ("service is disabled", "disabled"),
    ("bad ownership/permissions", "wrong-mode"),
    ("already bootstrapped", "already-loaded"),
    ("already loaded", "already-loaded"),
    ("not privileged", "not-root"),
    ("system integrity protection", "system-integrity-protection"),
)


def refusal(verb: str, code: int, text: str) -> Refusal:
    """Return what launchctl said; the number among its words goes before its exit code."""
    said = _SAID.search(text)
    return Refusal(verb, int(said[1]) if said else code, " ".join(text.split()))


def cause(refused: Refusal, job: Job, now: Circumstances) -> Cause | None:
    """Return why it refused; None when that cannot be said."""
    borne_out = next((row for row in CAUSES if row.holds is not None and row.holds(refused, job, now)), None)
    if refused.code in _VAGUE:
        return borne_out or _by_words(refused.text)
    rows = [row for row in CAUSES if refused.code in row.codes]
    # Of several that share a code, the one that the circumstances bear out.
    sure = [row for row in rows if row.holds is not None and row.holds(refused, job, now)]
    plain = [row for row in rows if row.holds is None]
    return next(iter((*sure, *plain, *rows)), None) or _by_words(refused.text) or borne_out


def _by_words(text: str) -> Cause | None:
    return next((_BY_NAME[name] for words, name in _WORDS if words in text.lower()), None)


def explain(refused: Refusal, job: Job, now: Circumstances) -> Explained:
    """Return the refusal in words, with the next command."""
    found = cause(refused, job, now)
    if found is None:
        return Explained(
            "unknown",
            f"launchctl {refused.verb} {job.target} failed with {refused.code}: {refused.text or 'no words'}",
            f"""log show --last 5m --predicate 'process == "launchd"' | grep {job.label}""",
        )
    names = _names(found, job, now)
    return Explained(found.name, found.message.format(**names), found.hint.format(**names))


def _names(found: Cause, job: Job, now: Circumstances) -> dict[str, str]:
    whose = "root:wheel" if job.kind == "daemon" else f"{job.owner[0]}:{job.owner[1]}"
    detail = {
        "already-loaded": now.loaded_from or "a file that launchd does not name",
        "wrong-owner": ":".join(str(one) for one in now.file_owner or ()),
        "wrong-mode": f"mode {now.file_mode or MODE:o}, folder {now.folder_mode or 0o755:o}",
        "quarantined": now.quarantined or str(job.file),
    }
    return {
        "target": job.target,
        "label": job.label,
        "domain": job.domain,
        "file": str(job.file),
        "folder": str(job.file.parent),
        "sudo": "sudo " if job.kind == "daemon" else "",
        "program": job.process.program[0],
        "user": job.process.user or f"user {job.owner[0]}",
        "seconds": str(job.process.exit_timeout_seconds),
        "whose": whose,
        "found": detail.get(found.name, ""),
    }
