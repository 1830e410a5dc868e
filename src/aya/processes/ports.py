"""TCP ports on this machine: which are free, who holds one."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Collection

import psutil

from aya.errors import ConfigError

# Below the ephemeral ports of Linux (32768) and macOS (49152): no client is ever given one of these.
FIRST_PORT = 20000
LAST_PORT = 32000
_ADDRESS = "127.0.0.1"
_PROBE_SECONDS = 0.5


def is_free(port: int) -> bool:
    """Return whether a server could listen on 127.0.0.1:port now."""
    with socket.socket() as probe:
        # As PostgreSQL does: what a closed connection leaves behind for a minute is no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_ADDRESS, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return not _answers(port)


def _answers(port: int) -> bool:
    # macOS lets us bind beside a server that listens on every address.
    with socket.socket() as client:
        client.settimeout(_PROBE_SECONDS)
        return client.connect_ex((_ADDRESS, port)) == 0


def choose(taken: Collection[int], seed: str, free: Callable[[int], bool] = is_free) -> int:
    """Return a port in 20000 to 32000 that is free and not in `taken`.

    seed: the home's path; two homes start looking at different places, so that one that is stopped keeps its ports.
    """
    generator = random.Random(seed)  # noqa: S311 - scattered, not secret
    for port in generator.sample(range(FIRST_PORT, LAST_PORT), LAST_PORT - FIRST_PORT):
        if port not in taken and free(port):
            return port
    raise ConfigError(f"no port from {FIRST_PORT} to {LAST_PORT} is free", hint="end what listens there, then aya up")


def holder(port: int) -> str:
    """Return who listens on a port: "nginx (pid 123)", or "another process" where the system does not tell us."""
    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        pid = next((one.pid for one in listening if one.pid and tuple(one.laddr)[1:2] == (port,)), None)
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else "another process"
    except psutil.Error:
        return "another process"


def require_free(port: int, purpose: str) -> None:
    """Raise ConfigError, naming who holds it, unless `port` is free for `purpose`."""
    if is_free(port):
        return
    who = holder(port)
    pid = who.partition("pid ")[2].rstrip(")")
    raise ConfigError(
        f"port {port}, which is {purpose}, is taken by {who}",
        hint=f"end it ({'kill ' + pid if pid else f'lsof -i :{port} shows it'}), then aya up",
    )
