"""A home with a real server alpha that archives, without a supervisor: for the tests and bench/archive.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from aya.backup import archive_program
from aya.home import Home
from aya.local import clusters, layout, plan
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.provision import superuser_settings
from aya.postgres.run import cluster_of
from aya.processes import leftovers, ports
from aya.settings import Config


@dataclass
class Lab:
    """One home. segment_mib: the size of a segment of WAL; 1 makes many of them."""

    home: Home
    config: Config = field(default_factory=lambda: Config(postgres_major=int(os.environ.get("AYA_PG_MAJOR", "18"))))

    @property
    def cluster(self) -> Cluster:
        """Return alpha's."""
        return cluster_of(self.home, self.config, "alpha")

    @property
    def archive(self) -> Path:
        """Return alpha's."""
        return self.home.archive_directory("alpha")

    def make(self, *, segment_mib: int = 16) -> None:
        """Make alpha's cluster and start it."""
        layout.make_home(self.home)
        self.home.save_nodes(plan.settle({}, ["alpha"], lambda taken: ports.choose(taken, str(self.home.path))))
        layout.make_node(self.home, "alpha")
        secrets = layout.make_secrets(self.home, "alpha")
        clusters.create(self.home, "alpha", self.cluster, secrets, None)
        if segment_mib != 16:
            self.cluster.run_tool(
                "pg_resetwal", f"--wal-segsize={segment_mib}", f"--pgdata={self.cluster.data_directory}"
            )
        with (self.cluster.data_directory / "postgresql.conf").open("a") as settings:
            settings.write("max_wal_size = 64MB\nmin_wal_size = 32MB\n")
        self.start()

    def start(self) -> None:
        """Start the server as its supervisor would: configured anew, and in the foreground of nobody."""
        cluster = self.cluster
        cluster.configure()
        cluster.start(cluster.data_directory.with_name("postgres.log"))

    def provision(self) -> None:
        """Make roles, database and tables."""
        asyncio.run(clusters.finish("alpha", self.cluster, self.home.secrets("alpha")))

    async def connect(self, database: str = "postgres") -> asyncpg.Connection[Any]:
        """Open a connection as the superuser."""
        settings = superuser_settings(self.cluster, self.home.secrets("alpha")[SUPERUSER], database)
        return await asyncpg.connect(settings.dsn(), timeout=60)

    def sql(self, query: str, *arguments: object, database: str = "postgres") -> Any:  # noqa: ANN401 any value
        """Return the first value of a query."""

        async def ask() -> object:
            connection = await self.connect(database)
            try:
                return await connection.fetchval(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def fill(self, segments: int) -> None:
        """Write so many segments full, as the server counts them."""
        self.sql(
            "SELECT count(pg_logical_emit_message(false, 'load', repeat(md5(i::text), 4096)))"
            " FROM generate_series(1, $1 * (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')"
            " / 131072) AS i",
            segments,
        )

    def kill(self) -> None:
        """Kill the server and all its children with -9."""
        pid = self.cluster.postmaster_pid()
        assert pid is not None
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=30)

    def archivers(self) -> list[psutil.Process]:
        """Return the archive programs that run at this moment."""
        program = str(self.home.node_directory("alpha") / "archive.py")
        return [one for one in psutil.process_iter(["cmdline"]) if program in (one.info["cmdline"] or ())]

    def wait_archived(self, name: str) -> None:
        """Wait until a segment is archived; the suite's timeout ends a vain wait."""
        until((self.archive / name).exists)

    def switch(self) -> str:
        """Close the segment that is being written, and return its name once it is archived."""
        name = self.close()
        self.wait_archived(name)
        return name

    def close(self) -> str:
        """Close the segment that is being written, and return its name."""
        # An empty one is not closed.
        self.sql("SELECT pg_logical_emit_message(false, 'load', 'x')")
        name = self.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        self.sql("SELECT pg_switch_wal()")
        return str(name)

    def kept(self) -> list[str]:
        """Return the names of the segments in the archive, in order."""
        return sorted(one.name for one in self.archive.iterdir() if archive_program.SEGMENT.match(one.name))

    def bad(self) -> list[str]:
        """Return what is wrong with the archive's segments: torn ones, those without their checksum, and gaps."""
        found: list[str] = []
        for name in self.kept():
            file = str(self.archive / name)
            if problem := archive_program.header_problem(file, name):
                found.append(f"{name} {problem}")
            if archive_program.file_digest(file) != archive_program.stored_digest(str(self.archive), name):
                found.append(f"{name} and its checksum differ")
        return found


@contextlib.contextmanager
def new_lab(**options: Any) -> Generator[Lab]:  # noqa: ANN401 those of Lab.make
    """Make a home that PostgreSQL's user can enter, with a running server; everything is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="aya backup "))
    directory.chmod(0o755)
    lab = Lab(Home(directory.resolve() / "home"))
    try:
        lab.make(**options)
        yield lab
    finally:
        leftovers.end(lab.home)
        shutil.rmtree(directory, ignore_errors=True)


def until(condition: Callable[[], object], *, step: float = 0.02) -> None:
    """Wait until a condition holds."""
    while not condition():
        time.sleep(step)


def interrupted(process: psutil.Process) -> bool:
    """Kill a process with -9; return whether it still ran."""
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.Error:
        return False
    return True


def numbers(names: list[str], segment_bytes: int) -> Iterator[int]:
    """Return the running number of each segment, whatever its timeline."""
    per_file = (1 << 32) // segment_bytes
    return (int(name[8:16], 16) * per_file + int(name[16:24], 16) for name in names)
