"""What `aya init` has to know: from flags, else from aya.toml, else from a join file, else asked on a terminal."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import psutil

from aya.dsn import parse_dsn
from aya.errors import UsageError
from aya.home import Home
from aya.members import Member, lets_everybody_in
from aya.postgres.config import SERVERS
from aya.settings import Config
from aya.setup.join_file import JoinFile
from aya.setup.plan import Wanted

_ADDRESS = re.compile(r"[0-9A-Za-z._:-]+")
_NETWORK = re.compile(r"[0-9A-Za-z._:-]+(/\d{1,3})?")
_PORTS = (5432, 8766, 8008)
EMBEDDER_PORT = 8765


@dataclass(frozen=True, slots=True)
class Given:
    """The flags. addresses: by node, as they were typed; None where a flag was left out."""

    role: str
    addresses: dict[str, str | None]
    clients: tuple[str, ...] = ()
    port: int | None = None
    embedder_port: int | None = None
    data: str | None = None
    pg_config: str | None = None
    dsn: str | None = None
    adopt: str | None = None


def asks() -> bool:
    """Return whether there is a person to ask."""
    return sys.stdin.isatty()


def wanted(home: Home, given: Given, config: Config, join: JoinFile | None) -> Wanted:
    """Return the node that is wanted. Raises UsageError naming the flag for what nobody says."""
    if given.adopt is not None and (given.role != "alpha" or given.dsn or config.dsn or join):
        raise UsageError("a base is brought into a new alpha alone", hint="aya init --role alpha --adopt SOURCE")
    if given.dsn is not None or config.dsn is not None:
        return _beside_a_dsn(home, given, config)
    known = _known(config, join)
    own_ports = home.nodes().get(given.role)
    port = given.port or (own_ports.postgres_port if own_ports else 0)
    members = tuple(_member(given, known.get(name), name, port if name == given.role else 0) for name in SERVERS)
    own = next((member for member in members if member.name == given.role), None)
    clients = _clients(given, config, join)
    return Wanted(
        role=given.role,
        members=members,
        clients=clients,
        postgres_port=own.postgres_port if own else port or _PORTS[0],
        embedder_port=given.embedder_port or (own_ports.embedder_port if own_ports else EMBEDDER_PORT),
        data=Path(given.data).expanduser().absolute() if given.data else None,
        pg_config=given.pg_config,
        tls=join.tls if join else bool(config.tls),
        adopt=_shown(given.adopt),
        joins=given.role != "alpha" or join is not None or (own_ports is not None and own_ports.role == "standby"),
    )


def _shown(source: str | None) -> str | None:
    """Return a source as it may be printed."""
    return parse_dsn(source).display() if source and source.startswith(("postgresql://", "postgres://")) else source


def _beside_a_dsn(home: Home, given: Given, config: Config) -> Wanted:
    if given.role != "alpha":
        raise UsageError("a database of your own has node alpha alone", hint="aya init --role alpha --dsn DSN")
    parse_dsn(given.dsn or config.dsn or "")
    existing = home.nodes().get("alpha")
    embedder = given.embedder_port or (existing.embedder_port if existing else EMBEDDER_PORT)
    return Wanted("alpha", (), postgres_port=existing.postgres_port if existing else _PORTS[0],
                  embedder_port=embedder, dsn=True)  # fmt: skip


def _known(config: Config, join: JoinFile | None) -> dict[str, Member]:
    """Return the servers as they are known without asking: by the join file, else by aya.toml."""
    return {member.name: member for member in join.members} if join else dict(config.members)


def _member(given: Given, known: Member | None, name: str, port: int) -> Member:
    typed = given.addresses.get(name)
    if typed is None and known is None:
        typed = _ask(name, given.role)
    addresses = split(typed, f"--{name}-address") if typed is not None else ()
    member = known or Member(name, addresses, *_PORTS)
    member = replace(member, addresses=addresses or member.addresses)
    return replace(member, postgres_port=port) if port else member


def _ask(name: str, role: str) -> str:
    if not asks():
        raise UsageError(f"nobody says where {name} is", hint=f"--{name}-address ADDRESS[,ADDRESS…]")
    own = ",".join(own_addresses()) if name == role else None
    answer: str = click.prompt(f"Addresses of {name} (LAN and tailnet, with commas)", default=own)
    return answer


def _clients(given: Given, config: Config, join: JoinFile | None) -> tuple[str, ...]:
    before = join.clients if join else config.clients
    air = given.addresses.get("air")
    if air is None and not before and given.role == "alpha" and asks():
        air = click.prompt("Addresses of air (empty: none yet)", default="", show_default=False)
    named = split(air, "--air-address") if air else ()
    wrong = next((one for one in given.clients if not _NETWORK.fullmatch(one)), None)
    if wrong is not None:
        raise UsageError(f"--client {wrong!r} is no address or network", hint="--client 192.168.1.0/24")
    wide = next((one for one in (*named, *given.clients) if lets_everybody_in(one)), None)
    if wide is not None:
        raise UsageError(f"{wide!r} would let in everybody, or nearly", hint="--client 192.168.1.0/24, one for each")
    return tuple(dict.fromkeys((*before, *named, *given.clients)))


def split(text: str, flag: str) -> tuple[str, ...]:
    """Return the addresses in a text. Raises UsageError for what is none."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    wrong = next((word for word in words if not _ADDRESS.fullmatch(word)), None)
    if wrong is not None or not words:
        raise UsageError(f"{flag} {wrong or text!r} is no address", hint=f"{flag} 192.168.1.10,100.64.0.1")
    return words


def own_addresses() -> Sequence[str]:
    """Return this machine's IPv4 addresses but loopback's."""
    found = [one.address for each in psutil.net_if_addrs().values() for one in each if one.family == socket.AF_INET]
    return [address for address in found if not address.startswith(("127.", "169.254."))] or ["127.0.0.1"]
