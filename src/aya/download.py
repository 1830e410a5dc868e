"""Bring one file of known size here over HTTP, going on where an earlier attempt stopped (RFC 9110, 14: Range).

What has arrived stays in a file beside the target, whatever ends the attempt: a cut connection, Ctrl-C, a full disk.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from aya.backoff import Backoff
from aya.errors import AyaError

CONNECT_TIMEOUT_SECONDS = 10.0
# Nothing at all for so long is a connection that is dead without saying so.
STALL_TIMEOUT_SECONDS = 20.0
BACKOFF = Backoff(first_seconds=0.5, cap_seconds=30.0)
MOST_FAILURES = 6
"""How many attempts in a row may bring not a single byte."""
NETWORK_ERRORS: tuple[type[Exception], ...] = (httpx2.HTTPError, OSError)
"""What a call over the network raises, ours and that of programs that use the same library."""
_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(AyaError):
    """A file could not be brought here."""


class Interrupted(DownloadError):
    """The connection broke, stalled, or the server has a bad moment: the same call goes on from here."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Target:
    """One file. url: where it is; partial: where its bytes gather; size_bytes: how many it has in all."""

    url: str
    partial: Path
    size_bytes: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Persistence:
    """How often and after which waits a broken download is taken up again.

    sleep, uniform: time.sleep and random.uniform, or a test's.
    """

    sleep: Callable[[float], None]
    uniform: Callable[[float, float], float]
    backoff: Backoff = BACKOFF
    most_failures: int = MOST_FAILURES
    stall_seconds: float = STALL_TIMEOUT_SECONDS

    def client(self) -> httpx2.Client:
        """Return a client that notices a stalled connection, and follows the hub to where its files are kept."""
        timeout = httpx2.Timeout(self.stall_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        return httpx2.Client(timeout=timeout, follow_redirects=True)

    def persist(self, work: Callable[[], None], progressed: Callable[[], int], failed: Callable[[str], None]) -> None:
        """Call `work` until it returns, with waits between failures that are Interrupted.

        progressed: how far it is; getting further than ever forgets earlier failures (a server that knows no ranges
        begins anew each time). failed: is told why, and when it goes on. Raises Interrupted when most_failures in a row
        brought nothing new, and whatever else `work` raises.
        """
        failures, reached = 0, progressed()
        while True:
            try:
                work()
            except Interrupted as error:
                now = progressed()
                failures, reached = (1 if now > reached else failures + 1), max(reached, now)
                if failures >= self.most_failures:
                    raise
                wait = self.backoff.delay_seconds(failures, self.uniform)
                failed(f"{error.message}; again in {wait:.1f} s")
                self.sleep(wait)
            else:
                return


def arrived_bytes(partial: Path) -> int:
    """Return how many bytes of a file are here already."""
    try:
        return partial.stat().st_size
    except FileNotFoundError:
        return 0


def fetch(client: httpx2.Client, target: Target, moved: Callable[[int], None]) -> None:
    """Append to target.partial what it lacks. moved: is told how many bytes are here, after each piece.

    Raises Interrupted when the same call may succeed later, DownloadError when it cannot (refused, full disk).
    """
    here = arrived_bytes(target.partial)
    if here > target.size_bytes:
        target.partial.unlink()
        here = 0
    moved(here)
    if here == target.size_bytes and target.partial.exists():
        return
    headers = {**target.headers, "Accept-Encoding": "identity", "Range": f"bytes={here}-"}
    try:
        with client.stream("GET", target.url, headers=headers) as response:
            _receive(response, target, here, moved)
    except httpx2.TransportError as error:
        raise Interrupted(f"the connection broke: {_reason(error)}") from error
    except httpx2.HTTPError as error:
        raise DownloadError(f"{target.url} cannot be fetched: {_reason(error)}") from error


def _receive(response: httpx2.Response, target: Target, here: int, moved: Callable[[int], None]) -> None:
    if response.status_code == _RANGE_REFUSED:
        target.partial.unlink(missing_ok=True)
        raise Interrupted("the server does not know the part that was asked for, so the file begins anew")
    if response.status_code not in {_OK, _PARTIAL}:
        raise refused(response.status_code, target.url)
    resumed = response.status_code == _PARTIAL
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
        raise Interrupted("the server sent another part than was asked for")
    try:
        with target.partial.open("ab" if resumed else "wb") as file:
            total = here if resumed else 0
            for piece in response.iter_raw():  # no size: pieces are kept as they come, and nothing is lost with a cut
                file.write(piece)
                total += len(piece)
                moved(total)
    except OSError as error:
        raise disk_error(error, target.partial) from error
    if total < target.size_bytes:
        raise Interrupted(f"the connection ended after {total:,} of {target.size_bytes:,} bytes")
    if total > target.size_bytes:
        target.partial.unlink()
        raise DownloadError(f"{target.url} has more than the {target.size_bytes:,} bytes that were announced")


def refused(status: int, url: str) -> DownloadError:
    """Return the error for an answer that is no success."""
    kind = Interrupted if status in _WORTH_ANOTHER_TRY else DownloadError
    return kind(f"{url} answers {status}")


def disk_error(error: OSError, path: Path) -> DownloadError:
    """Return the error for a file that cannot be written; what is there of it stays."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DownloadError(
            f"the disk is full: {path.parent} has no room for the rest of {path.name}",
            hint=f"df -h {shlex.quote(str(path.parent))}; then the same command goes on from there",
        )
    return DownloadError(f"{path} cannot be written: {error.strerror}", hint=f"ls -ld {shlex.quote(str(path.parent))}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
