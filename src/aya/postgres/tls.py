"""TLS between the machines: required where the server can speak it; where it cannot, only ways that are safe without.

Homebrew's, Debian's and most others can; the embedded one cannot. Safe without are this machine itself and a tailnet,
whose own tunnel is encrypted (https://tailscale.com/kb/1015/100.x-addresses).
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterable
from functools import lru_cache

from aya.errors import ConfigError, PostgresError

_SECONDS = 30
_SAFE_4 = tuple(map(ipaddress.IPv4Network, ("127.0.0.0/8", "100.64.0.0/10")))
_SAFE_6 = tuple(map(ipaddress.IPv6Network, ("::1/128", "fd7a:115c:a1e0::/48")))
_TAILNET_NAMES = ".ts.net"


@lru_cache(maxsize=8)
def has_tls(pg_config: str) -> bool:
    """Return whether the installation that a pg_config belongs to speaks TLS. Raises ConfigError: it cannot be asked.

    Whoever cannot know must not go on without.
    """
    try:
        said = subprocess.run([pg_config, "--configure"], capture_output=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"{pg_config} cannot say whether its PostgreSQL speaks TLS: {error}",
            hint="aya.toml: mend [postgres] pg_config; or say it: [cluster] tls = true",
        ) from error
    return b"--with-ssl=openssl" in said or b"--with-openssl" in said


def is_safe(address: str) -> bool:
    """Return whether what goes to an address, a network or a name needs no TLS: this machine, a tailnet; pure."""
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        return address == "localhost" or address.lower().rstrip(".").endswith(_TAILNET_NAMES)
    if isinstance(network, ipaddress.IPv4Network):
        return any(network.subnet_of(safe) for safe in _SAFE_4)
    return any(network.subnet_of(safe) for safe in _SAFE_6)


def require_safe(addresses: Iterable[str]) -> None:
    """Raise PostgresError for the first address that a server without TLS must not be reached from or at; pure."""
    for address in addresses:
        if not is_safe(address):
            raise PostgresError(
                f"this PostgreSQL cannot speak TLS, so nothing may go to or come from {address} in the clear",
                hint="use the machines' tailnet addresses (100.x), or a PostgreSQL with TLS: brew install"
                " postgresql@18, and [postgres] pg_config in aya.toml",
            )
