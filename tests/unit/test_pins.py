"""What a DSN may not ask for: every option that the driver does not know is a setting of each session."""

from __future__ import annotations

import pytest

from aya.dsn import parse_dsn
from aya.errors import ConfigError

BASE = "postgresql://me:word@a:1,b:2/d?target_session_attrs=read-write"


@pytest.mark.parametrize(
    "option",
    [
        "synchronous_commit=off",
        "synchronous_commit=local",
        "synchronous_commit=remote_write",
        "Synchronous_Commit=OFF",
        "default_transaction_read_only=off",
        "options=-c%20synchronous_commit%3Doff",
        "options=--synchronous-commit%3Doff",
        "options=-cDEFAULT_TRANSACTION_READ_ONLY%3D0",
    ],
)
def test_a_dsn_that_gives_up_what_a_commit_is_promised_is_refused(option: str) -> None:
    """It would win over what the role and the server say, without a word."""
    with pytest.raises(ConfigError, match=r"may not set (synchronous_commit|default_transaction_read_only)") as caught:
        parse_dsn(f"{BASE}&{option}")
    assert "word" not in caught.value.message


@pytest.mark.parametrize(
    "option",
    [
        "synchronous_commit=on",
        "synchronous_commit=remote_apply",
        "default_transaction_read_only=on",
        "statement_timeout=5s",
        "options=-c%20statement_timeout%3D5s",
    ],
)
def test_every_other_option_passes(option: str) -> None:
    """More than was promised may be asked for."""
    assert len(parse_dsn(f"{BASE}&{option}").options) == 2
