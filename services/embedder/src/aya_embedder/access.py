"""Who may call: the peer's address, the names it calls us by, the page it calls from, and the token. Pure.

Source of the rules: docs/adr/0013-who-may-call-the-embedder.md.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Reason = Literal["host", "origin", "token", "local_only"]

# Whoever asks about our health need not know a secret: load balancers and supervisors.
_OPEN = frozenset({"/health", "/ready"})
# What makes this process read this machine's directories, or fill its disk from the hub, is for people of this machine.
_LOCAL_ONLY = frozenset({("POST", "/models")})
_BEARER = "bearer "


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
    """The settings. token: what strangers must say, None when there can be none; hosts: further names of ours."""

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()

    def refusal(self, call: Call) -> Reason | None:
        """Return why the call is refused; None when it may go on.

        host: the Host header is no name of ours, as when a web page has had its own name point at this machine.
        origin: a browser sends it for a page from elsewhere.
        local_only: the call is for clients on this machine.
        token: the client is not on this machine, and did not say the token.
        """
        if call.host is not None and not self._is_ours(call.host, call.reached):
            return "host"
        if call.origin is not None and not self._is_own_page(call.origin, call.reached):
            return "origin"
        local = not call.forwarded and _is_here(call.peer, call.reached)
        if (call.method, call.path) in _LOCAL_ONLY and not local:
            return "local_only"
        if local or call.path in _OPEN or self._knows_token(call.authorization):
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
