"""Whoever is to be told, each in his own time: a slow channel holds up neither the service nor another channel.

`heard` is a step of the log: it only puts an event into queues. When a queue is full the oldest event goes: the latest
is what counts.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aya import log
from aya.alerts import events
from aya.alerts.channel import Channel, Failed, Result
from aya.alerts.command import commands
from aya.alerts.config import AlertSettings
from aya.alerts.notification import Notification
from aya.alerts.webhook import Webhook
from aya.backoff import Backoff

MOST_QUEUED = 64
_TRIES = 6
_AGAIN = Backoff(first_seconds=1.0, cap_seconds=60.0)


def channels(settings: AlertSettings, platform: str = sys.platform) -> list[Channel]:
    """Return who is to be told."""
    found: list[Channel] = [*commands(settings.commands)]
    if settings.webhook and settings.secret_file:
        found.append(Webhook(settings.webhook, settings.secret_file))
    if settings.notify and platform == "darwin":
        found.append(Notification())
    return found


class Alerts:
    """The alerts of one service.

    count: called with how every event ended at a channel. again: how long until another try.
    `run` is a task beside the service's own.
    """

    def __init__(
        self,
        node: str,
        service: str,
        told: Sequence[Channel],
        *,
        count: Callable[[Result], None] = lambda _: None,
        again: Backoff = _AGAIN,
    ) -> None:
        self._node, self._service, self._count, self._again = node, service, count, again
        self._gate = events.Gate()
        self._queues = [(channel, deque[dict[str, Any]](maxlen=MOST_QUEUED), asyncio.Event()) for channel in told]

    def heard(self, event: str, details: Mapping[str, Any]) -> None:
        """Have everybody told of an event that was logged, soon, if it is an alert; returns at once, never raises."""
        if not self._queues or not self._gate.passes(event, details, time.monotonic()):
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = events.document(event, details, at=at, node=self._node, service=self._service)
        for channel, queue, news in self._queues:
            if len(queue) == MOST_QUEUED:
                log.get_logger().warning("alert.dropped", channel=channel.name, alert=queue[0]["event"])
                self._count("dropped")
            queue.append(document)
            news.set()

    async def run(self) -> None:
        """Tell until cancelled; at every channel one event after the other."""
        async with asyncio.TaskGroup() as tasks:
            for channel, queue, news in self._queues:
                tasks.create_task(self._serve(channel, queue, news), name=f"alerts {channel.name}")

    async def finish(self, seconds: float) -> None:
        """Wait until what is queued is told, so long at most: for a service that ends."""
        try:
            async with asyncio.timeout(seconds):
                while any(queue for _, queue, _ in self._queues):  # noqa: ASYNC110 - they wake nobody
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass

    async def _serve(self, channel: Channel, queue: deque[dict[str, Any]], news: asyncio.Event) -> None:
        while True:
            while queue:
                document = queue[0]
                await self._told(channel, document)
                # It may be gone: a full queue lets its oldest go.
                if queue and queue[0] is document:
                    queue.popleft()
            news.clear()
            await news.wait()

    async def _told(self, channel: Channel, document: Mapping[str, Any]) -> None:
        for tries in range(1, _TRIES + 1):
            try:
                await _tell(channel, document)
            except Failed as failed:
                if failed.again and tries < _TRIES:
                    await asyncio.sleep(self._again.delay_seconds(tries, random.uniform))
                    continue
                self._count(failed.result)
                log.get_logger().warning(
                    "alert.failed", channel=channel.name, alert=document["event"], result=failed.result,
                    said=str(failed), tries=tries,
                )  # fmt: skip
            else:
                self._count("ok")
            return


async def _tell(channel: Channel, document: Mapping[str, Any]) -> None:
    """Have a channel tell; an error that it did not foresee must not end the others. Raises Failed."""
    try:
        await channel.tell(document)
    except Failed:
        raise
    except Exception as error:
        raise Failed(f"{type(error).__name__}: {error}") from error
