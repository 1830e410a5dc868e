"""What a node has on disk before its first process starts: directories, passwords, plists."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from aya import certificates
from aya.errors import ConfigError
from aya.home import Home, Node
from aya.local.plan import services
from aya.members import members
from aya.postgres.config import SERVERS
from aya.postgres.privileges import can_enter, run_as
from aya.postgres.provision import new_secrets
from aya.processes import plist
from aya.processes.plist import Process
from aya.settings import Config

_SYSTEM_PATH = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def make_home(home: Home) -> None:
    """Make the home: for its owner alone, but root's must let PostgreSQL's unprivileged user through."""
    try:
        home.path.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise ConfigError(f"{home.path} cannot be made: {error.strerror}", hint="choose another --home") from error
    if not os.access(home.path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"{home.path} belongs to somebody else", hint="choose another --home, or be that user")


def make_node(home: Home, node: str) -> None:
    """Make the node's directories and certificate; ConfigError when PostgreSQL's user cannot reach them."""
    make_directories(home, node)
    if node in SERVERS:
        certificates.make(home.authority_directory, {node: home.agent_directory(node)})


def make_directories(home: Home, node: str) -> None:
    """Make the node's directories; ConfigError when PostgreSQL's user cannot reach them."""
    directory = home.node_directory(node)
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        for part in (home.path, directory.parent, directory):
            part.chmod(0o755)
        user = run_as(home.data_directory(node))
        if not can_enter(user, directory):
            raise ConfigError(
                f"PostgreSQL runs as {user.name}, who cannot enter {directory}",
                hint="choose an AYA_HOME that everybody can enter, such as /var/lib/aya",
            )
    for part in (home.log_directory(node), directory / "launchd"):
        part.mkdir(mode=0o700, exist_ok=True)


def make_secrets(home: Home, node: str) -> dict[str, str]:
    """Return the node's passwords, made on first use. beta is a copy of alpha, roles and passwords included."""
    existing = (home.secrets("alpha") if node == "beta" else {}) or home.secrets(node)
    secrets = new_secrets(existing)
    if secrets != home.secrets(node):
        home.save_secrets(node, secrets)
    return secrets


def processes(home: Home, config: Config, nodes: Iterable[Node]) -> list[Process]:
    """Write the plists of these nodes and return what they describe, in starting order."""
    found = described(home, config, nodes)
    for process, content in found:
        file = home.node_directory(process.node) / "launchd" / f"{process.label}.plist"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(content)
    return [process for process, _ in found]


def described(home: Home, config: Config, nodes: Iterable[Node]) -> list[tuple[Process, bytes]]:
    """Return the processes of these nodes and their plists, in starting order; nothing is written."""
    found: list[tuple[Process, bytes]] = []
    for node in nodes:
        names = placeholders(home, config, node)
        for service in services(node, config):
            filled = plist.substitute(plist.template(service), names)
            found.append((plist.to_process(filled), plist.to_xml(filled)))
    return found


def placeholders(home: Home, config: Config, node: Node) -> dict[str, str]:
    """Return what ${…} stands for in the plists of `node` on this machine."""
    return {
        "node": node.name,
        "home": str(home.path),
        "user_home": str(Path.home()),
        "path": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "python": sys.executable,
        "log_directory": str(home.log_directory(node.name)),
        "postgres_major": str(config.postgres_major),
        "pg_config": _absolute_program(config.pg_config),
        "embedder_port": str(node.embedder_port),
        "web_port": str(node.web_port),
        "partner": _partner(home, config, node.name),
        "embedder_cache": str(home.embedder_cache(node.name)),
        "model": _absolute_model(config.model),
    }


def _partner(home: Home, config: Config, node: str) -> str:
    """Return where the servers are that it reaches; nobody reads it, but who does starts again when it changes."""
    others = [one for name, one in members(home, config).items() if name != node]
    return " ".join(f"{','.join(one.addresses)}:{one.postgres_port}:{one.agent_port}" for one in others)


def _absolute_program(name: str | None) -> str:
    return os.path.abspath(shutil.which(name) or name) if name else ""  # noqa: PTH100 - resolve() would follow symlinks


def _absolute_model(model: str) -> str:
    """Return a model's directory as an absolute path: the services start in /. A model's name stays as it is."""
    directory = Path(model).expanduser()
    return str(directory.resolve()) if os.sep in model and directory.is_dir() else model
