"""Waiting for a process to be of use: with a deadline, and with the last words of its log when it was in vain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aya import db
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, DatabaseRefused, EmbedderError
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.provision import superuser_settings
from aya.processes.plist import Process
from aya.processes.rpc import Running
from aya.processes.supervisor import Supervisor
from aya.status.last import last_event

POSTGRES_SECONDS = 120.0
# A primary that waits for its standby tells so in its log; a person may have to answer.
LEADER_SECONDS = 60.0
# The first start of a model that is not on this machine yet downloads it.
EMBEDDER_SECONDS = 1800.0
SETTLE_SECONDS = 15.0
_POLL_SECONDS = 0.1
_PROBE_SECONDS = 2.0
_TELL_SECONDS = 10.0
_TAIL_LINES = 4
_TAIL_BYTES = 8192
# A process that ended so many times is not going to come up.
_LIVES = 3
_ENDED = ("stopped", "exited")
# supervisord looks after its processes once a second.
_LOOKED_AT_SECONDS = 3.0

Probe = Callable[[], Awaitable[str | None]]


async def until(
    probe: Probe,
    supervisor: Supervisor,
    process: Process,
    *,
    deadline_seconds: float,
    still_waiting: Callable[[str], None] = lambda _: None,
) -> str:
    """Start a process, call `probe` until it returns an answer, and return that.

    still_waiting: called every 10 s with the last words of the process's log.
    Raises AyaError with the end of the process's log when it keeps ending, or when the time is up.
    """
    log = Path(process.stderr)
    supervisor.rpc().start(process.label)
    pids: set[int] = set()
    begun = alive_at = time.monotonic()
    told = begun
    while True:
        answer = await probe()
        if answer is not None:
            return answer
        running = supervisor.processes().get(process.label)
        pids |= {running.pid} if running and running.pid else set()
        now = time.monotonic()
        alive_at = now if running and running.state not in _ENDED else alive_at
        if _hopeless(running, len(pids), now - alive_at):
            raise failed(f"{process.service} of node {process.node} does not start", log)
        if now - begun > deadline_seconds:
            raise failed(f"{process.service} of node {process.node} was not ready within {deadline_seconds:.0f} s", log)
        if now - told > _TELL_SECONDS:
            told = now
            still_waiting(tail(log, lines=1))
        await asyncio.sleep(_POLL_SECONDS)


def _hopeless(running: Running | None, lives: int, ended_seconds: float) -> bool:
    """Return whether waiting is in vain: nobody starts it any more, or it ended too often; pure.

    ended_seconds: for how long it has been seen to have ended. Whoever was killed is started again at the supervisor's
    next look, and has merely ended until then.
    """
    if running is None or running.state == "failed" or ended_seconds > _LOOKED_AT_SECONDS:
        return True
    return lives >= _LIVES and not running.alive


def failed(message: str, log: Path) -> AyaError:
    """Return an error that quotes the end of `log` and points to it."""
    said = tail(log)
    return AyaError(f"{message}; its log ends: {said}" if said else message, hint=f"less '{log}'")


def tail(log: Path, *, lines: int = _TAIL_LINES) -> str:
    """Return the last events of a log in one line, each once; empty when there is none."""
    told = [told.event for line in read_tail(log).splitlines() if (told := last_event(line))]
    return " / ".join(dict.fromkeys(told[-lines:]))


def read_tail(log: Path) -> str:
    """Return the last 8 KiB of a log, from the start of a line; empty when there is none."""
    try:
        with log.open("rb") as stream:
            start = max(0, log.stat().st_size - _TAIL_BYTES)
            stream.seek(start)
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if start else text


def postgres_probe(cluster: Cluster, secrets: dict[str, str]) -> Probe:
    """Return a probe that answers with the server's version once it takes connections."""
    settings = superuser_settings(cluster, secrets[SUPERUSER])

    async def probe() -> str | None:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                with db.translated(settings):
                    connection = await db.connect(settings, application_name="aya-up")
        except DatabaseRefused:
            raise
        except (AyaError, TimeoutError):
            return None
        try:
            return str(connection.get_settings().server_version).split(" ", 1)[0]
        finally:
            connection.terminate()

    return probe


async def is_writable(cluster: Cluster, secrets: dict[str, str]) -> bool:
    """Return whether a server lets clients write: it is no standby, and not closed by its watchdog."""
    settings = superuser_settings(cluster, secrets[SUPERUSER])
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            with db.translated(settings):
                connection = await db.connect(settings, application_name="aya-up")
    except (AyaError, TimeoutError):
        return False
    try:
        said = connection.get_settings()
        return bool(said.default_transaction_read_only == "off" and said.in_hot_standby == "off")
    finally:
        connection.terminate()


def embedder_probe(url: str) -> Probe:
    """Return a probe that answers with the model's name once the embedder is healthy."""

    async def probe() -> str | None:
        try:
            async with asyncio.timeout(_PROBE_SECONDS), EmbedderClient(url) as client:
                if (await client.health()).get("status") != "healthy":
                    return None
                identity = await client.identity()
                return f"{identity.model}, {identity.dimension} dimensions"
        except (EmbedderError, TimeoutError):
            return None

    return probe


async def speaks(url: str) -> bool:
    """Return whether an embedder answers at all, be it that it is still loading."""
    try:
        async with asyncio.timeout(2 * _PROBE_SECONDS), EmbedderClient(url) as client:
            await client.health()
    except (EmbedderError, TimeoutError):
        return False
    return True


def alive_probe(supervisor: Supervisor, label: str, seconds: float = 1.0) -> Probe:
    """Return a probe for a service that nobody can ask: it answers once the process has lived for so long."""

    async def probe() -> str | None:
        running = supervisor.processes().get(label)
        if running is None or running.pid is None or not running.alive or running.started_at is None:
            return None
        return str(running.pid) if time.time() - running.started_at >= seconds else None

    return probe
