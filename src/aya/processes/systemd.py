"""What launchd would do, said as a user unit of systemd; pure.

launchd               systemd, and what differs
KeepAlive true        Restart=always, StartLimitIntervalSec=0
SuccessfulExit false  Restart=on-failure; systemd also takes an end by TERM, INT, HUP or PIPE for a success
ThrottleInterval n    RestartSec=n: a pause after every end, where launchd waits only for the rest of n since the start
ExitTimeOut n         TimeoutStopSec=n, KillSignal=SIGTERM
process group ended   KillMode=mixed: what is left after the main process is killed. A server of ours is in the same
                      control group as its watchdog or wrapper and must outlive its crash: KillMode=process there
SoftResourceLimits    LimitNOFILE=n, which is the hard limit, too
StandardOutPath       StandardOutput=append:; neither of them rotates
EnvironmentVariables  Environment=; a user's manager hands down its own, so what would lead elsewhere is taken out
RunAtLoad             WantedBy=default.target, when enabled; it needs `loginctl enable-linger` to run without a login
ProcessType           Background: Nice=10; the others: nothing
LowPriorityIO         IOSchedulingClass=best-effort, the lowest priority of it
Umask, Nice           UMask=, Nice=
UserName              nothing: a unit of a user is that user's

Sources: systemd.syntax(7), systemd.service(5), systemd.exec(5), systemd.kill(5). What quoting cannot carry is refused.
"""

from __future__ import annotations

import re

from aya.errors import ConfigError
from aya.processes.lint import UMASK
from aya.processes.plist import SERVERS, Process

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_BACKGROUND_NICE = 10
_LOWEST_IO_PRIORITY = 7
# By which a client of ours, or of libpq, is led to another database (aya.settings; libpq, "Environment Variables").
LED_BY = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "EMBEDDING_URL", "AYA_DSN", "PGHOST", "PGHOSTADDR",
          "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGOPTIONS", "PYTHONPATH",
          "PYTHONHOME")  # fmt: skip


def unit(process: Process) -> str:
    """Return the unit of a process, whose file is LABEL.service. ConfigError for what systemd cannot be given."""
    lines = [
        "# Written by aya launchd install from the plist of the same name; changes are lost.",
        "[Unit]",
        f"Description=AYA: {process.service} of node {process.node}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={_command(process.program)}",
        f"WorkingDirectory={_path(process.working_directory)}",
        *(f'Environment="{_quoted(f"{name}={word}")}"' for name, word in process.environment),
        f"UnsetEnvironment={' '.join(name for name in LED_BY if name not in dict(process.environment))}",
        f"Restart={'always' if process.keep_alive == 'always' else 'on-failure'}",
        f"RestartSec={process.throttle_seconds}",
        f"TimeoutStopSec={process.exit_timeout_seconds}",
        "KillSignal=SIGTERM",
        f"KillMode={'process' if process.service in SERVERS else 'mixed'}",
        f"StandardOutput=append:{_path(process.stdout)}",
        f"StandardError=append:{_path(process.stderr)}",
        f"UMask={UMASK:04o}",
        "IgnoreSIGPIPE=no",
        *_manners(process),
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)


def _manners(process: Process) -> list[str]:
    """Return how many files it may open, and how much it gives way."""
    nice = _BACKGROUND_NICE if process.nice is None and process.background else process.nice
    lines = [] if process.files_limit is None else [f"LimitNOFILE={process.files_limit}"]
    lines += [] if nice is None else [f"Nice={min(nice, 19)}"]
    if process.low_priority_io:
        lines += ["IOSchedulingClass=best-effort", f"IOSchedulingPriority={_LOWEST_IO_PRIORITY}"]
    return lines


def _command(program: tuple[str, ...]) -> str:
    if "$" in program[0]:
        # Its name is taken as it is, but as its first argument it would be expanded.
        raise _refused(program[0], "a $ in the path of a program")
    return " ".join(f'"{_quoted(word).replace("$", "$$")}"' for word in program)


def _quoted(text: str) -> str:
    r"""Return `text` for the inside of double quotes: \ and " escaped, and % doubled, which begins a specifier."""
    if _CONTROL.search(text):
        raise _refused(text, "a control character")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _path(text: str) -> str:
    """Return a path that stands alone after its key: nothing is quoted there, a backslash at the end joins lines."""
    if _CONTROL.search(text):
        raise _refused(text, "a control character")
    if text != text.strip() or text.endswith("\\"):
        raise _refused(text, "white space or a backslash at its end")
    return text.replace("%", "%%")


def _refused(text: str, why: str) -> ConfigError:
    return ConfigError(f"systemd cannot be given {text!r}: it has {why}", hint="choose another --home")
