"""`aya dsn`: one line by which any program finds the server that may be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from aya.cli import main
from aya.home import Home, Node

ALPHA, BETA = Node("alpha", "primary", 1, 2), Node("beta", "standby", 3, 4)
CLUSTER = '[cluster.alpha]\naddresses = ["a", "fd00::1"]\n[cluster.beta]\naddresses = ["b"]\npostgres_port = 6000\n'
LIMITS = "target_session_attrs=read-write&connect_timeout=2&tcp_user_timeout=5000"
JDBC = "targetServerType=primary&connectTimeout=2&tcpKeepAlive=true"


def said(home: Home, *arguments: str) -> str:
    """Return what `aya dsn` prints."""
    result = CliRunner().invoke(main, ["--home", str(home.path), "dsn", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with both servers."""
    for name in ("DB_HOST", "AYA_DSN", "AYA_NODE"):
        monkeypatch.delenv(name, raising=False)
    made = Home(tmp_path.resolve())
    made.save_nodes({"alpha": ALPHA, "beta": BETA})
    for node in ("alpha", "beta"):
        made.save_secrets(node, {"aya_user": "p w/", "aya_mcp": "word"})
    return made


@pytest.mark.parametrize(
    ("arguments", "toml", "expected"),
    [
        (("--password",), "", f"postgresql://aya_user:p%20w%2F@127.0.0.1:1,127.0.0.1:3/aya_rag?{LIMITS}"),
        (("--node", "beta"), "", f"postgresql://aya_user@127.0.0.1:3,127.0.0.1:1/aya_rag?{LIMITS}"),
        ((), CLUSTER, f"postgresql://aya_user@127.0.0.1:1,b:6000/aya_rag?{LIMITS}"),
        (
            ("--elsewhere", "--role", "aya_mcp", "--password"),
            CLUSTER,
            f"postgresql://aya_mcp:word@a:5432,[fd00::1]:5432,b:6000/aya_rag?{LIMITS}",
        ),
        (
            ("--jdbc", "--password"),
            "",
            f"jdbc:postgresql://127.0.0.1:1,127.0.0.1:3/aya_rag?user=aya_user&password=p%20w%2F&{JDBC}",
        ),
        (
            ("--jdbc", "--elsewhere"),
            CLUSTER,
            f"jdbc:postgresql://a:5432,[fd00::1]:5432,b:6000/aya_rag?user=aya_user&{JDBC}",
        ),
    ],
)
def test_the_dsn_lists_both_servers_and_asks_for_the_leader(
    home: Home, arguments: tuple[str, ...], toml: str, expected: str
) -> None:
    """The node's own first; from elsewhere by the addresses of aya.toml; in the words of libpq or of pgJDBC."""
    home.config_file.write_text(toml, encoding="utf-8")
    assert said(home, *arguments) == expected


def test_one_server_alone_is_named_as_ever(home: Home) -> None:
    """Nothing is asked of it: there is no other."""
    home.save_nodes({"alpha": ALPHA})
    assert said(home, "--password") == "postgresql://aya_user:p%20w%2F@127.0.0.1:1/aya_rag"
    assert said(home, "--jdbc") == "jdbc:postgresql://127.0.0.1:1/aya_rag?user=aya_user"
