"""What the client is still owed, and in which form it gets it: alone, in a batch's array, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aya_mcp.greeting import RequestId


@dataclass(slots=True)
class _Batch:
    owed: set[RequestId]
    answers: list[bytes] = field(default_factory=list[bytes])


class Outbox:
    """Requests without an answer yet. idle is set while there is none.

    send: takes one line. greeted: the id of an `initialize` that was answered before the SDK was there; its second
    answer is dropped.
    """

    def __init__(self, send: Callable[[bytes], None], greeted: RequestId | None) -> None:
        self._send = send
        self._greeted = greeted
        self._unanswered: set[RequestId] = set()
        self._batches: dict[RequestId, _Batch] = {}
        self.idle = asyncio.Event()
        self.idle.set()

    def owe(self, request_ids: Iterable[RequestId]) -> None:
        """Note requests that want an answer each."""
        self._unanswered |= set(request_ids)
        self._update()

    def owe_together(self, request_ids: Iterable[RequestId], refusals: Iterable[bytes]) -> None:
        """Note the requests of one batch: they are answered in one array, its refusals included (JSON-RPC 2.0, 6)."""
        batch = _Batch(set(request_ids), list(refusals))
        self._batches |= dict.fromkeys(batch.owed, batch)
        self.owe(batch.owed)
        self._complete(batch)

    def answer(self, request_id: RequestId, line: bytes) -> None:
        """Give the client an answer, at once or when its batch is complete."""
        batch = self._batches.get(request_id)
        if request_id == self._greeted:
            self._greeted = None
        elif batch is None:
            self._send(line)
        else:
            batch.answers.append(line)
        self.forgive(request_id)

    def forgive(self, request_id: RequestId) -> None:
        """Owe this request nothing any more: it was answered, or its client cancelled it."""
        self._unanswered.discard(request_id)
        batch = self._batches.pop(request_id, None)
        if batch is not None:
            batch.owed.discard(request_id)
            self._complete(batch)
        self._update()

    def _complete(self, batch: _Batch) -> None:
        if not batch.owed and batch.answers:
            self._send(b"[" + b",".join(batch.answers) + b"]")

    def _update(self) -> None:
        if self._unanswered:
            self.idle.clear()
        else:
            self.idle.set()
