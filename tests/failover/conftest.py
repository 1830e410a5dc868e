"""What the tests of two servers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.failover.lab import NODES
from tests.failover.network import Network, is_possible, network


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network | None]:
    """A network namespace for each node where that is possible; else all is on loopback, through links of ours."""
    if not is_possible():
        yield None
        return
    with network(*NODES) as made:
        yield made
