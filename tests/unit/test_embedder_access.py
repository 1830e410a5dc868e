"""Who may call the embedder: a table of cases, and what holds for any of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.access import Access, Call, Reason, is_loopback
from aya_embedder.access import embedder_access

TOKEN = "correct-horse-battery"
BEARER = f"Bearer {TOKEN}"
SHARED = embedder_access(TOKEN, frozenset({"alpha.local"}))
ALONE = embedder_access()
LOCAL = Call("POST", "/embed", peer="127.0.0.1", reached="127.0.0.1", host="127.0.0.1:8765")
REMOTE = Call("POST", "/embed", peer="192.168.1.20", reached="192.168.1.10", host="192.168.1.10:8765")


@pytest.mark.parametrize(
    ("access", "call", "expected"),
    [
        # from this machine
        pytest.param(ALONE, LOCAL, None, id="a local client"),
        pytest.param(ALONE, replace(LOCAL, host="localhost"), None, id="by name"),
        pytest.param(ALONE, replace(LOCAL, host="LOCALHOST.:8765"), None, id="by name, written otherwise"),
        pytest.param(ALONE, replace(LOCAL, peer="::1", reached="::1", host="[::1]:8765"), None, id="by IPv6"),
        pytest.param(SHARED, replace(LOCAL, peer="::ffff:127.0.0.1"), None, id="by IPv4 in IPv6"),
        pytest.param(ALONE, replace(LOCAL, host=None), None, id="HTTP/1.0 without a host"),
        pytest.param(SHARED, LOCAL, None, id="a local client needs no token"),
        pytest.param(SHARED, replace(LOCAL, authorization="Bearer sk-wrong"), None, id="nor a right one"),
        pytest.param(ALONE, replace(LOCAL, peer=None), None, id="no address at all"),
        # from this machine, by its address in the network
        pytest.param(ALONE, replace(REMOTE, peer=REMOTE.reached), None, id="a local client by our address"),
        pytest.param(
            ALONE, replace(REMOTE, peer=REMOTE.reached, path="/models"), None, id="loading a model here by our address"
        ),
        pytest.param(ALONE, replace(REMOTE, peer="::ffff:192.168.1.10"), None, id="by our address, written otherwise"),
        pytest.param(ALONE, replace(REMOTE, peer=REMOTE.reached, forwarded=True), "token", id="a proxy by our address"),
        # DNS rebinding: a page's own name points at this machine
        pytest.param(ALONE, replace(LOCAL, host="evil.example:8765"), "host", id="a strange name"),
        pytest.param(ALONE, replace(LOCAL, host="127.0.0.1.evil.example"), "host", id="a name that begins like ours"),
        pytest.param(ALONE, replace(LOCAL, host="127.0.0.1%evil.example"), "host", id="a name like one with a zone"),
        pytest.param(ALONE, replace(LOCAL, host="localhost@evil.example"), "host", id="a name with a user"),
        pytest.param(ALONE, replace(LOCAL, host="localhost:http"), "host", id="a port that is none"),
        pytest.param(ALONE, replace(LOCAL, host=""), "host", id="an empty name"),
        pytest.param(ALONE, replace(LOCAL, host="localhost/x"), "host", id="a path"),
        pytest.param(ALONE, replace(LOCAL, host="192.168.1.10"), "host", id="an address it was not reached at"),
        pytest.param(SHARED, replace(REMOTE, host="evil.example", authorization=BEARER), "host", id="despite a token"),
        # browsers
        pytest.param(ALONE, replace(LOCAL, origin="http://127.0.0.1:8765"), None, id="our own page"),
        pytest.param(ALONE, replace(LOCAL, origin="http://localhost:3000"), None, id="a page of this machine"),
        pytest.param(SHARED, replace(LOCAL, origin="https://alpha.local"), None, id="a page of a name of ours"),
        pytest.param(ALONE, replace(LOCAL, origin="https://evil.example"), "origin", id="a page from elsewhere"),
        pytest.param(ALONE, replace(LOCAL, origin="null"), "origin", id="a file, or a sandbox"),
        pytest.param(ALONE, replace(LOCAL, origin="file://localhost"), "origin", id="a file with a host"),
        pytest.param(ALONE, replace(LOCAL, origin="chrome-extension://abc"), "origin", id="an extension"),
        pytest.param(ALONE, replace(LOCAL, origin=""), "origin", id="an empty origin"),
        pytest.param(ALONE, replace(LOCAL, path="/health", origin="http://evil"), "origin", id="even for its health"),
        # from other machines
        pytest.param(SHARED, REMOTE, "token", id="a stranger"),
        pytest.param(SHARED, replace(REMOTE, authorization=BEARER), None, id="with the token"),
        pytest.param(SHARED, replace(REMOTE, authorization=f"bearer  {TOKEN} "), None, id="written otherwise"),
        pytest.param(SHARED, replace(REMOTE, authorization=TOKEN), "token", id="the token without its scheme"),
        pytest.param(SHARED, replace(REMOTE, authorization=f"Basic {TOKEN}"), "token", id="another scheme"),
        pytest.param(SHARED, replace(REMOTE, authorization=f"{BEARER}x"), "token", id="more than the token"),
        pytest.param(SHARED, replace(REMOTE, authorization="Bearer ü"), "token", id="no ASCII"),
        pytest.param(SHARED, replace(REMOTE, authorization="Bearer "), "token", id="an empty token"),
        pytest.param(ALONE, replace(REMOTE, authorization="Bearer "), "token", id="an empty token where there is none"),
        pytest.param(ALONE, REMOTE, "token", id="a stranger where there is no token"),
        pytest.param(SHARED, replace(REMOTE, host="alpha.local:8765"), "token", id="by a name of ours"),
        pytest.param(SHARED, replace(REMOTE, path="/health"), None, id="asking for its health"),
        pytest.param(SHARED, replace(REMOTE, path="/ready"), None, id="asking whether it is ready"),
        pytest.param(SHARED, replace(REMOTE, path="/health/"), "token", id="a path like it"),
        pytest.param(SHARED, replace(REMOTE, path="/metrics"), "token", id="the metrics"),
        pytest.param(
            SHARED,
            replace(REMOTE, peer="::ffff:192.168.1.20", reached="::ffff:192.168.1.10", authorization=BEARER),
            None,
            id="by IPv4 to a socket for both",
        ),
        pytest.param(
            SHARED,
            replace(REMOTE, peer="fe80::2%en0", reached="fe80::1%en0", host="[fe80::1]:8765", authorization=BEARER),
            None,
            id="by the address of a link",
        ),
        pytest.param(
            SHARED,
            replace(REMOTE, reached="::ffff:192.168.1.11", authorization=BEARER),
            "host",
            id="by the address of another machine",
        ),
        # through a proxy on this machine that says so
        pytest.param(ALONE, replace(LOCAL, forwarded=True), "token", id="forwarded"),
        pytest.param(SHARED, replace(LOCAL, forwarded=True, authorization=BEARER), None, id="forwarded with the token"),
        # what reads this machine's directories
        pytest.param(ALONE, replace(LOCAL, path="/models"), None, id="loading a model here"),
        pytest.param(SHARED, replace(REMOTE, path="/models", authorization=BEARER), "local_only", id="from elsewhere"),
        pytest.param(
            SHARED, replace(LOCAL, path="/models", forwarded=True, authorization=BEARER), "local_only", id="by a proxy"
        ),
        pytest.param(
            SHARED, replace(REMOTE, method="GET", path="/models", authorization=BEARER), None, id="looking at models"
        ),
    ],
)
def test_who_may_call(access: Access, call: Call, expected: Reason | None) -> None:
    """Each call is let in, or refused for its first reason."""
    assert access.refusal(call) == expected


@given(st.text(), st.text(), st.text())
def test_no_stranger_gets_in_without_the_token(host: str, origin: str, authorization: str) -> None:
    """Whatever the headers say, a request for vectors from another machine needs the token itself."""
    call = replace(REMOTE, host=host, origin=origin, authorization=authorization)
    if authorization.partition(" ")[2].strip() != TOKEN:
        assert SHARED.refusal(call) is not None


def test_a_service_may_ask_everybody_for_the_token() -> None:
    """Then this machine's own clients say it, too; health stays open."""
    strict = replace(SHARED, asks_everybody=True)
    assert strict.refusal(LOCAL) == "token"
    assert strict.refusal(replace(LOCAL, authorization=BEARER)) is None
    assert strict.refusal(replace(LOCAL, path="/health")) is None


def test_the_token_is_not_printed() -> None:
    """A representation may end up in a log."""
    assert TOKEN not in repr(SHARED)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),  # noqa: S104 a case, not an address to listen on
        ("::", False),
        ("192.168.1.10", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 a column of the table
    """Addresses are taken as addresses, names by name; nobody is asked."""
    assert is_loopback(host) is expected
