"""What the client is owed, and in which form it gets it."""

from __future__ import annotations

import json

import pytest

from aya_mcp.outbox import Outbox


class Client:
    """Keeps what was sent to it."""

    def __init__(self, greeted: int | str | None = None) -> None:
        self.lines: list[object] = []
        self.outbox = Outbox(lambda line: self.lines.append(json.loads(line)), greeted)


async def test_an_answer_goes_out_at_once() -> None:
    """And nothing is owed any more."""
    client = Client()
    client.outbox.owe([1, "1"])
    assert not client.outbox.idle.is_set()
    client.outbox.answer(1, b"1")
    assert not client.outbox.idle.is_set()
    client.outbox.answer("1", b'"1"')
    assert client.outbox.idle.is_set()
    assert client.lines == [1, "1"]


@pytest.mark.parametrize("greeted", [0, "zero"])
async def test_the_second_answer_to_a_greeting_is_dropped_once(greeted: int | str) -> None:
    """A client that uses the id again gets its answer."""
    client = Client(greeted)
    client.outbox.owe([greeted])
    client.outbox.answer(greeted, b'"dropped"')
    assert client.outbox.idle.is_set()
    client.outbox.answer(greeted, b'"sent"')
    assert client.lines == ["sent"]


async def test_a_cancelled_request_is_owed_nothing() -> None:
    """The SDK will not answer it, so nobody waits for it."""
    client = Client()
    client.outbox.owe([1])
    client.outbox.forgive(1)
    assert client.outbox.idle.is_set()
    assert client.lines == []


async def test_a_batch_is_answered_in_one_array_when_its_last_answer_is_there() -> None:
    """In the order of the answers, after the refusals of what was no message."""
    client = Client()
    client.outbox.owe_together([1, 2, 3], [b'"refused"'])
    client.outbox.answer(2, b"2")
    client.outbox.forgive(3)
    assert client.lines == []
    client.outbox.answer(1, b"1")
    assert client.lines == [["refused", 2, 1]]
    assert client.outbox.idle.is_set()


@pytest.mark.parametrize(("refusals", "lines"), [([b"1"], [[1]]), ([], [])])
async def test_a_batch_that_asks_nothing_gets_its_refusals_or_nothing(
    refusals: list[bytes], lines: list[object]
) -> None:
    """Notifications have no answer (JSON-RPC 2.0, section 6)."""
    client = Client()
    client.outbox.owe_together([], refusals)
    assert client.lines == lines
    assert client.outbox.idle.is_set()
