"""The archive program as PostgreSQL calls it: a process of its own, ended at every step, on files of a real server."""

from __future__ import annotations

import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backup_lab import Lab, interrupted, new_lab, numbers, until

from aya.backup import archive_program
from aya.backup.install import get_command, put_command

PROGRAM = Path(archive_program.__file__)
NAME = "00000001000000000000000A"
MIB = 1 << 20

# Runs the program, and kills it with -9 in place of its n-th call that could change anything on disk.
_KILLED = """
import os, runpy, signal, sys
calls, limit = 0, int(sys.argv[1])
def counted(call):
    def instead(*arguments, **options):
        global calls
        calls += 1
        if calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return instead
for name in ("open", "link", "replace", "fsync", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def segment(name: str = NAME, *, size: int = MIB, fill: bytes = b"x") -> bytes:
    """Return what a segment of that name looks like."""
    number = int(name[8:16], 16) * ((1 << 32) // size) + int(name[16:24], 16)
    header = struct.pack("=HHIQI4xQII", 0xD118, 2, 1, number * size, 0, 7, size, 8192)
    return header + fill * (size - len(header))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An empty archive."""
    directory = tmp_path / "archive"
    directory.mkdir()
    return directory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A segment of 1 MiB."""
    file = tmp_path / NAME
    file.write_bytes(segment())
    return file


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program as PostgreSQL does."""
    command = [sys.executable, "-I", "-S", "-B", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def seen(archive: Path) -> list[str]:
    """Return what is not hidden."""
    return sorted(one.name for one in archive.iterdir() if not one.name.startswith("."))


def test_a_segment_is_kept_with_its_checksum(archive: Path, source: Path) -> None:
    """Mode 600, byte for byte, and `sha256sum -c` can read the checksum."""
    assert call("put", archive, source, NAME).returncode == 0
    assert seen(archive) == [NAME, NAME + ".sha256"]
    assert (archive / NAME).read_bytes() == source.read_bytes()
    assert stat.S_IMODE((archive / NAME).stat().st_mode) == 0o600
    checked = subprocess.run(["/usr/bin/env", "sha256sum", "-c", NAME + ".sha256"], cwd=archive, check=False)
    assert checked.returncode == 0
    assert list(archive.glob(".*")) == []


def test_the_same_again_is_good_and_another_content_is_refused(archive: Path, source: Path) -> None:
    """Nothing is ever overwritten, and the refusal names the file."""
    call("put", archive, source, NAME)
    assert call("put", archive, source, NAME).returncode == 0
    source.write_bytes(segment(fill=b"y"))
    refused = call("put", archive, source, NAME)
    assert refused.returncode == 1
    assert f"{archive / NAME} is there with another content" in refused.stderr
    assert (archive / NAME).read_bytes() == segment()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (segment()[:-1], f"has {MIB - 1} bytes, not {MIB}"),
        (segment("00000001000000000000000B"), "holds another segment"),
        (b"", "is shorter than a page's header"),
        (b"\0" * MIB, "does not begin with a segment's header"),
    ],
)
def test_what_is_no_segment_of_that_name_is_refused(archive: Path, source: Path, content: bytes, said: str) -> None:
    """A torn or a foreign file does not get into the archive."""
    source.write_bytes(content)
    refused = call("put", archive, source, NAME)
    assert (refused.returncode, said in refused.stderr) == (1, True)
    assert list(archive.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "x", NAME + "\n", "archive.py", NAME.lower()])
def test_a_name_that_is_not_postgresqls_is_refused(archive: Path, source: Path, name: str) -> None:
    """Nothing is written elsewhere."""
    assert call("put", archive, source, name).returncode == 1
    assert list(archive.iterdir()) == []


def test_a_link_in_the_segments_place_is_not_followed(archive: Path, source: Path, tmp_path: Path) -> None:
    """Neither read nor written through."""
    (archive / NAME).symlink_to(tmp_path / "elsewhere")
    assert call("put", archive, source, NAME).returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_killed_at_every_step_nothing_torn_is_seen(archive: Path, source: Path) -> None:
    """What can be seen is whole and has its checksum; the next try succeeds, and leaves nothing else to be seen."""
    limit = 0
    for limit in range(1, 100):
        asked = ["put", str(archive), str(source), NAME]
        command = [sys.executable, "-I", "-c", _KILLED, str(limit), str(PROGRAM), *asked]
        code = subprocess.run(command, check=False).returncode
        if (archive / NAME).exists():
            assert (archive / NAME).read_bytes() == source.read_bytes()
            assert archive_program.stored_digest(str(archive), NAME) == archive_program.file_digest(str(source))
        assert call("put", archive, source, NAME).returncode == 0
        assert seen(archive) == [NAME, NAME + ".sha256"]
        if code == 0:
            break
        for one in archive.iterdir():
            one.unlink()
    assert limit > 8


def test_it_is_on_disk_before_it_is_seen(archive: Path, source: Path) -> None:
    """By the system's own record: the copy is synced, then linked, then the directory is synced."""
    if not Path("/usr/bin/strace").exists():
        pytest.skip("needs strace")
    trace = archive.parent / "trace"
    command = ["/usr/bin/strace", "-y", "-e", "trace=fsync,link,rename", "-o", str(trace), sys.executable, "-I", "-S",
               str(PROGRAM), "put", str(archive), str(source), NAME]  # fmt: skip
    subprocess.run(command, check=True)
    steps = [line.split("(")[0] for line in trace.read_text().splitlines() if "(" in line and line[0] in "flr"]
    assert steps == ["fsync", "fsync", "rename", "link", "fsync"]


def test_what_was_kept_comes_back(archive: Path, source: Path, tmp_path: Path) -> None:
    """Whole; what is not there ends a recovery well (1), what is damaged ends it with a fault (above 125)."""
    call("put", archive, source, NAME)
    target = tmp_path / "RECOVERYXLOG"
    assert call("get", archive, NAME, target).returncode == 0
    assert target.read_bytes() == source.read_bytes()
    assert call("get", archive, "00000001000000000000000B", target).returncode == 1
    content = bytearray((archive / NAME).read_bytes())
    content[MIB // 2] ^= 1
    (archive / NAME).write_bytes(content)
    damaged = call("get", archive, NAME, target)
    assert damaged.returncode > 125
    assert f"{archive / NAME} is damaged" in damaged.stderr
    assert not target.exists()


def test_a_segment_without_its_checksum_is_damaged(archive: Path, source: Path, tmp_path: Path) -> None:
    """It cannot be told from a flipped byte."""
    call("put", archive, source, NAME)
    (archive / (NAME + ".sha256")).unlink()
    assert call("get", archive, NAME, tmp_path / "x").returncode > 125


def test_what_is_not_archived_yet_comes_from_the_server(archive: Path, source: Path, tmp_path: Path) -> None:
    """But not a segment that waits to be written anew, whose content is an older one's."""
    live = tmp_path / "pg_wal"
    live.mkdir()
    (live / NAME).write_bytes(source.read_bytes())
    (live / "00000001000000000000000B").write_bytes(source.read_bytes())
    target = tmp_path / "target"
    assert call("get", archive, NAME, target, live).returncode == 0
    assert target.read_bytes() == source.read_bytes()
    target.unlink()
    assert call("get", archive, "00000001000000000000000B", target, live).returncode == 1
    assert not target.exists()


@pytest.mark.parametrize("arguments", [[], ["put"], ["take", "a", "b", "c"]])
def test_a_wrong_call_is_an_error(arguments: list[str]) -> None:
    """It says how it is called."""
    assert (call(*arguments).returncode, "usage" in call(*arguments).stderr) == (2, True)


def test_odd_paths_survive_the_shell_and_the_server() -> None:
    """Spaces, quotes and % of a path are none of theirs."""
    line = put_command(Path("/a 'b'/100%"), Path("/usr/bin/python3"))
    assert line.endswith(" %p %f")
    assert "100%%/archive" in line
    assert get_command(Path("/n"), Path("/p"), Path("/live dir")) == (
        "/p -I -S -B /n/archive.py get /n/archive %f %p '/live dir'"
    )


# On a real server


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server with segments of 1 MiB."""
    with new_lab(segment_mib=1) as made:
        yield made


@pytest.mark.database
@pytest.mark.slow
def test_the_archive_belongs_to_the_servers_user_alone(lab: Lab) -> None:
    """The contract's line: owner, mode 700, and archiving without failures."""
    lab.switch()
    status = lab.archive.stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == lab.cluster.data_directory.stat().st_uid
    assert lab.sql("SHOW archive_mode") == "always"
    assert lab.sql("SELECT failed_count FROM pg_stat_archiver") == 0
    assert lab.sql("SELECT archived_count FROM pg_stat_archiver") > 0


@pytest.mark.database
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_servers_and_archivers_leave_no_torn_and_no_missing_segment(lab: Lab) -> None:
    """Kill -9 of the archive program wherever it is, and of the server in between; then everything is there."""
    killed = 0
    for wanted in (1, 2, 3):
        first = lab.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
        lab.fill(20)
        # PostgreSQL waits for ten seconds after each of these.
        while killed < wanted:
            killed += sum(interrupted(one) for one in lab.archivers())
            lab.fill(1)
        assert lab.bad() == []
        lab.kill()
        lab.start()
        lab.wait_archived(first)
    last = lab.switch()
    found = list(numbers(lab.kept(), MIB))
    assert found == list(range(found[0], found[-1] + 1))
    assert lab.kept()[-1] == last
    assert lab.bad() == []


@pytest.mark.database
@pytest.mark.slow
def test_a_failing_archive_is_seen_and_loses_nothing(lab: Lab) -> None:
    """A foreign file under the next segment's name: the server keeps its WAL and counts; then it goes on."""
    lab.switch()
    lab.sql("SELECT pg_logical_emit_message(false, 'load', 'x')")
    name = lab.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    (lab.archive / name).write_bytes(b"foreign")
    lab.close()
    until(lambda: lab.sql("SELECT failed_count FROM pg_stat_archiver"))
    assert (lab.cluster.data_directory / "pg_wal" / name).exists()
    (lab.archive / name).unlink()
    lab.switch()
    lab.wait_archived(name)
    assert lab.bad() == []
