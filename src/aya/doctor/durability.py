"""Whether a server keeps what it acknowledges; pure."""

from __future__ import annotations

from aya import pins
from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.doctor.servers import ServerFacts
from aya.postgres.config import SERVERS

WANTED = (
    "fsync", "full_page_writes", pins.COMMIT, "synchronous_standby_names", "wal_sync_method", "data_checksums",
    "wal_level", "archive_mode", "hot_standby_feedback", "max_wal_senders", "max_replication_slots",
    "max_slot_wal_keep_size",
)  # fmt: skip
"""The settings that are judged."""
_FEWEST = 3
_MAC = "apple-darwin"
_FLUSHING = "fsync_writethrough"


def judge(seen: ServerFacts, *, has_partner: bool) -> list[Finding]:
    """Return what a server gives up. has_partner: there is another server that follows or leads it."""
    found = [one for check in (_flushing, _commits, _replication, _archiving, _kept) for one in check(seen)]
    if has_partner and not seen.is_standby and not seen.settings.get("synchronous_standby_names", "x"):
        what = "no commit waits for a standby (synchronous_standby_names is empty)"
        found.append(finding("durability.no-standby", what, "aya status says why", node=seen.node))
    return found


def _is(seen: ServerFacts, name: str, *values: str) -> bool:
    return seen.settings.get(name) in values


def _setting(seen: ServerFacts, name: str, value: str) -> str:
    """Return what brings a setting back: AYA's own file has it, so whatever overrides it goes."""
    user = "as its superuser" if seen.ours else "at that server"
    return f"psql {user}: ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf()"


def _flushing(seen: ServerFacts) -> list[Finding]:
    found: list[Finding] = []
    for name, kind in (("fsync", "durability.fsync-off"), ("full_page_writes", "durability.full-page-writes-off")):
        if _is(seen, name, "off"):
            found.append(finding(kind, f"{name} is off", _setting(seen, name, "on"), node=seen.node))
    method = seen.settings.get("wal_sync_method", _FLUSHING)
    if _MAC in seen.system and method != _FLUSHING:
        what = f"wal_sync_method is {method}"
        hint = _setting(seen, "wal_sync_method", _FLUSHING)
        found.append(finding("durability.drive-cache", what, hint, node=seen.node))
    if _is(seen, "data_checksums", "off"):
        hint = "at a stop: pg_checksums --enable --pgdata=DIRECTORY; on alpha and beta alike"
        found.append(finding("durability.no-checksums", "pages have no checksums", hint, node=seen.node))
    return found


def _commits(seen: ServerFacts) -> list[Finding]:
    value = seen.settings.get(pins.COMMIT, "on")
    if pins.is_strong(pins.COMMIT, value):
        return []
    what, hint = f"{pins.COMMIT} is {value}", _setting(seen, pins.COMMIT, "on")
    return [finding("durability.commit-not-waited-for", what, hint, node=seen.node)]


def _replication(seen: ServerFacts) -> list[Finding]:
    found: list[Finding] = []
    if _is(seen, "wal_level", "minimal"):
        hint = "psql: ALTER SYSTEM RESET wal_level; then aya down and aya up"
        found.append(finding("durability.wal-level", "wal_level is minimal", hint, node=seen.node))
    for name in ("max_wal_senders", "max_replication_slots"):
        value = seen.settings.get(name, str(_FEWEST))
        if value.isdigit() and int(value) < _FEWEST:
            hint = f"psql: ALTER SYSTEM RESET {name}; then aya down and aya up"
            found.append(finding("durability.too-few-senders", f"{name} is {value}", hint, node=seen.node))
    if _is(seen, "max_slot_wal_keep_size", "-1"):
        what, hint = "max_slot_wal_keep_size is -1", _setting(seen, "max_slot_wal_keep_size", "10GB")
        found.append(finding("durability.slot-unbounded", what, hint, node=seen.node))
    if _is(seen, "hot_standby_feedback", "on"):
        hint = "psql: ALTER SYSTEM RESET hot_standby_feedback; SELECT pg_reload_conf()"
        found.append(finding("durability.standby-feedback", "hot_standby_feedback is on", hint, node=seen.node))
    return found


def _archiving(seen: ServerFacts) -> list[Finding]:
    if seen.node not in SERVERS or not seen.ours or not _is(seen, "archive_mode", "off"):
        return []
    hint = "aya down, then aya up, with a python3 that the server's user can run"
    return [finding("durability.not-archiving", "archive_mode is off", hint, node=seen.node)]


def _kept(seen: ServerFacts) -> list[Finding]:
    """Return what roles keep for themselves, and what overrides AYA's own file."""
    found = [
        finding(
            "durability.role-setting", f"{one.whose} has {one.name} = {one.value}", f"psql: {one.taken_back}",
            node=seen.node,
        )
        for one in seen.kept
    ]  # fmt: skip
    found += [
        finding(
            "durability.overridden",
            f"{one.name} is {one.value}, as {one.source} says",
            f"psql: ALTER SYSTEM RESET {one.name}; SELECT pg_reload_conf(), or aya down and aya up",
            node=seen.node,
        )
        for one in seen.overridden
    ]
    if seen.pending:
        what = f"{', '.join(seen.pending)} changed since the server's start"
        found.append(finding("durability.restart-pending", what, "aya down, then aya up", node=seen.node))
    return found


def judge_python(*, can_flush: bool) -> list[Finding]:
    """Return whether this Python reaches the drive's cache; on macOS only. can_flush: fcntl has F_FULLFSYNC."""
    if can_flush:
        return []
    hint = "make bootstrap with Python 3.9 or later, as Homebrew builds it"
    return [finding("durability.python-flush", "this Python has no fcntl.F_FULLFSYNC", hint)]
