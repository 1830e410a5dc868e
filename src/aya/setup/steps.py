"""Doing what the plan says: each step whole or not at all, and safe to do again."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tomlkit.exceptions import TOMLKitError

from aya.errors import ConfigError
from aya.home import ROLE_OF_NODE, Home, Node
from aya.local import layout, plan
from aya.local.report import Report
from aya.local.up import up
from aya.postgres.run import cluster_of
from aya.processes import ports
from aya.replacing import replace_file
from aya.settings import load_config
from aya.setup import adopt, configuration, invite
from aya.setup.join_file import JoinFile
from aya.setup.plan import Action, Step, Wanted

_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Setup:
    """One `aya init` at work. values: what aya.toml is to say. join: what the file at join_file says.

    source: the DSN or the data directory whose documents move in.
    """

    home: Home
    wanted: Wanted
    values: Mapping[str, Any]
    now: datetime
    join: JoinFile | None = None
    join_file: Path | None = None
    source: str | None = field(default=None, repr=False)


def carry_out(setup: Setup, steps: Sequence[Step], report: Report, done: Callable[[Step], None]) -> None:
    """Do every step that is to do, in order; `done` is told of each as soon as it is. Raises AyaError."""
    layout.make_home(setup.home)
    work: dict[Action, Callable[[], None]] = {
        "configure": lambda: _configure(setup),
        "link": lambda: _link(setup),
        "take": lambda: _take(setup),
        "settle": lambda: _settle(setup),
        "start": lambda: _start(setup, report),
        "adopt": lambda: _adopt(setup, report),
        "admit": lambda: _admit(setup),
        "forget": lambda: _forget(setup),
    }
    for step in steps:
        if step.state == "to do" and step.action is not None:
            work[step.action]()
        done(step)


def _configure(setup: Setup) -> None:
    file = setup.home.config_file
    if not file.exists():
        _write(setup, configuration.fresh(setup.values))
        return
    # The day is enough: the second change of a day keeps what a person wrote, not what the first one left.
    kept = file.with_name(f"{file.name}.before-{setup.now:%Y-%m-%d}")
    try:
        text = configuration.changed(file.read_text(encoding="utf-8"), setup.values)
    except (TOMLKitError, ValueError) as error:
        raise ConfigError(f"{file} cannot be changed: {error}", hint=f"edit {file}") from error
    if not kept.exists():
        shutil.copy2(file, kept)
    _write(setup, text)


def _write(setup: Setup, text: str) -> None:
    file = setup.home.config_file
    if setup.wanted.dsn:
        # It holds a password from now on.
        file.touch(mode=_PRIVATE)
        file.chmod(_PRIVATE)
    replace_file(file, text)


def _link(setup: Setup) -> None:
    data = setup.wanted.data
    if data is None:
        return
    try:
        data.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        (setup.home.path / "nodes").symlink_to(data)
    except OSError as error:
        raise ConfigError(f"{data} cannot hold the nodes: {error.strerror}", hint="choose another --data") from error


def _take(setup: Setup) -> None:
    if setup.join is not None:
        layout.make_directories(setup.home, setup.wanted.role)
        invite.take(setup.home, setup.join)


def _settle(setup: Setup) -> None:
    wanted, nodes = setup.wanted, setup.home.nodes()
    existing = nodes.get(wanted.role)
    settled = plan.settle(nodes, [wanted.role], lambda taken: ports.choose(taken, str(setup.home.path)))
    node = existing or _as_wanted(wanted, settled[wanted.role])
    node = replace(node, postgres_port=wanted.postgres_port, embedder_port=wanted.embedder_port)
    setup.home.save_nodes({**settled, wanted.role: node})


def _as_wanted(wanted: Wanted, node: Node) -> Node:
    """Return a new node with the ports that the other machines expect; a server that joins is made as a standby."""
    own = next((member for member in wanted.members if member.name == wanted.role), None)
    if own is not None:
        node = replace(node, agent_port=own.agent_port, health_port=own.health_port)
    made_as = "standby" if wanted.joins and ROLE_OF_NODE[wanted.role] == "primary" else node.role
    return replace(node, role=made_as)


def _start(setup: Setup, report: Report) -> None:
    asyncio.run(up(setup.home, load_config(setup.home), [setup.wanted.role], report))


def _adopt(setup: Setup, report: Report) -> None:
    if setup.source is not None:
        brought = adopt.take_over(setup.home, load_config(setup.home), setup.wanted.role, setup.source)
        report.step(setup.wanted.role, f"{brought.documents} documents and {brought.chunks} chunks are here, compared")


def _admit(setup: Setup) -> None:
    """Have a running server read the addresses anew, without a restart."""
    cluster = cluster_of(setup.home, load_config(setup.home), setup.wanted.role)
    cluster.configure()
    if cluster.postmaster_pid() is not None:
        cluster.run_tool("pg_ctl", "reload", f"--pgdata={cluster.data_directory}", "--silent")


def _forget(setup: Setup) -> None:
    if setup.join_file is None:
        return
    try:
        setup.join_file.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{setup.join_file} holds passwords and cannot be removed: {error.strerror}", hint="rm it"
        ) from error
