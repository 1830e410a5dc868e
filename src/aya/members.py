"""The two servers that replicate each other, and where each of them is reached."""

from __future__ import annotations

from aya.home import Home
from aya.postgres.config import SERVERS
from aya.settings import Config, Member


def members(home: Home, config: Config) -> dict[str, Member]:
    """Return the servers by name: those that aya.toml names, else those of this home, on this machine."""
    if config.members:
        return dict(config.members)
    return {
        name: Member(name, ("127.0.0.1",), node.postgres_port, node.agent_port, node.health_port)
        for name, node in home.nodes().items()
        if name in SERVERS
    }
