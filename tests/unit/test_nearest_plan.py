"""How the nearest vectors are looked for: a table."""

from __future__ import annotations

import pytest

from aya.knowledge.nearest import MOST_ROWS_EXACT, SEARCH_WIDTH, Scan, plan_scans, search_width, statement

MANY = MOST_ROWS_EXACT + 1


EXACT = Scan("vector_exact")
FAR = Scan("vector_graph", SEARCH_WIDTH, 20_000)


def near(rows: int) -> Scan:
    """So many of the nearest of all are looked at."""
    return Scan("vector_near", SEARCH_WIDTH, 20_000, rows)


@pytest.mark.parametrize(
    ("count", "matching", "total", "scans"),
    [
        pytest.param(50, None, 0, (Scan("vector_all", SEARCH_WIDTH, 20_000),), id="no filter"),
        pytest.param(300, None, 0, (Scan("vector_all", 600, 20_000),), id="twice what is wanted"),
        pytest.param(900, None, 0, (Scan("vector_all", 1000, 20_000),), id="no wider than pgvector can"),
        pytest.param(50, 0, 200_000, (EXACT,), id="nothing passes"),
        pytest.param(50, 5000, 200_000, (EXACT,), id="few pass"),
        pytest.param(50, 20_000, 200_000, (near(750), EXACT), id="a tenth passes"),
        pytest.param(50, MANY, 200_000, (FAR, EXACT), id="an eighth or more passes"),
        pytest.param(50, 11_000, 1_000_000, (EXACT,), id="few of a million"),
        pytest.param(50, 12_500, 1_000_000, (near(6000), EXACT), id="more of a million"),
        pytest.param(50, MANY, 1_000_000, (FAR, EXACT), id="a fortieth passes"),
        pytest.param(
            500, 24_000, 2_000_000, (Scan("vector_near", 1000, 20_000, 20_000), EXACT), id="no more than is worth it"
        ),
        pytest.param(50, MOST_ROWS_EXACT, 10_000_000, (EXACT,), id="few of ten million"),
    ],
)
def test_few_rows_are_compared_many_go_through_the_graph(
    count: int, matching: float | None, total: float, scans: tuple[Scan, ...]
) -> None:
    """What passes the filters decides, and how large the base is."""
    assert plan_scans(count, matching=matching, total=total) == scans


def test_the_graph_keeps_more_in_mind_than_is_asked_for() -> None:
    """A search that keeps as many as it returns finds its last ones poorly."""
    for count in range(1, 500):
        assert search_width(count) >= 2 * count


def test_a_query_names_the_dimension_as_its_index_does() -> None:
    """The expression of the index has the dimension, and a query with another one does not use it."""
    assert "halfvec(384)" in statement("vector_all", 384)
    assert "halfvec(768)" not in statement("vector_graph", 384)
