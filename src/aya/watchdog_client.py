"""A watchdog of this machine, spoken to over its unix socket; the calls are those of aya_watchdog.control."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from aya.errors import WatchdogError, WatchdogUnavailable
from aya.home import Home
from aya.json_object import json_object

_SECONDS = 5.0
_ERRORS = 400


def socket_of(home: Home, node: str) -> Path:
    """Return the unix socket by which a node's watchdog takes a person's orders."""
    return home.runtime_directory / f"{node}-watchdog.sock"


class WatchdogClient:
    """One node's watchdog. Used as `async with`.

    All calls raise WatchdogUnavailable when nothing answers, and WatchdogError for a refusal, in the watchdog's own
    words and with its hint.
    """

    def __init__(self, home: Home, node: str) -> None:
        self.node = node
        self._path = socket_of(home, node)
        self._http = httpx2.AsyncClient(
            base_url="http://watchdog",
            transport=httpx2.AsyncHTTPTransport(uds=str(self._path)),
            timeout=_SECONDS,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Begin; nothing is connected yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def status(self) -> dict[str, Any]:
        """Return the status (its fields: aya_watchdog.board)."""
        return await self._call("GET", "/status")

    async def history(self) -> list[dict[str, Any]]:
        """Return the epochs, the latest first: {epoch, node, timeline, reason, began_at}."""
        epochs: list[dict[str, Any]] = (await self._call("GET", "/history"))["epochs"]
        return epochs

    async def order(self, path: str, by: str, reason: str | None = None, **more: bool) -> dict[str, Any]:
        """Give an order (switchover, failover, degrade, rejoin, pause, resume); return what was answered.

        Repeated, it is one order.
        """
        return await self._call("POST", f"/{path}", {"by": by, "reason": reason, **more})

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, json=body)
            said = json_object(answer.json())
        except httpx2.TimeoutException as error:
            raise WatchdogUnavailable(
                f"the watchdog of {self.node} does not answer within {_SECONDS:.0f} s", hint="aya status"
            ) from error
        except httpx2.TransportError as error:
            raise WatchdogUnavailable(
                f"no watchdog of {self.node} runs on this machine ({self._path})", hint="aya up, then aya status"
            ) from error
        except ValueError as error:
            raise WatchdogError(f"what answers on {self._path} is no watchdog", hint="aya status") from error
        if said is None or answer.status_code >= _ERRORS:
            refusal = json_object((said or {}).get("error")) or {}
            message = str(refusal.get("message") or f"HTTP status {answer.status_code}")
            hint = refusal.get("hint")
            raise WatchdogError(f"{self.node}: {message}", hint=str(hint) if hint else "aya status")
        return said
