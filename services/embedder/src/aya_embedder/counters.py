"""What the embedder has done since it started, for /stats."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """What has been done since the start. tokens: those that the model read; busy_seconds: of all streams together."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    failed_texts: int = 0
    busy_seconds: float = 0.0

    def as_dict(self) -> dict[str, int | float]:
        """Return the counters by name, ready for JSON."""
        return asdict(self)
