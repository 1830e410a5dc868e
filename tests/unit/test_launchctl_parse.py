"""What launchctl prints, read: texts as macOS 14 to 26 print them, shortened, and anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.launchctl.exits import ended
from aya.launchctl.parse import Printed, disabled, listed, printed

RUNNING = """\
system/com.aya.alpha.postgres = {
\tactive count = 1
\tpath = /Library/LaunchDaemons/com.aya.alpha.postgres.plist
\ttype = LaunchDaemon
\tstate = running

\tprogram = /opt/aya/.venv/bin/python
\targuments = {
\t\t/opt/aya/.venv/bin/python
\t\t-m
\t\taya.postgres.run
\t\tstate = not running
\t}

\tenvironment = {
\t\tAYA_NODE => alpha
\t\tXPC_SERVICE_NAME => com.aya.alpha.postgres
\t}

\tdomain = system
\tusername = me
\tminimum runtime = 5
\texit timeout = 120
\truns = 3
\tpid = 4242
\timmediate reason = semaphore
\tlast terminating signal = Killed: 9

\tresource coalition = {
\t\tID = 4782
\t\tstate = active
\t\tpid = 1
\t}

\tproperties = keepalive | runatload
}
"""
WAITING = "com.aya.alpha.indexer = {\n\tstate = spawn scheduled\n\truns = 7\n\tlast exit code = 78: EX_CONFIG\n}\n"
NEVER = "gui/501/com.aya.air.syncd = {\n\tstate = not running\n\truns = 0\n\tlast exit code = (never exited)\n}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            RUNNING,
            Printed("running", 4242, None, 9, 3, 5, 120, "/Library/LaunchDaemons/com.aya.alpha.postgres.plist"),
        ),
        (WAITING, Printed("restarting", exit_code=78, runs=7)),
        (NEVER, Printed("stopped", runs=0)),
        ("x = {\n\tstate = SIGTERMed\n\tpid = 5\n}\n", Printed("stopping", 5)),
        ("x = {\n\tstate = something new\n}\n", Printed("unknown")),
        ("", Printed("unknown")),
    ],
)
def test_what_launchd_knows_of_a_service(text: str, expected: Printed) -> None:
    """Only the service's own lines count: its coalitions and arguments have a state of theirs."""
    assert printed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('\tdisabled services = {\n\t\t"com.aya.a.b" => disabled\n\t\t"com.x" => enabled\n\t}\n', {"com.aya.a.b"}),
        ('disabled services = {\n\t"com.aya.a.b" => true\n\t"com.x" => false\n}\n', {"com.aya.a.b"}),
        ("", set[str]()),
    ],
)
def test_which_labels_are_disabled(text: str, expected: set[str]) -> None:
    """In the words of macOS 13 and later, and in those before."""
    assert disabled(text) == expected


def test_which_labels_are_loaded() -> None:
    """`launchctl list` has three columns; a dash is no pid."""
    text = "PID\tStatus\tLabel\n4242\t0\tcom.aya.alpha.postgres\n-\t-9\tcom.aya.alpha.link\n-\t78\thomebrew.mxcl.x\n"
    assert listed(text) == {"com.aya.alpha.postgres": 4242, "com.aya.alpha.link": None, "homebrew.mxcl.x": None}


@given(
    st.text() | st.lists(st.sampled_from([*RUNNING.splitlines(), "\tpid = 99999999999999999999", "\t"])).map("\n".join)
)
def test_no_text_breaks_the_reading(text: str) -> None:
    """Its output is no interface: whatever it says next is read as far as it goes."""
    values: list[Any] = [printed(text), disabled(text), listed(text)]
    assert isinstance(values[0].state, str)


@pytest.mark.parametrize(
    ("code", "signum", "said"),
    [
        (None, None, "has not ended yet"),
        (0, None, "0: ended by itself"),
        (1, None, "1: failed; its log says why"),
        (78, None, "78: could not be set up (EX_CONFIG)"),
        (42, None, "42: failed"),
        (None, 9, "SIGKILL: was killed"),
        (137, None, "SIGKILL: was killed"),
        (None, 250, "signal 250: ended by a signal"),
    ],
)
def test_an_end_is_said_in_words(code: int | None, signum: int | None, said: str) -> None:
    """A number alone tells a person nothing."""
    assert ended(code, signum).startswith(said)
