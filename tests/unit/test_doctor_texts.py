"""What commands print is understood, and no text at all makes a parser fail.

The texts follow the manual pages of macOS and were not recorded on a Mac; those of Debian were.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.doctor import origin, texts
from aya.doctor.configuration import file_system_of
from aya.doctor.texts import BrewService, DebianCluster, Job

PMSET = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 hibernatefile        /var/vm/sleepimage
 powernap             1
 disksleep            10
 sleep                1 (sleep prevented by coreaudiod, powerd)
 autorestart          0
 displaysleep         10
"""
LAUNCHCTL_LIST = """PID\tStatus\tLabel
-\t0\tcom.apple.SafariHistoryServiceAgent
812\t0\thomebrew.mxcl.postgresql@16
-\t78\tcom.aya.alpha.embedder
-\t-9\tcom.aya.alpha.watchdog
"""
LAUNCHCTL_PRINT = """system/com.aya.alpha.watchdog = {
\tactive count = 0
\tpath = /Library/LaunchDaemons/com.aya.alpha.watchdog.plist
\ttype = LaunchDaemon
\tstate = spawn scheduled

\tprogram = /Users/ada/aya/.venv/bin/python
\targuments = {
\t\t/Users/ada/aya/.venv/bin/python
\t\t-m
\t}

\tenvironment = {
\t\tAYA_NODE => alpha
\t}

\truns = 12
\tlast exit code = 78: EX_CONFIG
}
"""
DISABLED = """
\tdisabled services = {
\t\t"homebrew.mxcl.postgresql@16" => disabled
\t\t"com.aya.alpha.watchdog" => enabled
\t\t"com.old.macos" => true
\t}
"""
BREW = """Name          Status     User File
dnsmasq       none
postgresql@16 started    ada  ~/Library/LaunchAgents/homebrew.mxcl.postgresql@16.plist
postgresql@18 error  256 ada  ~/Library/LaunchAgents/homebrew.mxcl.postgresql@18.plist
"""
DEBIAN = """Ver Cluster Port Status Owner    Data directory              Log file
15  main    5432 down   postgres /var/lib/postgresql/15/main /var/log/postgresql/postgresql-15-main.log
16  main    5433 online postgres /var/lib/postgresql/16/main /var/log/postgresql/postgresql-16-main.log
"""
SNTP = "+0.123456 +/- 0.012345 time.apple.com 17.253.34.123\n"
SW_VERS = "ProductName:\t\tmacOS\nProductVersion:\t\t15.1.1\nBuildVersion:\t\t24B91\n"
LSOF = "p812\ncpostgres\nf7\nf8\np913\ncpython3.13\n"


@pytest.mark.parametrize(
    ("parse", "text", "wanted"),
    [
        (texts.macos_version, SW_VERS, (15, 1, 1)),
        (texts.macos_version, "sw_vers: not found", None),
        (texts.filevault_on, "FileVault is On.\n", True),
        (texts.filevault_on, "FileVault is Off.\n", False),
        (texts.filevault_on, "Error: not allowed", None),
        (texts.network_time_on, "Network Time: On\n", True),
        (texts.network_time_on, "Network Time: Off\n", False),
        (texts.network_time_on, "You need administrator access to run this tool... exiting!", None),
        (texts.synchronised, "NTPSynchronized=yes\n", True),
        (texts.synchronised, "NTPSynchronized=no\n", False),
        (texts.synchronised, "System has not been booted with systemd as init system (PID 1).", None),
        (texts.time_offset, SNTP, 0.123456),
        (texts.time_offset, "sntp: Exchange failed: Timeout", None),
        (texts.translated, "1\n", True),
        (texts.translated, "sysctl: unknown oid 'sysctl.proc_translated'", False),
        (texts.postgres_version, "postgres (PostgreSQL) 16.4 (Homebrew)", "16.4"),
        (texts.postgres_version, "PostgreSQL 18.1", "18.1"),
        (texts.postgres_version, "postgres (PostgreSQL) 19beta1", "19beta1"),
        (texts.postgres_version, "bash: postgres: command not found", None),
        (texts.brew_services, BREW, [BrewService("dnsmasq", "none"), BrewService("postgresql@16", "started"),
                                     BrewService("postgresql@18", "error")]),
        (texts.debian_clusters, DEBIAN, [
            DebianCluster("15", "main", 5432, "down", "/var/lib/postgresql/15/main"),
            DebianCluster("16", "main", 5433, "online", "/var/lib/postgresql/16/main"),
        ]),
        (texts.debian_clusters, "No clusters found", []),
        (texts.disabled_jobs, DISABLED, {"homebrew.mxcl.postgresql@16": True, "com.aya.alpha.watchdog": False,
                                         "com.old.macos": True}),
        (origin.listening, LSOF, [(812, "postgres"), (913, "python3.13")]),
        (origin.listening, "", []),
    ],
)  # fmt: skip
def test_a_text_is_understood(parse: Callable[[str], object], text: str, wanted: object) -> None:
    """What it says, and nothing for a text that says something else."""
    assert parse(text) == wanted


def test_power_settings_are_numbers() -> None:
    """With what stands behind a number left out, and lines that hold none passed over."""
    found = texts.power_settings(PMSET)
    assert found["sleep"] == 1
    assert found["autorestart"] == 0
    assert found["disksleep"] == 10
    assert "hibernatefile" not in found


def test_jobs_are_listed_with_pid_and_status() -> None:
    """A dash is none; a signal is negative."""
    found = texts.jobs(LAUNCHCTL_LIST)
    assert found["homebrew.mxcl.postgresql@16"] == Job("homebrew.mxcl.postgresql@16", 812, 0)
    assert found["com.aya.alpha.embedder"].status == 78
    assert found["com.aya.alpha.watchdog"] == Job("com.aya.alpha.watchdog", None, -9)


def test_a_jobs_details_are_those_of_the_outermost_level() -> None:
    """Not its arguments, and not its environment."""
    found = texts.job_details(LAUNCHCTL_PRINT)
    assert found["state"] == "spawn scheduled"
    assert found["last exit code"] == "78: EX_CONFIG"
    assert found["path"] == "/Library/LaunchDaemons/com.aya.alpha.watchdog.plist"
    assert "AYA_NODE" not in found


PARSERS: list[Callable[[str], object]] = [
    texts.macos_version, texts.power_settings, texts.filevault_on, texts.network_time_on, texts.synchronised,
    texts.time_offset, texts.jobs, texts.job_details, texts.disabled_jobs, texts.brew_services, texts.debian_clusters,
    texts.postgres_version, texts.translated, origin.listening, lambda text: origin.port(text.split(), text),
    lambda text: origin.option(text.split(" "), "-D", "--pgdata"),
]  # fmt: skip
_SAMPLES = (PMSET, LAUNCHCTL_LIST, LAUNCHCTL_PRINT, DISABLED, BREW, DEBIAN, SNTP, SW_VERS, LSOF, "NTPSynchronized=yes")
_PIECES = sorted({piece for sample in _SAMPLES for line in sample.splitlines() for piece in (line, *line.split())})


@pytest.mark.parametrize("parse", PARSERS)
@given(st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=12))).map("\n".join),
                 st.lists(st.one_of(st.sampled_from(_PIECES), st.integers().map(str))).map(" ".join)))  # fmt: skip
def test_no_text_makes_a_parser_fail(parse: Callable[[str], object], text: str) -> None:
    """Whatever a program prints, also half of what it used to."""
    parse(text)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/home/ada/.aya", "ext4"), ("/mnt/nas/aya", "nfs4"), ("/mnt/nasty/aya", "ext4"), ("/mnt/nas", "nfs4")],
)
def test_a_path_is_on_the_innermost_mount_above_it(path: str, wanted: str) -> None:
    """A name that merely begins like a mount's is not below it."""
    assert file_system_of(path, [("/", "ext4"), ("/mnt/nas", "nfs4")]) == wanted


@given(st.text(), st.lists(st.tuples(st.text(), st.text())))
def test_any_path_is_on_some_file_system_or_none(path: str, mounts: list[tuple[str, str]]) -> None:
    """Never an error."""
    assert isinstance(file_system_of(path, mounts), str)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["postgres", "-D", "/a b"], "/a b"),
        (["postgres", "-D/a"], "/a"),
        (["postgres", "--pgdata=/a"], "/a"),
        (["postgres", "--pgdata", "/a"], "/a"),
        (["postgres", "-D"], None),
        (["postgres: checkpointer"], None),
    ],
)
def test_an_option_is_found_however_it_is_written(arguments: list[str], wanted: str | None) -> None:
    """As postgres takes it."""
    assert origin.option(arguments, "-D", "--pgdata") == wanted


@pytest.mark.parametrize(
    ("lock", "arguments", "wanted"),
    [
        ("12\n/data\n1700000000\n5433\n/tmp\n*\n", ["postgres"], 5433),
        ("", ["postgres", "-p", "5434"], 5434),
        ("12\n/data\n1700000000\n\n", ["postgres"], None),
        ("garbage", ["postgres"], None),
    ],
)
def test_a_port_is_in_the_lock_or_in_the_arguments(lock: str, arguments: list[str], wanted: int | None) -> None:
    """The fourth line of postmaster.pid."""
    assert origin.port(arguments, lock) == wanted


CLUSTERS = [DebianCluster("16", "main", 5432, "online", "/var/lib/postgresql/16/main")]


@pytest.mark.parametrize(
    ("seen", "directory", "wanted"),
    [
        (origin.Process(environment={"AYA_HOME": "/srv/aya"}), "/srv/aya/nodes/alpha/data", ("aya", "/srv/aya")),
        (origin.Process(environment={"XPC_SERVICE_NAME": "homebrew.mxcl.postgresql@16"}), "/opt/x",
         ("homebrew", "homebrew.mxcl.postgresql@16")),
        (origin.Process(environment={"XPC_SERVICE_NAME": "com.edb.launchd.postgresql-17"}), "/Library/PostgreSQL/17",
         ("launchd", "com.edb.launchd.postgresql-17")),
        (origin.Process(environment={"XPC_SERVICE_NAME": "0"}), "/opt/x", ("person", "")),
        (origin.Process(environment={"XPC_SERVICE_NAME": "application.com.apple.Terminal.1"}), "/x", ("person", "")),
        (origin.Process(), "/var/lib/postgresql/16/main", ("debian", "16/main")),
        (origin.Process(cgroup="0::/system.slice/system-postgresql.slice/postgresql@17-main.service"), "/x",
         ("debian", "17/main")),
        (origin.Process(cgroup="0::/system.slice/postgresql-16.service\n"), "/x", ("systemd", "postgresql-16")),
        (origin.Process(cgroup="0::/user.slice/session-1.scope"), "/x", ("person", "")),
        (origin.Process(), "/srv/aya/nodes/beta/data", ("aya", "/srv/aya")),
        (origin.Process(environment={}), "/srv/aya/nodes/beta/data", ("person", "")),
        (origin.Process(), None, ("person", "")),
    ],
)  # fmt: skip
def test_who_started_a_server_is_told_by_its_process(
    seen: origin.Process, directory: str | None, wanted: tuple[str, str]
) -> None:
    """By its environment, its data directory or its control group."""
    assert origin.manager(seen, directory, CLUSTERS) == wanted
