"""What we write into a cluster's configuration: pure text from frozen values.

The promised settings are those of the contract (wal_level, walsenders, slots, synchronous_commit) and the
rules for macOS (fsync_writethrough; no tcp_user_timeout).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

SETTINGS_FILE = "aya.conf"
# What changes while a server runs; the watchdog alone writes it.
GUARD_FILE = "aya.watchdog.conf"
WATCHDOG_ROLE = "aya_watchdog"
SYNC_ROLE = "aya_sync"
# The two that replicate each other, whoever leads.
SERVERS = ("alpha", "beta")
_TLS_SETTINGS = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
_LOOPBACK = ("127.0.0.1/32", "::1/128")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A node's certificates, with which its server proves who it is. directory: of copies that PostgreSQL reads."""

    authority: Path
    certificate: Path
    key: Path
    directory: Path

    @property
    def copies(self) -> tuple[tuple[Path, Path], ...]:
        """Each of the files with its copy: the authority's certificate, the node's, its key."""
        names = ("server-ca.pem", "server-cert.pem", "server-key.pem")
        return tuple(
            zip((self.authority, self.certificate, self.key), map(self.directory.joinpath, names), strict=True)
        )


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where one cluster listens, and whom it lets in.

    addresses: host names or IP addresses to listen on. neighbours: of the servers' machines, each with the node that
    may replicate from there; empty: this machine only. clients: addresses or networks whose clients are let in, too.
    archive_command: what keeps a segment that is full; None: nothing does. tls: with what it proves to other machines
    who it is, and nobody enters from there without; None: no other machine's way needs it.
    """

    port: int
    socket_directory: Path
    addresses: tuple[str, ...] = ("127.0.0.1",)
    platform: str = sys.platform
    neighbours: tuple[tuple[str, str], ...] = ()
    clients: tuple[str, ...] = ()
    archive_command: str | None = None
    tls: TlsFiles | None = None

    @property
    def local_address(self) -> str:
        """Return where it is reached from this machine."""
        return "127.0.0.1" if self.addresses[0] == "*" else self.addresses[0]


@dataclass(frozen=True, slots=True)
class Guard:
    """What a watchdog sets on its server.

    synchronous: the name of the standby that every commit waits for; None: none does. read_only: clients may not write.
    upstream: how the primary is reached (a connection string), for a standby; None: no stream. slot: at the primary.
    archiving: segments are archived as they fill; False: from the next start on, for a stop that somebody waits for.
    """

    synchronous: str | None = None
    read_only: bool = True
    upstream: str | None = None
    slot: str | None = None
    archiving: bool = True


def slot_name(node: str) -> str:
    """Return the name of the physical slot that keeps the WAL of a standby."""
    return f"{node}_slot"


def partner_of(server: str) -> str:
    """Return the other of the two servers."""
    return next(name for name in SERVERS if name != server)


def replication_role(node: str) -> str:
    """Return the role under which a node replicates; its own, for the name beta must not be anybody's to claim."""
    return f"aya_replica_{node}"


def guard_text(guard: Guard) -> str:
    """Return aya.watchdog.conf."""
    settings = {
        "synchronous_standby_names": f"FIRST 1 ({guard.synchronous})" if guard.synchronous else "",
        "default_transaction_read_only": "on" if guard.read_only else "off",
        "primary_conninfo": guard.upstream or "",
        "primary_slot_name": guard.slot or "",
    }
    if not guard.archiving:
        settings["archive_command"] = ""
    lines = [f"{name} = {quoted(value)}" for name, value in settings.items()]
    return "# Written by the watchdog while it runs; changes are lost.\n" + "\n".join(lines) + "\n"


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
        # A way between the servers that is dead while another lives: writers wait for it no longer than that.
        "wal_sender_timeout": "5s",
        "wal_receiver_timeout": "5s",
        "wal_receiver_status_interval": "1s",
        "wal_retrieve_retry_interval": "200ms",
        "client_connection_check_interval": "10s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "log_line_prefix": "%m [%p] %q%u@%d/%a ",
        "log_min_duration_statement": "5s",
        # What people keep is not written to logs: no parameters, no statement and no detail beside its error.
        "log_parameter_max_length": "0",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        # A standby archives what it receives, too: each machine can restore by itself (docs/adr/0018).
        "archive_mode": "always" if config.archive_command else "off",
        "archive_command": config.archive_command or "",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if config.tls:
        settings |= {
            "ssl": "on",
            **{name: str(copy) for name, (_, copy) in zip(_TLS_SETTINGS, config.tls.copies, strict=True)},
            "ssl_min_protocol_version": "TLSv1.2",
        }
    if config.platform == "darwin":
        # The default there does not flush the drive's own cache.
        settings["wal_sync_method"] = "fsync_writethrough"
    lines = [f"{name} = {quoted(value)}" for name, value in settings.items()]
    return (
        "# Written by aya at every start; changes belong into postgresql.conf above the include.\n"
        + "\n".join(lines)
        + f"\ninclude_if_exists '{GUARD_FILE}'\n"
    )


def quoted(value: str) -> str:
    """Return a value as postgresql.conf has it."""
    return "'" + value.replace("'", "''") + "'"


def host_access_text(config: ClusterConfig) -> str:
    """Return pg_hba.conf: passwords everywhere, the named machines only, replication for a node's own role only.

    From another machine with TLS only, where the server has it.
    """
    host_type = "hostssl" if config.tls else "host   "
    lines = [
        "# Written by aya. TYPE DATABASE USER ADDRESS METHOD",
        "local  all          all                             scram-sha-256",
        # Base backups of this machine itself.
        "local  replication  postgres                        scram-sha-256",
        "host   all          all             127.0.0.1/32    scram-sha-256",
        "host   all          all             ::1/128         scram-sha-256",
    ]
    neighbours = config.neighbours or tuple(("127.0.0.1", node) for node in SERVERS)
    hosts = dict.fromkeys(_host(address) for address in (*(each for each, _ in neighbours), *config.clients))
    lines += [f"{host_type} all  all  {host}  scram-sha-256" for host in hosts if host not in _LOOPBACK]
    lines += [
        f"{host_type} replication  {replication_role(node)}  {_host(address)}  scram-sha-256"
        for address, node in neighbours
    ]
    return "\n".join((*lines, ""))


def _host(address: str) -> str:
    """Return an address, a network or a name as pg_hba.conf has it; pure."""
    is_address = "/" not in address and (":" in address or address.replace(".", "").isdigit())
    return f"{address}/{128 if ':' in address else 32}" if is_address else address


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
