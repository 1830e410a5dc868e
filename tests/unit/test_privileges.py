"""Who PostgreSQL runs as, and what that user can reach."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aya.errors import PostgresError
from aya.postgres.privileges import RunAs, can_enter, copy_readable, run_as

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = RunAs(NOBODY.pw_uid, NOBODY.pw_gid, "nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_an_ordinary_user_stays_who_he_is(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No privilege is dropped, and the server runs as ourselves."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    user = run_as(public)
    assert (user, user.process_identity()) == (RunAs(None, None, "nobody"), {})


def test_a_user_without_a_name_is_told_so(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container started with a bare number; initdb refuses it too."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(PostgresError, match="user id 54321, which has no name"):
        run_as(public)


def test_root_becomes_somebody_without_rights(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the usual names that exists, and AYA_PG_USER when it is set."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("AYA_PG_USER", raising=False)
    assert run_as(public / "none yet").uid != 0
    monkeypatch.setenv("AYA_PG_USER", "nobody")
    assert run_as(public / "none yet") == AS_NOBODY


@pytest.mark.parametrize("name", ["root", "no-such-user"])
def test_root_never_stays_root(public: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A wanted user that does not exist, or is root, is refused with the next command."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("AYA_PG_USER", name)
    with pytest.raises(PostgresError, match=f"there is no user {name} to run it as") as caught:
        run_as(public / "none yet")
    assert "useradd" in (caught.value.hint or "")


@as_root
def test_a_data_directory_keeps_its_owner(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever AYA_PG_USER says later, who owns the data runs the server; an owner without a name is named."""
    monkeypatch.setenv("AYA_PG_USER", "daemon")
    os.chown(public, NOBODY.pw_uid, NOBODY.pw_gid)
    assert run_as(public) == AS_NOBODY
    os.chown(public, 54321, 54321)
    with pytest.raises(PostgresError, match="user id 54321"):
        run_as(public)


@as_root
def test_what_is_made_belongs_to_the_user_alone(public: Path) -> None:
    """The directory is the user's, mode 700, also when it was there before; those above stay ours."""
    target = public / "above" / "data"
    AS_NOBODY.make_directory(target)
    target.chmod(0o755)
    AS_NOBODY.make_directory(target)
    assert (target.stat().st_uid, stat.S_IMODE(target.stat().st_mode)) == (NOBODY.pw_uid, 0o700)
    assert target.parent.stat().st_uid == 0


@as_root
def test_a_link_is_given_away_itself_and_never_what_it_points_to(public: Path) -> None:
    """A file of root's keeps its owner, whoever planted a link to it."""
    target, planted, own = public / "target", public / "planted", public / "own"
    target.touch()
    own.touch()
    planted.symlink_to(target)
    AS_NOBODY.own(planted)
    AS_NOBODY.own(own)
    assert (target.stat().st_uid, planted.lstat().st_uid, own.stat().st_uid) == (0, NOBODY.pw_uid, NOBODY.pw_uid)


@as_root
def test_a_program_runs_with_no_more_than_the_users_rights() -> None:
    """User, group and no further groups."""
    ids = subprocess.run(
        ["/usr/bin/id", "-u", "-n"], capture_output=True, text=True, check=True, **AS_NOBODY.process_identity()
    )
    groups = subprocess.run(
        ["/usr/bin/id", "-G"], capture_output=True, text=True, check=True, **AS_NOBODY.process_identity()
    )
    assert (ids.stdout.strip(), groups.stdout.strip()) == ("nobody", str(NOBODY.pw_gid))


@as_root
@pytest.mark.parametrize(
    ("above", "mode", "enters"),
    [(0o755, 0o755, True), (0o711, 0o755, True), (0o700, 0o755, False), (0o755, 0o700, False), (0o755, 0o711, False)],
)
def test_entering_needs_every_directory_above(public: Path, above: int, mode: int, *, enters: bool) -> None:
    """Said beforehand, and true when that user tries."""
    target = public / "above" / "bin"
    target.mkdir(parents=True)
    target.chmod(mode)
    target.parent.chmod(above)
    tried = subprocess.run(["/bin/ls", str(target)], capture_output=True, check=False, **AS_NOBODY.process_identity())
    assert can_enter(AS_NOBODY, target) == enters == (tried.returncode == 0)
    link = public / "link"
    link.symlink_to(target)
    assert can_enter(AS_NOBODY, link) == enters


def test_we_know_what_we_can_enter_ourselves(public: Path) -> None:
    """Without dropped privileges the system is asked."""
    ourselves = RunAs(None, None, "me")
    assert can_enter(ourselves, public)
    assert not can_enter(ourselves, public / "none")


def test_a_copy_can_be_read_and_run_by_everybody(public: Path) -> None:
    """Modes are opened, links stay links, and what an interrupted copy left is replaced."""
    source = public / "source"
    (source / "bin").mkdir(parents=True, mode=0o700)
    (source / "bin" / "tool").write_text("#!/bin/sh\n")
    (source / "bin" / "tool").chmod(0o700)
    (source / "bin" / "alias").symlink_to("tool")
    (public / ".target.partial" / "left").mkdir(parents=True)
    copy_readable(source, public / "target")
    assert stat.S_IMODE((public / "target" / "bin").stat().st_mode) & 0o555 == 0o555
    assert stat.S_IMODE((public / "target" / "bin" / "tool").stat().st_mode) == 0o744
    assert (public / "target" / "bin" / "alias").readlink() == Path("tool")
    assert not (public / ".target.partial").exists()


def test_a_directory_is_never_made_through_somebody_elses_link(tmp_path: Path) -> None:
    """A link planted where the directory belongs is refused, and what it points to keeps its owner and mode."""
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    before = target.stat()
    planted = tmp_path / "planted"
    planted.symlink_to(target)
    with pytest.raises(PostgresError, match="no directory of its own"):
        RunAs(65534, 65534, "nobody").make_directory(planted)
    assert (target.stat().st_uid, target.stat().st_mode) == (before.st_uid, before.st_mode)
