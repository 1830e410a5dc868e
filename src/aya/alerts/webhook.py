"""A webhook: POST of an event's document, signed as Standard Webhooks says (https://www.standardwebhooks.com).

Headers: webhook-id, the same for every try of one event, webhook-timestamp in seconds, webhook-signature
"v1,BASE64(HMAC-SHA256(secret, id.timestamp.body))". The secret's file holds whsec_ and its base64, or any line.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aya.alerts.channel import Failed
from aya.errors import ConfigError
from aya.secret_file import read_token

SECONDS = 10.0
_PREFIX = "whsec_"
_AGAIN = {408, 425, 429}
_SERVERS_FAULT = 500
_GOOD = range(200, 300)


def key_of(secret: str) -> bytes:
    """Return the key of a secret as Standard Webhooks writes it; of another text its bytes; pure."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def signature(key: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Return what stands in the header webhook-signature; pure."""
    signed = hmac.new(key, f"{identifier}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Webhook:
    """secret_file: read at every event, for it may be changed. Redirects are not followed."""

    def __init__(
        self, url: str, secret_file: Path, *, seconds: float = SECONDS, now: Callable[[], float] = time.time
    ) -> None:
        self.name = f"webhook {urlsplit(url).hostname}"
        self._url, self._secret_file, self._seconds, self._now = url, secret_file, seconds, now
        self._context: ssl.SSLContext | None = None

    async def tell(self, document: Mapping[str, Any]) -> None:
        """Send it once. Raises Failed; whether another try may help is in it."""
        # Not in the event loop, which a watchdog needs: it takes a second.
        httpx2, context = await asyncio.to_thread(self._prepared)
        body = json.dumps(document, ensure_ascii=False, default=str).encode(errors="replace")
        try:
            async with asyncio.timeout(self._seconds), httpx2.AsyncClient(verify=context, trust_env=False) as client:
                answer = await client.post(self._url, content=body, headers=self._headers(body))
        except ConfigError as error:
            raise Failed(error.message) from error
        except TimeoutError as error:
            raise Failed(f"no answer within {self._seconds:g} s", result="late", again=True) from error
        except httpx2.HTTPError as error:
            raise Failed(str(error) or type(error).__name__, again=True) from error
        if answer.status_code not in _GOOD:
            again = answer.status_code in _AGAIN or answer.status_code >= _SERVERS_FAULT
            raise Failed(f"answered {answer.status_code}", again=again)

    def _prepared(self) -> tuple[Any, ssl.SSLContext]:
        # Only where there is a webhook: it costs 30 MB.
        import httpx2  # noqa: PLC0415

        if self._context is None:
            self._context = ssl.create_default_context()
        return httpx2, self._context

    def _headers(self, body: bytes) -> dict[str, str]:
        key = key_of(read_token(self._secret_file))
        # The same event has the same id, so that whoever has it already knows.
        identifier = f"msg_{uuid.uuid5(uuid.NAMESPACE_URL, body.decode(errors='replace')).hex}"
        timestamp = int(self._now())
        return {
            "content-type": "application/json",
            "user-agent": "aya",
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(key, identifier, timestamp, body),
        }
