"""Several pieces of work at once, a few at a time, their results in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def in_order(work: Iterable[Callable[[], Awaitable[Result]]], *, at_once: int) -> list[Result]:
    """Do all the work, at most `at_once` pieces at the same time, and return the results in the order of `work`.

    The first piece that fails cancels the others, none is begun any more, and its error is raised as it is.
    """
    results: dict[int, Result] = {}
    waiting = enumerate(work)

    async def worker() -> None:
        for index, piece in waiting:
            results[index] = await piece()

    try:
        async with asyncio.TaskGroup() as workers:
            for number in range(at_once):
                workers.create_task(worker(), name=f"in_order.{number}")
    except ExceptionGroup as group:
        first = group.exceptions[0]
        raise first from first.__cause__
    return [results[index] for index in sorted(results)]
