"""docs/failover.md has the tables as they are, every condition and every predicate."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.model.tables import DOCUMENT, predicates, printed, rendered

from aya_watchdog.decide import PRIMARY, STANDBY, Row

TEXT = DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("table", ["PRIMARY", "STANDBY"])
def test_the_document_has_the_table(table: str) -> None:
    """Row by row: `python -m tests.model.tables` prints it anew."""
    assert printed(TEXT, table) == rendered(table)


def test_what_is_printed_is_the_table() -> None:
    """The printer reads the source; the rows that decide are the same, and in that order."""
    tables: dict[str, tuple[Row[Any], ...]] = {"PRIMARY": PRIMARY, "STANDBY": STANDBY}
    for name, table in tables.items():
        lines = rendered(name).splitlines()[2:]
        assert len(lines) == len(table)
        for line, row in zip(lines, table, strict=True):
            assert line.endswith(f"| {row.why} |")
            assert f"| {row.state}{' ‖' if row.always else ''} |" in line


def test_every_condition_has_a_meaning() -> None:
    """In the table of conditions, with whose it is."""
    described = dict(re.findall(r"^\| ([A-Z]+) \| (primary|standby|both) \| \S", TEXT, re.MULTILINE))
    of_primary, of_standby = {row.state for row in PRIMARY}, {row.state for row in STANDBY}
    assert set(described) == of_primary | of_standby
    for condition, whose in described.items():
        assert (condition in of_primary) == (whose in {"primary", "both"})
        assert (condition in of_standby) == (whose in {"standby", "both"})


def test_every_predicate_is_explained() -> None:
    """And no other."""
    words = TEXT.split("| word |")[1].split("###")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", words, re.MULTILINE)) == set(predicates())
