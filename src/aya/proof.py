"""What servers on machines of their own have to prove to whoever connects to them: that our authority knows them.

Their addresses change with the network, so it is the authority that is checked, not a name.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from aya.home import Home
from aya.postgres.tls import has_tls

if TYPE_CHECKING:
    from aya.settings import Config

_AUTHORITY = "ca.pem"


def speaks_tls(config: Config) -> bool:
    """Return whether servers on machines of their own speak TLS: as aya.toml says, else as this machine's can."""
    if not config.members:
        return False
    return has_tls(config.pg_config) if config.tls is None and config.pg_config else bool(config.tls)


def proof_options(home: Home, config: Config, node: str) -> tuple[tuple[str, str], ...]:
    """Return what a connection string of `node`'s clients asks of the servers; nothing where they have no TLS.

    A copy that was not given the authority's certificate asks for TLS without a proof.
    """
    if not speaks_tls(config):
        return ()
    authority = home.agent_directory(node) / _AUTHORITY
    if not authority.exists():
        return (("sslmode", "require"),)
    return (("sslmode", "verify-ca"), ("sslrootcert", str(authority)))


def proof_context(home: Home, config: Config, node: str) -> ssl.SSLContext | None:
    """Return the same for asyncpg; None where the servers have no TLS. Raises OSError without the certificate."""
    if not speaks_tls(config):
        return None
    context = ssl.create_default_context(cafile=home.agent_directory(node) / _AUTHORITY)
    context.check_hostname = False
    return context
