"""How `up` and `down` tell what they do."""

from __future__ import annotations

from typing import Protocol

from aya.errors import AyaError


class Report(Protocol):
    """Told of each step as soon as it is done. Nothing is expected back, and nothing may be raised."""

    def step(self, node: str, text: str) -> None:
        """Tell that something is done, or is being waited for."""

    def warn(self, node: str, error: AyaError) -> None:
        """Tell of something that a person must look after, though the node runs."""
