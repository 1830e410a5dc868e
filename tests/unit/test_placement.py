"""What becomes of an added document, enumerated."""

from __future__ import annotations

import itertools

import pytest

from aya.knowledge.placement import EMBEDDING_ACTIONS, Action, Place, decide

FLAGS = [Place(1, *flags) for flags in itertools.product((False, True), repeat=5)]


@pytest.mark.parametrize("place", FLAGS)
@pytest.mark.parametrize("twin", [None, 1, 2])
def test_nothing_that_somebody_else_says_is_replaced(place: Place, twin: int | None) -> None:
    """A shared or edited document is never overwritten, and equal content is never stored twice."""
    action = decide(place, twin, has_uri=True)
    if action == "replace":
        assert not place.shared
        assert not place.edited
        assert not place.file_unchanged
    if twin is not None:
        assert action not in EMBEDDING_ACTIONS
    if place.file_unchanged:
        assert action in {"keep", "relabel"}


@pytest.mark.parametrize(
    ("twin", "has_uri", "action"),
    [(None, True, "insert"), (None, False, "insert"), (7, True, "attach"), (7, False, "duplicate")],
)
def test_a_file_that_was_never_read_is_new_or_its_contents_twin(
    twin: int | None, *, has_uri: bool, action: Action
) -> None:
    """Only a file leaves its place with the document that says the same."""
    assert decide(None, twin, has_uri=has_uri) == action


def test_every_action_is_reached() -> None:
    """The table has no dead row."""
    places: list[Place | None] = [None, *FLAGS]
    reached = {decide(place, twin, has_uri=uri) for place in places for twin in (None, 1, 2) for uri in (False, True)}
    assert reached == {"insert", "replace", "branch", "attach", "move", "confirm", "relabel", "keep", "duplicate"}
