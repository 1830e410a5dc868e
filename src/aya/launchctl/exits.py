"""How a process ended, in words; pure. Sources: sysexits(3), signal(3), and how our services end."""

from __future__ import annotations

import signal

_CODES = {
    0: "ended by itself, as when it is asked to",
    1: "failed; its log says why",
    2: "was started with wrong arguments",
    64: "was started with wrong arguments (EX_USAGE)",
    78: "could not be set up (EX_CONFIG): its user, its working directory or its log file cannot be used",
    126: "its program may not be run: not executable, or kept back by macOS",
    127: "its program is not there",
}
_SIGNALS = {
    9: "was killed: it took longer than its time to stop, or memory ran out",
    15: "was ended before it could hear that it should end",
    6: "aborted itself; its log says why",
    11: "crashed",
}


def ended(code: int | None, signum: int | None) -> str:
    """Return how the last run ended. code: its exit code; signum: the signal that ended it; None: not so."""
    if signum:
        return f"{_name(signum)}: {_SIGNALS.get(signum, 'ended by a signal')}"
    if code is None:
        return "has not ended yet"
    if code > 128:  # noqa: PLR2004 - as a shell says it: 128 + signal
        return ended(None, code - 128)
    return f"{code}: {_CODES.get(code, 'failed; its log says why')}"


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
