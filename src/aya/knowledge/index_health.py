"""Whether the index on the vectors does its work: pure, from what was seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

RECALL_AT = 10
"""Recall is of so many nearest."""
# Below, a rebuild is worth its minutes: a graph that was built whole finds 98 of 100.
LEAST_RECALL = 0.95
# An index of so many times the bytes that its vectors need holds mostly what was deleted.
MOST_BLOAT = 2.0
# Of the table's rows; autovacuum comes at a fifth (autovacuum_vacuum_scale_factor).
MOST_DEAD = 0.3
_FEW_ROWS = 1000
_PAGE, _PAGE_HEAD = 8192, 32
# A node: its header and tuple id, and its neighbours, 6 bytes each: 2 m on the lowest level (pgvector's hnsw.h).
_NODE, _NEIGHBOUR, _NEIGHBOURS = 76 + 8, 6, 2 * 16 + 3


@dataclass(frozen=True, slots=True)
class IndexState:
    """The index as the server knows it. as_made_now: of the kind and storage that would be made today."""

    definition: str
    valid: bool
    bytes: int
    as_made_now: bool


@dataclass(frozen=True, slots=True)
class Build:
    """A build under way. share: of its present phase, 0 to 1."""

    phase: str
    share: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What searches for real chunks' vectors found, beside all chunks compared. recall: of the ten nearest.

    Milliseconds are of searches through the index; None: nothing could be asked.
    """

    queries: int
    recall: float | None
    p50_ms: float | None
    p95_ms: float | None
    exact_p50_ms: float | None


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """All that `aya index status` knows. dead: rows; None on a standby, which keeps no such count."""

    state: IndexState | None
    build: Build | None
    with_vector: int
    without_vector: int
    dead: int | None
    dimension: int
    table_bytes: int
    shared_buffers: int
    is_standby: bool
    ef_search: int
    sample: Sample = field(default_factory=lambda: Sample(0, None, None, None, None))

    @property
    def bloat(self) -> float | None:
        """How many times the bytes that its vectors need the index has; None for too few to say."""
        if self.state is None or self.with_vector < _FEW_ROWS:
            return None
        return self.state.bytes / bytes_needed(self.with_vector, self.dimension)

    def to_json(self) -> dict[str, Any]:
        """Return what programs are told of it."""
        return {
            **asdict(self),
            "bloat": self.bloat,
            "problems": [asdict(problem) for problem in problems(self)],
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and the command that mends it."""

    what: str
    mend: str


def bytes_needed(rows: int, dimension: int) -> int:
    """Return how large a graph of halfvec(dimension) is when it is new; nodes do not cross pages."""
    node = _NODE + 2 * dimension + _NEIGHBOUR * _NEIGHBOURS
    return _PAGE * -(-rows // max(1, (_PAGE - _PAGE_HEAD) // node))


def problems(seen: IndexStatus) -> Sequence[Problem]:
    """Return what is wrong, the gravest first."""
    elsewhere = " (at the primary)" if seen.is_standby else ""
    build, rebuild = f"aya index build{elsewhere}", f"aya index build --rebuild{elsewhere}"
    if seen.build is not None:
        return ()
    if seen.state is None:
        return (Problem("there is no index on the vectors: every search compares all of them", build),)
    if not seen.state.valid:
        return (Problem("the index is broken: its build was cut short, and no search uses it", build),)
    found: list[Problem] = []
    if not seen.state.as_made_now:
        found.append(Problem("the index is of another kind than searches ask for: none uses it", rebuild))
    recall = seen.sample.recall
    if recall is not None and recall < LEAST_RECALL:
        found.append(Problem(f"searches find {recall:.0%} of the nearest", rebuild))
    if seen.bloat is not None and seen.bloat > MOST_BLOAT:
        found.append(Problem(f"the index has {seen.bloat:.1f} times the bytes that its vectors need", rebuild))
    total = seen.with_vector + seen.without_vector
    if seen.dead is not None and total >= _FEW_ROWS and seen.dead > MOST_DEAD * total:
        found.append(Problem(f"{seen.dead} dead rows are searched along", "psql: VACUUM chunks"))
    return found
