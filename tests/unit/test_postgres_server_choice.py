"""Which server the database tests run on is chosen when they run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Server, chosen_server, in_container

from aya.postgres.binaries import Binaries
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig
from aya.postgres.privileges import RunAs


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "embedded"),
        ({"AYA_TEST_SERVER": ""}, "embedded"),
        ({"AYA_TEST_SERVER": "embedded"}, "embedded"),
        ({"AYA_TEST_SERVER": "docker"}, "docker"),
    ],
)
def test_docker_is_used_only_when_it_is_asked_for(environ: dict[str, str], expected: str) -> None:
    """An engine that happens to run changes nothing."""
    assert chosen_server(environ) == expected


def test_another_word_is_an_error() -> None:
    """A slip of the pen must not run the tests on a server that nobody meant."""
    with pytest.raises(pytest.fail.Exception, match="'dokcer'; it may be docker or embedded"):
        chosen_server({"AYA_TEST_SERVER": "dokcer"})


def test_asking_for_docker_without_an_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a silent change to the embedded server, and not a traceback of the Docker client."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    described = Cluster(Binaries(tmp_path, "18.4"), tmp_path, ClusterConfig(1, tmp_path), RunAs(None, None, "me"))
    with (
        pytest.raises(pytest.fail.Exception, match=r"no Docker engine answers .* unset AYA_TEST_SERVER"),
        in_container(Server(described, {SUPERUSER: "x"})),
    ):
        pytest.fail("there is no engine")
