"""The lines of `aya verify`: nothing of the contract is missing, figures are judged, and the table tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.cli.verify import cells, document, reasons, row, summary
from aya.errors import EXIT_FAILED
from aya.home import Home
from aya.verify.checks import CHECKS
from aya.verify.judge import BLOCKED, blocked, counted, exit_code, judge, measured, shown, unmeasured
from aya.verify.places import Said, leading
from aya.verify.plan import named, planned
from aya.verify.run import MEASURES, Report
from aya.verify.types import Check, Figure, Limit, Line, Measured, Result, Where

PAGE = (Path(__file__).parents[2] / "docs" / "operations" / "verify.md").read_text(encoding="utf-8")
# "What the owner checks by hand, phase by phase", clause by clause, and the lines that measure it.
CONTRACT: dict[str, tuple[tuple[str, str], ...]] = {
    "ALPHA": (
        ("more than five postgres processes", "1.processes"),
        ("database aya_rag", "1.database"),
        ("extension vector", "1.extension"),
        ("tables", "1.documents 1.chunks"),
        (
            "the four indexes",
            "1.idx_chunks_embedding 1.idx_chunks_document_id 1.idx_documents_category 1.idx_documents_created_at",
        ),
        ("wal_level", "1.wal_level"),
        ("slot beta_slot", "1.slot"),
        ("embedder healthy", "1.embedder"),
        ("WAL archive directory, owned by the server's user", "1.archive"),
        ("mode 700", "1.archive_mode"),
        ("archiving without failures", "1.archiving"),
        ("port 5432 listening", "1.port"),
        ("a vector insert and a similarity search round trip", "1.insert 1.search"),
    ),
    "BETA": (
        ("in recovery", "2.recovery"),
        ("lag < 1 s", "2.lag"),
        ("also during a bulk insert of 100 documents", "2.bulk_lag"),
        ('refuses a write with "read-only transaction"', "2.read_only"),
        ("embedder healthy", "2.embedder"),
        ("seen from ALPHA: application_name beta", "2.name"),
        ("state streaming", "2.state"),
        ("sync_state sync", "2.sync_state"),
        ("beta_slot active", "2.slot_active"),
        ("replication lag < 100 ms", "2.replication_lag"),
    ),
    "AIR": (
        ("local PostgreSQL", "3.postgresql"),
        ("documents, chunks, write_queue", "3.documents 3.chunks 3.write_queue"),
        ("ALPHA reachable", "3.primary"),
        ("embedder healthy", "3.embedder"),
        ("sync daemon running", "3.daemon"),
        ("and its last sync recent", "3.last_sync"),
        ("same document count as ALPHA", "3.count"),
        ("a row queued offline is pushed", "3.pushed"),
        ("and marked", "3.marked"),
        ("and its deletion on ALPHA reaches AIR", "3.deleted"),
    ),
    "MCP": (
        ("initialize answers with protocolVersion", "4.protocol"),
        ("capabilities", "4.capabilities"),
        ("serverInfo", "4.server"),
        ("both tools listed", "4.query_listed 4.add_listed"),
        ("and callable", "4.add 4.query"),
    ),
    "End to end": (
        ("an insert on ALPHA", "5.insert"),
        ("is on BETA within 1 s", "5.standby"),
        ("and on AIR within 60 s", "5.copy"),
        ("similarity search returns real results", "5.search"),
        # not a clause of this list, but of "Database": what is typed by hand reaches the index by itself
        ("a plain INSERT goes on working", "5.indexed"),
    ),
}
BY_ID = {check.id: check for check in CHECKS}
ROLES: dict[Where, str] = {"primary": "alpha", "standby": "beta", "copy": "air"}
NAMES = {
    "primary": "alpha", "standby": "beta", "copy": "air", "node": "alpha", "slot": "beta_slot", "port": "5432",
    "database": "aya_rag", "archive": "/srv/archive", "logs": "/srv/log",
}  # fmt: skip
CHECK = Check("2.lag", "standby", "replay lag of {node}", Limit("<", 1), "s", "aya status")


def server(node: str, does: str, timeline: int) -> Said:
    """Return what a server says of itself that leads, follows, or is closed by its watchdog."""
    return Said(node, in_recovery=does == "follows", is_open=does != "closed", timeline=timeline)


def line(check_id: str, result: Result, node: str = "alpha", role: str = "primary") -> Line:
    """Return a line with a result."""
    found = measured(BY_ID[check_id], (node, role), Measured(1), 0.25)
    return replace(found, result=result, why="" if result == "passed" else "because", hint=None)


def test_every_clause_of_the_contract_is_measured() -> None:
    """Each has a line or more of its own, in its phase; and there is no line that nobody asked for."""
    for phase, clauses in enumerate(CONTRACT.values(), 1):
        ids = [one for _, names in clauses for one in names.split()]
        assert {*ids} == {check.id for check in CHECKS if check.phase == phase}
        assert len(ids) == len({*ids})


def test_every_line_is_measured_described_and_stands_after_what_it_needs() -> None:
    """The table, the functions and the page know the same lines."""
    assert {*MEASURES} == {*BY_ID}
    assert len(BY_ID) == len(CHECKS)
    assert {*re.findall(r"^\| `(\d\.\w+)`", PAGE, re.MULTILINE)} == {*BY_ID}
    for number, check in enumerate(CHECKS):
        assert {*check.needs, *check.uses} <= {before.id for before in CHECKS[:number]}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_line_says_what_to_do(check: Check) -> None:
    """Its names are filled in, and its hint is a command or a page that is there."""
    filled = named(check, NAMES)
    assert "{" not in filled.title + filled.hint + filled.limit.text()
    assert filled.hint.startswith(("aya ", "eval ", "chmod ", "less ", "ls ", "docs/"))
    for page in re.findall(r"docs/operations/\w+\.md", filled.hint):
        assert (Path(__file__).parents[2] / page).is_file()


@pytest.mark.parametrize(
    ("figure", "limit", "result"),
    [
        (9, Limit(">", 5), "passed"),
        (5, Limit(">", 5), "failed"),
        (0.2, Limit("<", 1), "passed"),
        (1.0, Limit("<", 1), "failed"),
        (5, Limit("≤", 5), "passed"),
        (6, Limit("≤", 5), "failed"),
        (float("nan"), Limit("<", 1), "failed"),
        ("sync", Limit("=", "sync"), "passed"),
        ("async", Limit("=", "sync"), "failed"),
        (0, Limit("=", 0), "passed"),
        ("logical", Limit("one of", ("replica", "logical")), "passed"),
        ("minimal", Limit("one of", ("replica", "logical")), "failed"),
        ("in a read-only transaction", Limit("contains", "read-only transaction"), "passed"),
        ("the write was taken", Limit("contains", "read-only transaction"), "failed"),
        ("0.8.5", Limit("there"), "passed"),
        (None, Limit("there"), "failed"),
        ("fast", Limit("<", 1), "failed"),
    ],
)
def test_a_figure_is_judged(figure: Figure | None, limit: Limit, result: Result) -> None:
    """By its limit; and what failed says what it is and what it should be."""
    found, why = judge(figure, limit)
    assert found == result
    assert bool(why) == (result == "failed")
    if figure is not None and why:
        assert limit.text() in why


@given(st.floats(allow_nan=False), st.integers(-1000, 1000))
def test_a_number_is_below_its_limit_or_fails(figure: float, limit: int) -> None:
    """There is no third."""
    assert (judge(figure, Limit("<", limit))[0] == "passed") == (figure < limit)


def test_a_line_tells_figure_limit_and_reason() -> None:
    """What passed has no hint; a limit and a hint that were found out go before those of the table."""
    passed = measured(CHECK, ("beta", "standby"), Measured(0.01234, "measured once"), 0.5)
    assert (passed.result, passed.figure, passed.limit, passed.hint) == ("passed", 0.012, "< 1 s", None)
    assert passed.why == "measured once"
    failed = measured(CHECK, ("beta", "standby"), Measured(2.0, "slow", Limit("<", 0.5), "aya sync now"), 2.0)
    assert failed.why == "it is 2.000, and should be < 0.5; slow"
    assert (failed.limit, failed.hint) == ("< 0.5 s", "aya sync now")
    away = unmeasured(CHECK, ("beta", "standby"), "not_reached", "beta is away", "aya up")
    assert (away.figure, away.result, away.why, away.hint) == (None, "not_reached", "beta is away", "aya up")


@pytest.mark.parametrize(
    ("given_results", "code"),
    [
        (("passed",), 0),
        (("passed", "not_applicable"), 0),
        (("passed", "failed"), EXIT_FAILED),
        (("passed", "not_reached"), EXIT_FAILED),
        (("not_applicable",), EXIT_FAILED),
        ((), EXIT_FAILED),
    ],
)
def test_the_exit_code_is_that_of_the_results(given_results: Sequence[Result], code: int) -> None:
    """What does not apply counts for nothing: alone it is no success."""
    assert exit_code([line("1.wal_level", result) for result in given_results]) == code


def test_what_needs_a_line_that_failed_is_not_measured() -> None:
    """For one of its own node, or else of any; what was not asked for holds nobody up."""
    query = BY_ID["4.query"]
    done = {("4.add", "air"): line("4.add", "failed", "air", "copy"), ("4.add", "alpha"): line("4.add", "passed")}
    assert blocked(query, "alpha", done) is None
    assert blocked(query, "air", done) == done["4.add", "air"]
    stopped = line("3.daemon", "failed", "air", "copy")
    assert blocked(BY_ID["5.copy"], "air", {("3.daemon", "air"): stopped}) == stopped
    search = line("5.insert", "not_reached")
    assert blocked(BY_ID["5.search"], "air", {("5.insert", "alpha"): search}) == search
    assert blocked(BY_ID["5.search"], "air", {}) is None
    away = line("5.copy", "failed", "air", "copy")
    assert blocked(BY_ID["5.search"], "air", {("5.copy", "air"): away}) == away
    assert blocked(BY_ID["5.search"], "alpha", {("5.copy", "air"): away}) is None


def test_the_plan_follows_the_roles_and_what_was_asked_for() -> None:
    """All lines, or those of a node or a phase; the lines for every node come node by node."""
    everything = planned(CHECKS, ROLES)
    each = sum(check.where == "each" for check in CHECKS)
    assert len(everything) == len(CHECKS) + 2 * each
    assert [task.check.phase for task in everything] == sorted(task.check.phase for task in everything)
    fourth = [task.node for task in planned(CHECKS, ROLES, phases=[4])]
    assert fourth == sorted(fourth, key=["alpha", "beta", "air"].index)
    changed: dict[Where, str] = {**ROLES, "primary": "beta", "standby": "alpha"}
    assert {task.node for task in planned(CHECKS, changed, phases=[1])} == {"beta"}
    assert {task.check.phase for task in planned(CHECKS, changed, nodes=["alpha"]) if task.node == "alpha"} == {2, 4, 5}
    assert planned(CHECKS, ROLES, nodes=["air"], phases=[1]) == []
    found = [(task.check.id, task.node) for task in planned(CHECKS, ROLES, nodes=["beta"], phases=[5])]
    assert found == [("5.insert", "alpha"), ("5.standby", "beta"), ("5.search", "beta")]


@pytest.mark.parametrize(
    ("answers", "leader"),
    [
        ([server("alpha", "leads", 1), server("beta", "follows", 1)], "alpha"),
        ([server("alpha", "follows", 2), server("beta", "leads", 2)], "beta"),
        ([None, server("beta", "leads", 2)], "beta"),
        ([server("alpha", "leads", 1), server("beta", "leads", 2)], "beta"),
        ([server("alpha", "closed", 1), server("beta", "follows", 1)], None),
        ([None, None], None),
    ],
)
def test_who_takes_writes_leads(answers: Sequence[Said | None], leader: str | None) -> None:
    """Open and not in recovery; of two such, a stray and its better, the later timeline."""
    assert leading(answers) == leader


def test_the_table_tells_who_has_changed_places() -> None:
    """A node that has the role it was made for is named alone."""
    assert cells(line("1.wal_level", "passed"))[:3] == ("passed", "1", "alpha")
    assert cells(line("1.wal_level", "failed", "beta"))[:3] == ("FAILED", "1", "beta, leads")
    assert cells(line("2.lag", "passed", "alpha", "standby"))[2] == "alpha, follows"
    away = unmeasured(CHECK, ("beta", "standby"), "not_reached", "beta is away", None)
    assert cells(away)[-1] == "beta is away"
    assert row(cells(away)).endswith("< 1 s" + " " * 11 + "beta is away")


def test_reasons_are_told_once() -> None:
    """Those of one node and one reason together; what was not measured because of another line is told with that."""
    away = [
        unmeasured(BY_ID[one], ("beta", "standby"), "not_reached", "beta is away", "aya up")
        for one in ("2.recovery", "2.embedder")
    ]
    behind = unmeasured(BY_ID["2.lag"], ("beta", "standby"), "not_reached", f"{BLOCKED}, for 2.recovery failed", None)
    failed = measured(CHECK, ("alpha", "standby"), Measured(2.0), 0.0)
    told = reasons([*away, behind, failed, line("1.wal_level", "passed"), line("1.slot", "not_applicable")])
    assert told == [
        "2.recovery, 2.embedder on beta: beta is away",
        "  next: aya up",
        "2.lag on alpha: replay lag of {node}: it is 2.000, and should be < 1",
        "  next: aya status",
    ]


def test_the_report_tells_all_of_it(tmp_path: Path) -> None:
    """As a document and in one line."""
    lines = (line("1.wal_level", "passed"), line("2.lag", "failed", "beta", "standby"))
    report = Report(lines, "alpha", {"alpha": 3}, None, 12.3456)
    assert summary(report) == "1 passed, 1 failed; alpha leads; 12 s"
    said = document(Home(tmp_path), report)
    assert (said["passed"], said["leader"], said["left_over"], said["seconds"]) == (
        False,
        "alpha",
        {"alpha": 3},
        12.346,
    )
    assert said["counts"] == counted(lines)
    fields = {"phase", "node", "id", "title", "figure", "unit", "limit", "result", "why", "hint", "seconds"}
    assert all(fields <= one.keys() for one in said["checks"])
    assert document(Home(tmp_path), replace(report, lines=lines[:1]))["passed"]
    assert not document(Home(tmp_path), replace(report, lines=lines[:1], not_removed="air is away"))["passed"]
    assert "nobody takes writes" in summary(replace(report, leader=None))
    assert shown(None) == "-"
