"""The two servers that replicate each other, and where each of them is reached."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aya.home import Home
from aya.postgres.config import SERVERS, SYNC_ROLE
from aya.secret_file import read_password

if TYPE_CHECKING:
    from aya.settings import Config

_LARGEST_4, _LARGEST_6 = 8, 32
_IPV4 = 4


@dataclass(frozen=True, slots=True)
class Member:
    """One of the servers that replicate each other. addresses: host names or IP addresses; every one is tried."""

    name: str
    addresses: tuple[str, ...]
    postgres_port: int
    agent_port: int
    health_port: int

    def preferring(self, address: str) -> Member:
        """Return the same with one of its addresses first; unchanged for an address that is none of them; pure."""
        if address not in self.addresses:
            return self
        return replace(self, addresses=(address, *(one for one in self.addresses if one != address)))

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Return where its PostgreSQL is reached, one pair for each address."""
        return tuple((address, self.postgres_port) for address in self.addresses)


def members(home: Home, config: Config) -> dict[str, Member]:
    """Return the servers by name: those that aya.toml names, else those of this home, on this machine."""
    if config.members:
        return dict(config.members)
    return {
        name: Member(name, ("127.0.0.1",), node.postgres_port, node.agent_port, node.health_port)
        for name, node in home.nodes().items()
        if name in SERVERS
    }


def leaders(home: Home, config: Config, copy: str) -> tuple[tuple[str, int], ...]:
    """Return where a copy reaches those that may lead: where aya.toml says, else by its links to this home's servers.

    Empty when there are none.
    """
    if config.members:
        return tuple(host for member in config.members.values() for host in member.hosts)
    nodes = home.nodes()
    own = nodes.get(copy)
    links = {"alpha": own.link_alpha_port, "beta": own.link_beta_port} if own else {}
    return tuple(("127.0.0.1", links[name]) for name in SERVERS if name in nodes and links.get(name))


def lets_everybody_in(client: str) -> bool:
    """Return whether pg_hba.conf would take a client's address for everybody, or for a good part of the world; pure.

    Its keywords, and networks of more than the largest that somebody may own (10.0.0.0/8; a /32 of IPv6).
    """
    if client.lower() in {"all", "samehost", "samenet"}:
        return True
    try:
        network = ipaddress.ip_network(client, strict=False)
    except ValueError:
        return False
    return network.prefixlen < (_LARGEST_4 if network.version == _IPV4 else _LARGEST_6)


def word_of(home: Home, config: Config, copy: str, role: str) -> str | None:
    """Return the password by which a copy enters the servers: alpha's where it is here, else what it was given.

    What aya.toml names wins; that file is of the daemon's role alone. Raises ConfigError when it cannot be read.
    """
    if role == SYNC_ROLE and config.primary_password_file:
        return read_password(config.primary_password_file, role)
    return home.secrets("alpha").get(role) or home.secrets(copy).get(f"{role}@primary")
