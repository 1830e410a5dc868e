"""What we write into a cluster's configuration: pure text from frozen values.

The promised settings are those of the contract (wal_level, walsenders, slots, synchronous_commit) and the
rules for macOS (fsync_writethrough; no tcp_user_timeout).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

SETTINGS_FILE = "aya.conf"
REPLICATION_ROLE = "aya_replicator"
BETA_SLOT = "beta_slot"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where one cluster listens. addresses: host names or IP addresses to listen on."""

    port: int
    socket_directory: Path
    addresses: tuple[str, ...] = ("127.0.0.1",)
    platform: str = sys.platform


def settings_text(config: ClusterConfig) -> str:
    """Return aya.conf, which postgresql.conf includes last."""
    settings = {
        "listen_addresses": ",".join(config.addresses),
        "port": str(config.port),
        "unix_socket_directories": str(config.socket_directory),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "wal_level": "replica",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_slot_wal_keep_size": "10GB",
        "synchronous_commit": "on",
        "hot_standby": "on",
        "wal_keep_size": "256MB",
        "wal_sender_timeout": "20s",
        "wal_receiver_timeout": "20s",
        "wal_retrieve_retry_interval": "200ms",
        "client_connection_check_interval": "10s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "log_line_prefix": "%m [%p] %q%u@%d/%a ",
        "log_min_duration_statement": "5s",
        # What people keep is not written to logs: no parameters, and no statement beside its error.
        "log_parameter_max_length": "0",
        "log_min_error_statement": "panic",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if config.platform == "darwin":
        # The default there does not flush the drive's own cache.
        settings["wal_sync_method"] = "fsync_writethrough"
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return (
        "# Written by aya at every start; changes belong into postgresql.conf above the include.\n"
        + "\n".join(lines)
        + "\n"
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def host_access_text() -> str:
    """Return pg_hba.conf: passwords everywhere, this machine only, replication for its own role only."""
    return "\n".join(
        (
            "# Written by aya. TYPE DATABASE USER ADDRESS METHOD",
            "local  all          all                             scram-sha-256",
            "host   all          all             127.0.0.1/32    scram-sha-256",
            "host   all          all             ::1/128         scram-sha-256",
            f"host   replication  {REPLICATION_ROLE}  127.0.0.1/32    scram-sha-256",
            "",
        )
    )


def initdb_options(major: int) -> tuple[str, ...]:
    """Return initdb's options for that major: the same collation on every platform, checksums, passwords."""
    locale = (
        ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        if major >= 17  # noqa: PLR2004 - the builtin provider came with 17
        else ("--locale-provider=libc", "--locale=C")
    )
    return (
        *locale,
        "--encoding=UTF8",
        "--data-checksums",
        "--auth-local=scram-sha-256",
        "--auth-host=scram-sha-256",
        "--username=postgres",
    )
