"""SCRAM verifiers."""

from __future__ import annotations

import base64

import pytest

from aya.postgres.scram import matches, verifier


def test_a_verifier_is_the_one_of_the_rfc() -> None:
    """RFC 7677, section 3: password "pencil"; its keys follow from the salt and the iterations there."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert verifier("pencil", salt, 4096) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@pytest.mark.parametrize("stored", [None, "", "md5abc", "a$b", "SCRAM-SHA-256$x:y$z:w", "SCRAM-SHA-256$4096:!$a:b"])
def test_what_is_no_verifier_matches_nothing(stored: str | None) -> None:
    """A role without a password, or with one of another kind, is given a new one."""
    assert not matches("secret", stored)


def test_a_verifier_matches_its_own_password_only() -> None:
    """Salted: the same password twice makes two verifiers, and both match."""
    stored = verifier("secret", b"0123456789abcdef")
    assert matches("secret", stored)
    assert not matches("Secret", stored)
    assert stored != verifier("secret", b"fedcba9876543210")
