"""Keeps the embedder of this node in line with the database: its model is the default, the next one is loaded ahead.

A plain POST /embed, which names no model, then gives the base's vectors; and nobody waits for the next model when the
base has moved to it. On a standby, too, which hears of both by replication.
"""

from __future__ import annotations

import random
import time

from aya import log
from aya.backoff import Backoff
from aya.embedder_client import EmbedderClient
from aya.errors import EmbedderError
from aya.identity import ModelIdentity
from aya.knowledge.binding import have_ready
from aya_indexer.config import Config
from aya_indexer.move import Given, Order, orders
from aya_indexer.move_store import MoveStore
from aya_indexer.outage import Outage

_LOAD_SECONDS = 30.0
_ORDERING = Backoff(first_seconds=2.0, cap_seconds=300.0)


class Models:
    """What was last known of the embedder's models; asked again at every tick, for an embedder may be restarted."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._outage = Outage("models")
        self._identity: ModelIdentity | None = None
        self._ask_at = 0.0
        self._given: dict[Order, Given] = {}

    async def ready(self, store: MoveStore, embedder: EmbedderClient) -> ModelIdentity:
        """Return the database's model once the embedder has it. Raises what aya.knowledge.binding.have_ready does."""
        wanted, identity = await store.bound(), self._identity
        if (
            identity is None
            or wanted is None
            or wanted.identity.fingerprint != identity.fingerprint
            or time.monotonic() >= self._ask_at
        ):
            self._identity = None
            identity = await have_ready(embedder, wanted, seconds=_LOAD_SECONDS)
            await self.align(store, embedder)
            self._identity, self._ask_at = identity, time.monotonic() + self._config.poll_seconds
        return identity

    async def align(self, store: MoveStore, embedder: EmbedderClient) -> None:
        """Tell the embedder what to load and what to make its default; that it does not answer is only logged."""
        wanted = await store.bound()
        if wanted is None:
            return
        try:
            found = orders(await embedder.models(), wanted, await store.move())
            self._given = {order: self._given.get(order, Given()) for order in found}
            for order in found:
                await self._give(order, embedder)
        except EmbedderError as error:
            self._outage.failed(error, time.monotonic())
        else:
            self._outage.over()

    async def _give(self, order: Order, embedder: EmbedderClient) -> None:
        """Have a model loaded, ever more rarely while that brings nothing; told once, and when the answer changes."""
        given, now = self._given[order], time.monotonic()
        if now < given.again_at:
            return
        told = await embedder.load_model(order.source, default=order.default)
        if told.state != given.state:
            log.get_logger().info("model.ordered", source=order.source, default=order.default, state=told.state)
        again_at = now + _ORDERING.delay_seconds(given.times + 1, random.uniform)
        self._given[order] = Given(given.times + 1, told.state, again_at)
