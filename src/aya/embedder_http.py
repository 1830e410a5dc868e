"""The embedder's client, below its calls: connections, attempts, the deadline, and what a refusal means.

Every call of the embedder may be repeated without harm, so a failure that may pass is tried again (aya.retrying) until
the deadline, which is one for all attempts of a call together.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from aya import errors
from aya.json_object import json_object
from aya.retrying import Again, GiveUp, RetryBudget, decide

CONNECT_TIMEOUT_SECONDS = 3.0
# Far below the 75 s after which the embedder closes an idle connection: one that is being closed is never taken.
_KEEP_ALIVE_SECONDS = 4.0
_MOST_CONNECTIONS = 32
_HINT = "aya status, then aya up"
_OVERLOADED = (429, 503)
# By the type in the embedder's refusal; anything else is a plain EmbedderError.
_KINDS: dict[str, type[errors.EmbedderError]] = {
    "text_too_long": errors.TextTooLong,
    "model_not_loaded": errors.ModelNotLoaded,
}
# What helps a person where the embedder's own hint speaks to programs.
_HINTS: dict[type[errors.EmbedderError], str] = {errors.ModelNotLoaded: "aya status, then aya reembed"}


@dataclass(frozen=True, slots=True)
class Timing:
    """The time and chance of a client. now: monotonic seconds; uniform: draws between two bounds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the embedder. body: what goes out as JSON; parameters: of the address."""

    method: str
    path: str
    body: object = None
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


class EmbedderHttp:
    """The connections to one embedder; the token, if there is one, is in no message and no repr."""

    def __init__(
        self, url: str, *, token: str | None, transport: httpx2.AsyncBaseTransport | None, timing: Timing
    ) -> None:
        self.url = url.rstrip("/")
        self.timing = timing
        self._budget = RetryBudget(timing.now())
        # trust_env off: a proxy in the environment is never the way to this machine's own service.
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_SECONDS),
            trust_env=False,
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, call: Call, *, until: float) -> dict[str, Any]:
        """Return the JSON object that answers `call`, asked again as aya.retrying says, at most `until` (Timing.now).

        Raises EmbedderUnavailable, EmbedderOverloaded, TextTooLong, ModelNotLoaded or another EmbedderError;
        DocumentError for a text that cannot be sent.
        """
        started = self.timing.now()
        self._budget.called(started)
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._answer(await self.once(call, until=until))
            except (errors.EmbedderUnavailable, errors.EmbedderOverloaded) as error:
                next_step = self._next(attempts, error, until)
                if isinstance(next_step, GiveUp):
                    spent = self.timing.now() - started
                    asked = f"asked {_times(attempts)} in {spent:.1f} s: {next_step.reason}"
                    raise _with(error, f"{error.message} ({call.method} {call.path} {asked})") from error.__cause__
            await self.timing.sleep(next_step.after_seconds)

    async def once(self, call: Call, *, until: float) -> httpx2.Response:
        """Return the response to one attempt, whatever its status; EmbedderUnavailable when there is none."""
        try:
            async with asyncio.timeout(until - self.timing.now()):
                return await self._http.request(call.method, call.path, json=call.body, params=call.parameters)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise errors.EmbedderUnavailable(
                f"the embedder at {self.url} did not answer in time", hint=_HINT
            ) from error
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise errors.ConfigError(
                f"{self.url} is no embedder's address: {error}", hint="unset EMBEDDING_URL"
            ) from error
        except httpx2.TransportError as error:
            raise errors.EmbedderUnavailable(
                f"the embedder at {self.url} cannot be reached: {str(error) or type(error).__name__}", hint=_HINT
            ) from error
        except httpx2.RequestError as error:  # an answer that is not what its headers say
            raise errors.EmbedderError(
                f"the answer of {self.url} cannot be read: {error}; is it an embedder?", hint=_HINT
            ) from error
        except UnicodeEncodeError as error:
            raise errors.DocumentError(
                "the text holds a lone surrogate, which is no character", hint="aya add FILE"
            ) from error

    def json(self, response: httpx2.Response) -> dict[str, Any]:
        """Return the JSON object of a response; EmbedderError when it is none."""
        try:
            answer = json_object(response.json())
        except ValueError as error:
            raise errors.EmbedderError(f"{self.url} does not answer in JSON; is it an embedder?", hint=_HINT) from error
        if answer is None:
            raise errors.EmbedderError(f"{self.url} does not answer with an object; is it an embedder?", hint=_HINT)
        return answer

    def _next(self, attempts: int, error: errors.EmbedderError, until: float) -> Again | GiveUp:
        now = self.timing.now()
        asked = error.retry_after_seconds if isinstance(error, errors.EmbedderOverloaded) else None
        decision = decide(attempts, left_seconds=until - now, uniform=self.timing.uniform, retry_after_seconds=asked)
        if isinstance(decision, Again) and not self._budget.take(now):
            return GiveUp("the retry budget is used up")
        return decision

    def _answer(self, response: httpx2.Response) -> dict[str, Any]:
        if response.is_success:
            return self.json(response)
        raise self._refusal(response)

    def _refusal(self, response: httpx2.Response) -> errors.AyaError:
        try:
            said = json_object(self.json(response).get("error")) or {}
        except errors.EmbedderError:
            said = {}
        hint = said.get("hint") or _HINT
        text = f"the embedder at {self.url} refused: {said.get('message', f'HTTP status {response.status_code}')}"
        if response.status_code in _OVERLOADED:
            wait = retry_after(response.headers.get("retry-after"))
            return errors.EmbedderOverloaded(text, hint=hint, retry_after_seconds=wait)
        kind = _KINDS.get(str(said.get("type")), errors.EmbedderError)
        return kind(text, hint=_HINTS.get(kind, hint), status=response.status_code)


def retry_after(value: str | None) -> float | None:
    """Return the seconds in a Retry-After header; None without one, or for a date, which our embedder never sends."""
    return float(value) if value and value.isascii() and value.isdigit() else None


def _with(error: errors.EmbedderError, message: str) -> errors.EmbedderError:
    """Return the same error with another message."""
    if isinstance(error, errors.EmbedderOverloaded):
        return errors.EmbedderOverloaded(message, hint=error.hint, retry_after_seconds=error.retry_after_seconds)
    return errors.EmbedderUnavailable(message, hint=error.hint)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
