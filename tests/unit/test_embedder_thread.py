"""One long-lived thread: order, errors, cancellation; and the shelf that hands threads on from model to model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine

import pytest

from aya_embedder.thread import OneThread, Shelf


async def test_calls_run_on_one_thread_in_their_order() -> None:
    """Awaited calls and posted ones share the line; results and errors come back."""
    thread, seen = OneThread("test"), list[object]()
    thread.post(seen.append, 1)
    assert await thread.call(threading.get_ident) == await thread.call(threading.get_ident) != threading.get_ident()
    thread.post(seen.append, 2)
    with pytest.raises(ZeroDivisionError):
        await thread.call(divmod, 1, 0)
    assert seen == [1, 2]
    assert thread.stop(5)


async def test_a_call_that_is_cancelled_before_its_turn_is_skipped() -> None:
    """What nobody awaits any more is not run; what comes after it is."""
    thread, seen, goes_on = OneThread("test"), list[str](), threading.Event()
    thread.post(goes_on.wait)
    cancelled = asyncio.create_task(thread.call(seen.append, "cancelled"))
    after = asyncio.create_task(thread.call(seen.append, "after"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    goes_on.set()
    await after
    assert seen == ["after"]
    assert thread.stop(5)


async def test_a_thread_on_the_shelf_is_the_next_one_taken() -> None:
    """A free thread is handed on; one that is busy only when it is free, and the event loop goes on meanwhile."""
    shelf, goes_on = Shelf(), threading.Event()
    free, busy = shelf.take("inference"), shelf.take("inference.1")
    busy.post(goes_on.wait)
    waiting = asyncio.create_task(shelf.put_back([busy]))
    await shelf.put_back([free])
    assert shelf.take("inference") is free
    other = shelf.take("inference")
    assert other not in {free, busy}
    goes_on.set()
    await waiting
    assert shelf.take("inference") is busy
    await shelf.put_back([free, busy, other])
    assert [shelf.take("inference") for _ in range(3)] == [free, busy, other]
    await shelf.put_back([free, busy, other])
    shelf.clear(5)
    assert shelf.take("inference") is not free


async def shelve(thread: OneThread) -> None:
    """Give a thread to a shelf."""
    await Shelf().put_back([thread])


@pytest.mark.parametrize("leave", [shelve, OneThread.end])
async def test_a_busy_thread_that_nobody_waits_for_any_more_ends(
    leave: Callable[[OneThread], Coroutine[None, None, None]],
) -> None:
    """Whoever leaves before it is free loses nothing: it ends by itself."""
    thread, goes_on = OneThread("test"), threading.Event()
    thread.post(goes_on.wait)
    waiting = asyncio.create_task(leave(thread))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    goes_on.set()
    async with asyncio.timeout(5):
        while any(one.name == "test" for one in threading.enumerate()):  # noqa: ASYNC110 nothing tells of its end
            await asyncio.sleep(0)
