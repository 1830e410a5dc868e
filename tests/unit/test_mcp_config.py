"""Where the MCP server finds its knowledge base."""

from __future__ import annotations

from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya.home import Home, Node
from aya_mcp.config import hosts, read


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"DB_HOST": "localhost"}, "localhost"),
        ({"ALPHA_HOST": "alpha"}, "alpha"),
        ({"DB_HOST": "localhost", "ALPHA_HOST": "alpha"}, "localhost,alpha"),
        ({"DB_HOST": "alpha", "ALPHA_HOST": "alpha"}, "alpha"),
        ({"DB_HOST": "beta, alpha", "ALPHA_HOST": ""}, "beta,alpha"),
    ],
)
def test_alpha_is_asked_when_the_copy_here_does_not_answer(environ: dict[str, str], expected: str) -> None:
    """In the order in which they are named, none twice."""
    assert hosts(environ) == expected


def test_the_contracts_names_win(tmp_path: Path) -> None:
    """DB_HOST and its company describe the database whatever AYA_HOME holds."""
    environ = {
        "AYA_HOME": str(tmp_path),
        "DB_HOST": "10.0.0.5",
        "DB_PORT": "5433",
        "DB_NAME": "other",
        "DB_USER": "someone",
        "DB_PASSWORD": "secret",
        "EMBEDDING_URL": "http://10.0.0.5:8765",
    }
    settings = read(environ)
    assert settings.database.hosts == (("10.0.0.5", 5433),)
    assert (settings.database.database, settings.database.user, settings.database.password) == (
        "other",
        "someone",
        "secret",
    )
    assert (settings.node, settings.embedder_url) == ("", "http://10.0.0.5:8765")


@pytest.mark.parametrize(("environ", "node"), [({}, "alpha"), ({"AYA_NODE": "beta"}, "beta")])
def test_a_node_of_this_machine_is_entered_as_the_servers_own_role(
    tmp_path: Path, environ: dict[str, str], node: str
) -> None:
    """The first node unless AYA_NODE names one; never as the owner."""
    home = Home(tmp_path)
    home.save_nodes({"alpha": Node("alpha", "primary", 6001, 6002), "beta": Node("beta", "standby", 6003, 6004)})
    for name in ("alpha", "beta"):
        home.save_secrets(name, {"aya_mcp": "word", "aya_user": "other"})
    settings = read({"AYA_HOME": str(tmp_path), **environ})
    assert (settings.node, settings.database.user, settings.database.password) == (node, "aya_mcp", "word")


def test_a_home_without_nodes_says_what_to_type(tmp_path: Path) -> None:
    """It is what the tools answer until `aya up` was run."""
    with pytest.raises(ConfigError) as missing:
        read({"AYA_HOME": str(tmp_path)})
    assert missing.value.hint == "aya up"
