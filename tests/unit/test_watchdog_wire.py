"""What two agents tell each other as JSON: whole and of the right types, or nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_watchdog import wire
from aya_watchdog.protocol import Armed
from aya_watchdog.views import Peer

numbers = st.integers(0, 2**63 - 1)
peers = st.builds(
    Peer,
    role=st.sampled_from(["primary", "standby"]),
    epoch=numbers,
    arming=numbers,
    consent=numbers,
    given_up=numbers,
    intent=st.none() | numbers,
    server=st.sampled_from(["stopped", "starting", "running", "hung"]),
    server_since=st.floats(0, 1e9),
    armed=st.builds(Armed, epoch=numbers, arming=numbers),
    resigned=st.none() | numbers,
    open=st.booleans(),
    timeline=numbers,
    leaving=st.booleans(),
)


@given(peers)
def test_every_peer_arrives_as_it_was(peer: Peer) -> None:
    """Through JSON, with fields of a later version beside."""
    document = {**json.loads(json.dumps(wire.to_document(peer))), "later": [1]}
    assert wire.from_document(document) == peer


def test_no_field_is_forgotten() -> None:
    """Each that a Peer has is checked."""
    assert {field.name for field in fields(Peer)} == {*wire.CHECKS, "armed"}


def test_what_an_older_version_does_not_say_has_its_default() -> None:
    """A role and an epoch there must be."""
    assert wire.from_document({"role": "standby", "epoch": 3}) == Peer("standby", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "leader"},
        {"role": None},
        {"role": []},
        {"epoch": "3"},
        {"epoch": True},
        {"epoch": -1},
        {"epoch": 2**63},
        {"epoch": 3.0},
        {"arming": None},
        {"intent": "4"},
        {"intent": False},
        {"server": "asleep"},
        {"server_since": float("nan")},
        {"server_since": float("inf")},
        {"server_since": "1"},
        {"armed": None},
        {"armed": {"epoch": "1", "arming": 2}},
        {"armed": [1, 2]},
        {"resigned": True},
        {"open": 1},
        {"leaving": "no"},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_makes_it_no_answer(change: dict[str, Any]) -> None:
    """Whatever the other fields say."""
    with pytest.raises(ValueError, match=next(iter(change))):
        wire.from_document({**asdict(Peer("primary", 3)), **change})


@pytest.mark.parametrize("document", [None, [], "x", 3, {}, {"role": "primary"}, {"epoch": 1}], ids=str)
def test_what_is_no_peer_is_refused(document: object) -> None:
    """By ValueError."""
    with pytest.raises(ValueError, match=r"object|no role"):
        wire.from_document(document)
