"""Which PostgreSQL there is: what paths, command lines and jobs mean, and the command that ends each."""

from __future__ import annotations

import pytest

from aya.postgres.installed import (
    Installation,
    Running,
    data_directory,
    ending,
    installation,
    launchd_job,
    look,
    systemd_job,
)

BREW = "/opt/homebrew/opt/postgresql@16/bin/postgres"
BREW_DATA = "/opt/homebrew/var/postgresql@16"


@pytest.mark.parametrize(
    ("directory", "found"),
    [
        ("/opt/homebrew/opt/postgresql@16/bin", ("Homebrew", 16)),
        ("/opt/homebrew/Cellar/postgresql@18/18.4/bin", ("Homebrew", 18)),
        ("/usr/local/opt/postgresql@17/bin", ("Homebrew", 17)),
        ("/Applications/Postgres.app/Contents/Versions/16/bin", ("Postgres.app", 16)),
        ("/Library/PostgreSQL/18/bin", ("EDB", 18)),
        ("/usr/lib/postgresql/16/bin", ("Debian", 16)),
        ("/usr/local/bin", None),
    ],
)
def test_an_installation_is_told_by_its_path(directory: str, found: tuple[str, int] | None) -> None:
    """Who installed it, and which version."""
    assert installation(directory) == (Installation(*found, directory) if found else None)


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        ([BREW, "-D", BREW_DATA], BREW_DATA),
        ([BREW, f"-D{BREW_DATA}"], BREW_DATA),
        ([BREW, f"--pgdata={BREW_DATA}"], BREW_DATA),
        ([BREW, "--pgdata", BREW_DATA], BREW_DATA),
        ([BREW], ""),
        ([BREW, "-D"], ""),
    ],
)
def test_a_command_line_says_the_data_directory(arguments: list[str], data: str) -> None:
    """In each way in which PostgreSQL takes it."""
    assert data_directory(arguments) == data


@pytest.mark.parametrize(
    ("label", "arguments", "file", "ends"),
    [
        ("homebrew.mxcl.postgresql@16", [BREW, "-D", BREW_DATA], "/Users/me/Library/LaunchAgents/x.plist",
         "brew services stop postgresql@16"),
        ("com.edb.pg-16", ["/Library/PostgreSQL/16/bin/postgres", "-D", "/Library/PostgreSQL/16/data"],
         "/Library/LaunchDaemons/x.plist",
         "sudo launchctl bootout system/com.edb.pg-16; sudo launchctl disable system/com.edb.pg-16"),
        ("org.me.pg", ["/usr/local/bin/pg_ctl", "start"], "/Users/me/Library/LaunchAgents/x.plist",
         "launchctl bootout gui/$(id -u)/org.me.pg; launchctl disable gui/$(id -u)/org.me.pg"),
        ("com.aya.alpha.postgres", ["/opt/x/bin/postgres"], "x", None),
        ("org.me.web", ["/usr/bin/nginx"], "x", None),
    ],
)  # fmt: skip
def test_a_launchd_job_is_told_with_the_command_that_ends_it(
    label: str, arguments: list[str], file: str, ends: str | None
) -> None:
    """Homebrew's, an agent, a daemon; ours and others' are none."""
    job = launchd_job(label, arguments, file)
    assert (job.ends if job else None) == ends


@pytest.mark.parametrize(
    ("unit", "is_one"),
    [("postgresql.service", True), ("postgresql@16-main.service", True), ("postgresql-18.service", True),
     ("postgresql-backup.timer", False), ("nginx.service", False)],
)  # fmt: skip
def test_a_systemd_unit_is_told(unit: str, is_one: bool) -> None:  # noqa: FBT001 - a case
    """Debian's, one cluster's, the PGDG's."""
    job = systemd_job(unit)
    assert (job is not None) == is_one
    assert job is None or job.ends == f"sudo systemctl disable --now {unit}"


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (BREW_DATA, "brew services stop postgresql@16"),
        ("/var/lib/postgresql/16/main", "sudo pg_ctlcluster 16 main stop"),
        ("/Users/me/other/nodes/beta/data", "aya --home '/Users/me/other' down"),
        ("/Users/me/pg", "sudo -u them pg_ctl stop -D '/Users/me/pg'"),
        ("", "sudo kill -INT 7"),
    ],
)
def test_a_server_is_ended_by_what_started_it(data: str, command: str) -> None:
    """Or it would be back at once."""
    job = launchd_job("homebrew.mxcl.postgresql@16", [BREW, "-D", BREW_DATA], "x")
    assert job is not None
    assert ending(Running(7, "them", data, 5432, 16), [job], "me") == command


def test_ones_own_server_is_ended_without_sudo() -> None:
    """Who types is who runs it."""
    assert ending(Running(7, "me", "/Users/me/pg", 5432, 16), [], "me") == "pg_ctl stop -D '/Users/me/pg'"


def test_this_machine_can_be_looked_at() -> None:
    """Whatever may not be read is left out."""
    found = look()
    assert all(one.pid > 0 and one.sentence for one in found.servers)
