"""One long-lived thread that runs calls one after another, awaited from asyncio.

MLX's arrays and streams belong to the thread that made them, and every further thread that touches MLX leaks
one; a pool that starts and ends threads as it likes will not do.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[..., object]
    arguments: tuple[object, ...]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[object]


class OneThread:
    """A daemon thread: a forward pass or a download, which nobody can interrupt, does not keep it alive."""

    def __init__(self, name: str) -> None:
        """Start the thread; name: shown by debuggers."""
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Run `function(*arguments)` on the thread, after the calls before it; return or raise what it does.

        When the caller is cancelled before its turn, the call is skipped.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[object] = loop.create_future()
        call = _Call(function, arguments, contextvars.copy_context(), loop, outcome)
        self._calls.put(partial(_perform, call))
        return cast("Result", await outcome)

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Run `function(*arguments)` on the thread, after the calls before it; it must not raise. From any thread."""
        self._calls.put(partial(_run_alone, contextvars.copy_context(), function, arguments))

    def stop(self, timeout_seconds: float) -> bool:
        """Let the calls made so far end, wait for that as long as given, and say whether they did."""
        self._calls.put(None)
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    async def settled(self) -> None:
        """Wait until the calls made so far have ended. The thread goes on."""
        await self.call(_nothing)

    async def end(self) -> None:
        """Wait until the calls made so far have ended, and end the thread; when cancelled, it ends all the same."""
        try:
            await self.settled()
        finally:
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            # a loop that is closed has nobody left who waits
            with contextlib.suppress(RuntimeError):
                call()


class Shelf:
    """Threads that one model has given back, for the next: what MLX makes for a thread never ends."""

    def __init__(self) -> None:
        self._idle: list[OneThread] = []

    def take(self, name: str) -> OneThread:
        """Return a thread from the shelf, or a new one, which is called `name`."""
        return self._idle.pop() if self._idle else OneThread(name)

    async def put_back(self, threads: Sequence[OneThread]) -> None:
        """Take threads back when they are free, to be taken in this order; cancelled before, this lets them end.

        A model loads on its first thread, for which MLX makes more than for the others.
        """
        try:
            await asyncio.gather(*(thread.settled() for thread in threads))
        except asyncio.CancelledError:
            for thread in threads:
                thread.stop(0)
            raise
        self._idle.extend(reversed(threads))

    def clear(self, timeout_seconds: float) -> None:
        """End the threads on the shelf, waiting for each as long as given."""
        while self._idle:
            self._idle.pop().stop(timeout_seconds)


def _run_alone(context: contextvars.Context, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    context.run(function, *arguments)


def _nothing() -> None:
    """Do nothing, when its turn has come."""


def _perform(call: _Call) -> None:
    if call.outcome.cancelled():
        return
    try:
        result = call.context.run(call.function, *call.arguments)
    except Exception as error:  # noqa: BLE001 it is raised again where the call is awaited
        call.loop.call_soon_threadsafe(_settle, call.outcome, None, error)
    else:
        call.loop.call_soon_threadsafe(_settle, call.outcome, result, None)


def _settle(outcome: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if outcome.cancelled():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
