"""What the embedder has done since it started, for /stats; and who watches it do so, for /metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aya_embedder.embedder import Answer


@dataclass(slots=True)
class Counters:
    """What has been done since the start.

    hits_memory, hits_disk, misses: texts by where their vectors came from; a miss was computed, or waited for a
    computation that another request had begun. tokens: those that the model read. busy_seconds: of all streams.
    """

    requests: int = 0
    texts: int = 0
    hits_memory: int = 0
    hits_disk: int = 0
    misses: int = 0
    tokens: int = 0
    batches: int = 0
    failed_texts: int = 0
    busy_seconds: float = 0.0

    def as_dict(self) -> dict[str, int | float]:
        """Return the counters by name, ready for JSON."""
        return asdict(self)


class Observer(Protocol):
    """Is told of each step on the event loop's thread; must be quick, and must not raise."""

    def request_answered(self, answer: Answer) -> None:
        """Learn of a request that got its vectors: its texts, their tokens, and its timings."""
        ...

    def batch_computed(self, texts: int, tokens: int, seconds: float) -> None:
        """Learn of a forward pass that succeeded; tokens: without padding."""
        ...

    def text_failed(self) -> None:
        """Learn of a text that the model could not do."""
        ...


class Unobserved:
    """An observer that looks away."""

    def request_answered(self, answer: Answer) -> None:
        """Do nothing."""

    def batch_computed(self, texts: int, tokens: int, seconds: float) -> None:
        """Do nothing."""

    def text_failed(self) -> None:
        """Do nothing."""
