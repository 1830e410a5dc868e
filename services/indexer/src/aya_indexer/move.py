"""What to do next for a move to another model, how much of it at once, and what the embedder has to load; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aya.errors import EmbedderError, EmbedderUnavailable, TextTooLong
from aya.identity import ModelStatus
from aya.knowledge.models import Bound, Move, Phase

Step = Literal["rest", "queue_exceptions", "fill", "switch"]
Blame = Literal["text", "unclear", "system"]
# What the embedder answers about texts: over a cap, not what the call takes (aya_embedder.problems).
_OF_THE_TEXT = (413, 422)
# The model failed: at this text, or at every one.
_UNCLEAR = 500
# It takes longer than a request may.
_OUT_OF_TIME = 504

FEWEST_ROWS, FIRST_ROWS, MOST_ROWS = 4, 16, 512
# A batch that takes about that long: a pause is heeded and a new document has its turn within a second.
_SHORT_SECONDS, _LONG_SECONDS = 0.25, 0.75
# So often the switch is tried with not one chunk left over; a base that is written without a break gets it after that
# with so many left over, which are found by their words only until the indexer has been there.
_PATIENT_TRIES = 20
_MOST_LEFT = 100
# With the same chunk alone, and after the embedder had been well.
_MOST_FAILURES = 3
_SMOOTHING = 0.3


@dataclass(frozen=True, slots=True)
class Seen:
    """phase: of the move, None when there is none. missing: a chunk still has no next vector, and might get one.

    exceptions: chunks are noted that the new model could not take as they are.
    """

    phase: Phase | None
    missing: bool
    exceptions: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step, and why."""

    step: Step
    reason: str


def decide(seen: Seen) -> Decision:
    """Return the next step of a move; one that was made before, in whole or in part, is harmless."""
    if seen.phase is None:
        if seen.exceptions:
            return Decision("queue_exceptions", "the move is over, and some chunks have to be cut anew")
        return Decision("rest", "there is no move")
    if seen.phase == "preparing":
        return Decision("rest", "its index is not made yet")
    if seen.phase == "paused":
        return Decision("rest", "it is paused")
    if seen.missing:
        return Decision("fill", "chunks lack their next vector")
    return Decision("switch", "every chunk has its next vector")


def next_size(rows: int, seconds: float) -> int:
    """Return how many chunks to take next time, when `rows` took `seconds`."""
    if seconds < _SHORT_SECONDS:
        return min(MOST_ROWS, rows * 2)
    return max(min(rows, FEWEST_ROWS), rows // 2) if seconds > _LONG_SECONDS else rows


def smoothed(rate: float | None, rows: int, seconds: float) -> float:
    """Return the speed in rows a second, the latest batch counting for a third; rate: before it."""
    now = rows / max(seconds, 1e-3)
    return now if rate is None else rate + _SMOOTHING * (now - rate)


def blame(error: EmbedderError) -> Blame:
    """Return whose fault it is that texts were not embedded; unclear: the text's, if the model takes another one."""
    if isinstance(error, TextTooLong) or error.status in _OF_THE_TEXT:
        return "text"
    return "unclear" if error.status == _UNCLEAR else "system"


def is_suspect(error: EmbedderError) -> bool:
    """Return whether a text may have killed the embedder, or does not end in time, which had just been well."""
    return isinstance(error, EmbedderUnavailable) or error.status == _OUT_OF_TIME


@dataclass(frozen=True, slots=True)
class Suspect:
    """A chunk with which alone the embedder failed, and how often in a row."""

    chunk: tuple[int, str] | None = None
    failures: int = 0

    @property
    def convicted(self) -> bool:
        """Whether that was often enough to go on without it."""
        return self.failures >= _MOST_FAILURES

    def failed(self, chunks: Sequence[tuple[int, str]]) -> Suspect:
        """Return who is suspected once the embedder failed with these chunks, too; of several it is nobody yet."""
        if len(chunks) != 1:
            return self
        return Suspect(chunks[0], self.failures + 1 if chunks[0] == self.chunk else 1)


def left_over(tries: int) -> int:
    """Return how many chunks may lack their vector at the switch, when it was tried `tries` times."""
    return 0 if tries < _PATIENT_TRIES else _MOST_LEFT


@dataclass(frozen=True, slots=True)
class Order:
    """A model that the embedder is to load. default: and to make its default."""

    source: str
    default: bool


@dataclass(frozen=True, slots=True)
class Given:
    """An order that was given: how often in a row, what the embedder last said, and when it may be given again."""

    times: int = 0
    state: str = ""
    again_at: float = 0.0


def orders(models: Sequence[ModelStatus], wanted: Bound, move: Move | None) -> list[Order]:
    """Return what brings the embedder in line: the database's model its default, the next one loaded ahead."""
    default = next((model for model in models if model.default), None)
    is_wanted = (
        default is not None
        and default.identity is not None
        and default.identity.fingerprint == wanted.identity.fingerprint
    )
    found = [] if is_wanted or wanted.source is None else [Order(wanted.source, default=True)]
    if move is not None and move.source not in {model.source for model in models if model.state != "failed"}:
        found.append(Order(move.source, default=False))
    return found
