"""`aya backup` on a real server: made, listed, checked, damaged, thinned out."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup_lab import Lab, new_lab, until

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(300)]

AYA = str(Path(sys.executable).with_name("aya"))
ENVIRON = {
    name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_")) or name == "AYA_PG_MAJOR"
}


def aya(lab: Lab, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and check its exit code."""
    command = [AYA, "--home", str(lab.home.path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, timeout=200, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def document(lab: Lab, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Return what a verb prints with --json."""
    printed: dict[str, Any] = json.loads(aya(lab, *arguments, "--json", expect=expect).stdout)
    return printed


def flip(file: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    with file.open("r+b") as stream:
        stream.write(content)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server with segments of 1 MiB and the tables of AYA."""
    with new_lab(segment_mib=1) as made:
        made.provision()
        yield made


def test_a_backup_is_made_checked_and_listed(lab: Lab) -> None:
    """It belongs to the server's user alone, holds no password file, and the server goes on."""
    assert "has no base backup yet" in aya(lab, "backup", "list").stdout
    assert "has no base backup" in aya(lab, "backup", "verify", expect=3).stderr
    made = document(lab, "backup", "create")
    assert made["good"]
    directory = lab.home.backup_directory("alpha") / made["name"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert directory.stat().st_uid == lab.cluster.data_directory.stat().st_uid
    assert {one.name for one in directory.iterdir()} == {"data", "backup.json"}
    assert made["name"] in aya(lab, "backup", "list").stdout
    assert [one["name"] for one in document(lab, "backup", "list")["backups"]] == [made["name"]]
    lab.switch()
    checked = document(lab, "backup", "verify")
    assert (checked["good"], checked["archive"]["damaged"], checked["archive"]["gaps"]) == (True, [], [])


def test_a_flipped_byte_in_the_archive_is_found(lab: Lab) -> None:
    """By name; exit code 1, and the next command."""
    lab.fill(3)
    name = lab.switch()
    flip(lab.archive / name)
    said = aya(lab, "backup", "verify", expect=1).stderr
    assert f"{name} is not what was archived: its checksum differs" in said
    assert "next: aya backup create --node alpha" in said
    flip(lab.archive / name)
    aya(lab, "backup", "verify")


def test_a_missing_segment_is_found(lab: Lab) -> None:
    """A hole, and a checksum that is gone."""
    lab.fill(4)
    name = lab.switch()
    lab.fill(2)
    lab.switch()
    hidden = lab.archive.parent / "hidden"
    (lab.archive / name).rename(hidden)
    assert f"the archive lacks {name}" in aya(lab, "backup", "verify", expect=1).stderr
    hidden.rename(lab.archive / name)
    checksum = lab.archive / f"{name}.sha256"
    checksum.rename(hidden)
    assert f"{name} has no checksum" in aya(lab, "backup", "verify", expect=1).stderr
    hidden.rename(checksum)
    aya(lab, "backup", "verify")


def test_a_flipped_byte_in_a_backup_is_found(lab: Lab) -> None:
    """And listed as such until a check finds it good again."""
    name = document(lab, "backup", "list")["backups"][-1]["name"]
    file = lab.home.backup_directory("alpha") / name / "data" / "global" / "pg_filenode.map"
    flip(file)
    assert f"backup {name} is damaged" in aya(lab, "backup", "verify", expect=1).stderr
    assert "damaged" in aya(lab, "backup", "list").stdout
    flip(file)
    wal = next((file.parents[1] / "pg_wal").glob("0000*"))
    wal.rename(wal.with_name("hidden"))
    assert f"backup {name} is damaged" in aya(lab, "backup", "verify", expect=1).stderr
    wal.with_name("hidden").rename(wal)
    extra = file.with_name("extra")
    extra.write_bytes(b"")
    assert "global/extra was not copied" in aya(lab, "backup", "verify", expect=1).stderr
    extra.unlink()
    aya(lab, "backup", "verify")
    assert "damaged" not in aya(lab, "backup", "list").stdout


def test_older_ones_go_with_their_wal_and_the_rest_stays_whole(lab: Lab) -> None:
    """[backup] keep = 2: two are left, and the archive begins at the older one's first segment."""
    lab.home.config_file.write_text("[backup]\nkeep = 2\n")
    first = document(lab, "backup", "list")["backups"][0]["name"]
    removed: list[str] = []
    for _ in range(3):
        lab.fill(2)
        lab.switch()
        removed += document(lab, "backup", "create")["removed"]
    assert removed[0] == first
    listed = document(lab, "backup", "list")["backups"]
    assert len(listed) == 2
    oldest = lab.sql("SELECT pg_walfile_name($1::text::pg_lsn)", listed[0]["start"])
    assert lab.kept()[0] == oldest
    assert not [one for one in lab.archive.iterdir() if one.name[:24] < oldest and one.suffix == ".sha256"]
    aya(lab, "backup", "verify")


def test_a_killed_backup_leaves_nothing_to_be_seen(lab: Lab) -> None:
    """Kill -9 in the middle; the next one clears up and succeeds."""
    before = document(lab, "backup", "list")
    directory = lab.home.backup_directory("alpha")
    command = [AYA, "--home", str(lab.home.path), "backup", "create"]
    with subprocess.Popen(command, env=ENVIRON, stderr=subprocess.DEVNULL, process_group=0) as process:
        until(lambda: list(directory.glob(".*.partial/data/*")), step=0.001)
        os.killpg(process.pid, signal.SIGSTOP)
        assert list(directory.glob(".*.partial"))
        assert "at work on the backups of alpha" in aya(lab, "backup", "create", expect=1).stderr
        os.killpg(process.pid, signal.SIGKILL)
    assert document(lab, "backup", "list") == before
    aya(lab, "backup", "create")
    assert list(directory.glob(".*")) == []


def test_a_server_that_is_down_is_said(lab: Lab) -> None:
    """No backup, one sentence, the next command."""
    lab.cluster.stop()
    try:
        said = aya(lab, "backup", "create", expect=1).stderr
        assert "the server of alpha does not run" in said
        assert "next: aya up" in said
    finally:
        lab.start()


@pytest.mark.parametrize(
    ("settings", "said"),
    [("keep = 0", "must be a number from 1"), ('keep = "3"', "must be a number"), ('at = "25:00"', "must be a time"),
     ("often = 1", "has no key 'often'")],
)  # fmt: skip
def test_bad_settings_are_refused_in_words(lab: Lab, settings: str, said: str) -> None:
    """Nothing is done."""
    lab.home.config_file.write_text(f"[backup]\n{settings}\n")
    try:
        assert said in aya(lab, "backup", "create", expect=1).stderr
    finally:
        lab.home.config_file.unlink()


def test_what_has_no_backups_is_said(lab: Lab) -> None:
    """An unknown node."""
    assert "there is no node 'x'" in aya(lab, "backup", "list", "--node", "x", expect=1).stderr
