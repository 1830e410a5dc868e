"""Structured logs on standard error: `noun.past_participle` events with keywords.

A terminal gets coloured lines, everything else one JSON object a line. Node and service are bound once. A line that
cannot be written (the disk is full) is lost: nobody stops working because of what he has to say.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

Heard = Callable[[str, Mapping[str, Any]], None]


class _Lossy:
    """A stream that never fails. structlog's PrintLogger writes and flushes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do not."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Have it on its way, or not."""
        with suppress(OSError):
            self._stream.flush()


def configure(*, service: str, node: str | None = None, level: str = "info", heard: Heard | None = None) -> None:
    """Set up structlog for this process, once, in main.

    level: debug, info, warning or error; AYA_LOG_LEVEL wins over it. heard: is called with every event that is logged,
    and its keywords; it must be quick, and not raise.
    """
    wanted = os.environ.get("AYA_LOG_LEVEL", level).upper()
    threshold = logging.getLevelNamesMapping().get(wanted, logging.INFO)
    passed = min(threshold, logging.INFO) if heard else threshold
    renderer: structlog.typing.Processor
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([_passing_on(heard), _dropping_below(threshold)] if heard else []),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(passed),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service, **({"node": node} if node else {}))


def _passing_on(heard: Heard) -> structlog.typing.Processor:
    def passed_on(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        heard(str(event["event"]), event)
        return event

    return passed_on


def _dropping_below(threshold: int) -> structlog.typing.Processor:
    """Drop what is heard and not to be written, for somebody wants a quiet log."""

    def dropped(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if logging.getLevelNamesMapping()[str(event["level"]).upper()] < threshold:
            raise structlog.DropEvent
        return event

    return dropped


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the process's logger."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
