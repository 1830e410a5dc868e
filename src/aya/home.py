"""AYA_HOME: where everything of a machine's nodes is kept, and what is in it.

aya.toml                     what a person configures (optional)
state.json                   what we chose: nodes, ports (mode 600)
nodes/NAME/secrets.json      passwords by role (mode 600)
nodes/NAME/data              the PostgreSQL data directory
nodes/NAME/launchd/*.plist   the node's processes, rendered for this machine
nodes/NAME/log/              what they print
nodes/NAME/archive/          the WAL, segment by segment, each with its checksum (of PostgreSQL's user, mode 700)
nodes/NAME/backups/          base backups (likewise)
read.sqlite3                 the files that this machine has read
restored/                    clusters that `aya restore` has made
nodes/NAME/embedder/         vectors that the embedder has computed before
nodes/NAME/watchdog.json     what the watchdog has promised its partner (mode 600)
nodes/NAME/agent/            the node's certificate, and its key (mode 600)
authority/                   what signs the certificates
postgresql/                  a readable copy of the binaries, only when the wheel's own cannot be read
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aya.errors import ConfigError
from aya.flush import flush
from aya.json_object import json_object

Role = Literal["primary", "standby", "copy"]
ROLE_OF_NODE: dict[str, Role] = {"alpha": "primary", "beta": "standby", "air": "copy"}
STATE_VERSION = 3
# sun_path is 104 bytes on macOS and 108 on Linux; the socket's own name takes up to 20 of them.
_LONGEST_SOCKET_DIRECTORY = 80
_RESTORE = "aya down, then restore or remove it"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of this machine, as state.json keeps it. Ports are on 127.0.0.1.

    agent_port, health_port: of the watchdog, where the partner and where anybody asks it. link_postgres_port,
    link_agent_port: by which it reaches its partner's server and agent when both are on this machine. link_alpha_port,
    link_beta_port: by which air reaches the servers on this machine. web_port: of the page, which the first node of a
    home serves. 0: it has none.
    """

    name: str
    role: Role
    postgres_port: int
    embedder_port: int
    agent_port: int = 0
    health_port: int = 0
    link_postgres_port: int = 0
    link_agent_port: int = 0
    link_alpha_port: int = 0
    link_beta_port: int = 0
    web_port: int = 0

    @property
    def ports(self) -> tuple[int, ...]:
        """Return all that it has."""
        own = (self.postgres_port, self.embedder_port, self.agent_port, self.health_port, self.web_port)
        links = (self.link_postgres_port, self.link_agent_port, self.link_alpha_port, self.link_beta_port)
        return tuple(port for port in (*own, *links) if port)


@dataclass(frozen=True, slots=True)
class Home:
    """The directory that holds a machine's nodes."""

    path: Path

    @property
    def config_file(self) -> Path:
        """aya.toml, which need not exist."""
        return self.path / "aya.toml"

    @property
    def state_file(self) -> Path:
        """state.json, made by `aya up`."""
        return self.path / "state.json"

    def node_directory(self, node: str) -> Path:
        """Everything of one node."""
        return self.path / "nodes" / node

    def data_directory(self, node: str) -> Path:
        """PGDATA of one node."""
        return self.node_directory(node) / "data"

    def log_directory(self, node: str) -> Path:
        """Where the node's processes print."""
        return self.node_directory(node) / "log"

    def archive_directory(self, node: str) -> Path:
        """Return where the node's server archives its WAL."""
        return self.node_directory(node) / "archive"

    def backup_directory(self, node: str) -> Path:
        """Return where the node's base backups are."""
        return self.node_directory(node) / "backups"

    @property
    def read_file(self) -> Path:
        """Which files this machine has read (aya.read_here)."""
        return self.path / "read.sqlite3"

    @property
    def restored_directory(self) -> Path:
        """Where restored clusters are, a directory for each."""
        return self.path / "restored"

    def embedder_cache(self, node: str) -> Path:
        """Where the node's embedder keeps vectors; whatever is in it may be deleted."""
        return self.node_directory(node) / "embedder"

    @property
    def authority_directory(self) -> Path:
        """The key and the certificate that sign the nodes' own."""
        return self.path / "authority"

    def agent_directory(self, node: str) -> Path:
        """Return where the node's certificate and key are."""
        return self.node_directory(node) / "agent"

    def newborn_file(self, node: str) -> Path:
        """Return what stands until a new cluster's watchdog has begun: no partner was ever promised a thing."""
        return self.node_directory(node) / "watchdog.new"

    def secrets_file(self, node: str) -> Path:
        """Passwords by role, mode 600."""
        return self.node_directory(node) / "secrets.json"

    @property
    def runtime_directory(self) -> Path:
        """Sockets: short-lived, and short enough for a socket's path (a directory per home and user).

        The same for every process of the home: TMPDIR differs between launchd, ssh and sudo. Anybody may make a
        directory of that name first: who makes it checks whose it is (aya.processes.supervisor.own_directory).
        """
        own = self.path / "run"
        if len(os.fsencode(own)) <= _LONGEST_SOCKET_DIRECTORY:
            return own
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path("/tmp") / f"aya-{os.getuid()}-{digest}"  # noqa: S108 - checked by own_directory

    def nodes(self) -> dict[str, Node]:
        """Return the nodes made so far, by name; empty before the first `aya up`."""
        if not self.state_file.exists():
            return {}
        state = read_json(self.state_file)
        if state.get("version") != STATE_VERSION:
            raise ConfigError(
                f"{self.state_file} was written by another version of AYA",
                hint="use the AYA that made it, or another --home",
            )
        try:
            return {name: Node(name=name, **fields) for name, fields in state["nodes"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.state_file} is damaged: {error}", hint=_RESTORE) from error

    def node(self, name: str) -> Node:
        """Return one node, or raise ConfigError naming those that exist."""
        nodes = self.nodes()
        if name not in nodes:
            known = ", ".join(nodes) or "none"
            raise ConfigError(f"there is no node {name!r} in {self.path} (nodes: {known})", hint="aya up")
        return nodes[name]

    def save_nodes(self, nodes: dict[str, Node]) -> None:
        """Write state.json, atomically."""
        fields = {name: {k: v for k, v in asdict(node).items() if k != "name"} for name, node in nodes.items()}
        write_private_json(self.state_file, {"version": STATE_VERSION, "nodes": fields})

    def secrets(self, node: str) -> dict[str, str]:
        """Return the node's passwords by role; empty when it has none yet."""
        file = self.secrets_file(node)
        return {str(role): str(word) for role, word in read_json(file).items()} if file.exists() else {}

    def save_secrets(self, node: str, secrets: dict[str, str]) -> None:
        """Write the node's passwords, mode 600, atomically."""
        write_private_json(self.secrets_file(node), secrets)


def locate(explicit: str | None = None) -> Home:
    """Return the home: --home, else AYA_HOME, else ~/.aya (root: /var/lib/aya, which PostgreSQL's user can enter)."""
    chosen = os.environ.get("AYA_HOME") if explicit is None else explicit
    if chosen is not None and not chosen.strip():
        raise ConfigError("--home or AYA_HOME is empty", hint="leave it out, or give a directory")
    default = "/var/lib/aya" if os.geteuid() == 0 else "~/.aya"
    return Home(Path(chosen or default).expanduser().absolute())


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in `file`; ConfigError says which file is damaged."""
    try:
        loaded = json_object(json.loads(file.read_text(encoding="utf-8")))
    except PermissionError as error:
        raise ConfigError(
            f"{file} belongs to another user", hint="aya --home DIR …, with a directory of yours"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint=_RESTORE) from error
    if loaded is None:
        raise ConfigError(f"{file} does not hold an object", hint=_RESTORE)
    return loaded


def write_private_json(file: Path, value: object) -> None:
    """Write `value` to `file` with mode 600: whole or not at all, and on disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=2)
            stream.write("\n")
            stream.flush()
            flush(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        flush(directory)
    finally:
        os.close(directory)
