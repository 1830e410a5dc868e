"""Each failure of launchctl is told apart, also those that hide behind one number; the runbook has each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_launchd_plists import NAMES

from aya.errors import UsageError
from aya.launchctl import jobs
from aya.launchctl.failures import CAUSES, Cause, Circumstances, Explained, explain, refusal
from aya.launchctl.jobs import Job, Kind, Owner, Places, kind_of, require_privilege
from aya.members import Member
from aya.processes import plist

ME = Owner("me", 501, 20, Path("/Users/me"))
WHERE = jobs.places(ME)
DAEMON = jobs.job(plist.template("postgres"), NAMES, "daemon", ME, WHERE)
AGENT = jobs.job(plist.template("syncd"), {**NAMES, "node": "air"}, "agent", ME, WHERE)
FINE = Circumstances(file_owner=(0, 0), file_mode=0o644, folder_mode=0o755)
FIVE = "Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors."


def told(text: str, *, code: int = 5, verb: str = "bootstrap", job: Job = DAEMON, **now: object) -> Explained:
    """Return the explanation of what launchctl said, under circumstances that are fine but for `now`."""
    return explain(refusal(verb, code, text), job, replace(FINE, **cast("dict[str, Any]", now)))


@pytest.mark.parametrize(
    ("now", "name"),
    [
        ({"is_root": False}, "not-root"),
        ({"loaded": True, "loaded_from": "/Library/LaunchDaemons/x.plist"}, "already-loaded"),
        ({"loaded": True, "ending": True}, "still-ending"),
        ({"disabled": True}, "disabled"),
        ({"file_exists": False}, "no-file"),
        ({"file_parses": False}, "not-a-plist"),
        ({"file_owner": (501, 20)}, "wrong-owner"),
        ({"file_owner": (0, 80)}, "wrong-owner"),
        ({"file_mode": 0o664}, "wrong-mode"),
        ({"file_mode": 0o646}, "wrong-mode"),
        ({"folder_mode": 0o777}, "wrong-mode"),
        ({"quarantined": "/opt/aya/.venv/bin/python"}, "quarantined"),
        ({"program_exists": False}, "no-program"),
        ({"program_runs": False}, "program-not-executable"),
        ({"user_exists": False}, "no-user"),
        ({}, "unknown"),
    ],
)
def test_what_five_hides_is_found(now: dict[str, Any], name: str) -> None:
    """Input/output error is said for almost anything: each cause is looked for, and said."""
    assert told(FIVE, **now).name == name


@pytest.mark.parametrize(
    ("verb", "said", "job", "now", "name"),
    [
        ("bootout", (3, "Boot-out failed: 3: No such process"), DAEMON, {}, "not-loaded"),
        ("bootout", (5, "Boot-out failed: 5: Input/output error"), DAEMON, {}, "not-loaded"),
        (
            "kickstart",
            (113, 'Could not find service "com.aya.alpha.postgres" in domain for system'),
            DAEMON,
            {},
            "not-loaded",
        ),
        ("kickstart", (1, 'Could not find service "x" in domain for system'), DAEMON, {}, "not-loaded"),
        (
            "bootstrap",
            (37, "Bootstrap failed: 37: Operation already in progress"),
            DAEMON,
            {"loaded": True},
            "already-loaded",
        ),
        ("bootstrap", (17, "Bootstrap failed: 17: File exists"), DAEMON, {"loaded": True}, "already-loaded"),
        ("bootstrap", (37, "Bootstrap failed: 37: Operation already in progress"), DAEMON, {}, "still-ending"),
        ("bootout", (36, "Boot-out failed: 36: Operation now in progress"), DAEMON, {"loaded": True}, "still-ending"),
        ("bootstrap", (119, "Bootstrap failed: 119: Service is disabled"), DAEMON, {}, "disabled"),
        ("bootstrap", (2, "Bootstrap failed: 2: No such file or directory"), DAEMON, {"file_exists": False}, "no-file"),
        ("bootstrap", (108, "Bootstrap failed: 108: Invalid path"), DAEMON, {}, "no-file"),
        ("bootstrap", (109, "Bootstrap failed: 109: Invalid property list"), DAEMON, {}, "not-a-plist"),
        (
            "bootstrap",
            (111, "Bootstrap failed: 111: Invalid or missing Program/ProgramArguments"),
            DAEMON,
            {},
            "no-program",
        ),
        ("bootstrap", (122, "Path had bad ownership/permissions"), DAEMON, {"file_owner": (501, 20)}, "wrong-owner"),
        ("bootstrap", (122, "Path had bad ownership/permissions"), DAEMON, {"file_mode": 0o666}, "wrong-mode"),
        ("bootstrap", (114, "The specified username does not exist"), DAEMON, {}, "no-user"),
        (
            "bootstrap",
            (155, "Bootstrap failed: 155: Refusing to execute/trust quarantined program/file"),
            DAEMON,
            {},
            "quarantined",
        ),
        (
            "bootstrap",
            (150, "Operation not permitted while System Integrity Protection is engaged"),
            DAEMON,
            {},
            "system-integrity-protection",
        ),
        (
            "bootstrap",
            (125, "Bootstrap failed: 125: Domain does not support specified action"),
            AGENT,
            {"domain_exists": False, "file_owner": (501, 20)},
            "no-login-session",
        ),
        (
            "bootstrap",
            (125, "Bootstrap failed: 125: Domain does not support specified action"),
            AGENT,
            {"file_owner": (501, 20)},
            "wrong-domain",
        ),
        (
            "bootstrap",
            (112, "Could not find domain for user gui: 501"),
            AGENT,
            {"domain_exists": False},
            "no-login-session",
        ),
        (
            "bootstrap",
            (134, "Service cannot load in requested session"),
            AGENT,
            {"domain_exists": False},
            "no-login-session",
        ),
        (
            "bootstrap",
            (161, "Service cannot be launched because of BTM policy"),
            AGENT,
            {},
            "background-item-switched-off",
        ),
        ("bootstrap", (121, "Path not searched for services"), DAEMON, {}, "wrong-folder"),
        ("bootstrap", (124, "Domain is tearing down"), AGENT, {}, "shutting-down"),
        ("bootstrap", (146, "Domain is in on-demand-only mode"), AGENT, {}, "login-under-way"),
        ("enable", (159, "Sandbox restriction"), AGENT, {}, "not-entitled"),
        ("enable", (1, "Operation not permitted"), DAEMON, {"is_root": False}, "not-root"),
        ("enable", (1, "Not privileged to set domain state."), DAEMON, {}, "not-root"),
        ("bootstrap", (139, "Service cannot presently execute"), DAEMON, {}, "unknown"),
    ],
)
def test_each_failure_has_its_name(
    verb: str, said: tuple[int, str], job: Job, now: dict[str, object], name: str
) -> None:
    """By launchd's number where it says something, by the words, by what is seen; never by a guess."""
    assert told(said[1], code=said[0], verb=verb, job=job, **now).name == name


def test_the_number_in_the_words_goes_before_the_exit_code() -> None:
    """Launchctl ends with 1 at times, and says the number."""
    assert refusal("bootstrap", 1, "Bootstrap failed: 119: Service is disabled").code == 119


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
@pytest.mark.parametrize("job", [DAEMON, AGENT], ids=["daemon", "agent"])
def test_each_explanation_names_a_next_command(cause: Cause, job: Job) -> None:
    """Nothing is left to be filled in; a daemon's needs sudo, an agent's does not."""
    code = next(iter(sorted(cause.codes)), 5)
    for now in (FINE, Circumstances(file_owner=(7, 8), file_mode=0o666, quarantined="/x", loaded=True)):
        found = explain(refusal("bootstrap", code, "x"), job, now)
        assert found.message
        assert found.hint
        assert "{" not in found.message + found.hint
        assert job.kind == "daemon" or not found.hint.startswith(("sudo ch", "sudo launchctl", "sudo xattr"))


@given(st.sampled_from(["bootstrap", "bootout", "kickstart", "enable"]), st.integers(-200, 400), st.text())
def test_anything_that_launchctl_says_is_explained(verb: str, code: int, text: str) -> None:
    """Also what no version has said so far."""
    assert explain(refusal(verb, code, text), DAEMON, FINE).hint


APART = {
    "alpha": Member("alpha", ("100.64.0.1",), 5432, 8766, 8008),
    "beta": Member("beta", ("100.64.0.2", "127.0.0.1"), 5432, 8766, 8008),
}
LAN = {**APART, "beta": Member("beta", ("100.64.0.2", "192.168.1.7"), 5432, 8766, 8008)}


@pytest.mark.parametrize(
    ("node", "asked", "members", "expected"),
    [
        ("alpha", None, {}, "daemon"),
        ("air", None, APART, "daemon"),
        ("air", "daemon", LAN, "daemon"),
        ("air", "agent", APART, "agent"),
        ("alpha", "agent", {}, "agent"),
        ("alpha", "agent", APART, "alpha is a server for other machines"),
        ("air", "agent", LAN, "Local Network privacy keeps an agent from 192.168.1.7"),
        ("air", "agent", {"alpha": Member("alpha", ("alpha.local",), 1, 2, 3)}, "keeps an agent from alpha.local"),
    ],
)
def test_an_agent_only_where_it_can_work(
    node: str, asked: Kind | None, members: dict[str, Member], expected: str
) -> None:
    """It may reach tailnet addresses and this machine, and runs only while somebody is logged in."""
    if expected in {"daemon", "agent"}:
        assert kind_of(node, asked, members) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            kind_of(node, asked, members)


def test_a_daemon_says_whom_it_runs_as_and_is_roots() -> None:
    """Its file is root's in the system's folder; an agent's is its user's, and has no UserName."""
    assert (DAEMON.process.user, DAEMON.owner, DAEMON.target) == ("me", (0, 0), "system/com.aya.alpha.postgres")
    assert DAEMON.file == Path("/Library/LaunchDaemons/com.aya.alpha.postgres.plist")
    assert (AGENT.process.user, AGENT.owner, AGENT.target) == (None, (501, 20), "gui/501/com.aya.air.syncd")
    assert AGENT.file == Path("/Users/me/Library/LaunchAgents/com.aya.air.syncd.plist")
    assert Places(Path("/Library/LaunchDaemons"), Path("/Users/me/Library/LaunchAgents"), (0, 0)) == WHERE


def test_only_daemons_ask_for_root() -> None:
    """With the whole command for sudo, which has another PATH and home."""
    require_privilege([AGENT], 501, "aya launchd stop")
    require_privilege([DAEMON], 0, "aya launchd stop")
    with pytest.raises(UsageError) as refused:
        require_privilege([AGENT, DAEMON], 501, "/opt/aya/bin/aya --home /Users/me/.aya launchd stop")
    assert refused.value.hint == "sudo /opt/aya/bin/aya --home /Users/me/.aya launchd stop"
