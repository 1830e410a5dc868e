"""A person who follows a page of docs/operations to the letter, on a real machine: what is framed there is typed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from aya.home import Home
from aya.postgres.cluster import Cluster
from aya.postgres.privileges import ProcessIdentity
from aya.postgres.run import cluster_of
from aya.processes import leftovers
from aya.settings import load_config

AYA = Path(sys.executable).with_name("aya")
_PAGES = Path(__file__).parents[1] / "docs" / "operations"
_SECONDS = 200


class Page:
    """One runbook. text: all of it."""

    def __init__(self, name: str) -> None:
        self.text = (_PAGES / name).read_text(encoding="utf-8")

    def blocks(self, heading: str) -> list[str]:
        """Return the framed commands under a heading, whose first words are given."""
        sections = re.split(r"^##+ ", self.text, flags=re.MULTILINE)
        found = next(part for part in sections if part.startswith(heading))
        return re.findall(r"```sh\n(.*?)```", found, re.DOTALL)


class Follower:
    """A person at a terminal of a machine."""

    def __init__(self, home: Home, programs: str = "") -> None:
        self.home = home
        self.programs = programs
        self.environ: dict[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_"))},
            "AYA_HOME": str(home.path),
            "PATH": f"{AYA.parent}:{programs}:{os.environ['PATH']}",
        }

    @property
    def cluster(self) -> Cluster:
        """Return alpha's cluster."""
        return self.cluster_of("alpha")

    def cluster_of(self, node: str) -> Cluster:
        """Return a node's cluster."""
        return cluster_of(self.home, load_config(self.home, {}), node)

    def type(
        self, commands: str, *, owner: bool = False, expect: int | None = 0, answer: str = "y", **names: str
    ) -> str:
        """Type commands, with names filled in; return what was printed.

        owner: as the user whom PostgreSQL's files belong to. expect: the exit code of the last one; None: any. answer:
        to every question; an empty one takes what is proposed.
        """
        for name, value in names.items():
            commands = commands.replace(name, value)
        user = self.cluster.user.process_identity() if owner else ProcessIdentity()
        with tempfile.TemporaryDirectory() as folder, terminal(answer) as typed:
            Path(folder).chmod(0o755)
            done = subprocess.run(
                ["/bin/sh", "-ec", commands], stdin=typed, capture_output=True, text=True, env=self.environ,
                cwd=folder, timeout=_SECONDS, check=False, **user,
            )  # fmt: skip
        assert expect is None or done.returncode == expect, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def terminal(answer: str = "y") -> Generator[int]:
    """Lend a terminal on which an answer was typed, often enough."""
    person, typed = pty.openpty()
    try:
        os.write(person, f"{answer}\n".encode() * 8)
        yield typed
    finally:
        os.close(typed)
        os.close(person)


@contextlib.contextmanager
def machine(nodes: str) -> Generator[Follower]:
    """Lend a machine whose nodes run. nodes: as `aya up --nodes` takes them."""
    directory = Path(tempfile.mkdtemp(prefix="aya-book-"))
    directory.chmod(0o755)
    home = Home(directory.resolve() / "home")
    try:
        Follower(home).type(f"aya up --nodes {nodes} --detach")
        programs = Path(Follower(home).cluster.binaries.program("psql")).parent
        yield Follower(home, str(programs))
    finally:
        with contextlib.suppress(AssertionError):
            Follower(home).type("aya down")
        leftovers.end(home)
        shutil.rmtree(directory, ignore_errors=True)
