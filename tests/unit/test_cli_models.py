"""What `aya models` says of models and of downloads: pure."""

from __future__ import annotations

from typing import Any

import pytest

from aya.cli.models import Uses, described, next_steps, row
from aya.cli.models_progress import duration, line

MINI: dict[str, Any] = {
    "name": "minilm",
    "source": "sentence-transformers/all-MiniLM-L6-v2",
    "revision": "53aa51172d142c89",
    "dimension": 384,
    "max_tokens": 256,
    "pooling": "mean",
    "bytes": 91_000_000,
    "here": True,
    "fingerprint": "a" * 16,
    "error": None,
}
BASE: dict[str, Any] = {**MINI, "name": "bge-base-en-v1.5", "here": False, "fingerprint": "b" * 16}
NOBODY = Uses({}, {}, {})


def uses(bound: str, *, serving: str | None = None) -> Uses:
    """Return a home of two nodes whose databases are bound to `bound`."""
    served = {serving: ["alpha", "beta"]} if serving else {}
    return Uses(served, {bound: ["alpha", "beta"]}, {bound: "old model", **({serving: "new"} if serving else {})})


def test_a_model_says_who_uses_it() -> None:
    """Configured, served and bound are three things."""
    (mini, base) = described([MINI, BASE], "bge-base-en-v1.5", uses("a" * 16))
    assert row(mini)[-1] == "vectors of alpha, beta"
    assert row(base)[-1] == "configured"
    assert row(base)[5] == "no"


def test_a_model_that_is_used_and_not_known_here_is_listed() -> None:
    """A database bound to a directory that has gone still has a row."""
    *_, gone = described([MINI], "minilm", uses("c" * 16))
    assert (gone["name"], gone["here"], row(gone)[-1]) == ("old model", False, "vectors of alpha, beta")


def test_vectors_of_another_model_ask_for_reembedding() -> None:
    """Which nodes, by which model, and the command with the name as a shell reads it."""
    assert next_steps({**MINI, "name": "/my models/x"}, uses("b" * 16), running=True) == [
        "the vectors of alpha, beta were made by old model",
        "  next: aya reembed --model '/my models/x'",
    ]


@pytest.mark.parametrize(
    ("found", "running", "expected"),
    [
        (NOBODY, False, ["  next: aya up"]),
        (NOBODY, True, ["  next: aya down, then aya up"]),
        (uses("a" * 16), True, ["  next: aya down, then aya up"]),
        (uses("a" * 16, serving="a" * 16), True, []),
    ],
    ids=["no nodes", "nothing bound", "bound to it", "served already"],
)
def test_what_comes_next(found: Uses, running: bool, expected: list[str]) -> None:  # noqa: FBT001 a case of the table
    """The embedders are started anew only when they serve another model."""
    assert next_steps(MINI, found, running=running) == expected


EVENT: dict[str, Any] = {
    "model": "bge",
    "file": "model.safetensors",
    "files": 7,
    "done_bytes": 120_000_000,
    "total_bytes": 438_000_000,
    "new_bytes": 20_000_000,
    "bytes_per_second": 10_000_000.0,
    "seconds_left": 31.8,
    "note": "the connection broke; again in 0.5 s",
}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("started", "bge: 7 files, 438.0 MB, 120.0 MB of them here already"),
        ("moved", "bge: model.safetensors, 120.0 MB of 438.0 MB, 10.0 MB/s, 32 s left"),
        ("retrying", "bge: the connection broke; again in 0.5 s"),
        ("finished", "bge: 438.0 MB are here, 20.0 MB of them new"),
    ],
)
def test_a_download_in_a_line(event: str, expected: str) -> None:
    """Bytes done and to do, the rate and the time left."""
    assert line({**EVENT, "event": event}) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s")])
def test_a_time_that_is_left(seconds: float, expected: str) -> None:
    """Rounded to whole seconds."""
    assert duration(seconds) == expected
