"""Checks stand alone and are bounded; the command works without a home, and says what was not looked at."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aya.cli import doctor, main
from aya.doctor.catalogue import KINDS, TOPICS, finding
from aya.doctor.findings import Finding, counts, exit_code, in_order
from aya.doctor.look import commands
from aya.doctor.mends import Chmod
from aya.doctor.run import Check, in_thread, run
from aya.errors import ConfigError
from aya.home import STATE_VERSION


async def crashing() -> Sequence[Finding]:
    """Fail as a program does."""
    raise KeyError("what nobody thought of")


async def refusing() -> Sequence[Finding]:
    """Fail with words and a hint."""
    raise ConfigError("it is wrong", hint="mend it")


async def hanging() -> Sequence[Finding]:
    """Hang for ever."""
    await asyncio.Event().wait()
    return ()


async def good() -> Sequence[Finding]:
    """Find nothing."""
    return ()


async def bad() -> Sequence[Finding]:
    """Find something."""
    return [finding("disk.low", "3 GB are free", "df -h")]


async def test_a_check_that_fails_or_hangs_is_a_finding_and_the_others_go_on() -> None:
    """With what it said, what to do, and within the time."""
    checks = [Check(work.__name__ + ".check", "all is well", work) for work in (crashing, refusing, hanging, good, bad)]
    skipped = Check("sleep", "servers stay awake", crashing, skipped="not on this system")
    began = time.monotonic()
    found = await run([*checks, skipped], deadline_seconds=0.2)
    assert time.monotonic() - began < 3
    assert [(one.id, one.severity) for one in found] == [
        ("doctor.check-failed", "failure"),
        ("doctor.check-failed", "failure"),
        ("doctor.check-late", "warning"),
        ("good.check", "ok"),
        ("disk.low", "warning"),
        ("sleep", "skipped"),
    ]
    assert "crashing.check: KeyError: 'what nobody thought of'" in found[0].what
    assert (found[1].what, found[1].hint) == ("refusing.check: it is wrong", "mend it")


async def test_what_blocks_for_ever_holds_nobody_up() -> None:
    """A file system that hangs: its thread is left behind, and the end does not wait for it."""
    gate = threading.Event()

    def wait() -> Sequence[Finding]:
        gate.wait(30)
        return ()

    async def blocked() -> Sequence[Finding]:
        return await in_thread(wait)

    try:
        (found,) = await run([Check("disk", "there is room", blocked)], deadline_seconds=0.1)
        assert found.id == "doctor.check-late"
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "doctor")
    finally:
        gate.set()


async def test_what_a_thread_raises_comes_out() -> None:
    """Where it is awaited."""
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("severities", "code"),
    [
        ((), 0),
        (("ok", "note", "skipped"), 0),
        (("ok", "warning"), 3),
        (("warning", "failure"), 1),
    ],
)
def test_the_exit_code_is_of_the_gravest(severities: tuple[str, ...], code: int) -> None:
    """Notes, and what was not looked at, are no reason to fail."""
    found = [Finding("disk", severity, "x") for severity in severities]  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert exit_code(found) == code
    assert sum(counts(found).values()) == len(severities)


def test_findings_stand_by_topic_the_gravest_first() -> None:
    """In the catalogue's order of topics."""
    found = [finding(kind, "x", "y") for kind in ("disk.low", "disk.full", "configuration.one-way")]
    assert [one.id for one in in_order(found, TOPICS)] == ["configuration.one-way", "disk.full", "disk.low"]


def test_a_person_reads_what_why_and_the_next_command() -> None:
    """What is well only when it is asked for."""
    found = [
        Finding("disk", "ok", "there is room"),
        finding(
            "permissions.file-open", "/x has mode 0644", "chmod 600 /x", node="alpha", mend=Chmod(Path("/x"), 0o600, 0)
        ),
    ]
    assert doctor.lines(found, everything=False) == [
        "",
        "permissions",
        "  FAILURE  alpha: /x has mode 0644  [permissions.file-open]",
        f"           {KINDS['permissions.file-open'].why}",
        "           next: chmod 600 /x",
    ]
    assert "  ok       there is room" in doctor.lines(found, everything=True)
    assert doctor.summary(found) == ("1 failure, 0 warnings, 0 notes, 1 ok, 0 not looked at; aya doctor --fix mends 1")


def call(home: Path, *options: str) -> Result:
    """Run the verb in this process."""
    runner = CliRunner(env={"AYA_DEBUG": None, "AYA_DSN": None, "DB_HOST": None})
    return runner.invoke(main, ["--home", str(home), "doctor", *options])


def test_it_works_without_a_home_and_makes_none(tmp_path: Path) -> None:
    """It says how to begin, and nothing crashes."""
    done = call(tmp_path / "none", "--json", "--fix")
    document = json.loads(done.stdout)
    ids = {one["id"]: one for one in document["findings"]}
    assert "aya up" in ids["configuration.no-nodes"]["hint"]
    assert not {name for name in ids if name.startswith("doctor.")}
    assert document["fixed"] == []
    assert done.exit_code in {1, 3}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("file", "content", "wanted"),
    [
        ("aya.toml", "this is no TOML", "configuration.unreadable"),
        ("aya.toml", "[postgres]\nmajro = 18\n", "configuration.unreadable"),
        ("aya.toml", '[cluster.alpha]\naddresses = ["a"]\n', "configuration.unreadable"),
        ("state.json", '{"version": 1, "nodes": {}}', "configuration.state-unreadable"),
        ("state.json", "{", "configuration.state-unreadable"),
        ("state.json", f'{{"version": {STATE_VERSION}, "nodes": {{"alpha": 7}}}}', "configuration.state-unreadable"),
    ],
)
def test_files_that_cannot_be_used_are_failures(tmp_path: Path, file: str, content: str, wanted: str) -> None:
    """The other checks go on."""
    (tmp_path / file).write_text(content)
    (tmp_path / file).chmod(0o600)
    done = call(tmp_path, "--json")
    found = {one["id"]: one for one in json.loads(done.stdout)["findings"]}
    assert found[wanted]["severity"] == "failure"
    assert found[wanted]["hint"]
    assert "installations" in {name.partition(".")[0] for name in found}
    assert done.exit_code == 1


def test_a_node_that_there_is_not_is_said(tmp_path: Path) -> None:
    """With those that there are."""
    done = call(tmp_path, "--node", "alpha")
    assert done.exit_code == 1
    assert "there is no node 'alpha'" in done.stderr


def test_what_only_macos_has_is_not_counted_as_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system it is skipped, in words."""
    monkeypatch.setattr("sys.platform", "linux")
    document = json.loads(call(tmp_path, "--json").stdout)
    skipped = {one["id"] for one in document["findings"] if one["severity"] == "skipped"}
    assert {"sleep", "durability.python", "services.launchd"} <= skipped
    assert document["counts"]["skipped"] == len(skipped)


def test_a_program_that_hangs_or_is_not_there_prints_nothing() -> None:
    """And one that fails is heard."""
    assert commands.run("aya-no-such-program") is None
    assert commands.run("sleep", "20", seconds=0.1) is None
    failed = commands.run("sh", "-c", "echo no >&2; exit 3")
    assert failed == commands.Printed(3, "no\n")
