"""Where the server finds its knowledge base.

The contract's names (DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, EMBEDDING_URL, ALPHA_HOST) win; otherwise the
node AYA_NODE in AYA_HOME, entered as role aya_mcp. An IDE may start the server before AYA itself was ever started, so
a missing setting is not fatal: it is what the tools answer until it is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from aya.home import locate
from aya.reach import base_settings
from aya.settings import NodeSettings

ROLE = "aya_mcp"
DEFAULT_NODE = "alpha"


def read(environ: Mapping[str, str]) -> NodeSettings:
    """Return the node's settings, its name empty when only addresses are known. Raises ConfigError."""
    effective = {**environ, "DB_HOST": hosts(environ)}
    home = locate(environ.get("AYA_HOME"))
    node = environ.get("AYA_NODE") or ("" if effective["DB_HOST"] else next(iter(home.nodes()), DEFAULT_NODE))
    return base_settings(home, node, role=ROLE, environ=effective)


def hosts(environ: Mapping[str, str]) -> str:
    """Return the database's hosts, comma-separated, in the order in which they are tried; empty when none is named.

    ALPHA_HOST is where to go when DB_HOST, the copy on this machine, does not answer or is not named.
    """
    named = [*environ.get("DB_HOST", "").split(","), environ.get("ALPHA_HOST", "")]
    return ",".join(dict.fromkeys(host.strip() for host in named if host.strip()))
