"""What is written into a cluster: the contract's settings, passwords everywhere, quoting that holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aya.postgres.config import ClusterConfig, Guard, guard_text, host_access_text, initdb_options, settings_text


def settings_of(text: str) -> dict[str, str]:
    """Read `name = 'value'` lines as PostgreSQL does."""
    pairs = re.findall(r"^(\w+) = '((?:[^']|'')*)'$", text, re.MULTILINE)
    return {name: value.replace("''", "'") for name, value in pairs}


def test_the_contracts_settings_are_all_there() -> None:
    """wal_level, senders, slots and synchronous_commit as promised; a slot cannot fill the disk."""
    written = settings_of(settings_text(ClusterConfig(5432, Path("/run/aya"))))
    assert (written["wal_level"], written["synchronous_commit"]) == ("replica", "on")
    assert (written["listen_addresses"], written["port"]) == ("127.0.0.1", "5432")
    assert written["password_encryption"] == "scram-sha-256"
    assert written["max_slot_wal_keep_size"] == "10GB"
    assert min(int(written["max_wal_senders"]), int(written["max_replication_slots"])) >= 3


def test_a_server_archives_what_it_writes_and_what_it_receives() -> None:
    """A standby, too; a cluster for which nothing was named archives nothing."""
    written = settings_of(settings_text(ClusterConfig(1, Path("/s"), archive_command="keep '%p' %f")))
    assert (written["archive_mode"], written["archive_command"]) == ("always", "keep '%p' %f")
    assert settings_of(settings_text(ClusterConfig(1, Path("/s"))))["archive_mode"] == "off"


def test_a_stop_that_somebody_waits_for_does_not_wait_for_the_archive() -> None:
    """The watchdog's settings come last; otherwise they say nothing of it."""
    assert settings_of(guard_text(Guard(archiving=False)))["archive_command"] == ""
    assert "archive_command" not in guard_text(Guard())


@pytest.mark.parametrize(("platform", "method"), [("darwin", "fsync_writethrough"), ("linux", None)])
def test_a_mac_flushes_its_drives_cache(platform: str, method: str | None) -> None:
    """On macOS fsync alone does not reach the disk; elsewhere the default does."""
    written = settings_of(settings_text(ClusterConfig(1, Path("/s"), platform=platform)))
    assert written.get("wal_sync_method") == method


def test_addresses_and_odd_directories_are_quoted() -> None:
    """A quote in a path cannot end the value."""
    config = ClusterConfig(1, Path("/it's here"), addresses=("127.0.0.1", "10.0.0.2"))
    written = settings_of(settings_text(config))
    assert written["unix_socket_directories"] == "/it's here"
    assert written["listen_addresses"] == "127.0.0.1,10.0.0.2"


def test_nobody_enters_without_a_password() -> None:
    """No line trusts; replication is for the servers' own roles, and on the machine itself for base backups."""
    text = host_access_text(ClusterConfig(5432, Path("/sockets")))
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert {line[-1] for line in lines} == {"scram-sha-256"}
    replicate = [(line[0], line[2]) for line in lines if line[1] == "replication"]
    assert replicate == [("local", "postgres"), ("host", "aya_replica_alpha"), ("host", "aya_replica_beta")]
    assert {line[3] for line in lines if line[0] == "host"} == {"127.0.0.1/32", "::1/128"}


@pytest.mark.parametrize(("major", "provider"), [(16, "libc"), (17, "builtin"), (18, "builtin")])
def test_a_cluster_sorts_the_same_on_every_platform(major: int, provider: str) -> None:
    """The C collation, from PostgreSQL itself where it has one."""
    options = initdb_options(major)
    assert f"--locale-provider={provider}" in options
    assert {"--locale=C", "--encoding=UTF8", "--data-checksums", "--auth-local=scram-sha-256"} <= set(options)
