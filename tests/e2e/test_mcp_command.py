"""`aya mcp serve`: the command becomes the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aya.home import Home, Node
from aya.mcp_probe import Probe

_COMMAND = (sys.executable, "-c", "from aya.cli import main; main()")


def _serve(home: Path, *options: str) -> Probe:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AYA_", "DB_"))}
    command = (*_COMMAND, "--home", str(home), "mcp", "serve", *options)
    return Probe(command, environment, subprocess.DEVNULL)


@pytest.mark.parametrize(("options", "node"), [((), "alpha"), (("--node", "beta"), "beta")])
def test_the_command_serves_a_node_of_a_home(tmp_path: Path, options: tuple[str, ...], node: str) -> None:
    """--home and --node reach the server; without --node it is the first."""
    Home(tmp_path).save_nodes({"alpha": Node("alpha", "primary", 6001, 6002)})
    with _serve(tmp_path, *options) as probe:
        assert probe.initialize("2024-11-05")["result"]["serverInfo"]["name"] == "aya-rag"
        said = probe.call("query_aya_rag", {"query": "why", "mode": "text"})["content"][0]["text"]
    missing = {"alpha": "node alpha has no password for role aya_mcp", "beta": "there is no node 'beta' in"}
    assert said.startswith(missing[node])
    assert probe.process.returncode == 0


def test_the_commands_process_is_the_server(tmp_path: Path) -> None:
    """A host that signals what it started reaches the server itself."""
    with _serve(tmp_path) as probe:
        probe.initialize("2025-11-25")
        probe.process.send_signal(signal.SIGTERM)
        assert probe.process.wait(10) == 0
