"""What `aya init` has to do: from what is wanted and what was found to steps in order, each with its reason; pure.

Nothing here deletes. A step is "done" when there is nothing left to do in it, so a second call finds all of them done;
"blocked" when a person must act first: then nothing at all is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aya.home import ROLE_OF_NODE
from aya.members import Member
from aya.postgres.tls import is_safe

State = Literal["done", "to do", "blocked", "look"]
Action = Literal["configure", "link", "take", "settle", "start", "adopt", "admit", "forget"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One node, as a person asked for it.

    members: both servers; empty only beside a DSN. clients: other machines that are let in. data: where the nodes'
    directory is to be; None: in the home. joins: it becomes a member of a base that another machine has.
    adopt: a DSN or a data directory whose documents move in; as it is shown, without a password. tls: the servers are
    said to speak TLS, by the join file or aya.toml.
    """

    role: str
    members: tuple[Member, ...]
    clients: tuple[str, ...] = ()
    postgres_port: int = 5432
    embedder_port: int = 8765
    data: Path | None = None
    pg_config: str | None = None
    dsn: bool = False
    joins: bool = False
    tls: bool = False
    adopt: str | None = None


@dataclass(frozen=True, slots=True)
class Rival:
    """What else starts or runs a PostgreSQL. what: a sentence without its full stop. command: ends it."""

    what: str
    command: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is. ports: of the node, if it was settled; None: it was not.

    configured: aya.toml says all that is wanted. major, cluster_major: that is configured, and that of the node's data
    directory. nodes_at: where the nodes' directory really is; None: there is none. admits: the running server lets in
    what aya.toml says. embedded: PostgreSQL is the wheel's, which has no TLS. unadoptable: why the source cannot be
    taken over, and what to type.
    """

    configured: bool = False
    configuration_exists: bool = False
    ports: tuple[int, int] | None = None
    cluster_major: int | None = None
    major: int = 18
    nodes_at: Path | None = None
    has_secrets: bool = False
    healthy: bool = False
    admits: bool = True
    embedded: bool = True
    adopted: bool = False
    unadoptable: tuple[str, str] | None = None
    join_file: Path | None = None
    rivals: tuple[Rival, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step. text: what it does. why: the reason for its state. command: what a person types when it is blocked."""

    action: Action | None
    state: State
    text: str
    why: str = ""
    command: str = ""


def plan(wanted: Wanted, found: Found) -> tuple[Step, ...]:
    """Return every step in the order in which it is done."""
    steps = [*_rivals(wanted, found), *_addresses(wanted, found), _configuration(found)]
    if wanted.data is not None:
        steps.append(_data(wanted.data, found))
    if wanted.joins:
        steps.append(_secrets(wanted, found))
    steps.append(_ports(wanted, found))
    steps.append(_start(wanted, found))
    if wanted.adopt is not None:
        steps.append(_adopt(wanted.adopt, found))
    if not wanted.dsn and wanted.role != "air":
        steps.append(_access(found))
    if found.join_file is not None:
        steps.append(
            Step("forget", "to do", f"remove {found.join_file}", "it holds passwords, and nobody needs it any more")
        )
    return tuple(steps)


def blocked(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps that a person must clear first."""
    return tuple(step for step in steps if step.state == "blocked")


def is_done(steps: Sequence[Step]) -> bool:
    """Return whether nothing is left to do."""
    return all(step.state in {"done", "look"} for step in steps)


def _rivals(wanted: Wanted, found: Found) -> list[Step]:
    """Somebody on the port is in the way; another server, or a job that will start one, is told of."""
    steps: list[Step] = []
    for rival in found.rivals:
        wanted_ports = {wanted.embedder_port} if wanted.dsn else {wanted.postgres_port, wanted.embedder_port}
        in_the_way = rival.port in wanted_ports
        text = f"port {rival.port} must be free" if in_the_way else "another PostgreSQL"
        steps.append(Step(None, "blocked" if in_the_way else "look", text, rival.what, rival.command))
    return steps


def _addresses(wanted: Wanted, found: Found) -> list[Step]:
    """Refuse to the embedded server, which has no TLS, every way but this machine's own and a tailnet's.

    AIR's own server is entered by nobody else, so there it is the others' that count.
    """
    if not found.embedded or wanted.dsn or (wanted.role == "air" and wanted.tls):
        return []
    if wanted.tls:
        text = "use a PostgreSQL with TLS"
        why = "the other server asks for it, and the embedded one has none"
        return [Step(None, "blocked", text, why, f"aya init --role {wanted.role} --join FILE --pg-config PATH")]
    named = (address for member in wanted.members for address in member.addresses)
    return [
        Step(
            None,
            "blocked",
            f"{address} must be an address of a tailnet",
            "the embedded PostgreSQL has no TLS: anybody on the way could read along",
            "name the machines' tailnet addresses (100.x); or aya init --pg-config …, with an installed PostgreSQL",
        )
        for address in (*named, *wanted.clients)
        if not is_safe(address)
    ]


def _configuration(found: Found) -> Step:
    if found.configured:
        return Step("configure", "done", "aya.toml", "it says all of this")
    if found.configuration_exists:
        return Step(
            "configure", "to do", "change aya.toml", "it says something else; what it says now is kept beside it"
        )
    return Step("configure", "to do", "write aya.toml", "there is none")


def _data(data: Path, found: Found) -> Step:
    text = f"keep the nodes in {data}"
    if found.nodes_at is None:
        return Step("link", "to do", text, "nothing was made yet")
    if found.nodes_at == data:
        return Step("link", "done", text, "they are there")
    why = f"they are in {found.nodes_at}, and are not moved by this"
    return Step("link", "blocked", text, why, "docs/operations/moving.md, To another disk")


def _secrets(wanted: Wanted, found: Found) -> Step:
    text = "take in what the join file brings"
    if found.has_secrets:
        return Step("take", "done", text, "passwords and certificate are here")
    if found.join_file is None:
        command = (
            f"on the server that leads: aya init invite {wanted.role} > {wanted.role}.aya-join; then --join FILE here"
        )
        return Step("take", "blocked", text, "there is no join file, and no password for the base", command)
    return Step("take", "to do", text, "into files of mode 600")


def _ports(wanted: Wanted, found: Found) -> Step:
    server = "" if wanted.dsn else f"PostgreSQL on port {wanted.postgres_port}, "
    text = f"{server}the embedder on port {wanted.embedder_port}"
    if found.ports is None:
        return Step("settle", "to do", text, "the node is new")
    if found.ports == (wanted.postgres_port, wanted.embedder_port):
        return Step("settle", "done", text, "as before")
    return Step("settle", "to do", text, f"it was on {found.ports[0]} and {found.ports[1]}")


def _start(wanted: Wanted, found: Found) -> Step:
    if wanted.dsn:
        return Step(
            "start", "done" if found.healthy else "to do", "migrate the given database, start embedder and indexer"
        )
    if found.cluster_major not in {None, found.major}:
        why = f"its data directory belongs to PostgreSQL {found.cluster_major}, and {found.major} is configured"
        return Step("start", "blocked", "start the node", why, f"aya upgrade-cluster --node {wanted.role}")
    text = "start the node"
    if found.cluster_major is None:
        text = f"{_MADE[_kind(wanted)]}, and start the node"
    return Step("start", "done", text, "it is healthy") if found.healthy else Step("start", "to do", text)


def _adopt(source: str, found: Found) -> Step:
    text = f"bring in the documents and chunks of {source}, which stays as it is"
    if found.adopted:
        return Step("adopt", "done", text, "they are here")
    if found.unadoptable is not None:
        return Step("adopt", "blocked", text, *found.unadoptable)
    return Step("adopt", "to do", text, "all of them or none; their vectors are made anew")


def _kind(wanted: Wanted) -> str:
    kind = ROLE_OF_NODE[wanted.role]
    return "standby" if kind == "primary" and wanted.joins else kind


_MADE = {
    "primary": "make PostgreSQL with its settings, pg_hba.conf, roles, schema, slot and archive",
    "standby": "copy the base from the server that leads (pg_basebackup), to follow it",
    "copy": "make PostgreSQL and copy the base into it for the first time",
}


def _access(found: Found) -> Step:
    text = "let in the machines that aya.toml names (pg_hba.conf)"
    if found.admits:
        return Step("admit", "done", text)
    return Step("admit", "to do", text, "the running server knows others")
