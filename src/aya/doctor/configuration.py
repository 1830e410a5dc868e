"""Whether aya.toml, state.json and the place of the home can work; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.home import Node
from aya.members import Member

# What a folder is called that is copied elsewhere while it changes.
_SYNCED = ("Mobile Documents", "CloudStorage", "Dropbox", "OneDrive", "Google Drive", "iCloud Drive", "Nextcloud")
_NETWORK = frozenset({"nfs", "nfs4", "smbfs", "cifs", "smb3", "afpfs", "webdav", "fuse.sshfs", "ceph", "afs"})
# What macOS guards for the person (TCC): a daemon gets "Operation not permitted" there.
_PROTECTED = ("Desktop", "Documents", "Downloads")
_EVERYBODY = frozenset({"0.0.0.0/0", "::/0", "all", "0/0"})
_LOCAL_NAMES = frozenset({"localhost", "0.0.0.0", "::", "*"})  # noqa: S104 - refused, not listened on


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a home and its configuration.

    config_error, state_error, secrets_errors: message and hint, of files that cannot be used. file_system: of the home,
    such as apfs. members: the servers that aya.toml names. resolved: IP addresses by name; an empty tuple for a name
    that has none. witnesses: their names. own_addresses: of this machine's interfaces. user_home: of the person on
    macOS, None elsewhere. hooks_missing: of [alerts] commands, those that are no programs. postgres_error: message
    and hint, when the configured PostgreSQL cannot be used.
    """

    path: str
    config_file: str
    file_system: str = ""
    config_error: tuple[str, str] | None = None
    state_error: tuple[str, str] | None = None
    secrets_errors: tuple[tuple[str, str], ...] = ()
    nodes: tuple[Node, ...] = ()
    members: tuple[Member, ...] = ()
    clients: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    hooks_missing: tuple[str, ...] = ()
    postgres_error: tuple[str, str] | None = None
    resolved: Mapping[str, tuple[str, ...]] | None = None
    own_addresses: frozenset[str] = frozenset()
    user_home: str | None = None


def judge(seen: Seen) -> list[Finding]:
    """Return what is wrong with the configuration."""
    edit = f"edit {seen.config_file}"
    found: list[Finding] = []
    if seen.config_error:
        found.append(finding("configuration.unreadable", seen.config_error[0], seen.config_error[1] or edit))
    if seen.state_error:
        found.append(finding("configuration.state-unreadable", seen.state_error[0], seen.state_error[1]))
    elif not seen.nodes:
        found.append(
            finding(
                "configuration.no-nodes",
                f"there is no node in {seen.path}",
                "aya up; or aya init, for one Mac of three",
            )
        )
    found += [finding("configuration.secrets-unreadable", what, hint) for what, hint in seen.secrets_errors]
    if seen.postgres_error:
        found.append(finding("configuration.postgres-unusable", *seen.postgres_error))
    found += [
        finding("configuration.hook-missing", f"[alerts] commands names {hook}, which is no program", edit)
        for hook in seen.hooks_missing
    ]
    found += [
        finding("configuration.address-unknown", f"the witness {name} resolves to nothing here", edit)
        for name in seen.witnesses
        if seen.resolved is not None and not seen.resolved.get(name)
    ]
    found += _of_place(seen)
    found += _of_ports(seen)
    for member in seen.members:
        found += _of_member(seen, member, edit)
    for client in seen.clients:
        if client in _EVERYBODY:
            found.append(finding("configuration.everybody-let-in", f"[cluster] clients has {client}", edit))
    return found


def is_network(file_system: str) -> bool:
    """Return whether a file system of that type is on another machine."""
    return file_system.lower() in _NETWORK


def file_system_of(path: str, mounts: Sequence[tuple[str, str]]) -> str:
    """Return the type of the file system that a path is on. mounts: where each is, and its type."""
    above = [(where, kind) for where, kind in mounts if path == where or path.startswith(where.rstrip("/") + "/")]
    return max(above, key=lambda one: len(one[0]), default=("", ""))[1]


def _of_place(seen: Seen) -> list[Finding]:
    away = f"aya down; mv '{seen.path}' to a folder on this machine's own disk, and set AYA_HOME"
    synced = [part for part in seen.path.split("/") if part.startswith(_SYNCED)]
    if synced:
        return [finding("configuration.synced-folder", f"{seen.path} is in {synced[0]}, which is synced", away)]
    if is_network(seen.file_system):
        return [finding("configuration.network-folder", f"{seen.path} is on {seen.file_system}", away)]
    guarded = [f"{seen.user_home}/{name}/" for name in _PROTECTED] if seen.user_home else []
    inside = next((folder for folder in guarded if f"{seen.path}/".startswith(folder)), None)
    return [finding("configuration.protected-folder", f"{seen.path} is in {inside}", away)] if inside else []


def _of_ports(seen: Seen) -> list[Finding]:
    owners: dict[int, set[str]] = {}
    for node in seen.nodes:
        for port in node.ports:
            owners.setdefault(port, set()).add(node.name)
        if len(set(node.ports)) < len(node.ports):
            twice = next(port for port in node.ports if node.ports.count(port) > 1)
            owners[twice].add(f"{node.name} again")
    clashes = [(port, names) for port, names in owners.items() if len(names) > 1]
    found = [
        finding(
            "configuration.ports-clash",
            f"port {port} belongs to {' and '.join(sorted(names))}",
            f"aya down; give one another port in {seen.path}/state.json, then aya up",
        )
        for port, names in clashes
    ]
    for member in seen.members:
        ports = (member.postgres_port, member.agent_port, member.health_port)
        if len(set(ports)) < len(ports):
            what = f"[cluster.{member.name}] has one port for two purposes: {', '.join(map(str, ports))}"
            found.append(finding("configuration.ports-clash", what, f"edit {seen.config_file}", node=member.name))
    return found


def _of_member(seen: Seen, member: Member, edit: str) -> list[Finding]:
    found: list[Finding] = []
    for address in member.addresses:
        if address in _LOCAL_NAMES or _is_loopback(address):
            what = f"[cluster.{member.name}] has {address}, which is whoever reads it"
            found.append(finding("configuration.address-local", what, edit, node=member.name))
        if address.endswith(".ts.net"):
            what = f"[cluster.{member.name}] has the name {address}; its tailnet address begins with 100."
            found.append(finding("configuration.tailnet-name", what, f"tailscale ip -4; {edit}", node=member.name))
        if seen.resolved is not None and not seen.resolved.get(address):
            what = f"{address} of [cluster.{member.name}] resolves to nothing here"
            found.append(finding("configuration.address-unknown", what, edit, node=member.name))
    if len(member.addresses) == 1:
        what = f"[cluster.{member.name}] has one address only, {member.addresses[0]}"
        found.append(finding("configuration.one-way", what, edit, node=member.name))
    return [*found, *_of_own(seen, member, edit)]


def _of_own(seen: Seen, member: Member, edit: str) -> list[Finding]:
    """Return what is wrong with the addresses of the node that is on this machine."""
    here = {node.name for node in seen.nodes}
    if member.name not in here or seen.resolved is None or not seen.own_addresses:
        return []
    strange = [
        address
        for address in member.addresses
        if (known := seen.resolved.get(address)) and not seen.own_addresses.intersection(known)
    ]
    return [
        finding("configuration.address-elsewhere", f"{address} of [cluster.{member.name}] is not this machine", edit,
                node=member.name)
        for address in strange
    ]  # fmt: skip


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
