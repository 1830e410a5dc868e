"""What the embedder has done since it started, for /stats; and who watches it do so, for /metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol


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
    """Is told of each batch on the event loop's thread; must be quick, and must not raise."""

    def batch_computed(self, texts: int, tokens: int, seconds: float) -> None:
        """Learn of a forward pass that succeeded; tokens: without padding."""
        ...


class Unobserved:
    """An observer that looks away."""

    def batch_computed(self, texts: int, tokens: int, seconds: float) -> None:
        """Do nothing."""
