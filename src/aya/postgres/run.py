"""`python -m aya.postgres.run`: PostgreSQL in the foreground, for launchd and supervisord.

It reads AYA_HOME and AYA_NODE, writes aya.conf anew, drops root's privileges and turns SIGTERM, PostgreSQL's smart
shutdown that waits for every client, into SIGINT, the fast one. Its exit code is the server's.
It refuses, with one sentence, what would end in two servers on one data directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType

from aya.backup.install import interpreter, put_command
from aya.errors import AyaError, ConfigError, PostgresError
from aya.home import Home, locate
from aya.postgres import holders, homebrew, lockfile, tls
from aya.postgres.binaries import resolve
from aya.postgres.cluster import Cluster
from aya.postgres.config import SERVERS, ClusterConfig, TlsFiles
from aya.postgres.privileges import RunAs, run_as
from aya.processes import ports
from aya.proof import speaks_tls
from aya.settings import Config, load_config

_SIGNALLED = 128
_ORPHAN_SECONDS = 90.0
_POLL_SECONDS = 0.1
# TERM and INT ask for a fast shutdown, QUIT for an immediate one, HUP reads the configuration again.
_FORWARDED = {
    signal.SIGTERM: signal.SIGINT,
    signal.SIGINT: signal.SIGINT,
    signal.SIGQUIT: signal.SIGQUIT,
    signal.SIGHUP: signal.SIGHUP,
}


def cluster_of(home: Home, config: Config, node: str) -> Cluster:
    """Return the cluster of a node of this home, which need not exist yet."""
    data = home.data_directory(node)
    user = run_as(data)
    listening = replace(_listening(home, config, node), archive_command=_archive_command(home, node, user))
    return Cluster(resolve(config, home, user), data, listening, user)


def _archive_command(home: Home, node: str, user: RunAs) -> str | None:
    """Return what archives on a server; AIR has its rows from there. None also without a Python for `user`."""
    python = interpreter(user) if node in SERVERS else None
    return put_command(home.node_directory(node), python) if python else None


def _listening(home: Home, config: Config, node: str) -> ClusterConfig:
    """Return where it listens: on this machine only, or, when aya.toml names the servers, on all its addresses."""
    sockets = home.runtime_directory / node
    own = config.members.get(node)
    if own is None:
        return ClusterConfig(home.node(node).postgres_port, sockets)
    neighbours = tuple((address, one.name) for one in config.members.values() for address in one.addresses)
    return ClusterConfig(
        own.postgres_port, sockets, ("*",), neighbours=neighbours, clients=config.clients, tls=_tls(home, config, node)
    )


def _tls(home: Home, config: Config, node: str) -> TlsFiles | None:
    if not speaks_tls(config):
        return None
    # Only here: it brings cryptography.
    from aya.certificates import identity  # noqa: PLC0415

    own = identity(home.agent_directory(node))
    return TlsFiles(own.authority, own.certificate, own.key, home.node_directory(node))


def check(cluster: Cluster) -> None:
    """Raise PostgresError or ConfigError when the server must not be started, saying why and what to do."""
    if cluster.config.tls is None:
        tls.require_safe((*(address for address, _ in cluster.config.neighbours), *cluster.config.clients))
    cluster.require_settled()
    if not cluster.exists():
        raise PostgresError(f"{cluster.data_directory} holds no PostgreSQL cluster", hint="aya up")
    cluster.check_version()
    job = homebrew.conflicting_job(homebrew.loaded_jobs(), cluster.data_directory)
    if job is not None:
        raise PostgresError(
            f"launchd's job {job} runs a server on {cluster.data_directory} too",
            hint=f"brew services stop {job.removeprefix('homebrew.mxcl.')}",
        )


def clear_lock_file(cluster: Cluster, environ: Mapping[str, str]) -> None:
    """Deal with what an earlier server left behind: end an orphan of ours, remove a lock that nobody holds."""
    data = cluster.data_directory
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        verdict = lockfile.decide(holders.observe(data, environ))
        if verdict.action == "start":
            return
        if verdict.action == "remove":
            holders.forget(data)
            return
        if verdict.action == "refuse" or time.monotonic() > deadline:
            raise PostgresError(f"{data}: {verdict.reason}", hint="ps -ef | grep postgres; end it, then aya up")
        if verdict.action == "end" and verdict.pid is not None:
            os.kill(verdict.pid, signal.SIGINT)
        time.sleep(_POLL_SECONDS)


def serve(cluster: Cluster, environ: Mapping[str, str]) -> int:
    """Run the server until it ends; return its exit code (128 + n when signal n ended it)."""
    server: subprocess.Popen[bytes] | None = None
    stopping = False

    def forward(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        del frame
        stopping = stopping or signum != signal.SIGHUP
        if server is not None and server.poll() is None:
            server.send_signal(_FORWARDED[signal.Signals(signum)])

    for signum in _FORWARDED:
        signal.signal(signum, forward)
    server = subprocess.Popen(
        cluster.command(),
        stdin=subprocess.DEVNULL,
        cwd="/",
        env=server_environment(environ),
        **cluster.user.process_identity(),
    )
    if stopping:  # asked while the server was being started
        server.send_signal(signal.SIGINT)
    code = server.wait()
    return code if code >= 0 else _SIGNALLED - code


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the server may know; its home and node are how an orphan of ours is told from others."""
    kept = ("PATH", "TMPDIR", "AYA_HOME", "AYA_NODE")
    return {**{name: environ[name] for name in kept if name in environ}, "LC_ALL": "C"}


def run(environ: Mapping[str, str]) -> int:
    """Check, configure and serve the node that AYA_HOME and AYA_NODE name."""
    node = environ.get("AYA_NODE")
    if not node or not environ.get("AYA_HOME"):
        raise ConfigError("AYA_HOME and AYA_NODE must say which server to run", hint="aya up")
    home = locate(environ["AYA_HOME"])
    cluster = cluster_of(home, load_config(home, environ), node)
    check(cluster)
    with holders.alone(cluster.data_directory):
        clear_lock_file(cluster, environ)
        ports.require_free(cluster.config.port, f"PostgreSQL's of node {node}")
        cluster.configure()
        _say(f"PostgreSQL {cluster.binaries.version} starts on port {cluster.config.port} as {cluster.user.name}")
        return serve(cluster, environ)


def main() -> int:
    """Run the server; an AyaError becomes one sentence, the next command and exit code 1."""
    try:
        return run(os.environ)
    except AyaError as error:
        _say(error.message + (f"; next: {error.hint}" if error.hint else ""))
        return error.exit_code


def _say(text: str) -> None:
    sys.stderr.write(f"aya: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
