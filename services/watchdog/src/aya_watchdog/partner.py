"""What is known of the partner: its agent's last word, and whether its server lets us in. Polled, never waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Any, get_args

import asyncpg
import httpx2

from aya.certificates import Identity, client_context, server_name
from aya.members import Member
from aya.postgres.config import WATCHDOG_ROLE
from aya_watchdog.protocol import Armed, Role
from aya_watchdog.views import Peer, Server

REQUEST_SECONDS = 0.5
_PROBE_EVERY_SECONDS = 0.5
_PROBE_SECONDS = 1.5
_NUDGE = "/peer?nudge=1"


@dataclass(slots=True)
class Seen:
    """The latest of the partner. Times are monotonic seconds; -inf: never.

    strikes: looks in a row by which no address answered. address: the one that did.
    """

    peer: Peer | None = None
    heard_at: float = -inf
    strikes: int = 0
    probed_at: float = -inf
    address: str = ""
    error: str = "not asked yet"


def to_document(peer: Peer) -> dict[str, Any]:
    """Return a Peer as JSON."""
    return asdict(peer)


def from_document(document: Mapping[str, Any]) -> Peer:
    """Return the Peer that a partner's answer holds; ValueError when it holds none. Unknown fields are passed over."""
    known = {field.name: document[field.name] for field in fields(Peer) if field.name in document}
    armed = known.pop("armed", None)
    if known.get("role") not in get_args(Role) or known.get("server", "running") not in get_args(Server):
        raise ValueError(f"no role, or no condition: {document}")
    numbers = ("epoch", "arming", "consent", "given_up", "timeline")
    if not all(isinstance(known.get(name, 0), int) for name in numbers):
        raise ValueError(f"a number is none: {document}")
    return Peer(**known, armed=Armed(**armed) if armed else Armed())


class Partner:
    """Looks after the other server from afar. `changed` is called when its word is not what it was."""

    def __init__(
        self, member: Member, identity: Identity, password: str, *, seconds: float, changed: Callable[[], None]
    ) -> None:
        self.member = member
        self.seen = Seen()
        self._password = password
        self._seconds = seconds
        self._changed = changed
        self._hurry = asyncio.Event()
        self._clients = {
            address: httpx2.AsyncClient(
                base_url=f"https://{_bracketed(address)}:{member.agent_port}",
                verify=client_context(identity),
                timeout=REQUEST_SECONDS,
                trust_env=False,
            )
            for address in member.addresses
        }

    def hurry(self) -> None:
        """Ask at once: the partner says that it has news."""
        self._hurry.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(), name="partner.agent")
                tasks.create_task(self._knock(), name="partner.server")
        finally:
            for client in self._clients.values():
                await client.aclose()

    async def nudge(self) -> None:
        """Tell the partner that there are news here; whether it hears that is its own affair."""
        await self._ask(_NUDGE)

    async def _listen(self) -> None:
        while True:
            began = time.monotonic()
            peer = await self._ask("/peer")
            if peer is None:
                self.seen.strikes += 1
                self._changed()
            else:
                news = peer != self.seen.peer or self.seen.strikes > 0
                self.seen.peer, self.seen.heard_at, self.seen.strikes = peer, time.monotonic(), 0
                if news:
                    self._changed()
            # A partner that refuses is asked as often as one that answers: four times in a second.
            left = self._seconds - (time.monotonic() - began)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, left)):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _ask(self, path: str) -> Peer | None:
        """Ask by every address at once; the first answer counts."""
        asking = {asyncio.create_task(self._ask_at(address, path), name="ask") for address in self._clients}
        found: Peer | None = None
        try:
            while asking and found is None:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                found = next((one.result() for one in done if one.result() is not None), None)
        finally:
            for task in asking:
                task.cancel()
        return found

    async def _ask_at(self, address: str, path: str) -> Peer | None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                answer = await self._clients[address].get(
                    path, extensions={"sni_hostname": server_name(self.member.name)}
                )
            peer = from_document(answer.raise_for_status().json())
        except (httpx2.HTTPError, TimeoutError, OSError, ValueError, TypeError) as error:
            self.seen.error = f"{address}: {str(error) or type(error).__name__}"
            return None
        self.seen.address = address
        return peer

    async def _knock(self) -> None:
        """Enter the partner's server again and again, on a new connection each time: an old one says less."""
        while True:
            began = time.monotonic()
            tries = [asyncio.create_task(self._enter(address), name="knock") for address in self.member.addresses]
            if any(await asyncio.gather(*tries)):
                self.seen.probed_at = time.monotonic()
            await asyncio.sleep(max(0.0, _PROBE_EVERY_SECONDS - (time.monotonic() - began)))

    async def _enter(self, address: str) -> bool:
        try:
            # Cancelled while it connects, it has nothing to cancel at the server.
            async with asyncio.timeout(_PROBE_SECONDS):
                connection = await asyncpg.connect(
                    host=address,
                    port=self.member.postgres_port,
                    user=WATCHDOG_ROLE,
                    password=self._password,
                    database="postgres",
                    server_settings={"application_name": "aya-watchdog"},
                )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        connection.terminate()
        return True


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


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
