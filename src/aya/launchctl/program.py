"""launchctl and systemctl, as somebody to be asked and as processes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Protocol

from aya.errors import ServiceManagerError

# A stop or a restart waits for the process, which may have two minutes; who only asks is answered at once.
_ORDER_SECONDS = 180.0
_ASK_SECONDS = 10.0
_ASKING = ("print", "print-disabled", "list", "show")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: its exit code, and what it said on standard output and on standard error."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def text(self) -> str:
        """Return what it said of a failure: launchctl says some of it on standard output."""
        return self.err.strip() or self.out.strip()


class Launchctl(Protocol):
    """Whoever answers as launchctl (or as `systemctl --user`) does.

    Every call may be repeated: what is done already is answered with a code, never done twice. Raises
    ServiceManagerError when nobody answers in time.
    """

    def run(self, *arguments: str) -> Answer:
        """Run one command to its end; a code other than 0 is an answer, no error."""
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """The real one. command: ("/bin/launchctl",), ("systemctl", "--user")."""

    command: tuple[str, ...]

    def run(self, *arguments: str) -> Answer:
        """Run it; see Launchctl."""
        command = [*self.command, *arguments]
        seconds = _ASK_SECONDS if arguments[:1] and arguments[0] in _ASKING else _ORDER_SECONDS
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except OSError as error:
            raise ServiceManagerError(
                f"{self.command[0]} cannot be run: {error.strerror}", hint="aya up --detach"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ServiceManagerError(
                f"{' '.join(command)} did not answer within {seconds:.0f} s", hint="the same command again"
            ) from error
        return Answer(done.returncode, done.stdout, done.stderr)


class NothingLoaded:
    """A launchctl that has never loaded anything: for a dry run where there is none."""

    def run(self, *arguments: str) -> Answer:
        """Answer as launchctl does of a service that it does not know."""
        return Answer(113, err=f'Could not find service "{arguments[-1]}"')
