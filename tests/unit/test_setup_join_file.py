"""The join file: what is written is read again, and whatever else is handed over is one clear error."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import ConfigError
from aya.members import Member
from aya.setup.join_file import LARGEST_BYTES, JoinFile, dumped, parse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
BETA = JoinFile(
    node="beta",
    expires_at=NOW + timedelta(hours=24),
    members=(
        Member("alpha", ("10.0.0.1", "alpha.local"), 5432, 8766, 8008),
        Member("beta", ("::1",), 5432, 8766, 8008),
    ),
    clients=("100.64.0.3", "10.0.0.0/24"),
    major=18,
    model="minilm",
    tls=True,
    secrets={"postgres": "p" * 32, "aya_sync": "s" * 32},
    certificate={"ca.pem": PEM, "cert.pem": PEM, "key.pem": PEM},
    authority={"authority.key.pem": PEM, "authority.pem": PEM},
)
AIR = replace(BETA, node="air", secrets={"aya_sync": "s" * 32}, certificate={"ca.pem": PEM}, authority={})
TEXT = dumped(BETA)


@pytest.mark.parametrize("join", [BETA, AIR, replace(BETA, node="alpha", model=None, clients=())])
def test_what_is_written_is_read_again(join: JoinFile) -> None:
    """Every field, to the second."""
    assert parse(dumped(join).encode(), NOW) == join


def test_it_shows_no_secret_in_its_repr() -> None:
    """A traceback may hold it."""
    assert "s" * 32 not in repr(BETA)
    assert "BEGIN" not in repr(BETA)


def test_one_that_has_expired_is_refused() -> None:
    """To the second."""
    parse(TEXT.encode(), BETA.expires_at - timedelta(seconds=1))
    with pytest.raises(ConfigError, match="has expired"):
        parse(TEXT.encode(), BETA.expires_at)


def changed(**fields: Any) -> bytes:  # noqa: ANN401 - whatever a file may hold
    """Return the file with other values."""
    return json.dumps({**json.loads(TEXT), **fields}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged"),
        (b"{}", "version"),
        (b"[]", "no object"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 60_000, "damaged"),
        (b" " * (LARGEST_BYTES + 1), "larger"),
        (changed(aya_join=1), "version"),
        (changed(aya_join=True), "version"),
        (changed(more=1), "other entries"),
        (changed(tls=1), "neither true nor false"),
        (changed(node="gamma"), "node"),
        (changed(node="air"), "other files"),
        (changed(expires_at="2026-01-02"), "no moment"),
        (changed(members=[]), "both servers"),
        (changed(major=15), "major"),
        (changed(major=True), "major"),
        (changed(model="../../etc"), "model"),
        (changed(clients=["0.0.0.0/0 trust\nhost all"]), "clients"),
        (changed(secrets={"aya_sync": "short"}), "secrets"),
        (changed(secrets={"postgres": "p" * 32}), "other passwords"),
        (changed(certificate={"../key.pem": PEM}), "other files"),
        (changed(certificate={"ca.pem": PEM, "cert.pem": PEM, "key.pem": "no"}), "no PEM"),
        (changed(certificate={"ca.pem": PEM + "x", "cert.pem": PEM, "key.pem": PEM}), "fingerprint"),
        (changed(fingerprint="0" * 16), "fingerprint"),
    ],
)
def test_what_is_not_a_whole_join_file_is_refused_in_words(data: bytes, said: str) -> None:
    """With the next command, and without repeating a secret."""
    with pytest.raises(ConfigError, match=said) as refused:
        parse(data, NOW)
    assert "aya init invite" in (refused.value.hint or "")
    assert "p" * 32 not in refused.value.message


@given(st.binary(max_size=400))
def test_any_bytes_are_one_clear_error(data: bytes) -> None:
    """Nothing else is raised, whatever is handed over."""
    with pytest.raises(ConfigError):
        parse(data, NOW)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(TEXT))), VALUES)
def test_any_value_in_any_place_is_taken_whole_or_refused(key: str, value: Any) -> None:  # noqa: ANN401 - any
    """A file that says something else there is refused, or is just what it says."""
    try:
        found = parse(changed(**{key: value}), NOW)
    except ConfigError:
        return
    assert dumped(found) == dumped(parse(dumped(found).encode(), NOW))
    assert found.node == "beta"


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 127))
def test_a_character_that_was_changed_on_the_way_never_ends_in_another_error(place: int, code: int) -> None:
    """A damaged copy is refused, or is one that says the same or another valid thing."""
    data = bytearray(TEXT.encode())
    data[place] = code
    with suppress(ConfigError):
        assert parse(bytes(data), NOW).node in {"alpha", "beta"}
