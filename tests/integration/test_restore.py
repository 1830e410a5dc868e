"""`aya restore` on a real server: to a moment, to a place, to the end; across a failover; refused in words."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from tests.backup_lab import Lab, new_lab

from aya.backup.catalogue import Backup
from aya.backup.target import choose, parse
from aya.backup.wal import line_to
from aya.errors import BackupError, UsageError

AYA = str(Path(sys.executable).with_name("aya"))
ENVIRON = {
    name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_")) or name == "AYA_PG_MAJOR"
}
NOW = datetime.now(UTC).astimezone()


def aya(lab: Lab, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and check its exit code."""
    command = [AYA, "--home", str(lab.home.path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, timeout=200, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def restored(lab: Lab, *arguments: str) -> dict[str, Any]:
    """Restore, and return what was reached."""
    made: dict[str, Any] = json.loads(aya(lab, "restore", *arguments, "--json").stdout)
    return made


def told(lab: Lab, name: str, query: str = "SELECT array_agg(content ORDER BY id) FROM documents") -> Any:  # noqa: ANN401
    """Ask a restored cluster, as `aya restore --dsn` says that it is reached."""

    async def ask() -> object:
        connection = await asyncpg.connect(aya(lab, "restore", "--dsn", name).stdout.strip())
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


def add(lab: Lab, content: str) -> tuple[datetime, str]:
    """Insert a document, and return a moment and a place right behind its commit."""
    lab.sql("INSERT INTO documents (content) VALUES ($1) RETURNING id", content, database="aya_rag")
    return lab.sql("SELECT clock_timestamp()"), lab.sql("SELECT pg_current_wal_insert_lsn()::text")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server with a base backup and three documents behind it."""
    with new_lab(segment_mib=1) as made:
        made.provision()
        aya(made, "backup", "create")
        yield made


@pytest.fixture(scope="module")
def moments(lab: Lab) -> dict[str, tuple[datetime, str]]:
    """Three documents, each with the moment and the place behind it."""
    found: dict[str, tuple[datetime, str]] = {}
    for content in ("one", "two", "three"):
        found[content] = add(lab, content)
        time.sleep(0.01)
    return found


pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_moment_between_two_transactions_gives_exactly_the_first(
    lab: Lab, moments: dict[str, tuple[datetime, str]]
) -> None:
    """By time and by place; the running server is not touched, the new one is read-only and on this machine alone."""
    running = "SELECT (pg_postmaster_start_time(), (SELECT count(*) FROM documents))::text"
    before = lab.sql(running, database="aya_rag")
    by_time = restored(lab, "--to-time", moments["one"][0].isoformat())
    assert told(lab, by_time["name"]) == ["one"]
    assert (by_time["documents"], by_time["chunks"]) == (1, 0)
    assert datetime.fromisoformat(by_time["committed_at"]) <= moments["one"][0]
    by_place = restored(lab, "--to-lsn", moments["two"][1])
    assert told(lab, by_place["name"]) == ["one", "two"]
    assert lab.sql(running, database="aya_rag") == before
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        told(lab, by_time["name"], "DELETE FROM documents")
    for query, value in (("SHOW archive_mode", "off"), ("SHOW listen_addresses", "127.0.0.1")):
        assert told(lab, by_time["name"], query) == value
    assert told(lab, by_time["name"], "SHOW synchronous_standby_names") == ""
    listed = aya(lab, "restore", "--list").stdout
    for one in (by_time, by_place):
        assert one["name"] in listed
        aya(lab, "restore", "--drop", one["name"])
    assert "nothing was restored" in aya(lab, "restore", "--list").stdout
    assert list(lab.home.restored_directory.iterdir()) == []


def test_the_end_has_what_is_not_archived_yet(lab: Lab, moments: dict[str, tuple[datetime, str]]) -> None:
    """The last transaction is in the segment that the server writes to; what is printed can be typed."""
    said = aya(lab, "restore", "--latest").stdout
    name = json.loads(aya(lab, "restore", "--list", "--json").stdout)[0]["name"]
    assert told(lab, name) == list(moments)
    next_command = said.split("next: ")[1].splitlines()[0].replace("aya --home", f"{AYA} --home") + " -Atc 'SELECT 7'"
    done = subprocess.run(["/bin/sh", "-c", next_command], capture_output=True, text=True, env=ENVIRON, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")
    assert "documents         3" in said
    aya(lab, "restore", "--drop", name)


def test_a_drill_reads_and_searches_and_leaves_nothing(lab: Lab) -> None:
    """Every row, and no process or directory afterwards."""
    add(lab, "four")
    assert "read 4 documents" in aya(lab, "backup", "drill").stdout
    assert list(lab.home.restored_directory.iterdir()) == []
    running = [one.info["cmdline"] or () for one in psutil.process_iter(["cmdline"])]
    assert not [line for line in running if any(str(lab.home.restored_directory) in word for word in line)]


def test_a_flipped_byte_ends_the_recovery_and_is_named(lab: Lab) -> None:
    """It does not pass for the end of the archive: nothing is restored, and nothing is left."""
    name = lab.switch()
    add(lab, "five")
    lab.switch()
    content = bytearray((lab.archive / name).read_bytes())
    content[100] ^= 1
    with (lab.archive / name).open("r+b") as stream:
        stream.write(content)
    try:
        said = aya(lab, "restore", "--latest", expect=1).stderr
        assert f"{name} is damaged" in said
        assert "next: aya backup verify --node alpha" in said
        assert list(lab.home.restored_directory.iterdir()) == []
    finally:
        content[100] ^= 1
        with (lab.archive / name).open("r+b") as stream:
            stream.write(content)


def test_a_gap_does_not_pass_for_the_end(lab: Lab) -> None:
    """What is behind it cannot be reached, and that is said before anything is copied."""
    name = lab.switch()
    lab.fill(1)
    lab.switch()
    hidden = lab.archive.parent / "hidden"
    (lab.archive / name).rename(hidden)
    try:
        assert f"the archive lacks {name}" in aya(lab, "restore", "--latest", expect=1).stderr
    finally:
        hidden.rename(lab.archive / name)


def test_what_lies_outside_is_refused_in_words(lab: Lab) -> None:
    """Before the first backup; behind the last transaction; a backup that is not there."""
    early = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    assert "is before every good backup of alpha" in aya(lab, "restore", "--to-time", early, expect=1).stderr
    late = aya(lab, "restore", "--to-lsn", "F/0", expect=1).stderr
    assert "the archive ends before F/0" in late
    assert "next: aya restore --latest" in late
    assert "there is no backup 'x'" in aya(lab, "restore", "--latest", "--backup", "x", expect=1).stderr
    assert list(lab.home.restored_directory.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore",), "say where to"),
        (("restore", "--latest", "--to-lsn", "0/1"), "say where to"),
        (("restore", "--to-time", "yesterday"), "is no time"),
        (("restore", "--to-time", "2999-01-01"), "lies in the future"),
        (("restore", "--to-lsn", "12"), "is no position in the WAL"),
        (("restore", "--latest", "--list"), "one thing at a time"),
        (("restore", "--drop", "../nodes"), "is no restored cluster"),
        (("restore", "--drop", "alpha-20260101T000000Z"), "there is no restored cluster"),
        (("restore", "--dsn", "alpha-20260101T000000Z"), "there is no restored cluster"),
        (("restore", "--latest", "--node", "x"), "there is no node 'x'"),
    ],
)
def test_a_wrong_call_says_what_why_and_the_next_command(lab: Lab, arguments: tuple[str, ...], said: str) -> None:
    """Nothing is done."""
    expect = 2 if said in {"say where to", "is no time", "lies in the future", "one thing at a time"} else 1
    if "position" in said:
        expect = 2
    error = aya(lab, *arguments, expect=expect).stderr
    assert said in error
    assert "  next: " in error


def test_a_restore_goes_across_a_promotion(lab: Lab) -> None:
    """From a base backup of the old timeline to rows of the new one, and to rows before the fork."""
    before = add(lab, "before the fork")
    time.sleep(0.01)
    lab.cluster.stop()
    lab.cluster.mark_standby()
    lab.start()
    lab.sql("SELECT pg_promote()")
    behind = add(lab, "behind the fork")
    lab.switch()
    assert lab.sql("SELECT timeline_id FROM pg_control_checkpoint()") in {1, 2}
    latest = restored(lab, "--latest")
    assert told(lab, latest["name"])[-2:] == ["before the fork", "behind the fork"]
    old = restored(lab, "--to-time", before[0].isoformat())
    assert told(lab, old["name"])[-1] == "before the fork"
    assert behind[0] > before[0]
    aya(lab, "backup", "verify")
    for one in (latest, old):
        aya(lab, "restore", "--drop", one["name"])


# Without a server


def backup(name: str, ended: datetime, end: int, *, good: bool = True, timeline: int = 1) -> Backup:
    """Return a base backup that ended then and there."""
    stamp = ended.isoformat()
    return Backup(name, "alpha", stamp, stamp, timeline, end - 1, end, 1, 1 << 24, "18.4", stamp if good else None)


BACKUPS = [backup(f"b{day}", NOW - timedelta(days=9 - day), day << 24, good=day != 3) for day in range(1, 5)]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"latest": True}, "b4"),
        ({"to_time": (NOW - timedelta(days=5)).isoformat()}, "b4"),
        ({"to_time": (NOW - timedelta(days=5, seconds=1)).isoformat()}, "b2"),
        ({"to_time": (NOW - timedelta(days=9)).isoformat()}, None),
        ({"to_lsn": "0/4000000"}, "b4"),
        ({"to_lsn": "0/3FFFFFF"}, "b2"),
        ({"to_lsn": "0/1"}, None),
    ],
)
def test_the_newest_good_backup_before_the_target_is_taken(options: dict[str, Any], chosen: str | None) -> None:
    """One that failed its check is passed over."""
    target = parse(options.get("to_time"), options.get("to_lsn"), latest=options.get("latest", False), now=NOW)
    if chosen is None:
        with pytest.raises(BackupError, match="is before every good backup"):
            choose(BACKUPS, target, line_to(1, ""), "alpha")
    else:
        assert choose(BACKUPS, target, line_to(1, ""), "alpha").name == chosen


def test_a_backup_that_is_not_on_the_line_is_passed_over() -> None:
    """A former primary's, taken behind the fork."""
    target = parse(None, None, latest=True, now=NOW)
    assert choose(BACKUPS, target, line_to(2, "1\t0/3000000\t\n"), "alpha").name == "b2"
    with pytest.raises(BackupError, match="no good backup to begin with"):
        choose(BACKUPS, target, line_to(3, ""), "alpha")


def test_a_time_without_a_zone_is_local() -> None:
    """As a person reads a clock."""
    target = parse("2026-01-31 17:45", None, latest=False, now=NOW.replace(year=2027))
    assert target.time == datetime(2026, 1, 31, 17, 45).astimezone()
    with pytest.raises(UsageError):
        parse("", None, latest=False, now=NOW)
