"""Looks at the home's nodes every few seconds, and keeps what was seen: the page and the metrics are answered from it.

However many browsers look, the nodes are asked once.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2

from aya import log
from aya.errors import AyaError
from aya.home import Home
from aya.settings import load_config
from aya.status.probe import collect
from aya.status.types import NodeStatus
from aya_web.base import Base, Figures
from aya_web.figures import figures, rates, vectors_made
from aya_web.history import Sample, thinned
from aya_web.limits import Disk, Limits, Told, measured

EVERY_SECONDS = 5.0
_EMBEDDER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. at: seconds since the epoch. took_seconds: of looking. base: None: the database did not answer.

    disks: of the nodes' files, by node.
    """

    at: float
    took_seconds: float
    nodes: tuple[NodeStatus, ...]
    base: Figures | None
    disks: Mapping[str, Disk] = field(default_factory=dict[str, Disk])


class Watcher:
    """The looks of one home. last: None before the first one has ended. failures: looks that came to nothing."""

    def __init__(self, home: Home, node: str, base: Base, limits: Limits | None = None) -> None:
        """node: whose database `base` is. limits: None: with nothing beyond one so far."""
        self._home = home
        self._node = node
        self._base = base
        self._made: tuple[float, Mapping[str, float]] = (0.0, {})
        self._limits = limits or Limits()
        self.last: Look | None = None
        self.history: Sequence[Sample] = ()
        self.looks = 0
        self.failures = 0

    async def run(self) -> None:
        """Look until cancelled; what cannot be looked at is told once, and again when it can."""
        failing = False
        while True:
            try:
                await self.look()
            except (AyaError, OSError) as error:
                self.failures += 1
                if not failing:
                    log.get_logger().warning("look.failed", error=str(error))
                failing = True
            else:
                if failing:
                    log.get_logger().info("look.recovered")
                failing = False
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Look once. Raises AyaError for a home that cannot be read; a node that is silent is a finding, no error."""
        began = time.monotonic()
        chosen, config = list(self._home.nodes().values()), load_config(self._home)
        nodes, base, made = await asyncio.gather(
            collect(self._home, config, chosen),
            self._figures(),
            _vectors({node.name: f"http://127.0.0.1:{node.embedder_port}/metrics" for node in chosen}),
        )
        now = time.time()
        values = figures(nodes)
        if base is not None and base.conflicts is not None:
            values = {key: value for key, value in values.items() if key[0] != "conflicts"}
            values["conflicts", self._node] = float(base.conflicts)
        # Of time that only grows: the other one may be set.
        moment = time.monotonic()
        grown = rates(self._made[1], made, moment - self._made[0])
        self._made = (moment, made)
        values |= {("embeddings_per_second", name): rate for name, rate in grown.items()}
        disks = await asyncio.to_thread(_disks, self._home, [node.name for node in chosen])
        self.last = Look(now, moment - began, tuple(nodes), base, disks)
        ages = {self._node: base.queue_age_seconds} if base is not None else {}
        for told in self._limits.judge(measured(nodes, disks, ages, now), config.alerts.limits, moment):
            _tell(told)
        self.looks += 1
        self.history = thinned([*self.history, Sample(now, values)], now)

    async def _figures(self) -> Figures | None:
        try:
            return await self._base.figures()
        except (AyaError, TimeoutError):
            return None


def _disks(home: Home, nodes: Sequence[str]) -> dict[str, Disk]:
    found: dict[str, Disk] = {}
    for node in nodes:
        with suppress(OSError):
            usage = shutil.disk_usage(home.node_directory(node))
            # What is kept for root is not free to a server.
            found[node] = Disk(usage.total - usage.free, usage.total)
    return found


def _tell(told: Told) -> None:
    said = {"limit": told.limit, "of": told.of, "value": round(told.value, 1), "allowed": told.allowed}
    if told.crossed:
        log.get_logger().warning("limit.crossed", **said)
    else:
        log.get_logger().info("limit.recovered", **said)


async def _vectors(urls: Mapping[str, str]) -> dict[str, float]:
    """Ask the embedders how many vectors they have made; one that does not answer is left out."""
    async with httpx2.AsyncClient(timeout=_EMBEDDER_SECONDS, trust_env=False) as client:
        told = await asyncio.gather(*(_made(client, url) for url in urls.values()))
    return {name: count for name, count in zip(urls, told, strict=True) if count is not None}


async def _made(client: httpx2.AsyncClient, url: str) -> float | None:
    try:
        answer = await client.get(url)
    except httpx2.HTTPError:
        return None
    return vectors_made(answer.text) if answer.is_success else None
