"""Which nodes this machine runs, and where they listen; decisions only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from aya.errors import ConfigError, UsageError
from aya.home import ROLE_OF_NODE, Node
from aya.settings import Config

NODES = tuple(ROLE_OF_NODE)
_OF_ALL = ("postgres_port", "embedder_port")
_SERVER_PORTS = (*_OF_ALL, "agent_port", "health_port", "link_postgres_port", "link_agent_port")
_PORTS = {"alpha": _SERVER_PORTS, "beta": _SERVER_PORTS, "air": (*_OF_ALL, "link_alpha_port", "link_beta_port")}
# Each of these is for a PostgreSQL of ours.
_OF_SERVER = ("postgres", "watchdog", "link", "backup")
# AIR's indexer makes the vectors of what was written there; what its sync daemon fetches has them, and is not queued.
_SERVICES = {
    "alpha": ("link", "watchdog", "embedder", "indexer", "backup", "web"),
    "beta": ("link", "watchdog", "embedder", "indexer", "backup", "web"),
    "air": ("link", "postgres", "embedder", "indexer", "syncd", "web"),
}


def wanted_nodes(asked: Sequence[str] | None, existing: Collection[str], config: Config) -> tuple[str, ...]:
    """Return the nodes to start, in starting order; pure.

    asked: what --nodes said; None: those that this home has, or all three on first use (with a DSN only alpha).
    Raises UsageError for a name that is no node, for beta without its primary (here, or where aya.toml says), and for
    others beside a DSN.
    """
    names = tuple(asked) if asked is not None else tuple(existing) or (NODES if config.dsn is None else ("alpha",))
    unknown = [name for name in names if name not in NODES]
    if unknown or not names:
        raise UsageError(f"there is no node {unknown[0] if unknown else ''!r}", hint=f"--nodes {','.join(NODES)}")
    if config.dsn is not None and set(names) != {"alpha"}:
        raise UsageError(
            "a database of your own (AYA_DSN or dsn in aya.toml) has node alpha alone", hint="--nodes alpha"
        )
    if "beta" in names and "alpha" not in {*names, *existing} and not config.members:
        raise UsageError("beta is a copy of alpha, which this home does not have", hint="--nodes alpha,beta")
    return tuple(name for name in NODES if name in names)


def settle(
    existing: Mapping[str, Node], names: Sequence[str], choose_port: Callable[[Collection[int]], int]
) -> dict[str, Node]:
    """Return the home's nodes with those in `names` added, in the order of NODES; existing ones keep their ports.

    One node of a home serves the page: the first that had the chance to. choose_port: returns a free port that is not
    among those given.
    """
    nodes = dict(existing)
    for name in names:
        if name in nodes:
            continue
        taken = {port for node in nodes.values() for port in node.ports}
        ports: dict[str, int] = {}
        for each in _PORTS[name]:
            ports[each] = choose_port({*taken, *ports.values()})
        nodes[name] = Node(name, ROLE_OF_NODE[name], **ports)
    settled = {name: nodes[name] for name in NODES if name in nodes}
    if settled and not any(node.web_port for node in settled.values()):
        first = next(iter(settled))
        taken = {port for node in settled.values() for port in node.ports}
        settled[first] = replace(settled[first], web_port=choose_port(taken))
    return settled


def order(name: str) -> tuple[str, ...]:
    """Return all services that a node of that name may have, in starting order; pure."""
    return _SERVICES.get(name, ())


def services(node: Node, config: Config) -> tuple[str, ...]:
    """Return the services of a node, in starting order; with a DSN there is no PostgreSQL of ours.

    On alpha and beta nothing but the watchdog starts PostgreSQL.
    """
    if node.name not in _SERVICES:
        raise ConfigError(f"there is no node {node.name!r}", hint="aya up")
    known = [service for service in _SERVICES[node.name] if service != "web" or node.web_port]
    found = [service for service in known if service not in _OF_SERVER or config.dsn is None]
    # Servers on machines of their own have a real link.
    return tuple(service for service in found if service != "link" or not config.members)


def ports_of(node: Node, service: str) -> tuple[int, ...]:
    """Return what a service of a node listens on; pure."""
    known = {
        "postgres": (node.postgres_port,),
        "watchdog": (node.agent_port,),
        "link": (node.link_postgres_port, node.link_agent_port, node.link_alpha_port, node.link_beta_port),
        "embedder": (node.embedder_port,),
        "web": (node.web_port,),
    }
    return tuple(port for port in known.get(service, ()) if port)
