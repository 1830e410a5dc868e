"""The list of threats names tests that there are, and every role."""

from __future__ import annotations

import re
from pathlib import Path

from aya.postgres.provision import CLIENT_ROLES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    """A threat whose test was removed is not tried any more."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT))
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_every_role_is_described() -> None:
    """With what it may do."""
    assert not [role for role in CLIENT_ROLES if f"`{role}`" not in TEXT]
