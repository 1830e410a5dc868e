"""What `aya doctor` looks at: one home on one machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aya.dsn import DEFAULT_DATABASE, DatabaseSettings, parse_dsn
from aya.errors import AyaError
from aya.home import Home, Node
from aya.members import Member, word_of
from aya.postgres.cluster import SUPERUSER
from aya.postgres.config import SERVERS, SYNC_ROLE
from aya.settings import Config


@dataclass(frozen=True, slots=True)
class Place:
    """A home, as far as it can be read. nodes: that are looked at; all_nodes: that it has. platform: sys.platform."""

    home: Home
    config: Config
    nodes: tuple[Node, ...]
    all_nodes: tuple[Node, ...]
    platform: str

    def only(self, node: str) -> Place:
        """Return the same, of which one node is looked at; ConfigError names those that there are."""
        return replace(self, nodes=(self.home.node(node),))

    @property
    def partners(self) -> tuple[Member, ...]:
        """Return the servers on other machines."""
        here = {node.name for node in self.all_nodes}
        return tuple(member for name, member in self.config.members.items() if name not in here)

    def port(self, node: Node) -> int:
        """Return where a node's own server listens: aya.toml says so of servers on machines of their own."""
        member = self.config.members.get(node.name)
        return member.postgres_port if member else node.postgres_port

    def servers(self) -> dict[str, DatabaseSettings | str]:
        """Return how each server is entered, by its node's name; or why that is not known."""
        if self.config.dsn:
            return {"alpha": parse_dsn(self.config.dsn)}
        found: dict[str, DatabaseSettings | str] = {node.name: self._own(node) for node in self.nodes}
        for partner in self.partners:
            entry = self._entry()
            if entry:
                found[partner.name] = DatabaseSettings(partner.hosts, DEFAULT_DATABASE, *entry)
        return found

    def _own(self, node: Node) -> DatabaseSettings | str:
        password = self.secrets(node.name).get(SUPERUSER)
        if password is None:
            return "its secrets.json holds no password of postgres"
        return DatabaseSettings((("127.0.0.1", self.port(node)),), DEFAULT_DATABASE, SUPERUSER, password)

    def secrets(self, node: str) -> dict[str, str]:
        """Return a node's passwords by role; none when its file cannot be read, which is a finding by itself."""
        try:
            return self.home.secrets(node)
        except (AyaError, OSError):
            return {}

    def _entry(self) -> tuple[str, str] | None:
        """Return by which role and password a partner is entered: its roles are ours on a server, else AIR's own."""
        for name in SERVERS:
            if any(node.name == name for node in self.all_nodes):
                password = self.secrets(name).get(SUPERUSER)
                return (SUPERUSER, password) if password else None
        try:
            word = word_of(self.home, self.config, "air", SYNC_ROLE)
        except (AyaError, OSError):
            return None
        return (SYNC_ROLE, word) if word else None
