"""Each row of the two tables decides in a case of its own, also when a person has paused the watchdog."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from aya_watchdog.decide import PRIMARY, STANDBY, Row, decide, decide_primary, decide_standby
from aya_watchdog.protocol import Armed, State, give_up, vouch, yield_to
from aya_watchdog.views import Follower, Peer, PrimaryView, StandbyView

ARMING = State("primary", epoch=2, arming=3, consent=2)
ALONE = replace(ARMING, consent=3)
FOLLOWS = State("standby", epoch=2, given_up=2)
INTENT = replace(FOLLOWS, intent=3)
FORCED = replace(INTENT, forced=True)
REJOIN = replace(FOLLOWS, rejoin=True)
VOID = replace(FOLLOWS, void=True)
LATER = Peer("primary", 3)
LEADER = Peer("primary", 2, arming=3)
FOLLOWER = Peer("standby", 2, given_up=2)

# In step: an open primary, its partner armed; and that partner.
SYNC = PrimaryView(
    ARMING, "running", in_recovery=False, peer=FOLLOWER, peer_age=0.1, armed=Armed(2, 3), open=True, setting=True,
    recovered=100, follower=Follower(streaming=True, synchronous=True, flushed=100),
)  # fmt: skip
ARMED = StandbyView(
    FOLLOWS, "running", in_recovery=True, peer=LEADER, peer_age=0.1, armed=Armed(2, 3), following=True, stream_age=0.1,
    probe_age=0.1,
)  # fmt: skip
SILENT: dict[str, Any] = {"follower": None, "peer_age": 9.0}
GONE: dict[str, Any] = {"strikes": 4, "peer_age": 9.0, "probe_age": 9.0, "stream_age": 9.0}

PRIMARY_CASES: list[tuple[str, dict[str, Any]]] = [
    ("the partner leads a later epoch: nobody writes here", {"peer": LATER}),
    ("the partner leads a later epoch: follow it", {"peer": LATER, "open": False}),
    ("the partner is asked to take over", {"server": "stopped", "resigned_age": 1.0}),
    ("the server is started closed to clients", {"server": "stopped"}),
    ("the server recovers", {"server": "starting"}),
    ("the server runs and lets nobody in", {"server": "hung", "server_age": 5.0}),
    ("the server does not answer", {"server": "hung", "server_age": 4.0}),
    ("the partner may be promoted: nothing is acknowledged without it", {"setting": False}),
    ("a person answers for the partner being off", {"order": "degrade"} | SILENT),
    ("the partner is about to be promoted", {"peer": replace(FOLLOWER, intent=3)}),
    ("the first row of an epoch is its own", {"state": ALONE, "began": False}),
    ("a person wants the partner to lead: stop, and let it take over", {"order": "switchover"}),
    ("the partner has caught up: give it the right to be promoted", {"armed": Armed(2, 2)}),
    ("the partner has given up being promoted: go on alone", {"state": ALONE} | SILENT),
    ("nobody else may be promoted: clients may write", {"state": ALONE, "setting": False, "open": False} | SILENT),
    ("acknowledges alone; nobody else may be promoted", {"state": ALONE, "setting": False} | SILENT),
    ("the partner has given up being promoted, in writing", {"peer": replace(FOLLOWER, given_up=3)} | SILENT),
    ("the partner has everything: clients may write", {"open": False}),
    ("every acknowledged row is on both nodes", {}),
    ("no word from the partner, which may have been promoted: nobody writes here", SILENT),
    ("writes wait for the partner to catch up", {"follower": None}),
    (
        "no word from the partner, which may have been promoted: locked until it answers, or a person does",
        {"open": False} | SILENT,
    ),
    ("the partner has not got everything yet: closed to clients", {"open": False, "recovered": 101}),
]

STANDBY_CASES: list[tuple[str, dict[str, Any]]] = [
    ("the server is promoted: write the epoch and open", {"state": INTENT, "in_recovery": False}),
    (
        "it stopped while it was being promoted: it must be armed again",
        {"state": INTENT, "server": "stopped", "in_recovery": None},
    ),
    ("it stopped while it was being promoted", {"state": FORCED, "server": "stopped", "in_recovery": None}),
    ("the partner leads a later epoch: follow it", {"state": INTENT, "peer": LATER}),
    ("the stream is still open: close it first", {"state": FORCED}),
    ("the stream is still open: close it first", {"state": INTENT}),
    ("the stream is closed and the right is held: promote", {"state": INTENT, "following": False}),
    ("the right to be promoted is not held after all", {"state": INTENT, "armed": Armed()}),
    (
        "the server does not answer yet",
        {"state": INTENT, "server": "starting", "in_recovery": None, "following": False},
    ),
    ("the partner leads a later epoch: follow it", {"peer": LATER}),
    ("waits for the primary, to follow its history", {"state": REJOIN, "peer": None}),
    ("the server runs and lets nobody in", {"state": REJOIN, "server": "hung", "server_age": 5.0}),
    ("this server's own history is given up for the primary's", {"state": REJOIN, "exported": True}),
    ("the server is started closed to clients: what only it has is kept first", {"state": REJOIN, "server": "stopped"}),
    ("this server has a history of its own: what only it has is kept in a file", {"state": REJOIN}),
    ("the server recovers: what only it has is kept first", {"state": REJOIN, "server": "starting"}),
    ("a server that stops gives up being promoted until it is armed again", {"server": "stopped"}),
    ("the server is started to follow", {"state": VOID, "server": "stopped"}),
    ("the server runs and lets nobody in", {"server": "hung", "server_age": 5.0}),
    ("the server does not answer yet", {"server": "starting"}),
    ("the primary says what was armed before this server stopped: that is given up", {"state": VOID}),
    ("a person has promoted the server", {"in_recovery": False, "following": False}),
    (
        "a person has promoted a server without the right to it: closed to clients (aya failover --force keeps it)",
        {"in_recovery": False, "following": False, "armed": Armed(1, 3)},
    ),
    ("a person answers for the primary being off", {"order": "force"}),
    ("a person wants this node to lead", {"order": "failover"}),
    ("a person wants a fresh copy", {"order": "rejoin"}),
    ("the primary has stopped for this node to take over", {"peer": replace(LEADER, resigned=50), "replayed": 50}),
    (
        "the primary's history cannot be followed from here: it is copied anew",
        {"following": False, "diverged": True, "stream_age": 1.0},
    ),
    (
        "this node cannot follow: the primary must not wait for it",
        {"following": False, "stream_age": 10.0},
    ),
    ("follows, and may be promoted", {}),
    ("follows; not armed yet", {"armed": Armed(2, 2)}),
    ("the primary's watchdog does not answer", {"strikes": 3, "stream_age": 9.0}),
    ("its watchdog is gone, its server lets us in", {**GONE, "probe_age": 0.5}),
    ("its server still sends", {**GONE, "stream_age": 0.5}),
    ("this node has just woken up", {**GONE, "awake_age": 1.0}),
    ("this node sees nobody: it may be the one that is cut off", {**GONE, "alone": True}),
    ("the replay is paused: SELECT pg_wal_replay_resume()", {**GONE, "replay_paused": True}),
    (
        "the primary is gone, and this node was not armed: it may lack rows (aya failover --force takes that)",
        {**GONE, "armed": Armed(2, 2)},
    ),
    ("the primary is gone, and this node has every acknowledged row", GONE),
]


def _ids(rows: tuple[Row[Any], ...]) -> list[str]:
    return [f"{number}-{row.state}-{row.action}" for number, row in enumerate(rows, 1)]


@pytest.mark.parametrize(("row", "case"), [*zip(PRIMARY, PRIMARY_CASES, strict=True)], ids=_ids(PRIMARY))
def test_each_row_of_a_primary_decides(row: Row[PrimaryView], case: tuple[str, dict[str, Any]]) -> None:
    """It is the first that holds in its case, and what it says is what the case expects."""
    why, changes = case
    view = replace(SYNC, **changes)
    assert next(each for each in PRIMARY if each.when(view)) is row
    decision = decide_primary(view)
    assert (decision.state, decision.action, decision.why) == (row.state, row.action, why)


@pytest.mark.parametrize(("row", "case"), [*zip(STANDBY, STANDBY_CASES, strict=True)], ids=_ids(STANDBY))
def test_each_row_of_a_standby_decides(row: Row[StandbyView], case: tuple[str, dict[str, Any]]) -> None:
    """It is the first that holds in its case, and what it says is what the case expects."""
    why, changes = case
    view = replace(ARMED, **changes)
    assert next(each for each in STANDBY if each.when(view)) is row
    decision = decide_standby(view)
    assert (decision.state, decision.action, decision.why) == (row.state, row.action, why)


# What a paused node does all the same: it keeps two nodes from taking writes, keeps its word, and obeys a person.
PAUSED_PRIMARY = {"fence", "tighten", "vouch", "resign"}
PAUSED_STANDBY = {"finish", "force", "intend", "promote", "abandon", "yield", "give_up", "settle", "rejoin"}


@pytest.mark.parametrize(("row", "case"), [*zip(PRIMARY, PRIMARY_CASES, strict=True)], ids=_ids(PRIMARY))
def test_a_paused_primary_only_looks(row: Row[PrimaryView], case: tuple[str, dict[str, Any]]) -> None:
    """Except where it must act: nobody writes on a node that may be superseded, unless it is for want of a word."""
    decision = decide_primary(replace(SYNC, **case[1], paused=True))
    acts = row.action in PAUSED_PRIMARY and not row.why.startswith("no word")
    assert decision.action == (row.action if acts else "nothing")
    assert row.why in decision.why


@pytest.mark.parametrize(("row", "case"), [*zip(STANDBY, STANDBY_CASES, strict=True)], ids=_ids(STANDBY))
def test_a_paused_standby_only_looks(row: Row[StandbyView], case: tuple[str, dict[str, Any]]) -> None:
    """Except where it must act: an intent is carried out or given up, a promise is made, a person is obeyed."""
    decision = decide_standby(replace(ARMED, **case[1], paused=True))
    by_itself = {
        "the primary is gone, and this node has every acknowledged row", "a person has promoted the server",
        "the primary has stopped for this node to take over",
        "this node cannot follow: the primary must not wait for it",
        "the primary's history cannot be followed from here: it is copied anew",
        "this server's own history is given up for the primary's",
    }  # fmt: skip
    started = row.state == "FENCING" and row.action == "yield"
    acts = row.action in PAUSED_STANDBY and row.why not in by_itself and not started
    assert decision.action == (row.action if acts else "nothing")


def test_a_table_without_a_last_row_is_a_mistake() -> None:
    """It says so instead of doing nothing."""
    with pytest.raises(AssertionError):
        decide(PRIMARY[:1], SYNC)


def test_a_switchover_waits_until_the_partner_has_everything() -> None:
    """Of the stopped server's log, by its position."""
    resigned = replace(LEADER, resigned=50, server="stopped")
    assert decide_standby(replace(ARMED, peer=resigned, replayed=49)).action == "nothing"


@pytest.mark.parametrize("changes", [{"intent": 3}, {"leaving": True}])
def test_a_partner_that_is_about_to_go_is_not_armed(changes: dict[str, Any]) -> None:
    """Neither one that is being promoted nor one that says goodbye."""
    assert decide_primary(replace(SYNC, peer=replace(FOLLOWER, **changes), armed=Armed(2, 2))).action != "arm"


def test_a_server_that_refuses_lets_nobody_in() -> None:
    """Although it did a moment ago."""
    assert decide_standby(replace(ARMED, **{**GONE, "probe_age": 0.5}, refused=True)).action == "intend"


def test_a_primary_whose_agent_says_that_its_server_is_gone_is_gone() -> None:
    """After the time that a restart in place has; not when it has stopped for a handover."""
    down = replace(LEADER, server="stopped", server_since=3.0)
    silent = replace(ARMED, probe_age=inf, following=False, stream_age=3.0, peer=down)
    assert decide_standby(silent).action == "intend"
    assert decide_standby(replace(silent, peer=replace(down, server_since=2.9))).action == "nothing"
    assert decide_standby(replace(silent, peer=replace(down, resigned=9))).action == "nothing"
    assert decide_standby(replace(silent, peer_age=3.0)).action == "nothing"


def test_a_standby_that_leaves_gives_up_once() -> None:
    """And is not armed again by its own doing while it does."""
    leaving = replace(ARMED, leaving=True)
    assert decide_standby(leaving).action == "give_up"
    assert decide_standby(replace(leaving, state=give_up(FOLLOWS, 3))).action == "nothing"


def test_a_vouched_primary_relaxes_and_opens() -> None:
    """In that order, whatever its partner said long ago."""
    told = replace(FOLLOWER, intent=3)
    view = replace(SYNC, state=vouch(ARMING), peer=told, open=False, **SILENT)
    assert decide_primary(view).action == "relax"
    assert decide_primary(replace(view, setting=False)).action == "open"
    assert decide_primary(replace(view, setting=False, peer_age=0.0)).action == "nothing"


def test_a_later_epoch_keeps_what_was_void() -> None:
    """A standby that restarted is not armed by what it has not seen, in any epoch."""
    assert yield_to(VOID, 3).void
