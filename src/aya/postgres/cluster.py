"""One PostgreSQL cluster on this machine: create, configure, start, stop, look at."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from aya.backup.install import install
from aya.errors import PostgresError
from aya.postgres import files
from aya.postgres.binaries import Binaries
from aya.postgres.config import (
    GUARD_FILE,
    SETTINGS_FILE,
    ClusterConfig,
    Guard,
    TlsFiles,
    guard_text,
    host_access_text,
    initdb_options,
    replication_role,
    settings_text,
    slot_name,
)
from aya.postgres.privileges import RunAs
from aya.processes.leftovers import same_directory

_TIMEOUT_SECONDS = 120
_NOT_LET_IN = "no pg_hba.conf entry"
_LET_IN = (
    "where that server runs, name this machine's addresses: aya init --role … --beta-address or --air-address LIST"
)
# A copy of the whole base over a slow network; `aya up` shows that it goes on.
_COPY_SECONDS = 24 * 3600.0
SUPERUSER = "postgres"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory, the programs that run it and the user that owns it."""

    binaries: Binaries
    data_directory: Path
    config: ClusterConfig
    user: RunAs

    def exists(self) -> bool:
        """Return whether the data directory holds a cluster."""
        return (self.data_directory / "PG_VERSION").exists()

    def create(self, password: str) -> None:
        """Run initdb; `password` becomes the superuser's. A failed try leaves nothing behind.

        Raises PostgresError when the data directory holds a cluster of another major version, or initdb fails.
        """
        if self.exists():
            self.check_version()
            return
        with self.filling(), self._password_file(password) as pwfile:
            self._run(
                "initdb",
                f"--pgdata={self.data_directory}",
                f"--pwfile={pwfile}",
                *initdb_options(self.binaries.major),
            )
            self.configure()

    def create_standby(self, primary: ClusterConfig, password: str, name: str) -> None:
        """Copy the primary with pg_basebackup, to follow it under the standby's own role, slot and name."""
        if self.exists():
            self.check_version()
            return
        self.data_directory.parent.mkdir(parents=True, exist_ok=True)
        source = self.upstream(primary.addresses, primary.port, password, name)
        with self.filling():
            self.copy_from(source, name)

    def copy_from(self, upstream: str, name: str) -> None:
        """Fill an empty data directory from the primary. upstream: as `upstream` returns it."""
        run_program(self.binaries, self.user, self.copy_command(upstream, name), seconds=_COPY_SECONDS)
        self.follow(upstream, name)

    def copy_command(self, upstream: str, name: str) -> tuple[str, ...]:
        """Return what copies the primary into the empty data directory; `follow` is to come after it."""
        return (
            "pg_basebackup",
            f"--pgdata={self.data_directory}",
            f"--dbname={upstream}",
            "--wal-method=stream",
            "--checkpoint=fast",
            f"--slot={slot_name(name)}",
        )

    def follow(self, upstream: str, name: str) -> None:
        """Have a fresh copy follow the primary from its next start on."""
        self.mark_standby()
        # The copy brought the primary's along; the watchdog's first word replaces it.
        self.guard(Guard(upstream=upstream, slot=slot_name(name)))
        self.configure()

    def upstream(self, addresses: tuple[str, ...], port: int, password: str, name: str) -> str:
        """Return how `name` streams from a primary; its password goes into a file beside the data directory."""
        if self.config.tls:
            self._copy_certificates(self.config.tls)
        passfile = self.data_directory.with_name("replication.pgpass")
        files.write_text(passfile, f"*:*:*:{replication_role(name)}:{password}\n", self.user)
        return (
            f"host={','.join(addresses)} port={port} user={replication_role(name)}"
            f" passfile={conninfo_value(str(passfile))}{self._proof()} application_name={name} connect_timeout=2"
            " keepalives_idle=2 keepalives_interval=1 keepalives_count=3"
        )

    def _proof(self) -> str:
        """Return what the primary has to prove, as a connection string says it: that our authority knows it."""
        tls = self.config.tls
        return f" sslmode=verify-ca sslrootcert={conninfo_value(str(tls.copies[0][1]))}" if tls else ""

    def mark_standby(self) -> None:
        """Have the next start follow a primary."""
        self._write("standby.signal", "")

    def guard(self, guard: Guard) -> None:
        """Write aya.watchdog.conf; it holds from the next reload or start on."""
        self._write(GUARD_FILE, guard_text(guard))

    @contextmanager
    def filling(self) -> Generator[None]:
        """Make the data directory, and empty it when the block fails: half a cluster would pass for a whole one."""
        self.user.make_directory(self.data_directory)
        if any(self.data_directory.iterdir()):
            raise PostgresError(
                f"{self.data_directory} is not empty, but holds no PostgreSQL cluster", hint="move it away, then aya up"
            )
        try:
            yield
        except BaseException:
            for entry in self.data_directory.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            raise

    @contextmanager
    def _password_file(self, password: str) -> Generator[str]:
        """Lend a file with the password; beside the data directory, for root's TMPDIR may be closed to the user."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.data_directory.parent) as file:
            file.write(password + "\n")
            file.flush()
            self.user.own(file.fileno())
            yield file.name

    def require_settled(self) -> None:
        """Raise PostgresError while an upgraded cluster is to take this one's place: rows written now would be lost."""
        if swap_file(self.data_directory.parent).exists():
            node = self.data_directory.parent.name
            raise PostgresError(
                f"an upgrade of node {node} was cut off at its very end",
                hint=f"aya upgrade-cluster --node {node} finishes it",
            )

    def check_version(self) -> None:
        """Raise PostgresError unless the data directory belongs to these binaries' major version."""
        found = self._read("PG_VERSION").strip()
        if found != str(self.binaries.major):
            raise PostgresError(
                f"{self.data_directory} belongs to PostgreSQL {found}, but {self.binaries.version} is configured",
                hint=f"aya upgrade-cluster --node {self.data_directory.parent.name}, or AYA_PG_MAJOR={found} aya up",
            )

    def configure(self) -> None:
        """Write aya.conf and pg_hba.conf, and include the former once; root does so without following links."""
        self.user.make_directory(self.config.socket_directory)
        if self.config.tls:
            self._copy_certificates(self.config.tls)
        if self.config.archive_command:
            install(self.data_directory.parent, self.user)
        include = f"include '{SETTINGS_FILE}'"
        text = self._read("postgresql.conf")
        if include not in text:
            self._write("postgresql.conf", f"{text}\n{include}\n")
        self._write(SETTINGS_FILE, settings_text(self.config))
        self._write("pg_hba.conf", host_access_text(self.config))

    def _copy_certificates(self, tls: TlsFiles) -> None:
        """Copy them anew: the node's may have changed."""
        try:
            for source, copy in tls.copies:
                files.write_text(copy, source.read_text(encoding="ascii"), self.user)
        except OSError as error:
            raise PostgresError(
                f"the node's certificates cannot be copied: {error}", hint="docs/operations/failover.md#certificates"
            ) from error

    def _read(self, name: str) -> str:
        file = self.data_directory / name
        try:
            return files.read_text(file)
        except (OSError, UnicodeDecodeError) as error:
            raise PostgresError(f"{file} cannot be read: {error}", hint="put a plain file in its place") from error

    def _write(self, name: str, content: str) -> None:
        file = self.data_directory / name
        try:
            files.write_text(file, content, self.user)
        except OSError as error:
            raise PostgresError(f"{file} cannot be written: {error}", hint=f"look at {self.data_directory}") from error

    def start(self, log_file: Path) -> None:
        """Start the server and wait until it answers. For tests and one-shot work; services run under a supervisor."""
        log_file.touch(mode=0o600)
        self.user.own(log_file)
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self.data_directory}", f"--log={log_file}", "--silent")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server (fast: disconnect the clients, roll back, checkpoint); nothing when it does not run."""
        if self.postmaster_pid() is not None:
            self._run("pg_ctl", "stop", "--wait", f"--mode={mode}", f"--pgdata={self.data_directory}", "--silent")

    def postmaster_pid(self) -> int | None:
        """Return the server's process id, or None when it does not run (a stale postmaster.pid included)."""
        return postmaster_pid(self.data_directory)

    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""
        return [self.binaries.program("postgres"), "-D", str(self.data_directory)]

    def run_tool(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the cluster's user; PostgresError with its last words."""
        return self._run(program, *arguments)

    async def run_long(self, command: Sequence[str]) -> None:
        """Run one of PostgreSQL's programs for as long as it takes; it is ended with whoever waits for it."""
        with _output_file() as output:
            process = await asyncio.create_subprocess_exec(
                self.binaries.program(command[0]),
                *command[1:],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                **self.user.process_identity(),
            )
            try:
                code = await process.wait()
            except BaseException:
                process.kill()
                await process.wait()
                raise
            _checked(command, code, output)

    def _run(self, program: str, *arguments: str) -> str:
        return run_program(self.binaries, self.user, (program, *arguments))


def swap_file(node_directory: Path) -> Path:
    """Return the file that stands while an upgraded cluster takes the old one's place (aya.setup.upgrade)."""
    return node_directory / "upgrade.json"


def run_program(  # noqa: PLR0913 - each by its name
    binaries: Binaries,
    user: RunAs,
    command: Sequence[str],
    *,
    seconds: float = _TIMEOUT_SECONDS,
    directory: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run one of PostgreSQL's programs as `user` and return what it printed; PostgresError with its last words.

    directory: where it works. environment: beside the few variables that all of them get.
    """
    with _output_file() as output:
        try:
            done = subprocess.run(
                [binaries.program(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**_environment(), **(environment or {})},
                timeout=seconds,
                check=False,
                **user.process_identity(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise PostgresError(f"{command[0]} could not be run: {error}", hint="aya status") from error
        return _checked(command, done.returncode, output)


@contextmanager
def _output_file() -> Generator[IO[str]]:
    # A file, not a pipe: pg_ctl start leaves a server behind that would keep a pipe open.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        yield output


def _checked(command: Sequence[str], code: int, output: IO[str]) -> str:
    output.seek(0)
    printed = output.read()
    if code != 0:
        last = " / ".join(printed.strip().splitlines()[-3:]) or f"exit code {code}"
        raise PostgresError(f"{command[0]} failed: {last}", hint=_LET_IN if _NOT_LET_IN in last else "aya status")
    return printed


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def conninfo_value(value: str) -> str:
    """Quote a value for a connection string (PostgreSQL documentation, 32.1.1.1)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def postmaster_pid(data_directory: Path) -> int | None:
    """Return the pid in postmaster.pid if that process is alive and is a PostgreSQL of this directory, else None."""
    try:
        pid = int(files.read_text(data_directory / "postmaster.pid").split("\n", 1)[0])
        process = psutil.Process(pid)
        name, directory = process.name(), process.cwd()
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if name.startswith("postgres") and same_directory(directory, data_directory) else None
