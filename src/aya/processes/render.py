"""What launchd would do, said in supervisord 4.3's INI; pure.

launchd               supervisord, and what differs
KeepAlive true        autorestart=true
SuccessfulExit false  autorestart=unexpected, exitcodes=0; a clean exit within ThrottleInterval is restarted too
ThrottleInterval n    startsecs=n, startretries without end; an early death waits 1, 2, 3 … s, not the rest of n
ExitTimeOut n         stopwaitsecs=n, stopsignal=TERM
whole group killed    killasgroup=true; only when ExitTimeOut has run out
SoftResourceLimits    minfds of supervisord, which is inherited: for all the highest that any of them asks for
StandardOutPath       stdout_logfile, rotated at 10 MB; launchd never rotates
Umask                 umask of supervisord, which is inherited
RunAtLoad             autostart=false; `aya up` starts them one by one, in order
ProcessType, Nice, …  nothing: hints to macOS's scheduler

supervisord cuts a value at " ;" or " #", has no escape for a quote inside an environment value, and expands %(here)s
even where the % is doubled. Where quoting cannot help, the value is refused in words instead of being mangled.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aya.errors import ConfigError
from aya.processes.lint import UMASK
from aya.processes.plist import Process

_LOG_BYTES = "10MB"
_LOG_BACKUPS = 3
# launchd never gives up; a million attempts at a growing distance never end either.
_RETRIES = 1_000_000
_FIRST_PRIORITY = 100
_CUT = re.compile(r"\s[;#]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Files:
    """Where one supervisord keeps its own things."""

    configuration: Path
    socket: Path
    pidfile: Path
    log: Path


def configuration(files: Files, processes: Sequence[Process], *, files_limit: int, user: str) -> str:
    """Return supervisord.conf. processes: in starting order; they are stopped in the reverse one.

    files_limit: open files that every process may have. user: who supervisord runs as (it warns as root when unsaid).
    """
    head = [
        "; Written by aya up from the plists beside it; changes are lost.",
        *_section("unix_http_server", {"file": _plain(str(files.socket)), "chmod": "0700"}),
        *_section(
            "supervisord",
            {
                "logfile": _plain(str(files.log)),
                "logfile_maxbytes": _LOG_BYTES,
                "logfile_backups": str(_LOG_BACKUPS),
                "pidfile": _plain(str(files.pidfile)),
                "childlogdir": _plain(str(files.log.parent)),
                "directory": "/",
                "umask": f"{UMASK:03o}",
                "user": _plain(user),
                "minfds": str(files_limit),
                "nocleanup": "true",
            },
        ),
        *_section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
    ]
    programs = [
        text
        for place, process in enumerate(processes)
        for text in _section(f"program:{process.label}", _program(process, _FIRST_PRIORITY + place))
    ]
    return "\n".join((*head, *programs, ""))


def _section(name: str, values: dict[str, str]) -> list[str]:
    return ["", f"[{name}]", *(f"{key}={value}" for key, value in values.items())]


def _program(process: Process, priority: int) -> dict[str, str]:
    return {
        "command": " ".join(_argument(part) for part in process.program),
        "environment": ",".join(f"{name}={_environment(word)}" for name, word in process.environment),
        "directory": _plain(process.working_directory),
        "priority": str(priority),
        "autostart": "false",
        "autorestart": "true" if process.keep_alive == "always" else "unexpected",
        "exitcodes": "0",
        "startsecs": str(process.throttle_seconds),
        "startretries": str(_RETRIES),
        "stopsignal": "TERM",
        "stopwaitsecs": str(process.exit_timeout_seconds),
        "killasgroup": "true",
        **_logs(process),
    }


def _logs(process: Process) -> dict[str, str]:
    rotation = {"maxbytes": _LOG_BYTES, "backups": str(_LOG_BACKUPS)}
    out = {
        "stdout_logfile": _log_file(process.stdout),
        **{f"stdout_logfile_{key}": value for key, value in rotation.items()},
    }
    if process.stderr == process.stdout:
        return {**out, "redirect_stderr": "true"}
    return {
        **out,
        "stderr_logfile": _log_file(process.stderr),
        **{f"stderr_logfile_{key}": value for key, value in rotation.items()},
    }


def _log_file(path: str) -> str:
    # supervisord 4.3 expands these two, and only these, twice.
    return _plain(path).replace("%", "%%")


def _argument(text: str) -> str:
    """Quote one argument so that shlex.split gives it back, and no comment starts in it."""
    quoted = shlex.quote(text)
    # 'a #b' → 'a '\#'b': no white space stands right before the sign, and shlex takes \# for #.
    for sign in ";#":
        quoted = quoted.replace(f" {sign}", f" '\\{sign}'")
    return _plain(quoted)


def _environment(text: str) -> str:
    """Quote a value for supervisord's own parser: it knows both quotes but no escape, and strips them at the ends."""
    if '"' not in text and not text.startswith("'") and not text.endswith("'"):
        return _plain(f'"{text}"')
    if "'" not in text and not text.startswith('"') and not text.endswith('"'):
        return _plain(f"'{text}'")
    raise _refused(text, "quotes of both kinds, or one at its end")


def _plain(text: str) -> str:
    """Return a value that supervisord reads back as `text`, percent signs doubled."""
    if _CONTROL.search(text):
        raise _refused(text, "a control character")
    if _CUT.search(text):
        raise _refused(text, "a space before # or ;, where supervisord starts a comment")
    if text != text.strip():
        raise _refused(text, "white space at an end")
    if "%(here)s" in text:
        raise _refused(text, "%(here)s, which supervisord replaces")
    return text.replace("%", "%%")


def _refused(text: str, why: str) -> ConfigError:
    return ConfigError(f"the supervisor cannot be given {text!r}: it has {why}", hint="choose another --home")
