"""What is installed of a template: the plist as launchd loads it, where it stands, whose it is; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aya.errors import ConfigError, UsageError
from aya.members import Member
from aya.postgres.config import SERVERS
from aya.processes import plist
from aya.processes.lint import installed_problems
from aya.processes.plist import Process

Kind = Literal["daemon", "agent"]
MODE = 0o644
# Carrier-grade NAT's range, which Tailscale uses; macOS's Local Network privacy does not concern it.
_TAILNET = ipaddress.ip_network("100.64.0.0/10")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a home is: its services run as them. home: their home directory."""

    name: str
    uid: int
    gid: int
    home: Path


@dataclass(frozen=True, slots=True)
class Places:
    """Where launchd's files are, and whose those of daemons must be (root:wheel)."""

    daemons: Path
    agents: Path
    root: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Job:
    """One service as launchd is to run it. domain: "system", or "gui/501" for an agent of user 501.

    owner: uid and gid that its file must have.
    """

    process: Process
    kind: Kind
    domain: str
    file: Path
    content: bytes
    owner: tuple[int, int]

    @property
    def label(self) -> str:
        """Return its label: com.aya.NODE.SERVICE."""
        return self.process.label

    @property
    def target(self) -> str:
        """Return what launchctl calls it."""
        return f"{self.domain}/{self.label}"


def places(owner: Owner) -> Places:
    """Return where macOS has them."""
    return Places(Path("/Library/LaunchDaemons"), owner.home / "Library" / "LaunchAgents")


def kind_of(node: str, asked: Kind | None, members: Mapping[str, Member]) -> Kind:
    """Return whether a node's services are daemons or agents: daemons, unless an agent was asked for and can work.

    A daemon starts without a login, and macOS's Local Network privacy does not concern it. UsageError where an agent
    would not reach the other servers, or would leave a server off until somebody logs in.
    """
    if asked != "agent" or not members:
        return asked or "daemon"
    if node in SERVERS:
        raise UsageError(
            f"{node} is a server for other machines: an agent runs only while somebody is logged in, and macOS's Local"
            " Network privacy keeps it from their addresses",
            hint="leave --agent out: daemons are concerned by neither",
        )
    barred = [address for member in members.values() for address in member.addresses if not _reached_by_agents(address)]
    if barred:
        raise UsageError(
            f"macOS's Local Network privacy keeps an agent from {barred[0]}: it may reach tailnet addresses only",
            hint="name the servers in aya.toml by 100.64.0.0/10 addresses, or leave --agent out",
        )
    return "agent"


def _reached_by_agents(address: str) -> bool:
    """Return whether an agent surely reaches it: a tailnet address, or this machine's own; a name may be anything."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return ip.is_loopback or (ip.version == 4 and ip in _TAILNET)  # noqa: PLR2004 - IPv4


def job(template: Mapping[str, Any], names: Mapping[str, str], kind: Kind, owner: Owner, where: Places) -> Job:
    """Return a job from a template. names: what ${…} stands for. ConfigError names every problem of the plist."""
    filled = plist.substitute(template, names)
    if kind == "daemon":
        filled = {"Label": filled.get("Label"), "UserName": owner.name, **filled}
    found = installed_problems(filled, daemon=kind == "daemon")
    if found:
        raise ConfigError(f"the plist {filled.get('Label')}: {'; '.join(found)}", hint="choose another --home")
    process = plist.to_process(filled)
    folder = where.daemons if kind == "daemon" else where.agents
    return Job(
        process=process,
        kind=kind,
        domain="system" if kind == "daemon" else f"gui/{owner.uid}",
        file=folder / f"{process.label}.plist",
        content=plist.to_xml(filled),
        owner=where.root if kind == "daemon" else (owner.uid, owner.gid),
    )


def require_privilege(jobs: Sequence[Job], uid: int, typed: str) -> None:
    """Raise UsageError when a daemon is to be touched by somebody who is not root. typed: the command, for sudo."""
    if uid != 0 and any(one.kind == "daemon" for one in jobs):
        raise UsageError("daemons belong to root, and so does what changes them", hint=f"sudo {typed}")
