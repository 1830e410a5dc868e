"""What a channel is: somebody who is told of an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

Result = Literal["ok", "failed", "late", "dropped"]


class Failed(Exception):
    """A channel did not take an event. result: how that is counted. again: whether it may be tried once more."""

    def __init__(self, said: str, *, result: Result = "failed", again: bool = False) -> None:
        super().__init__(said)
        self.result: Result = result
        self.again = again


class Channel(Protocol):
    """A command, a webhook, the screen. name: of it, for the log; it holds no secret."""

    name: str

    async def tell(self, document: Mapping[str, Any]) -> None:
        """Tell of one event, within bounded time. Raises Failed."""
        ...
