"""Who may call the embedder: the rules of aya.access, and the one that is the embedder's own. Pure."""

from __future__ import annotations

from aya.access import Access

# What makes this process read this machine's directories, or fill its disk from the hub, is for people of this machine.
_LOCAL_ONLY = frozenset({("POST", "/models")})


def embedder_access(token: str | None = None, hosts: frozenset[str] = frozenset()) -> Access:
    """Return the rules. token: what clients on other machines must say; hosts: further names of ours."""
    return Access(token, hosts, local_only=_LOCAL_ONLY)
