"""The words in which a call fails: what happened, why, and what a model does next."""

from __future__ import annotations

import re
import secrets as random_words
import traceback
from collections.abc import Iterable

from aya import log
from aya.errors import AyaError
from aya_mcp.names import LIST, SHOW

# What a person would type, where a model has a tool for it.
_SHOW_VERB = re.compile(r"\baya show (-?[0-9]+)")
_LIST_VERB = re.compile(r"\baya list\b")


def explained(error: AyaError) -> str:
    """Return what happened, why, and what to do next; pure."""
    again = " (the same call may succeed later)" if error.retryable else ""
    return f"{error.message}{again}." + (f" Next: {_for_a_model(error.hint)}" if error.hint else "")


def _for_a_model(hint: str) -> str:
    return _LIST_VERB.sub(LIST, _SHOW_VERB.sub(rf"{SHOW} with document_id=\1", hint))


def unexplained(where: str, secrets: Iterable[str]) -> str:
    """Log the error at hand without secrets, and return what the client gets instead."""
    reference = random_words.token_hex(4)
    told = traceback.format_exc()
    for secret in secrets:
        told = told.replace(secret, "***")
    log.get_logger().error("call.crashed", where=where, reference=reference, traceback=told)
    return f"internal error (reference {reference}), see the log of the MCP server. Next: aya status"
