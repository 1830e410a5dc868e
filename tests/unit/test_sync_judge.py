"""In which condition AIR's copy is, when a sync is done, and how both are said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from aya.cli import conflicts_display, sync_display
from aya.knowledge.conflicts import Conflict, Version
from aya.sync.judge import LATE_SECONDS, condition, problems
from aya.sync.types import Copy, Fetch, Primary, Rejected, SyncStatus
from aya.sync.waiting import Goal

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
COPY = Copy(
    system_identifier=7,
    timeline=1,
    snapshot="1:1:",
    paused=False,
    reachable=True,
    error=None,
    since=None,
    pulled_at=NOW,
    pushed_at=None,
    seconds_behind=2.0,
    asked_at=NOW,
    waiting=0,
    sending=0,
    held=0,
    rejected=0,
    daemon=True,
)
PRIMARY = Primary("the primary", system_identifier=7, timeline=1, unseen=0, conflicts=0)
SILENT = Primary("nowhere", error="nobody answers")
STANDBY = replace(PRIMARY, is_standby=True)
LATE = replace(COPY, seconds_behind=LATE_SECONDS + 1.0)
NEW = replace(COPY, pulled_at=None, seconds_behind=None, timeline=None, snapshot=None)
POISON = Rejected(4, "INSERT", "document", UUID(int=1), NOW, "too long", -1, "A note")


@pytest.mark.parametrize(
    ("copy", "primary", "word", "command"),
    [
        (COPY, PRIMARY, "following", None),
        (replace(COPY, seconds_behind=float(LATE_SECONDS)), PRIMARY, "following", None),
        (NEW, PRIMARY, "new", None),
        (replace(NEW, error="no role", since=NOW), PRIMARY, "stuck", None),  # it begins
        (replace(NEW, error="no role", since=NOW - timedelta(minutes=1)), PRIMARY, "stuck", "docs/operations/sync.md"),
        (COPY, SILENT, "offline", None),
        (LATE, SILENT, "offline", None),
        (replace(LATE, error="refused", reachable=False), SILENT, "offline", None),
        (replace(COPY, error="refused", reachable=False), PRIMARY, "offline", None),
        (LATE, STANDBY, "leaderless", None),
        (LATE, PRIMARY, "stuck", "docs/operations/sync.md"),
        (replace(LATE, error="timeline 1"), PRIMARY, "stuck", "docs/operations/sync.md"),
        (replace(COPY, paused=True), PRIMARY, "paused", None),
        (replace(LATE, paused=True), PRIMARY, "paused", "aya sync resume"),
        (replace(LATE, daemon=False), PRIMARY, "stopped", "aya up"),
        (replace(COPY, daemon=False), SILENT, "stopped", None),
    ],
)
def test_the_condition_of_a_copy(copy: Copy, primary: Primary, word: str, command: str | None) -> None:
    """Being behind while the primary answers needs a person, and the next command is named; offline is no fault."""
    seen = SyncStatus(copy, primary)
    assert condition(seen)[0] == word
    found = problems(seen)
    assert len(found) == (command is not None)
    assert all(problem.endswith(command or "") for problem in found)


@pytest.mark.parametrize("primary", [PRIMARY, SILENT, STANDBY])
def test_what_was_rejected_is_told_whether_or_not_the_primary_answers(primary: Primary) -> None:
    """With the first reason."""
    (problem,) = problems(SyncStatus(replace(COPY, rejected=2), primary, (POISON,)))
    assert problem == "the primary rejected 2 changes (too long): aya sync status, then aya sync retry"


@pytest.mark.parametrize(
    ("copy", "primary", "said"),
    [
        (COPY, PRIMARY, "2 s since it had everything; 0 changes not seen yet"),
        (COPY, replace(PRIMARY, unseen=1), "2 s since it had everything; 1 change not seen yet"),
        (COPY, replace(PRIMARY, unseen=None), "2 s since it had everything; it has to be copied anew"),
        (COPY, SILENT, "2 s since it had everything; how many changes there are since is not known"),
        (NEW, PRIMARY, "nothing was copied yet"),
    ],
)
def test_how_far_it_is_behind(copy: Copy, primary: Primary, said: str) -> None:
    """In time, and in changes where they can be counted."""
    assert sync_display.behind(copy, primary) == said


@pytest.mark.parametrize(
    ("copy", "said"),
    [
        (COPY, "nothing waits"),
        (replace(COPY, waiting=2, sending=1), "2 waiting, 1 being sent"),
        (replace(COPY, held=3, rejected=1), "3 held back by a rejected one, 1 rejected"),
        (
            replace(COPY, waiting=90, sending=10, sent_per_second=5.0),
            "90 waiting, 10 being sent; 5 a second, 20 s left",
        ),
        (replace(COPY, sent_per_second=5.0), "nothing waits"),
    ],
)
def test_what_waits(copy: Copy, said: str) -> None:
    """By what it waits for."""
    assert sync_display.queue(copy) == said


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (Fetch("reading", "chunks", 500, 2000, 5_000_000, 2.0), "reading chunks: 500 of 2,000, 2.5 MB/s, 6 s left"),
        (Fetch("reading", "chunks", 0, 2000, 0, 0.0), "reading chunks: 0 of 2,000"),
        (Fetch("merging", None, None, 2500, None, 1.0), "merging 2,500 rows"),
        (Fetch("indexing", "chunks", 1500, 0, None, 3.0), "indexing chunks: 1,500"),
        (Fetch("indexing", "chunks", 1500, 3000, None, 3.0), "indexing chunks: 1,500 of 3,000, 3 s left"),
    ],
)
def test_how_far_a_fetch_is(what: Fetch, said: str) -> None:
    """As far as anybody counts it."""
    assert sync_display.fetch(what) == said
    copy = replace(COPY, fetching=what)
    assert said in sync_display.progress(copy)
    assert f"fetching:  {said}" in sync_display.lines("air", SyncStatus(copy, PRIMARY))
    assert said in sync_display.summary(SyncStatus(copy, PRIMARY))


def test_another_timeline_is_told() -> None:
    """Which the copy has not followed yet."""
    assert sync_display.timelines(COPY, PRIMARY) == "1"
    assert sync_display.timelines(COPY, replace(PRIMARY, timeline=2)) == "1; the primary is on 2"
    assert sync_display.timelines(NEW, SILENT) == "not known yet"


def test_the_line_below_the_table_of_all_nodes() -> None:
    """Conflicts and the queue are in it, and why it is not following."""
    seen = SyncStatus(replace(COPY, waiting=1), replace(PRIMARY, conflicts=2))
    assert sync_display.summary(seen).startswith("following; 2 s since ")
    assert sync_display.summary(seen).endswith("1 waiting; 2 conflicts open: aya conflicts")
    assert sync_display.summary(SyncStatus(COPY, SILENT)).startswith("offline (nobody answers); ")


def later(copy: Copy, seconds: float, *, fetched: float | None = None) -> Copy:
    """Return the copy as it is some seconds later, and when it fetched last."""
    pulled_at = copy.pulled_at if fetched is None else NOW + timedelta(seconds=fetched)
    return replace(copy, asked_at=NOW + timedelta(seconds=seconds), pulled_at=pulled_at)


def test_a_sync_is_done_after_the_second_fetch() -> None:
    """The first may have begun before the moment; the daemon is woken for each."""
    goal = Goal()
    assert goal.look(later(COPY, 1)) == "wake"
    assert goal.look(later(COPY, 2)) == "wait"
    assert goal.look(later(COPY, 3, fetched=2.5)) == "wake"
    assert goal.look(later(COPY, 4, fetched=2.5)) == "wait"
    assert goal.look(later(COPY, 5, fetched=4.5)) == "reached"


def test_what_waits_has_the_fetches_counted_anew() -> None:
    """Whatever was fetched before it was sent does not count; nor does a copy that was never made."""
    goal = Goal()
    assert goal.look(later(COPY, 1)) == "wake"
    assert goal.look(later(COPY, 2, fetched=1.5)) == "wake"
    assert goal.look(later(replace(COPY, waiting=1), 3, fetched=2.5)) == "wait"
    assert goal.look(later(replace(COPY, sending=1), 4, fetched=3.5)) == "wait"
    assert goal.look(later(COPY, 5, fetched=3.5)) == "wake"
    assert goal.look(later(COPY, 6, fetched=4.9)) == "wait"
    assert goal.look(later(COPY, 7, fetched=6.5)) == "wake"
    assert goal.look(later(COPY, 8, fetched=7.5)) == "reached"
    never = Goal()
    assert [never.look(later(NEW, 1)), never.look(later(NEW, 2))] == ["wake", "wait"]


HERE = Version("a\nb\n", "Title", "general", None, {"k": 1}, NOW, NOW)
SENDER = Version("a\nc\n", None, "trip", None, {}, NOW, NOW)
CONFLICT = Conflict(
    3, "document", UUID(int=1), "air", "sender", "the one here is newer", NOW, None, None, SENDER, HERE, 5, 2, None
)


def test_a_conflict_in_a_list() -> None:
    """Which document, whose version lost, why; what was decided; a title, else the first words."""
    assert conflicts_display.row(CONFLICT) == (
        "3",
        "2026-01-02 03:04:00",
        "document 5",
        "sender (air)",
        "the one here is newer",
        "a",
    )
    decided = replace(CONFLICT, resolved_at=NOW, resolution="both", row_id=None, head=None)
    assert conflicts_display.row(decided)[2:5] == (
        "document that is not there",
        "sender (air)",
        "resolved (both): the one here is newer",
    )


@pytest.mark.parametrize(
    ("conflict", "here", "sender"),
    [
        (CONFLICT, "as it is now (revision 2)", "lost, kept here"),
        (replace(CONFLICT, loser="here"), "lost, kept here", "as it is now (revision 2)"),
        (replace(CONFLICT, lost=None), "as it is now (revision 2)", "lost, kept here (deleted)"),
        (replace(CONFLICT, head=None, rev=None), "as it is now (deleted)", "lost, kept here"),
    ],
)
def test_both_versions_side_by_side(conflict: Conflict, here: str, sender: str) -> None:
    """What each of them is; a deletion says so, and rows that neither has are left out."""
    rows = conflicts_display.labels(conflict)
    assert rows[0] == ("", here, sender)
    assert "source" not in {row[0] for row in rows}


def test_the_difference_of_the_texts() -> None:
    """From here to the sender, whichever lost; nothing when they are the same."""
    assert conflicts_display.difference(CONFLICT)[2:] == ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    turned = replace(CONFLICT, loser="here", lost=HERE, head=SENDER)
    assert conflicts_display.difference(turned) == conflicts_display.difference(CONFLICT)
    assert conflicts_display.difference(replace(CONFLICT, lost=replace(SENDER, content="a\nb"))) == []
    assert conflicts_display.difference(replace(CONFLICT, lost=None))[1] == "+++ sender (air) (deleted)"
