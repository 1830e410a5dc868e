"""What is known of the partner: its agent's last word, and whether its server lets us in. Polled, never waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Literal

import asyncpg

from aya.certificates import client_context, identity
from aya.members import Member
from aya.postgres.config import WATCHDOG_ROLE
from aya_watchdog.channel import Channel
from aya_watchdog.config import Config
from aya_watchdog.views import Peer

_KNOCK_SECONDS = 0.5
_ENTER_SECONDS = 1.5


@dataclass(slots=True)
class Seen:
    """The latest of the partner. Times are monotonic seconds; -inf: never.

    heard_at: when the question was sent that `peer` answers. strikes: looks in a row by which no address answered.
    address: the one that did. entered_at: when its server let us in; refused: nobody listens there, the machine says.
    """

    peer: Peer | None = None
    heard_at: float = -inf
    strikes: int = 0
    entered_at: float = -inf
    refused: bool = False
    address: str = ""
    error: str = "not asked yet"


class Partner:
    """Looks after the other server from afar. `changed` is called when its word is not what it was."""

    def __init__(self, member: Member, config: Config, *, changed: Callable[[], None]) -> None:
        self.member = member
        self.seen = Seen()
        self._password, self._proof = config.probe_password, config.proof
        self._seconds = config.poll_seconds
        self._changed = changed
        self._hurry = asyncio.Event()
        self._news = asyncio.Event()
        self._channel = Channel(
            member.name,
            member.addresses,
            member.agent_port,
            client_context(identity(config.home.agent_directory(config.node))),
        )

    def hurry(self) -> None:
        """Ask at once: the partner says that it has news."""
        self._hurry.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        async with self._channel, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="partner.agent")
            tasks.create_task(self._knock(), name="partner.server")
            tasks.create_task(self._telling(), name="partner.news")

    async def _telling(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._channel.ask(news=True)

    def tell(self) -> None:
        """Tell the partner that there are news here, and come back at once; whether it hears them is its own affair."""
        self._news.set()

    async def _listen(self) -> None:
        while True:
            began = time.monotonic()
            heard = await self._channel.ask()
            if heard.peer is None:
                self.seen.strikes += 1
                self.seen.error = ", ".join(f"{address}: {why}" for address, why in heard.failures.items())
                self._changed()
            elif heard.asked_at >= self.seen.heard_at:
                news = heard.peer != self.seen.peer or self.seen.strikes > 0
                self.seen.peer, self.seen.heard_at, self.seen.strikes = heard.peer, heard.asked_at, 0
                self.seen.address = heard.address or ""
                if news:
                    self._changed()
            # A partner that refuses is asked as often as one that answers: four times in a second.
            left = self._seconds - (time.monotonic() - began)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, left)):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _knock(self) -> None:
        """Enter the partner's server again and again, on a new connection each time: an old one says less."""
        while True:
            began = time.monotonic()
            tries = [asyncio.create_task(self._enter(address), name="knock") for address in self.member.addresses]
            found = await asyncio.gather(*tries)
            self.seen.refused = set(found) == {"refused"}
            if "entered" in found:
                self.seen.entered_at = time.monotonic()
            await asyncio.sleep(max(0.0, _KNOCK_SECONDS - (time.monotonic() - began)))

    async def _enter(self, address: str) -> Literal["entered", "refused", "silent"]:
        try:
            # Cancelled while it connects, it has nothing to cancel at the server.
            async with asyncio.timeout(_ENTER_SECONDS):
                connection = await asyncpg.connect(
                    host=address,
                    port=self.member.postgres_port,
                    user=WATCHDOG_ROLE,
                    password=self._password,
                    database="postgres",
                    ssl=self._proof,
                    server_settings={"application_name": "aya-watchdog"},
                )
        except ConnectionRefusedError:
            return "refused"
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return "silent"
        connection.terminate()
        return "entered"


async def reachable(addresses: tuple[tuple[str, int], ...], seconds: float) -> bool:
    """Return whether one of these answers, be it by refusing: then this node is not the one that is cut off."""

    async def answers(host: str, port: int) -> bool:
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return any(await asyncio.gather(*(answers(*each) for each in addresses)))
