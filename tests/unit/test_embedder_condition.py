"""When the embedder calls itself healthy."""

from __future__ import annotations

import pytest

from aya_embedder.condition import Condition, State


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        pytest.param(Condition(), "loading", id="nothing has been computed yet"),
        pytest.param(Condition(running_since=95), "loading", id="the warm-up runs"),
        pytest.param(Condition(failed=True), "unhealthy", id="the warm-up failed"),
        pytest.param(Condition(last_success=99), "healthy", id="the last pass succeeded"),
        pytest.param(Condition(last_success=1), "healthy", id="nobody has asked for long"),
        pytest.param(Condition(last_success=99, failed=True), "unhealthy", id="a pass has failed since"),
        pytest.param(Condition(last_success=20, running_since=95), "healthy", id="a pass runs"),
        pytest.param(Condition(last_success=20, running_since=30), "unhealthy", id="a pass hangs"),
    ],
)
def test_healthy_means_that_a_forward_pass_succeeded(condition: Condition, state: State) -> None:
    """Health is what the last forward pass proved, not that the process is up."""
    assert condition.state(now=100) == state


def test_the_age_of_the_last_good_pass() -> None:
    """The age counts from the end of the last good pass; before the first there is none."""
    assert (Condition(last_success=99).age_seconds(100), Condition().age_seconds(100)) == (1, None)
