"""What AIR's sync daemon is told: by its command line, by aya.toml, by the home; and what it says is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya.home import Home, Node
from aya.local.link import Way, ways
from aya_syncd.config import Config, read

ALPHA, BETA = Node("alpha", "primary", 1001, 1), Node("beta", "standby", 1002, 2)
AIR = Node("air", "copy", 3000, 3, link_alpha_port=3001, link_beta_port=3002)
CLUSTER = '[cluster.alpha]\naddresses = ["a", "fd00::1"]\npostgres_port = 6000\n[cluster.beta]\naddresses = ["b"]\n'
SERVERS = (("a", 6000), ("fd00::1", 6000), ("b", 5432))
GIVEN = '[sync]\nprimary_password_file = "word"\n'
WORD = "the-word-of-aya-sync"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of the three nodes, with the passwords that `aya up` makes."""
    home = Home(tmp_path)
    home.save_nodes({"alpha": ALPHA, "beta": BETA, "air": AIR})
    home.save_secrets("alpha", {"aya_sync": "at alpha"})
    home.save_secrets("air", {"aya_sync": "on air"})
    return home


@pytest.fixture
def apart(tmp_path: Path) -> Home:
    """AIR on a machine of its own."""
    home = Home(tmp_path)
    home.save_nodes({"air": AIR})
    home.save_secrets("air", {"aya_sync": "on air"})
    home.config_file.write_text(CLUSTER, encoding="utf-8")
    return home


def told(home: Home, *arguments: str) -> Config:
    """Return what the daemon of air is told."""
    return read(arguments, {"AYA_HOME": str(home.path), "AYA_NODE": "air"})


def written(home: Home, mode: int = 0o600) -> None:
    """Write the password's file beside aya.toml, and name it there."""
    home.config_file.write_text(CLUSTER + GIVEN, encoding="utf-8")
    file = home.path / "word"
    file.write_text(f"{WORD}\n", encoding="utf-8")
    file.chmod(mode)


def test_on_one_machine_the_servers_are_reached_through_the_link(home: Home) -> None:
    """Each by its own port, in one list that asks for the one which may be written; both roles by their own word."""
    config = told(home)
    assert config.primary is not None
    assert (config.local.hosts, config.local.password) == ((("127.0.0.1", 3000),), "on air")
    assert (config.local.user, config.primary.user) == ("aya_sync", "aya_sync")
    assert config.primary.hosts == (("127.0.0.1", 3001), ("127.0.0.1", 3002))
    assert (config.primary.password, config.primary.options) == ("at alpha", (("target_session_attrs", "read-write"),))


def test_one_server_is_asked_whether_it_may_be_written_too(home: Home) -> None:
    """Without beta a primary that is closed is no less closed."""
    home.save_nodes({"alpha": ALPHA, "air": AIR})
    config = told(home)
    assert config.primary is not None
    assert config.primary.hosts == (("127.0.0.1", 3001),)
    assert config.primary.options == (("target_session_attrs", "read-write"),)


def test_the_link_leads_where_the_daemon_goes(home: Home) -> None:
    """From air to each server's PostgreSQL; to those of this home only."""
    environ = {"AYA_HOME": str(home.path), "AYA_NODE": "air"}
    assert ways(environ) == ("air", (Way(3001, 1001), Way(3002, 1002)))
    home.save_nodes({"alpha": ALPHA, "air": AIR})
    assert ways(environ) == ("air", (Way(3001, 1001),))
    with pytest.raises(ConfigError, match="no node 'gamma'"):
        ways({**environ, "AYA_NODE": "gamma"})


def test_without_a_server_there_is_nobody_to_follow(home: Home) -> None:
    """AIR works alone, and its daemon waits."""
    home.save_nodes({"air": AIR})
    assert told(home).primary is None


def test_servers_elsewhere_are_reached_at_every_address(apart: Home) -> None:
    """By the password of the file that aya.toml names; a link of this machine is not asked."""
    written(apart)
    config = told(apart)
    assert config.primary is not None
    assert (config.primary.hosts, config.primary.password) == (SERVERS, WORD)
    assert WORD not in repr(config)


@pytest.mark.parametrize("file", ["~/word", "/srv/word"])
def test_the_file_may_be_anywhere(apart: Home, file: str) -> None:
    """~ is the person's, and an absolute path stays as it is."""
    apart.config_file.write_text(CLUSTER + GIVEN.replace('"word"', f'"{file}"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"the password file {Path(file).expanduser()} cannot be read"):
        told(apart)


def test_a_missing_password_says_how_it_gets_here(apart: Home) -> None:
    """What is missing, where it is to be had, and where to put it."""
    with pytest.raises(ConfigError, match="nothing here says how aya_sync enters the primary") as caught:
        told(apart)
    assert "aya dsn --role aya_sync --password" in (caught.value.hint or "")
    assert "[sync] primary_password_file" in (caught.value.hint or "")


def test_a_password_that_others_may_read_is_refused(apart: Home) -> None:
    """As a token's file is."""
    written(apart, mode=0o644)
    with pytest.raises(ConfigError, match=r"the password file .* has mode 644") as caught:
        told(apart)
    assert (caught.value.hint or "").startswith("chmod 600 ")


def test_a_password_among_airs_secrets_serves_too(apart: Home) -> None:
    """As a person's commands need it for their role."""
    apart.save_secrets("air", {"aya_sync": "on air", "aya_sync@primary": "at alpha"})
    config = told(apart)
    assert config.primary is not None
    assert config.primary.password == "at alpha"


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (("--alpha-host", "x"), (("x", 6000),)),
        (("--alpha-host", "x:7, y"), (("x", 7), ("y", 6000))),
        (("--alpha-host", "[fd00::2]:7,fd00::3"), (("fd00::2", 7), ("fd00::3", 6000))),
        ((), SERVERS),
    ],
)
def test_the_command_line_names_the_servers(
    apart: Home, arguments: tuple[str, ...], hosts: tuple[tuple[str, int], ...]
) -> None:
    """It wins over aya.toml; a port that it does not say is alpha's there."""
    written(apart)
    config = told(apart, *arguments)
    assert config.primary is not None
    assert config.primary.hosts == hosts


def test_on_one_machine_a_server_without_a_port_has_postgresqls(home: Home) -> None:
    """The port of the contract; the link is passed by then."""
    config = told(home, "--alpha-host", "x")
    assert config.primary is not None
    assert config.primary.hosts == (("x", 5432),)


@pytest.mark.parametrize(
    ("said", "host"), [("localhost", ("localhost", 3000)), ("h:7", ("h", 7)), ("[::1]", ("::1", 3000))]
)
def test_the_command_line_names_airs_own_server(home: Home, said: str, host: tuple[str, int]) -> None:
    """A port that it does not say is that of this home."""
    assert told(home, "--local-host", said).local.hosts == (host,)


NO_HOST = ("", ":5", "x:0", "x:y", "[::1", "[::1]5", "[]:5")


@pytest.mark.parametrize(
    ("option", "said"),
    [(option, said) for option in ("--alpha-host", "--local-host") for said in NO_HOST]
    + [("--alpha-host", ","), ("--alpha-host", "x,")],
)
def test_what_names_no_host_is_a_wrong_call(
    home: Home, capsys: pytest.CaptureFixture[str], option: str, said: str
) -> None:
    """Exit code 2 and the option's name: never the home's servers instead of those that were meant."""
    with pytest.raises(SystemExit) as caught:
        told(home, option, said)
    assert caught.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err
