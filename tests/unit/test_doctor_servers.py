"""What `aya doctor` makes of servers and of double installations, and that its page and its code agree."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from aya.cli import VERBS
from aya.doctor import durability, installations, permissions, stale, versions
from aya.doctor.catalogue import KINDS, TOPICS
from aya.doctor.findings import Finding
from aya.doctor.installations import AutoStart, Holder, Installed, Running, Seen
from aya.doctor.servers import Access, Idle, Overridden, Prepared, RoleSetting, ServerFacts, Slot

ROOT = Path(__file__).parents[2]


def ids(found: list[Finding]) -> list[str]:
    """Return the ids, in order."""
    return [one.id for one in found]


SETTINGS = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": "FIRST 1 (beta)",
    "wal_sync_method": "fdatasync", "data_checksums": "on", "wal_level": "replica", "archive_mode": "always",
    "hot_standby_feedback": "off", "max_wal_senders": "10", "max_replication_slots": "10",
    "max_slot_wal_keep_size": "10240",
}  # fmt: skip
LINUX = "PostgreSQL 18.4 on x86_64-pc-linux-gnu, compiled by gcc, 64-bit"
MAC = "PostgreSQL 18.4 (Homebrew) on aarch64-apple-darwin24.1.0, compiled by Apple clang, 64-bit"
ALPHA = ServerFacts("alpha", SETTINGS, "18.4", LINUX, pgvector="0.8.5", pgvector_library="0.8.5", schema=12,
                    schema_aya="0.1.0", model=("b3b0", "minilm"), collation="b C.UTF-8")  # fmt: skip
BETA = replace(ALPHA, node="beta", is_standby=True)
AIR = replace(ALPHA, node="air")


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ({}, []),
        ({"fsync": "off"}, ["durability.fsync-off"]),
        ({"full_page_writes": "off"}, ["durability.full-page-writes-off"]),
        ({"synchronous_commit": "local"}, ["durability.commit-not-waited-for"]),
        ({"synchronous_commit": "off"}, ["durability.commit-not-waited-for"]),
        ({"synchronous_commit": "remote_apply"}, []),
        ({"synchronous_standby_names": ""}, ["durability.no-standby"]),
        ({"data_checksums": "off"}, ["durability.no-checksums"]),
        ({"wal_level": "minimal"}, ["durability.wal-level"]),
        ({"wal_level": "logical"}, []),
        ({"archive_mode": "off"}, ["durability.not-archiving"]),
        ({"max_wal_senders": "2"}, ["durability.too-few-senders"]),
        ({"max_replication_slots": "0"}, ["durability.too-few-senders"]),
        ({"max_slot_wal_keep_size": "-1"}, ["durability.slot-unbounded"]),
        ({"hot_standby_feedback": "on"}, ["durability.standby-feedback"]),
    ],
)
def test_settings_keep_what_is_acknowledged(setting: dict[str, str], wanted: list[str]) -> None:
    """One setting changed at a time."""
    assert ids(durability.judge(replace(ALPHA, settings={**SETTINGS, **setting}), has_partner=True)) == wanted


@pytest.mark.parametrize(
    ("system", "method", "wanted"),
    [
        (MAC, "open_datasync", ["durability.drive-cache"]),
        (MAC, "fsync", ["durability.drive-cache"]),
        (MAC, "fsync_writethrough", []),
        (LINUX, "fdatasync", []),
        (LINUX, "open_datasync", []),
    ],
)
def test_on_macos_only_writethrough_reaches_the_drive(system: str, method: str, wanted: list[str]) -> None:
    """Wherever the check itself runs: the server says what it was built for."""
    seen = replace(ALPHA, system=system, settings={**SETTINGS, "wal_sync_method": method})
    assert ids(durability.judge(seen, has_partner=True)) == wanted


def test_a_standby_alone_is_no_standby() -> None:
    """Without a partner no commit can wait for one, and AIR archives nothing."""
    alone = replace(ALPHA, settings={**SETTINGS, "synchronous_standby_names": ""})
    assert durability.judge(alone, has_partner=False) == []
    assert durability.judge(replace(alone, node="beta", is_standby=True), has_partner=True) == []
    assert durability.judge(replace(AIR, settings={**SETTINGS, "archive_mode": "off"}), has_partner=False) == []


def test_what_roles_and_files_override_is_told() -> None:
    """With the statement that takes it back."""
    kept = RoleSetting("ROLE aya_mcp", "synchronous_commit", "off", "ALTER ROLE aya_mcp RESET synchronous_commit")
    auto = Overridden("port", "5433", "/d/postgresql.auto.conf")
    found = durability.judge(replace(ALPHA, kept=(kept,), overridden=(auto,), pending=("port",)), has_partner=True)
    assert ids(found) == ["durability.role-setting", "durability.overridden", "durability.restart-pending"]
    assert found[0].hint == "psql: ALTER ROLE aya_mcp RESET synchronous_commit"
    assert "ALTER SYSTEM RESET port" in (found[1].hint or "")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, []),
        ({"pgvector_library": "0.8.4"}, ["versions.pgvector-library"]),
        ({"pgvector_library": None}, ["versions.pgvector-library"]),
        ({"pgvector_library": "0.10.0"}, ["versions.pgvector-behind"]),
        ({"schema_error": ("lacks migration 13", "aya migrate")}, ["versions.schema-wrong"]),
        ({"schema_aya": "0.2.0"}, ["versions.aya-differs"]),
        ({"schema_aya": "0.0.9"}, []),
        ({"collation_recorded": "2.36", "collation_actual": "2.39"}, ["versions.collation-changed"]),
        ({"collation_recorded": "1", "collation_actual": "1"}, []),
    ],
)
def test_versions_fit_together_inside_a_server(change: dict[str, object], wanted: list[str]) -> None:
    """0.10 is newer than 0.8."""
    assert ids(versions.judge_one(replace(ALPHA, **change), "0.1.0")) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ((BETA, AIR), []),
        ((replace(BETA, version="16.14"), AIR), ["versions.postgresql-major-differs"]),
        ((replace(BETA, version="18.3"), AIR), ["versions.postgresql-minor-differs"]),
        ((BETA, replace(AIR, version="16.14")), []),
        ((replace(BETA, system=MAC), AIR), ["versions.platform-differs"]),
        ((BETA, replace(AIR, system=MAC)), []),
        ((replace(BETA, pgvector_library="0.8.4"), AIR), ["versions.pgvector-differs"]),
        ((BETA, replace(AIR, schema_aya="0.0.9")), []),
        ((replace(BETA, schema=11), AIR), ["versions.schema-differs"]),
        ((BETA, replace(AIR, schema=13)), []),
        ((BETA, replace(AIR, model=("ffff", "bge"))), ["versions.model-differs"]),
        ((BETA, replace(AIR, model=None)), []),
        ((BETA, replace(AIR, collation="c de_DE.UTF-8")), ["versions.collation-differs"]),
    ],
)
def test_versions_that_differ_between_nodes_are_told(others: tuple[ServerFacts, ...], wanted: list[str]) -> None:
    """Physical copies must be alike; AIR is a logical one, and has a migration of its own."""
    found = versions.judge_all((ALPHA, *others))
    assert ids(found) == wanted
    assert all("alpha has" in one.what for one in found)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (Access(3, "host", "all", "127.0.0.1/255.255.255.255", "scram-sha-256"), None),
        (Access(3, "hostssl", "aya_mcp", "alpha.local", "cert"), None),
        (Access(3, "local", "all", "", "peer"), None),
        (Access(3, "local", "all", "", "trust"), "lets all in by trust"),
        (Access(3, "host", "all", "192.168.1.0/255.255.255.0", "md5"), "lets all in by md5"),
        (Access(3, "host", "all", "0.0.0.0/0.0.0.0", "scram-sha-256"), "lets all in from any address"),
        (Access(3, "host", "all", "::/::", "scram-sha-256"), "lets all in from any address"),
        (Access(3, "host", "all", "all", "scram-sha-256"), "lets all in from any address"),
        (Access(3, "host", "all", "all", "reject"), None),
        (Access(3, "host", "", "", "", "invalid connection type"), "cannot be read: invalid connection type"),
    ],
)
def test_who_may_enter_is_judged(line: Access, wanted: str | None) -> None:
    """Named hosts, by scram-sha-256."""
    found = permissions.judge_access(replace(ALPHA, access=(line,)))
    assert [one.what for one in found] == ([f"line 3 of pg_hba.conf {wanted}"] if wanted else [])


def test_what_a_server_keeps_for_nobody_is_told() -> None:
    """What is young, small or in use is not."""
    seen = replace(
        ALPHA,
        slots=(
            Slot("beta_slot", active=True, wal_status="reserved", held_bytes=10**10),
            Slot("old_slot", active=False, wal_status="extended", held_bytes=10**10, inactive_seconds=7200),
            Slot("new_slot", active=False, wal_status=None, held_bytes=None),
            Slot("lost_slot", active=False, wal_status="lost", held_bytes=None),
        ),
        prepared=(Prepared("forgotten", 7200), Prepared("young", 5)),
        idle=(Idle(7, "aya_mcp", "psql", 1200), Idle(8, "aya_mcp", "psql", 5)),
        index_left=True,
    )
    found = stale.judge_server(seen)
    assert ids(found) == [
        "stale.slot", "stale.slot-lost", "stale.prepared-transaction", "stale.idle-transaction", "stale.index",
    ]  # fmt: skip
    assert "old_slot" in found[0].what
    assert "10.00 GB" in found[0].what
    assert found[-1].fixable
    assert not stale.judge_server(replace(seen, is_standby=True))[-1].fixable
    assert stale.judge_server(ALPHA) == []


OURS = Running(100, "18.4", "/h/nodes/alpha/data", 5432, "ada", "/opt/pg18/bin", "aya", "/h", ours=True)
BREW = Running(812, "16.4", "/opt/homebrew/var/postgresql@16", 5433, "ada", "/opt/homebrew/opt/postgresql@16/bin",
               "homebrew", "homebrew.mxcl.postgresql@16")  # fmt: skip
BREW_JOB = AutoStart("homebrew.mxcl.postgresql@16", "homebrew", "/opt/homebrew/var/postgresql@16", "gui/501")
LAUNCHD_16 = (
    "sudo launchctl disable system/com.edb.launchd.postgresql-16;"
    " sudo launchctl bootout system/com.edb.launchd.postgresql-16"
)
STOP_16 = "/opt/homebrew/opt/postgresql@16/bin/pg_ctl stop --mode=fast --pgdata=/opt/homebrew/var/postgresql@16"
ONE = Seen(running=(OURS,), data_directories=("/h/nodes/alpha/data",), user="ada")


@pytest.mark.parametrize(
    ("server", "command"),
    [
        (BREW, "brew services stop postgresql@16"),
        (replace(BREW, manager="launchd", unit="com.edb.launchd.postgresql-16"),
         LAUNCHD_16),
        (replace(BREW, manager="systemd", unit="postgresql-16"), "sudo systemctl disable --now postgresql-16"),
        (replace(BREW, manager="debian", unit="16/main"),
         "echo manual | sudo tee /etc/postgresql/16/main/start.conf; sudo pg_ctlcluster 16 main stop"),
        (replace(BREW, manager="aya", unit="/srv/my aya"), "aya --home '/srv/my aya' down"),
        (replace(BREW, manager="person", unit=""),
         STOP_16),
        (replace(BREW, manager="person", unit="", user="postgres"),
         f"cd /; sudo -u postgres {STOP_16}"),
        (Running(812), "sudo kill -INT 812"),
    ],
)  # fmt: skip
def test_a_second_server_is_told_with_the_commands_that_end_it(server: Running, command: str) -> None:
    """And that keep it from starting again; none of them removes data, and none is done by --fix."""
    (found,) = installations.judge(replace(ONE, running=(OURS, server)))
    assert found.id == "installations.foreign-server"
    assert "pid 812" in found.what
    assert found.hint == command
    assert not found.fixable


def test_a_second_server_is_described_by_what_is_known() -> None:
    """Version, pid, directory, port, and who started it."""
    said = installations.describe(BREW)
    assert said == (
        "PostgreSQL 16.4 (pid 812) on /opt/homebrew/var/postgresql@16, port 5433,"
        " started by brew services (homebrew.mxcl.postgresql@16)"
    )
    assert installations.describe(Running(7)) == "PostgreSQL of an unknown version (pid 7), started by hand"


def test_who_holds_the_port_is_told_once() -> None:
    """16 and 18 side by side on ALPHA: the port, and not the same server again."""
    (found,) = installations.judge(replace(ONE, running=(BREW,), holders=(Holder("alpha", 5432, 812, "postgres"),)))
    assert found.id == "installations.port-taken"
    assert found.node == "alpha"
    assert "PostgreSQL 16.4 (pid 812)" in found.what
    assert found.hint == "brew services stop postgresql@16; then aya up"


@pytest.mark.parametrize(
    ("holder", "hint"),
    [
        (Holder("alpha", 5432, 99, "nginx"), "kill 99; then aya up"),
        (Holder("alpha", 5432, None, "another process"),
         "sudo lsof -nP -iTCP:5432 -sTCP:LISTEN shows it; end it; then aya up"),
    ],
)  # fmt: skip
def test_whoever_else_holds_the_port_is_told(holder: Holder, hint: str) -> None:
    """Also where the system does not tell who it is."""
    (found,) = installations.judge(replace(ONE, holders=(holder,)))
    assert (found.id, found.hint) == ("installations.port-taken", hint)


@pytest.mark.parametrize(
    ("job", "command"),
    [
        (BREW_JOB, "brew services stop postgresql@16"),
        (AutoStart("com.edb.launchd.postgresql-17", "launchd"),
         LAUNCHD_16.replace("-16", "-17")),
        (AutoStart("15/main", "debian"),
         "echo manual | sudo tee /etc/postgresql/15/main/start.conf; sudo pg_ctlcluster 15 main stop"),
    ],
)  # fmt: skip
def test_a_job_that_starts_another_one_is_told(job: AutoStart, command: str) -> None:
    """Also while its server does not run: after the next reboot it will."""
    (found,) = installations.judge(replace(ONE, jobs=(job,)))
    assert (found.id, found.hint) == ("installations.autostart", command)


def test_an_agent_is_ended_in_its_own_domain() -> None:
    """Its server's process does not say whose it is; its plist does."""
    job = AutoStart("com.postgresapp.Postgres18", "launchd", None, "gui/501")
    server = replace(BREW, manager="launchd", unit=job.label)
    (found,) = installations.judge(replace(ONE, running=(OURS, server), jobs=(job,)))
    assert "launchctl bootout gui/501/com.postgresapp.Postgres18" in (found.hint or "")


def test_a_job_is_not_told_beside_its_server() -> None:
    """The same command ends both."""
    assert ids(installations.judge(replace(ONE, running=(OURS, BREW), jobs=(BREW_JOB,)))) == [
        "installations.foreign-server"
    ]


def test_two_on_one_directory_is_a_failure() -> None:
    """As a job that will, and as a server that does."""
    job = replace(BREW_JOB, data_directory="/h/nodes/alpha/data")
    assert ids(installations.judge(replace(ONE, jobs=(job,)))) == ["installations.two-on-one-directory"]
    strange = replace(BREW, data_directory="/h/nodes/alpha/data")
    assert "installations.two-on-one-directory" in ids(installations.judge(replace(ONE, running=(OURS, strange))))


def test_other_homes_may_run_beside_this_one() -> None:
    """Two homes run side by side; on the contract's port it is a quarrel all the same."""
    other = Running(900, "18.4", "/i/nodes/alpha/data", 20100, "ada", "", "aya", "/i")
    assert [one.severity for one in installations.judge(replace(ONE, running=(OURS, other)))] == ["note"]
    there = replace(other, port=5432)
    assert [one.severity for one in installations.judge(replace(ONE, running=(OURS, there)))] == ["warning"]


def test_several_majors_are_noted() -> None:
    """And tools that are older than the server."""
    own, old = Installed("/opt/pg18/bin", "18.4"), Installed("/opt/pg16/bin", "16.4")
    assert ids(installations.judge(replace(ONE, installed=(own,), own=own, tools=own))) == []
    found = installations.judge(replace(ONE, installed=(own, old), own=own, tools=old))
    assert ids(found) == ["installations.several-majors", "installations.wrong-tools"]
    assert "16 and 18 are installed" in found[0].what


PAGE = (ROOT / "docs" / "operations" / "doctor.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(?P<id>[a-z]+\.[a-z-]+)` \| (?P<severity>\w+) \|", re.MULTILINE)


def test_the_page_has_every_finding_with_its_severity() -> None:
    """And none that the code does not know."""
    assert {match["id"]: match["severity"] for match in _ROW.finditer(PAGE)} == {
        name: kind.severity for name, kind in KINDS.items()
    }


def test_the_page_names_no_verb_that_does_not_exist() -> None:
    """Those that come with the installation as services are named as such."""
    coming = {"init", "launchd", "bugreport", "verify"}
    named = set(re.findall(r"`aya ([a-z]+)", PAGE))
    assert named <= {*VERBS, *coming}


def test_every_kind_is_found_by_some_judge() -> None:
    """None is only written down."""
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src/aya/doctor").rglob("*.py")
                   if file.name != "catalogue.py")  # fmt: skip
    missing = [name for name in KINDS if name not in code and not name.startswith("secrets.in-")]
    assert missing == []
    assert {name.partition(".")[0] for name in KINDS} == set(TOPICS)
