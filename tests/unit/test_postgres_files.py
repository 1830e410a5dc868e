"""Root reads and writes in PostgreSQL's own directory, and follows no link that was planted there."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from aya.errors import PostgresError
from aya.postgres import files
from aya.postgres.binaries import Binaries
from aya.postgres.cluster import Cluster, postmaster_pid
from aya.postgres.config import ClusterConfig
from aya.postgres.privileges import RunAs

NOBODY = pwd.getpwnam("nobody")
USER = RunAs(NOBODY.pw_uid, NOBODY.pw_gid, "nobody") if os.geteuid() == 0 else RunAs(None, None, "me")
OWNER = USER.uid if USER.uid is not None else os.geteuid()
PRECIOUS = "root's own\n"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file of ours, to which links are planted."""
    file = tmp_path / "precious"
    file.write_text(PRECIOUS)
    file.chmod(0o640)
    return file


def untouched(target: Path) -> bool:
    """Return whether the file is as it was made: content, owner and mode."""
    status = target.stat()
    kept = (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), 0o640)
    return kept and target.read_text() == PRECIOUS


def described(tmp_path: Path) -> Cluster:
    """Return a cluster whose data directory is the user's, with nothing but postgresql.conf in it."""
    data = tmp_path / "data"
    USER.make_directory(data)
    files.write_text(data / "postgresql.conf", "# a person's own\n", USER)
    return Cluster(Binaries(tmp_path, "18.4"), data, ClusterConfig(1, tmp_path / "run"), USER)


def test_what_is_written_is_the_users_alone(tmp_path: Path) -> None:
    """Mode 600, the user's, whatever stood there before, and nothing else is left in the directory."""
    file = tmp_path / "aya.conf"
    file.write_text("before")
    file.chmod(0o666)
    files.write_text(file, "ü = 1\n", USER)
    assert files.read_text(file) == "ü = 1\n"
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (OWNER, 0o600)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["aya.conf", "pg_hba.conf"])
def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path, target: Path, name: str) -> None:
    """Configuring writes a new file in its place; what it points to is neither written nor given away."""
    cluster = described(tmp_path)
    planted = cluster.data_directory / name
    planted.symlink_to(target)
    cluster.configure()
    assert untouched(target)
    assert not planted.is_symlink()
    assert (planted.stat().st_uid, stat.S_IMODE(planted.stat().st_mode)) == (OWNER, 0o600)


def test_a_planted_hard_link_is_replaced_too(tmp_path: Path, target: Path) -> None:
    """The other name keeps its content and its owner."""
    cluster = described(tmp_path)
    (cluster.data_directory / "aya.conf").hardlink_to(target)
    cluster.configure()
    assert untouched(target)


def test_the_main_file_is_not_read_through_a_link(tmp_path: Path, target: Path) -> None:
    """Or root would copy what only root may read into a file of the user's."""
    cluster = described(tmp_path)
    main = cluster.data_directory / "postgresql.conf"
    main.unlink()
    main.symlink_to(target)
    with pytest.raises(PostgresError, match=r"postgresql\.conf cannot be read") as caught:
        cluster.configure()
    assert caught.value.hint
    assert untouched(target)


def test_no_error_quotes_what_a_link_points_to(tmp_path: Path, target: Path) -> None:
    """A version file that is a link to a secret is refused unread."""
    cluster = described(tmp_path)
    (cluster.data_directory / "PG_VERSION").symlink_to(target)
    with pytest.raises(PostgresError) as caught:
        cluster.check_version()
    assert PRECIOUS.strip() not in str(caught.value)


def test_a_pipe_does_not_hold_the_reader(tmp_path: Path) -> None:
    """A lock file that is a pipe nobody writes to is no lock file."""
    os.mkfifo(tmp_path / "postmaster.pid")
    with pytest.raises(OSError, match="no plain file"):
        files.read_text(tmp_path / "postmaster.pid")
    assert postmaster_pid(tmp_path) is None


def test_the_directory_itself_is_not_entered_through_a_link(tmp_path: Path) -> None:
    """Nor is one planted in place of the data directory."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        files.write_text(tmp_path / "data" / "aya.conf", "x", USER)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """What cannot be replaced stays, and no half of a file beside it."""
    cluster = described(tmp_path)
    (cluster.data_directory / "aya.conf").mkdir()
    with pytest.raises(PostgresError, match=r"aya\.conf cannot be written"):
        cluster.configure()
    assert {file.name for file in cluster.data_directory.iterdir()} == {"aya.conf", "postgresql.conf"}
