"""What no client of ours may give up by a setting: a commit waits for the standby, and a closed server is not written.

Both are settings that any session may change, and a role may keep a change for itself; no right on the server forbids
that (sql-alterrole, Notes). So a DSN that asks for it is refused, the servers are looked through, and it is told.
"""

from __future__ import annotations

from collections.abc import Iterable

from aya.errors import ConfigError

COMMIT = "synchronous_commit"
CLOSED = "default_transaction_read_only"
# Spellings that PostgreSQL takes for on; remote_apply waits for more.
_ON = frozenset({"on", "true", "yes", "1"})
_STRONG = {COMMIT: _ON | {"remote_apply"}, CLOSED: _ON | {"t", "y"}}
_LOSES = {
    COMMIT: "a failover may lose what was acknowledged",
    CLOSED: "a server that is closed to clients would be written",
}


def is_strong(name: str, value: str) -> bool:
    """Return whether a setting keeps what was promised, or has nothing to do with it; pure."""
    strong = _STRONG.get(name.lower())
    return strong is None or value.lower() in strong


def why_not(name: str) -> str:
    """Return what a weak setting leads to. name: COMMIT or CLOSED; pure."""
    return _LOSES[name]


def require_strong(options: Iterable[tuple[str, str]]) -> None:
    """Raise ConfigError when a DSN's options, which are settings of every session, give up what was promised; pure."""
    for name, value in options:
        inner = [pinned for pinned in _STRONG if name == "options" and pinned in value.lower().replace("-", "_")]
        weak = inner[0] if inner else name.lower()
        if inner or not is_strong(name, value):
            raise ConfigError(f"the DSN may not set {weak}: {why_not(weak)}", hint=f"take {weak} out of the DSN")
