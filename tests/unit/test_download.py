"""How long a broken download is taken up again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aya.download import Interrupted, Persistence

MOST = 3


def attempts(reached: Iterator[int]) -> int:
    """Return how many attempts are made when they get as far as `reached` says, and every one fails."""
    made = 0
    here = 0

    def work() -> None:
        nonlocal made, here
        made += 1
        here = next(reached)
        raise Interrupted("cut")

    waits: list[float] = []
    persistence = Persistence(waits.append, lambda low, _: low, most_failures=MOST)
    with pytest.raises(Interrupted):
        persistence.persist(work, lambda: here, lambda _: None)
    assert len(waits) == made - 1
    return made


@pytest.mark.parametrize(
    ("reached", "made"),
    [
        pytest.param([0, 0, 0], 3, id="nothing ever comes"),
        pytest.param([1, 2, 3, 3, 3], 5, id="each byte forgives what was before"),
        pytest.param([5, 3, 5, 4, 5], 3, id="no ranges: as far as before is no progress"),
        pytest.param([5, 3, 4, 2], 3, id="no ranges: further than the last time is none either"),
        pytest.param([5, 3, 6, 2, 4], 5, id="no ranges: further than ever is"),
    ],
)
def test_only_getting_further_than_ever_forgives_failures(reached: list[int], made: int) -> None:
    """A line that breaks at points that vary, before a server that always begins anew, comes to an end."""
    assert attempts(iter(reached)) == made
