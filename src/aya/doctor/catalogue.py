"""Every id of `aya doctor`: how grave it is, and why it matters; pure. docs/operations/doctor.md has them all."""

from __future__ import annotations

from dataclasses import dataclass

from aya.doctor.findings import Finding, Severity
from aya.doctor.mends import Mend

TOPICS = (
    "configuration", "permissions", "secrets", "durability", "versions", "installations", "clock", "sleep", "network",
    "model", "disk", "stale", "environment", "services", "doctor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding."""

    severity: Severity
    why: str


KINDS: dict[str, Kind] = {
    "configuration.no-nodes": Kind("warning", "there is nothing to look at but the machine"),
    "configuration.unreadable": Kind("failure", "no verb and no service starts with it"),
    "configuration.state-unreadable": Kind("failure", "nobody knows which nodes this machine has"),
    "configuration.secrets-unreadable": Kind("failure", "without its passwords no server of the node can be entered"),
    "configuration.postgres-unusable": Kind("failure", "no server of this machine can be started"),
    "configuration.hook-missing": Kind("warning", "what it should tell, nobody hears"),
    "configuration.ports-clash": Kind("failure", "only one of them can listen there"),
    "configuration.address-unknown": Kind("failure", "nobody reaches a node by a name that resolves to nothing"),
    "configuration.address-elsewhere": Kind("warning", "the partner reaches this node by these addresses alone"),
    "configuration.address-local": Kind("failure", "seen from the partner it is the partner itself"),
    "configuration.one-way": Kind("note", "with a second way (LAN and tailnet) a dead switch is no outage"),
    "configuration.tailnet-name": Kind("warning", "MagicDNS fails where the tailnet's resolver does; 100.x does not"),
    "configuration.everybody-let-in": Kind("failure", "access is for named hosts only"),
    "configuration.synced-folder": Kind("failure", "a folder that is synced changes under a running database"),
    "configuration.protected-folder": Kind("warning", "macOS keeps daemons out of it, and iCloud may sync it"),
    "configuration.network-folder": Kind("failure", "locks and flushes do not hold across a network file system"),
    "permissions.file-open": Kind("failure", "others on this machine can read a secret"),
    "permissions.directory-open": Kind("failure", "others can list or read what is kept; PostgreSQL refuses to start"),
    "permissions.home-writable": Kind("failure", "others could replace what runs as you"),
    "permissions.wrong-owner": Kind("failure", "the server cannot write there, or somebody else can"),
    "permissions.weak-access": Kind("failure", "named hosts only, and scram-sha-256: md5 and trust are no lock"),
    "permissions.link": Kind("failure", "whoever made the link decides what is read"),
    "secrets.in-plist": Kind("failure", "plists are world-readable and end up in backups"),
    "secrets.in-configuration": Kind("failure", "configuration is shown, copied and sent around"),
    "secrets.in-log": Kind("failure", "logs are shown and sent around"),
    "secrets.in-environment": Kind("failure", "a process's environment is inherited and shows up in crash reports"),
    "secrets.in-arguments": Kind("failure", "every user of the machine sees the arguments of a process (ps)"),
    "durability.fsync-off": Kind("failure", "a crash of the machine destroys the base"),
    "durability.full-page-writes-off": Kind("failure", "a torn page after a power cut destroys the base"),
    "durability.commit-not-waited-for": Kind("failure", "a failover may lose what was acknowledged"),
    "durability.drive-cache": Kind("failure", "on macOS only F_FULLFSYNC flushes the drive's own cache"),
    "durability.no-standby": Kind("warning", "what is acknowledged now is on one machine alone"),
    "durability.no-checksums": Kind("warning", "a page that the disk damaged is not noticed, and pg_rewind needs them"),
    "durability.wal-level": Kind("failure", "no standby and no archive without it"),
    "durability.too-few-senders": Kind("failure", "three walsenders and slots are promised"),
    "durability.not-archiving": Kind("warning", "no past moment of this node can be restored"),
    "durability.slot-unbounded": Kind("warning", "a standby that stays away fills the disk of its primary"),
    "durability.role-setting": Kind("failure", "sessions of that role give up what is promised to everybody"),
    "durability.overridden": Kind("warning", "the server does not run as AYA configured it"),
    "durability.restart-pending": Kind("note", "the setting holds from the next start on"),
    "durability.standby-feedback": Kind("note", "a long query on the standby keeps dead rows at the primary"),
    "durability.python-flush": Kind("note", "os.fsync does not flush the drive's cache on macOS; F_FULLFSYNC does"),
    "versions.postgresql-major-differs": Kind("failure", "a physical standby must be of its primary's major version"),
    "versions.postgresql-minor-differs": Kind("warning", "fixes of one are missing in the other; standby first"),
    "versions.platform-differs": Kind("failure", "macOS and glibc differ: never a physical copy between them"),
    "versions.pgvector-differs": Kind("warning", "an index may use what the other library does not know"),
    "versions.pgvector-library": Kind("failure", "vectors cannot be read without the library they were made with"),
    "versions.pgvector-behind": Kind("note", "a newer library is installed than the base uses"),
    "versions.aya-differs": Kind("warning", "an older AYA may not know what a newer one wrote"),
    "versions.schema-wrong": Kind("failure", "this AYA cannot work with the base"),
    "versions.schema-differs": Kind("warning", "nodes exchange rows that the other one may not have a place for"),
    "versions.model-differs": Kind("failure", "vectors of two models cannot be compared"),
    "versions.collation-changed": Kind("failure", "text indexes are sorted by rules that no longer hold"),
    "versions.collation-differs": Kind("warning", "the same query sorts differently on each node"),
    "installations.port-taken": Kind("failure", "the node's server cannot start, or clients reach the wrong one"),
    "installations.two-on-one-directory": Kind("failure", "two servers on one data directory destroy it"),
    "installations.foreign-server": Kind("warning", "two installations fight over ports, memory and auto-start"),
    "installations.autostart": Kind("warning", "after the next reboot both start, and the faster one has the port"),
    "installations.several-majors": Kind("note", "a program of the wrong one may be the first in PATH"),
    "installations.wrong-tools": Kind("note", "pg_dump and psql refuse or misread a newer server"),
    "clock.offset": Kind("warning", "timestamps, tokens and logs of the nodes do not fit together"),
    "clock.far-off": Kind("failure", "certificates and every decision by time are wrong"),
    "clock.unsynchronised": Kind("warning", "the clock drifts until somebody notices"),
    "clock.jumped": Kind("note", "logs before and after the jump cannot be compared by their times"),
    "sleep.server-sleeps": Kind("warning", "a server that sleeps is gone, and its standby waits"),
    "sleep.no-autorestart": Kind("warning", "after a power cut the machine stays off until somebody presses a button"),
    "sleep.filevault": Kind("note", "after a reboot nothing starts until somebody unlocks the disk"),
    "network.local-privacy": Kind("failure", "macOS keeps this program from the local network (errno 65)"),
    "network.partner-unreachable": Kind("failure", "neither replication nor failover works"),
    "network.way-dead": Kind("warning", "if the other way dies too, the partner is gone"),
    "network.tailnet-absent": Kind("warning", "the nodes' tailnet addresses lead nowhere from here"),
    "network.agent-not-daemon": Kind("warning", "an agent waits for a login, and the local network is closed to it"),
    "model.silent": Kind("failure", "nothing can be added or searched by meaning on this node"),
    "model.not-ready": Kind("warning", "searches by meaning wait"),
    "model.failed": Kind("failure", "nothing can be embedded with it"),
    "model.other": Kind("failure", "vectors of two models cannot be compared"),
    "model.no-metal": Kind("failure", "the GPU is not used: embedding is many times slower"),
    "model.slow-blas": Kind("warning", "embedding is up to thirty times slower without OpenBLAS"),
    "model.weights-absent": Kind("warning", "the next start needs the network and a download"),
    "disk.full": Kind("failure", "PostgreSQL stops when it cannot write its log"),
    "disk.low": Kind("warning", "the log that an absent standby needs alone may take 10 GB"),
    "disk.few-inodes": Kind("warning", "no file can be made when they are used up, however much space is left"),
    "disk.days-left": Kind("warning", "the archive grows until the disk is full"),
    "stale.postmaster-pid": Kind("warning", "a lock of no server; one day its number belongs to another process"),
    "stale.socket-lock": Kind("warning", "a socket of no server"),
    "stale.temporary-file": Kind("note", "what a program that was killed left half-written"),
    "stale.unfinished": Kind("warning", "a copy that was cut short; the next start begins it anew"),
    "stale.set-aside": Kind("note", "kept for you to look at; it takes space"),
    "stale.orphan": Kind("warning", "nobody restarts or stops a process that lost its supervisor"),
    "stale.index": Kind("warning", "every write maintains an index that no search uses"),
    "stale.prepared-transaction": Kind("warning", "it holds its locks and dead rows until somebody decides"),
    "stale.slot": Kind("warning", "the log is kept for somebody who does not come for it"),
    "stale.slot-lost": Kind("failure", "the log that the standby needs is gone: it cannot follow any more"),
    "stale.idle-transaction": Kind("warning", "it holds dead rows and locks while it does nothing"),
    "environment.editable": Kind("note", "what runs changes with the checkout; under launchd it may not start at all"),
    "environment.hidden-files": Kind("failure", "Python 3.12 and later skips .pth files that are marked hidden"),
    "environment.old-python": Kind("failure", "AYA needs Python 3.11 or later"),
    "environment.quarantined": Kind("failure", "launchd cannot start a quarantined program (5: Input/output error)"),
    "environment.translated": Kind("failure", "under Rosetta there is no MLX"),
    "services.stopped": Kind("note", "nothing of this home runs, so its servers could not be looked at"),
    "services.down": Kind("warning", "a part of the node does not work"),
    "services.server-silent": Kind("warning", "its settings, versions and slots could not be looked at"),
    "services.plist-differs": Kind("warning", "what runs is not what this version would run"),
    "services.plist-invalid": Kind("failure", "launchd refuses it, or passes over a key in silence"),
    "services.plist-owner": Kind("failure", "launchd loads no daemon that somebody else could change"),
    "services.job-failing": Kind("warning", "launchd starts it over and over"),
    "services.log-large": Kind("warning", "nobody reads it, and it fills the disk"),
    "doctor.check-failed": Kind("failure", "this was not looked at"),
    "doctor.check-late": Kind("warning", "this was not looked at: it took too long"),
}  # fmt: skip


def finding(
    kind: str,
    what: str,
    hint: str,
    *,
    node: str | None = None,
    mend: Mend | None = None,
) -> Finding:
    """Return a finding of a kind that is known. hint: the command that mends it."""
    known = KINDS[kind]
    return Finding(kind, known.severity, what, known.why, hint, node, mend)
