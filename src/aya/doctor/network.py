"""Whether the partner is reached, and what keeps us from it; pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding

TAILNET = ipaddress.ip_network("100.64.0.0/10")
# EHOSTUNREACH of macOS; Linux has another number for it.
PRIVACY_ERRNO = 65
_PRIVACY_SINCE = (15,)


@dataclass(frozen=True, slots=True)
class Way:
    """One address of a partner. error: errno of the failed connection, 0 for silence, None when it was reached."""

    node: str
    address: str
    port: int
    error: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """macos: its version, None elsewhere. own_addresses: of this machine. agents: our plists in LaunchAgents."""

    ways: tuple[Way, ...] = ()
    macos: tuple[int, ...] | None = None
    own_addresses: frozenset[str] = frozenset()
    agents: tuple[str, ...] = ()


def judge(seen: Seen) -> list[Finding]:
    """Return what is wrong on the way to the partner."""
    found: list[Finding] = []
    for node in dict.fromkeys(way.node for way in seen.ways):
        ways = [way for way in seen.ways if way.node == node]
        dead = [way for way in ways if way.error is not None]
        private = [way for way in dead if _is_private(seen, way)]
        found += [_privacy(way) for way in {way.address: way for way in private}.values()]
        if len(dead) == len(ways):
            tried = ", ".join(f"{way.address}:{way.port} ({way.reason})" for way in dead)
            what = f"{node} is reached by none of its addresses: {tried}"
            found.append(finding("network.partner-unreachable", what, f"aya status, on {node} too", node=node))
        else:
            found += [
                finding(
                    "network.way-dead",
                    f"{node} is not reached by {way.address}:{way.port} ({way.reason})",
                    "tailscale status" if is_tailnet(way.address) else f"ping {way.address}",
                    node=node,
                )
                for way in dead
                if way not in private
            ]
    return [*found, *_of_tailnet(seen), *_of_agents(seen)]


def is_tailnet(address: str) -> bool:
    """Return whether an address is of a tailnet (100.64.0.0/10)."""
    try:
        return ipaddress.ip_address(address) in TAILNET
    except ValueError:
        return False


def _is_private(seen: Seen, way: Way) -> bool:
    """Return whether it is the error by which macOS 15 and later answer at once, while ping, which is exempt, works."""
    is_new = seen.macos is not None and seen.macos >= _PRIVACY_SINCE
    return is_new and way.error == PRIVACY_ERRNO and not is_tailnet(way.address)


def _privacy(way: Way) -> Finding:
    what = f"{way.node} at {way.address}: errno 65 (no route to host), as of a program that may not see the network"
    hint = (
        "run the services as LaunchDaemons, which are exempt; for a terminal: System Settings, Privacy & Security,"
        " Local Network; or use the tailnet address (100.x)"
    )
    return finding("network.local-privacy", what, hint, node=way.node)


def _of_tailnet(seen: Seen) -> list[Finding]:
    wanted = [way.address for way in seen.ways if is_tailnet(way.address)]
    if not wanted or not seen.own_addresses or any(is_tailnet(one) for one in seen.own_addresses):
        return []
    what = f"{wanted[0]} is a tailnet address, and this machine has none"
    return [finding("network.tailnet-absent", what, "tailscale up; tailscale status")]


def _of_agents(seen: Seen) -> list[Finding]:
    """Return the servers' agents: AIR's may be one, for it goes by tailnet addresses alone."""
    return [
        finding(
            "network.agent-not-daemon",
            f"{path} is a LaunchAgent",
            f"launchctl bootout gui/$(id -u) '{path}'; its place is /Library/LaunchDaemons",
        )
        for path in seen.agents
        if "com.aya.air." not in path
    ]
