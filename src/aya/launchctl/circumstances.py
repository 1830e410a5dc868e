"""What is looked at when launchctl does not say why: file, folder, program, and what launchd has already."""

from __future__ import annotations

import pwd
import stat
import subprocess
import sys
from pathlib import Path

from aya.launchctl import parse
from aya.launchctl.failures import Circumstances
from aya.launchctl.jobs import Job
from aya.launchctl.program import Launchctl
from aya.postgres.privileges import RunAs, can_run
from aya.processes.lint import parse_plist

_XATTR_SECONDS = 5


def look(job: Job, launchctl: Launchctl, *, uid: int) -> Circumstances:
    """Return the circumstances of a job. uid: who asks launchctl. Whatever cannot be seen is as it should be."""
    known = launchctl.run("print", job.target)
    printed = parse.printed(known.out)
    status = _status(job.file)
    program = Path(job.process.program[0])
    account = _account(job)
    return Circumstances(
        is_root=uid == 0,
        domain_exists=job.kind == "daemon" or launchctl.run("print", job.domain).code == 0,
        loaded=known.code == 0,
        loaded_from=printed.path,
        ending=known.code == 0 and printed.state == "stopping",
        disabled=job.label in parse.disabled(launchctl.run("print-disabled", job.domain).out),
        file_exists=status is not None,
        file_owner=None if status is None else (status[0], status[1]),
        file_mode=None if status is None else status[2],
        file_parses=status is None or _parses(job.file),
        folder_mode=None if (folder := _status(job.file.parent)) is None else folder[2],
        quarantined=next((str(path) for path in (job.file, program) if _quarantined(path)), None),
        program_exists=program.exists(),
        program_runs=account is None or not program.exists() or can_run(account, program),
        user_exists=job.process.user is None or account is not None,
    )


def _account(job: Job) -> RunAs | None:
    try:
        entry = pwd.getpwnam(job.process.user) if job.process.user else pwd.getpwuid(job.owner[0])
    except KeyError:
        return None
    return RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _status(path: Path) -> tuple[int, int, int] | None:
    """Return uid, gid and mode; None where there is nothing, or where we may not look."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def _parses(file: Path) -> bool:
    try:
        parse_plist(file.read_bytes())
    except ValueError:
        return False
    except OSError:
        return True
    return True


def _quarantined(path: Path, platform: str = sys.platform) -> bool:
    """Return whether macOS holds it back as something from the network; Python has no xattr there."""
    if platform != "darwin":
        return False
    try:
        asked = subprocess.run(
            ["/usr/bin/xattr", "-p", "com.apple.quarantine", str(path)],
            capture_output=True,
            timeout=_XATTR_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return asked.returncode == 0
