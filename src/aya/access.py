"""Who may call a service over HTTP: the peer's address, the names it calls us by, its page, and the token. Pure.

Source of the rules: docs/adr/0013-who-may-call-the-embedder.md and docs/adr/0024-a-page-that-only-reads.md.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from aya.errors import ConfigError

Reason = Literal["host", "origin", "token", "local_only"]

# Whoever asks about our health need not know a secret: load balancers and supervisors.
HEALTH = frozenset({"/health", "/ready"})
_BEARER = "bearer "
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
_HOST = re.compile(r"[a-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a request before its body is read.

    peer, reached: the addresses of the connection's two ends; None where there is none (a test, a Unix socket).
    host, origin, authorization: the headers of these names, None when absent.
    forwarded: whether a proxy says that it passes the request on (Forwarded, X-Forwarded-For, X-Real-IP, Via).
    """

    method: str
    path: str
    peer: str | None
    reached: str | None
    host: str | None
    origin: str | None = None
    authorization: str | None = None
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """The settings. token: what strangers must say, None when there can be none; hosts: further names of ours.

    open_paths: what anybody may read. local_only: calls, by method and path, for clients on this machine.
    asks_everybody: the token is asked of clients on this machine, too.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()
    open_paths: frozenset[str] = HEALTH
    local_only: frozenset[tuple[str, str]] = frozenset()
    asks_everybody: bool = False

    def refusal(self, call: Call) -> Reason | None:
        """Return why the call is refused; None when it may go on.

        host: the Host header is no name of ours, as when a web page has had its own name point at this machine.
        origin: a browser sends it for a page from elsewhere.
        local_only: the call is for clients on this machine.
        token: the client is not on this machine (or nobody is let in without), and did not say the token.
        """
        if call.host is not None and not self._is_ours(call.host, call.reached):
            return "host"
        if call.origin is not None and not self._is_own_page(call.origin, call.reached):
            return "origin"
        local = not call.forwarded and _is_here(call.peer, call.reached)
        if (call.method, call.path) in self.local_only and not local:
            return "local_only"
        free = call.path in self.open_paths or (local and not self.asks_everybody)
        if free or self._knows_token(call.authorization):
            return None
        return "token"

    def _is_ours(self, host: str, reached: str | None) -> bool:
        name = _name(f"//{host}")
        return name is not None and (is_loopback(name) or name in self.hosts or _same(name, reached))

    def _is_own_page(self, origin: str, reached: str | None) -> bool:
        scheme, separator, rest = origin.partition("://")
        return bool(separator) and scheme in {"http", "https"} and self._is_ours(rest, reached)

    def _knows_token(self, authorization: str | None) -> bool:
        if self.token is None or authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return False
        said = authorization[len(_BEARER) :].strip()
        return hmac.compare_digest(said.encode(), self.token.encode())


def call_of(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Call:
    """Return what an ASGI scope of type "http", and its headers by name, tell of a call."""
    peer, reached = scope.get("client"), scope.get("server")
    return Call(
        method=scope["method"],
        path=scope["path"],
        peer=peer[0] if peer else None,
        reached=reached[0] if reached else None,
        host=_text(headers.get(b"host")),
        origin=_text(headers.get(b"origin")),
        authorization=_text(headers.get(b"authorization")),
        forwarded=not _FORWARDED.isdisjoint(headers),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def hosts_of(value: str, setting: str) -> frozenset[str]:
    """Return the names and addresses in `value`, which has commas between them; ConfigError names `setting`."""
    hosts = frozenset(name.strip().lower().strip("[]") for name in value.split(",") if name.strip())
    wrong = sorted(name for name in hosts if not (_HOST.fullmatch(name) or _is_ipv6(name)))
    if wrong:
        raise ConfigError(
            f"{setting} has {wrong[0]!r}, which is neither a host's name nor an address",
            hint=f"export {setting}=alpha.local,192.168.1.10 (no ports, no *)",
        )
    return hosts


def _is_ipv6(name: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(name), ipaddress.IPv6Address)
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Say whether `host`, a name or an address, is this very machine whatever a name server says."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_here(peer: str | None, reached: str | None) -> bool:
    """Say whether the client is on this machine: what calls one of our addresses from that address is."""
    return peer is None or is_loopback(peer) or _same(peer, reached)


def _same(one: str, other: str | None) -> bool:
    """Say whether both are the same address, however they are written; a name is none."""
    address = _address(one)
    return address is not None and other is not None and address == _address(other)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address; None when it is none.

    From a socket for both IPv6 and IPv4 the latter come mapped (RFC 4291, 2.5.5.2), and from one of a single link with
    its zone (RFC 4007, 11), which a Host header leaves out: both are taken away.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def _name(url: str) -> str | None:
    """Return the host of "//host[:port]" in small letters; None when it is malformed or says more than that."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 raises on a port that is none
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or not parts.hostname:
        return None
    return parts.hostname.removesuffix(".")
