"""Health from what was seen, the last event of a log, and how both are shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_sync_judge import COPY, PRIMARY

from aya.cli.move_display import described, duration, summary
from aya.cli.status_display import node_row, screen, service_row, versions
from aya.home import Home
from aya.identity import ModelIdentity
from aya.knowledge.models import Move, Progress
from aya.status.judge import LAG_LIMIT_BYTES, judge, overall
from aya.status.last import last_event
from aya.status.types import (
    Archiving,
    Backups,
    Counts,
    DatabaseFacts,
    EmbedderFacts,
    Failover,
    LastEvent,
    Model,
    NodeStatus,
    Observation,
    Partner,
    Poison,
    Replication,
    Service,
    document,
)
from aya.sync.types import Primary, SyncStatus

NOW = datetime(2026, 1, 2, 9, 30, tzinfo=UTC)
MINILM = Model("sentence-transformers/all-MiniLM-L6-v2", "83d89a7f")
DATABASE = DatabaseFacts(postgresql="18.4", pgvector="0.8.5", schema=2, counts=Counts(3, 9, 1, 0), bound=MINILM)
BGE = ModelIdentity("b" * 16, "bge-base", "r2", 768, "cls", True, "query: ", "", 512)  # noqa: FBT003
BEGUN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MOVING = Progress(Move(BGE, "bge-base-en-v1.5", "running", "aya_user", BEGUN, 20.0, None), 3000, 1200, 12, 1)
UNPREPARED = replace(MOVING, move=replace(MOVING.move, phase="preparing", rows_per_second=None))
STUCK = replace(MOVING, move=replace(MOVING.move, rows_per_second=None, error="no embedder"))
OVERDUE = replace(DATABASE, counts=Counts(3, 9, 3, 0, 2))
RUNNING = Service("postgres", 12, "running", 75.0, LastEvent("2026-01-02T03:04:05.678Z", "service.started"))
GOOD = Observation(
    name="alpha",
    role="primary",
    dsn="postgresql://aya_user@127.0.0.1:20001/aya_rag",
    embedder_url="http://127.0.0.1:20002",
    data_dir="/srv/data",
    postmaster_pid=13,
    database=DATABASE,
    embedder=EmbedderFacts("healthy", model=MINILM),
    services=(RUNNING,),
)
STANDBY = replace(
    GOOD, name="beta", role="standby", database=replace(DATABASE, is_standby=True), replication=Replication("streaming")
)


ARCHIVING = Archiving("always", 9, 0, "0" * 24, None, failing=False)
KEPT = replace(GOOD, database=replace(DATABASE, archiving=ARCHIVING), backups=Backups(3, "2026-01-02T03:30:05+00:00"))
FAILING = replace(ARCHIVING, failed=3, last_failed="0" * 23 + "A", failing=True)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (KEPT, None),
        (replace(KEPT, backups=Backups(0)), None),
        (replace(KEPT, database=replace(DATABASE, archiving=FAILING)), "archiving fails (3 times, now at 00000000000"),
        (
            replace(KEPT, database=replace(DATABASE, archiving=replace(ARCHIVING, mode="off"))),
            "the WAL is not archived",
        ),
        (
            replace(KEPT, backups=Backups(1, waiting=7, waiting_since="2026-01-02T03:00:00+00:00", stuck=True)),
            "7 segments are not archived, the first since 2026-01-02T03:00:00+00:00",
        ),
        (replace(KEPT, backups=Backups(1, waiting=1, waiting_since="2026-01-02T03:00:00+00:00")), None),
        (replace(KEPT, backups=Backups(1, damaged=("20260101T033000Z",))), "base backup 20260101T033000Z is damaged"),
        (replace(KEPT, backups=Backups(1, gap="0" * 24)), "the archive lacks 000000"),
        (replace(KEPT, backups=Backups(1, error="no room")), "the last base backup failed (no room)"),
        (replace(KEPT, backups=Backups(1, "2025-12-01", overdue=True)), "the newest good base backup is of 2025-12-01"),
        (replace(GOOD, database=replace(DATABASE, archiving=FAILING)), None),  # a database of one's own
    ],
)
def test_failing_archives_and_backups_are_never_silent(seen: Observation, said: str | None) -> None:
    """Each is a problem with its next command; a base that has no backup yet is none."""
    judged = judge(seen)
    assert judged.health == ("healthy" if said is None else "degraded")
    assert [problem.startswith(said or "-") for problem in judged.problems] == ([] if said is None else [True])


def test_a_node_without_problems_is_healthy() -> None:
    """Documents that wait for the indexer are no problem."""
    assert (judge(GOOD).health, judge(GOOD).problems) == ("healthy", ())
    assert judge(STANDBY).health == "healthy"


@pytest.mark.parametrize(
    ("base", "change", "said"),
    [
        (GOOD, {"services": (replace(RUNNING, state="restarting"),)}, "postgres is restarting: aya up"),
        (GOOD, {"services": (replace(RUNNING, state="orphaned"),)}, "postgres lost its supervisor: aya up"),
        (
            GOOD,
            {"services": (replace(RUNNING, state="stopped"),), "starts": "aya launchd start"},
            "postgres is stopped: aya launchd start",
        ),
        (GOOD, {"embedder": EmbedderFacts("loading")}, "the embedder is loading"),
        (GOOD, {"embedder": EmbedderFacts(error="refused")}, "the embedder does not answer (refused): aya up"),
        (GOOD, {"embedder": EmbedderFacts("healthy", model=Model("bge", "1"))}, "the embedder runs bge"),
        (GOOD, {"database": replace(DATABASE, bound=None)}, "not bound to an embedding model yet: aya migrate"),
        (GOOD, {"database": replace(DATABASE, schema_error="lacks 3: aya migrate")}, "lacks 3: aya migrate"),
        (GOOD, {"database": replace(DATABASE, weak=("ROLE x has y = off: psql: z",))}, "ROLE x has y = off: psql: z"),
        (
            GOOD,
            {"database": replace(DATABASE, counts=Counts(3, 9, 1, 1), poison=(Poison(7, "too odd"),))},
            "1 documents cannot be indexed (document 7: too odd)",
        ),
        (
            GOOD,
            {"database": replace(DATABASE, moving=STUCK)},
            "the move to bge-base does not advance (no embedder): aya",
        ),
        (
            GOOD,
            {"database": replace(DATABASE, moving=UNPREPARED)},
            "the move to bge-base waits for its index, which is not made: aya reembed finishes it",
        ),
        (GOOD, {"database": OVERDUE}, "2 documents wait longer than a minute for the indexer: aya down"),
        (STANDBY, {"database": replace(OVERDUE, is_standby=True)}, "2 documents wait longer than a minute"),
        (STANDBY, {"replication": Replication("disconnected")}, "replication is disconnected"),
        (STANDBY, {"replication": Replication("streaming", "async", LAG_LIMIT_BYTES + 1)}, "bytes behind its primary"),
    ],
)
def test_each_problem_degrades_and_is_said(base: Observation, change: dict[str, Any], said: str) -> None:
    """One wrong thing makes the node degraded, in a sentence with the next command."""
    verdict = judge(replace(base, **change))
    assert verdict.health == "degraded"
    assert len(verdict.problems) == 1
    assert said in verdict.problems[0]


def test_a_move_that_advances_is_no_problem_and_is_told() -> None:
    """In the document with all its figures, and to people in one line."""
    verdict = judge(replace(GOOD, database=replace(DATABASE, moving=MOVING)))
    assert (verdict.health, verdict.problems) == ("healthy", ())
    told = verdict.to_json()["reembedding"]
    assert (told["phase"], told["done"], told["total"], told["seconds_left"]) == ("running", 1200, 3000, 90.0)
    assert summary(MOVING) == "running: 1200 of 3000 chunks (40 %), 20 a second, 2 min left"
    assert summary(STUCK) == "running: 1200 of 3000 chunks (40 %)"
    assert described(STUCK) == [
        "moving to bge-base (r2, 768 dimensions, cls pooling), since 2026-01-02 03:04 UTC",
        "running: 1200 of 3000 chunks (40 %)",
        "12 chunks are longer than its window: their documents are cut anew after the move",
        "1 chunks it does not take: their documents are queued after the move",
        "interrupted: no embedder",
    ]
    assert "the index of its vectors is not made yet: aya reembed finishes it" in described(UNPREPARED)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7100, "118 min"), (7200, "2 h")]
)
def test_the_time_left_is_said_as_a_person_says_it(seconds: float, said: str) -> None:
    """Seconds, minutes, hours."""
    assert duration(seconds) == said


def test_without_its_database_a_node_is_down() -> None:
    """What the others say does not matter then; the role is what the node was made as."""
    verdict = judge(replace(GOOD, role="copy", database=DatabaseFacts(error="connection refused")))
    assert (verdict.health, verdict.role) == ("down", "copy")
    assert verdict.problems == ("the database does not answer (connection refused): aya up",)


def test_a_copy_indexes_what_was_written_there() -> None:
    """An indexer that does not is told, as on the servers."""
    assert judge(replace(GOOD, role="copy", database=OVERDUE)).health == "degraded"


def test_a_promoted_standby_is_a_primary() -> None:
    """The server says what it is; nobody asks it to follow any more."""
    verdict = judge(replace(STANDBY, database=DATABASE, replication=Replication("disconnected")))
    assert (verdict.role, verdict.health) == ("primary", "healthy")


@pytest.mark.parametrize(
    ("healths", "expected"),
    [
        ([], "down"),
        (["down", "down"], "down"),
        (["down", "healthy"], "degraded"),
        (["degraded"], "degraded"),
        (["healthy", "healthy"], "healthy"),
    ],
)
def test_the_whole_is_judged_from_its_nodes(healths: list[Any], expected: str) -> None:
    """Healthy when all are, down when all are or there is none."""
    assert overall([NodeStatus(GOOD, "primary", health) for health in healths]) == expected


ASKED_TOO_EARLY = "2026-01-02 03:04:05.679 UTC [8] me@postgres/aya-up FATAL:  the database system is starting up\n"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", None),
        ("\n\n", None),
        (
            '{"event": "model.loaded", "dimension": 384, "timestamp": "2026-01-02T03:04:05Z", "level": "info"}',
            LastEvent("2026-01-02T03:04:05Z", "model.loaded dimension=384"),
        ),
        (
            "2026-01-02 03:04:05.678 UTC [7] LOG:  checkpoint complete\n\tcontinued",
            LastEvent("2026-01-02T03:04:05.678Z", "checkpoint complete"),
        ),
        (
            "2026-01-02 03:04:05.678 UTC [7] aya_user@aya_rag/psql ERROR:  no such table",
            LastEvent("2026-01-02T03:04:05.678Z", "ERROR: no such table"),
        ),
        (
            f"2026-01-02 03:04:05.678 UTC [7] LOG:  redo starts at 0/1\n{ASKED_TOO_EARLY}",
            LastEvent("2026-01-02T03:04:05.678Z", "redo starts at 0/1"),
        ),
        (ASKED_TOO_EARLY, None),
        ("aya: PostgreSQL 18.4 starts\n", LastEvent(None, "aya: PostgreSQL 18.4 starts")),
        ("[1, 2]", LastEvent(None, "[1, 2]")),
        ('{"no": "event"}', LastEvent(None, '{"no": "event"}')),
    ],
)
def test_the_last_event_of_a_log(log: str, expected: LastEvent | None) -> None:
    """JSON lines, PostgreSQL's lines and plain words are all understood."""
    assert last_event(log) == expected


def test_the_rows_of_the_table() -> None:
    """A dash stands for what is not known."""
    known = ("alpha", "primary", "healthy", "-", "-", "3", "9", "1", "-", "all-MiniLM-L6-v2")
    assert node_row(judge(GOOD), NOW) == known
    down = judge(replace(GOOD, database=DatabaseFacts(error="x")))
    assert node_row(down, NOW)[2:] == ("down", *("-",) * 7)
    behind = judge(replace(STANDBY, replication=Replication("streaming", "async", 12)))
    assert node_row(behind, NOW)[4] == "12 bytes"
    row = service_row("alpha", RUNNING)
    assert row == ("alpha", "postgres", "running", "12", "1 min", "2026-01-02 03:04:05  service.started")
    assert service_row("alpha", Service("indexer", None, "stopped", None, None))[3:] == ("-", "-", "-")


@pytest.mark.parametrize(
    ("backups", "said"),
    [
        (Backups(2, newest="2026-01-02T03:30:00+00:00"), "6 h ago"),
        (Backups(0), "none"),
        (Backups(1, newest="2026-01-02T09:30:05+00:00"), "0 s ago"),
    ],
)
def test_the_last_backup_is_told_by_its_age(backups: Backups, said: str) -> None:
    """None is no dash: a server without one wants one. A clock that went back makes no negative age."""
    assert node_row(judge(replace(GOOD, backups=backups)), NOW)[8] == said


def test_nodes_with_the_same_software_share_a_line() -> None:
    """One that differs stands out; one that does not answer is not told of."""
    old = replace(GOOD, name="beta", database=replace(GOOD.database, pgvector="0.8.4"))
    silent = replace(GOOD, name="air", database=DatabaseFacts(error="x"))
    found = versions([judge(GOOD), judge(replace(GOOD, name="gamma")), judge(old), judge(silent)])
    assert [line.split(":")[0] for line in found] == ["alpha, gamma", "beta"]
    assert "PostgreSQL 18.4, pgvector 0.8.4, schema" in found[1]


@pytest.mark.parametrize(
    ("partner", "said"),
    [
        (
            Partner("beta", "standby", 3, "running", 0.2, 0),
            ("beta, elsewhere: standby, epoch 3, its server is running; the standby is 0 bytes behind; heard 0 s ago",),
        ),
        (Partner("beta", None, None, None, None, None, "timed out"), ("beta, elsewhere: never heard (timed out)",)),
        (Partner("alpha", "primary", 3, "running", 0.2, 0), ()),
        (None, ()),
    ],
)
def test_a_server_on_a_machine_of_its_own_is_told_of(partner: Partner | None, said: tuple[str, ...]) -> None:
    """As its partner's watchdog hears of it; one of this home has a line of its own."""
    watched = Failover("SYNC", "both", "primary", 3, False, True, partner)  # noqa: FBT003
    assert screen([judge(replace(GOOD, failover=watched))], NOW).notes == said


def test_every_problem_is_on_the_screen_with_its_node() -> None:
    """What `aya status` finds is what it alerts of."""
    down = judge(replace(GOOD, database=DatabaseFacts(error="x")))
    assert screen([judge(GOOD), down], NOW).problems == tuple(f"alpha: {problem}" for problem in down.problems)


def test_the_json_document_keeps_its_shape(tmp_path: Path) -> None:
    """Scripts lean on these names."""
    found = document(Home(tmp_path), "healthy", [judge(GOOD)])
    assert set(found) == {"home", "health", "aya", "nodes"}
    (node,) = found["nodes"]
    assert {"name", "role", "dsn", "embedder_url", "data_dir", "postmaster_pid", "versions", "health"} <= set(node)
    assert set(node["versions"]) == {"aya", "postgresql", "pgvector", "schema"}
    assert node["services"][0]["last"] == {"time": "2026-01-02T03:04:05.678Z", "event": "service.started"}
    assert node["counts"]["documents"] == 3


def test_what_is_wrong_with_a_copy_degrades_its_node() -> None:
    """Offline it is healthy, and says so; what was rejected is a problem with the next command, and in the document."""
    copy = replace(GOOD, name="air", role="copy")
    offline = SyncStatus(replace(COPY, seconds_behind=7300.0), Primary("nowhere", error="nobody answers"))
    assert judge(replace(copy, sync=offline)).health == "healthy"
    assert node_row(judge(replace(copy, sync=offline)), NOW)[4] == "2 h"
    rejected = judge(replace(copy, sync=SyncStatus(replace(COPY, rejected=2), PRIMARY)))
    assert (rejected.health, len(rejected.problems)) == ("degraded", 1)
    assert rejected.to_json()["sync"]["copy"]["rejected"] == 2
    assert judge(GOOD).to_json()["sync"] is None
