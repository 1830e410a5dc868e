"""Addresses of names, asked for in threads of their own: a name server that is silent holds nobody up.

The event loop's own threads are few, and the state file is written in one of them; getaddrinfo(3) cannot be ended and
takes half a minute with a name server that is cut off.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_KEPT_SECONDS = 30.0
_MOST = 4

Resolve = Callable[[str], list[str]]


def system(name: str) -> list[str]:
    """Return what the system knows as addresses of `name`; blocks. Raises OSError."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))[:_MOST]


@dataclass(slots=True)
class _Known:
    addresses: tuple[str, ...] = ()
    at: float = 0.0
    asked: asyncio.Future[None] | None = None


class Names:
    """The latest addresses of some names. An address of its own needs no asking."""

    def __init__(self, resolve: Resolve = system) -> None:
        self._resolve = resolve
        self._known: dict[str, _Known] = {}

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses: those of before while newer ones are being asked for, () when there are none.

        Waits only the first time, until there is an answer or the caller has had enough.
        """
        if _is_address(name):
            return (name,)
        known = self._known.setdefault(name, _Known())
        if known.asked is None and (not known.addresses or time.monotonic() - known.at > _KEPT_SECONDS):
            known.asked = asyncio.get_running_loop().create_future()
            threading.Thread(target=self._ask, args=(name, known, known.asked), daemon=True).start()
        if not known.addresses and known.asked is not None:
            await asyncio.shield(known.asked)
        return known.addresses

    def _ask(self, name: str, known: _Known, asked: asyncio.Future[None]) -> None:
        found: tuple[str, ...] = ()
        with suppress(OSError, UnicodeError):
            found = tuple(self._resolve(name))

        def tell() -> None:
            known.addresses = found or known.addresses
            known.at, known.asked = time.monotonic(), None
            if not asked.done():
                asked.set_result(None)

        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            asked.get_loop().call_soon_threadsafe(tell)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
