"""Every check of `aya doctor`: what is read, and who judges it."""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from aya import __version__
from aya.doctor import (
    clock,
    configuration,
    disk,
    durability,
    environment,
    installations,
    model,
    network,
    permissions,
    secrets,
    services,
    sleep,
    stale,
    versions,
)
from aya.doctor.findings import Finding
from aya.doctor.look import configuration as look_configuration
from aya.doctor.look import disk as look_disk
from aya.doctor.look import files, machine, postgres
from aya.doctor.look import installations as look_installations
from aya.doctor.look import model as look_model
from aya.doctor.look import secrets as look_secrets
from aya.doctor.look import services as look_services
from aya.doctor.look.place import Place
from aya.doctor.run import Check, in_thread, run
from aya.doctor.servers import ServerFacts
from aya.dsn import DatabaseSettings
from aya.errors import AyaError, DatabaseUnavailable
from aya.home import Home
from aya.postgres.config import SERVERS

_ASK_SECONDS = 4.0
_ELSEWHERE = "not on this system"
Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Servers:
    """What the servers said, and why others did not. resting: of this home nothing runs, as somebody wanted."""

    facts: tuple[ServerFacts, ...]
    silent: dict[str, str]
    resting: bool

    def get(self, node: str) -> ServerFacts | None:
        """Return what a node's server said."""
        return next((one for one in self.facts if one.node == node), None)


async def examine(home: Home, node: str | None = None, platform: str = sys.platform) -> list[Finding]:
    """Look at a machine and at its nodes, or at one of them, and return everything that was found.

    platform: sys.platform, or a test's. Raises ConfigError for a node that there is not.
    """
    place, seen = await in_thread(partial(look_configuration.read, home, platform))
    if node is not None:
        place = place.only(node)
    servers = await _ask(place, resting=await in_thread(partial(look_services.is_resting, place)))
    return await run([_configuration(place, seen), *_of_home(place, servers), *_of_machine(place, servers)])


async def _ask(place: Place, *, resting: bool) -> Servers:
    """Ask every server at once; whoever does not answer in time is silent."""
    entries = place.servers()
    answers = dict(zip(entries, await asyncio.gather(*(_answer(name, entries[name]) for name in entries)), strict=True))
    return Servers(
        tuple(answer for answer in answers.values() if isinstance(answer, ServerFacts)),
        {name: answer for name, answer in answers.items() if isinstance(answer, str)},
        resting,
    )


async def _answer(name: str, settings: DatabaseSettings | str) -> ServerFacts | str:
    """Return what a server says, or why it says nothing."""
    if isinstance(settings, str):
        return settings
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return await postgres.facts(await numeric(settings), name)
    except TimeoutError:
        return f"no answer within {_ASK_SECONDS:.0f} s"
    except AyaError as error:
        return error.message


async def numeric(settings: DatabaseSettings) -> DatabaseSettings:
    """Return the same by IP addresses: a resolver that hangs is then waited for in a thread of ours, and at no end.

    Raises DatabaseUnavailable when none of the names has one.
    """
    known = await in_thread(partial(look_configuration.resolve, [host for host, _ in settings.hosts]))
    hosts = tuple((known[host][0], port) for host, port in settings.hosts if known[host])
    if not hosts:
        raise DatabaseUnavailable(f"{', '.join(known)} resolves to nothing", hint="edit aya.toml")
    return replace(settings, hosts=hosts)


def _configuration(place: Place, seen: configuration.Seen) -> Check:
    def look() -> list[Finding]:
        addresses = [*seen.witnesses, *(address for member in seen.members for address in member.addresses)]
        return configuration.judge(
            replace(
                seen,
                file_system=look_configuration.file_system(seen.path),
                resolved=look_configuration.resolve(addresses),
                own_addresses=look_configuration.own_addresses(),
                postgres_error=look_configuration.postgres_error(place),
            )
        )

    return _check("configuration", f"{place.home.path} is configured", look)


def _of_home(place: Place, servers: Servers) -> Iterator[Check]:
    yield _check("permissions", "what is secret is closed to others",
                 lambda: _each(permissions.judge, files.entries(place)))  # fmt: skip
    yield _check("secrets", "no password stands where it does not belong",
                 lambda: secrets.judge(look_secrets.leaks(place)))  # fmt: skip
    yield from _of_servers(place, servers)
    for node in place.nodes:
        yield _embedder(place, node.name, servers)
    yield _check("model.weights", f"the files of {place.config.model} are here",
                 lambda: model.judge_weights(look_model.weights(place)))  # fmt: skip
    yield _check("disk", "there is room", lambda: _each(disk.judge, look_disk.rooms(place)))
    yield _check("disk.growth", "the archive leaves room", lambda: _each(disk.judge_growth, look_disk.growths(place)))
    yield _check("stale", "nothing was left behind", lambda: stale.judge(files.leftover(place)))
    yield _check("services.plists", "the plists are as this version writes them",
                 lambda: _each(services.judge_plist, look_services.plists(place)))  # fmt: skip
    yield _check("services", "what should run runs",
                 lambda: services.judge_running(tuple(look_services.running(place))))  # fmt: skip
    yield _check("services.logs", "no log is too large",
                 lambda: _each(services.judge_log, look_services.logs(place)))  # fmt: skip


def _of_servers(place: Place, servers: Servers) -> Iterator[Check]:
    pair = ({node.name for node in place.all_nodes} | place.config.members.keys()) & set(SERVERS)
    here = {node.name for node in place.all_nodes}
    for name, why in servers.silent.items():
        if not (servers.resting and name in here):
            yield _said("services.servers", name, [services.silent(name, why)])
        yield from (
            Check(topic, f"{topic.partition('.')[0]} of its server", _nothing, name, "it does not answer")
            for topic in ("durability", "permissions.access", "versions", "stale.server")
        )
    for facts in servers.facts:
        paired = facts.node in SERVERS and len(pair) > 1
        yield _said("durability", facts.node, durability.judge(facts, has_partner=paired), "keeps what it acknowledges")
        yield _said("permissions.access", facts.node, permissions.judge_access(facts), "named hosts enter, by scram")
        yield _said("versions", facts.node, versions.judge_one(facts, __version__), "versions fit together")
        yield _said("stale.server", facts.node, stale.judge_server(facts), "the server keeps nothing for nobody")
    if len(servers.facts) > 1:
        yield _said("versions.nodes", None, versions.judge_all(servers.facts), "nodes have the same versions")


def _embedder(place: Place, name: str, servers: Servers) -> Check:
    node, facts = place.home.node(name), servers.get(name)

    async def work() -> Sequence[Finding]:
        return model.judge(await look_model.look(place, node, facts.model if facts else None))

    resting = "nothing of this home runs" if servers.resting else None
    return Check("model", "the embedder runs the base's model", work, name, resting)


def _of_machine(place: Place, servers: Servers) -> Iterator[Check]:
    yield _check("installations", "one PostgreSQL alone",
                 lambda: installations.judge(look_installations.look(place)))  # fmt: skip
    yield _check("clock", "clocks agree", lambda: clock.judge(machine.clocks(place, servers.facts)))
    yield _mac(place, "sleep", "servers stay awake", lambda: sleep.judge(machine.sleeping(place)))
    yield _mac(
        place,
        "durability.python",
        "Python can flush the drive's cache",
        lambda: durability.judge_python(can_flush=hasattr(fcntl, "F_FULLFSYNC")),
    )
    yield _mac(place, "services.launchd", "launchd's jobs run",
               lambda: _each(services.judge_job, look_services.launchd_jobs()))  # fmt: skip
    yield _check("environment", "the Python that runs AYA is sound",
                 lambda: environment.judge(machine.python(place)))  # fmt: skip
    alone = None if place.partners else "no server on another machine"
    yield replace(
        _check("network", "partners are reached", lambda: network.judge(machine.networks(place))), skipped=alone
    )


def _check(name: str, title: str, look: Callable[[], Sequence[Finding]], node: str | None = None) -> Check:
    return Check(name, title, partial(in_thread, look), node)


def _mac(place: Place, name: str, title: str, look: Callable[[], Sequence[Finding]]) -> Check:
    """Return a check of what only macOS has: elsewhere it is skipped, which is no pass."""
    return replace(_check(name, title, look), skipped=None if place.platform == "darwin" else _ELSEWHERE)


def _said(name: str, node: str | None, found: Sequence[Finding], title: str = "the server answers") -> Check:
    async def work() -> Sequence[Finding]:
        return found

    return Check(name, title, work, node)


async def _nothing() -> Sequence[Finding]:
    return ()


def _each(judge: Callable[[Seen], list[Finding]], seen: Iterable[Seen]) -> list[Finding]:
    return [found for one in seen for found in judge(one)]
