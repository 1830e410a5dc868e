"""Which nodes on which ports; what is a process of ours; whose a data directory is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aya.errors import AyaError, ConfigError, UsageError
from aya.home import Home, Node
from aya.local.plan import ports_of, services, settle, wanted_nodes
from aya.local.up import up
from aya.members import Member
from aya.postgres.homebrew import conflicting_job, loaded_jobs
from aya.postgres.lockfile import Observation, decide
from aya.postgres.run import server_environment
from aya.processes import ports
from aya.processes.leftovers import Seen, classify
from aya.processes.supervisor import inherited
from aya.settings import Config

APART = Config(members={name: Member(name, (name,), 5432, 8766, 8008) for name in ("alpha", "beta")})
ALPHA, AIR = Node("alpha", "primary", 1, 2, web_port=3), Node("air", "copy", 1, 2)
WITH_DSN = Config(dsn="postgresql://me@db/aya")


@pytest.mark.parametrize(
    ("asked", "existing", "config", "expected"),
    [
        (None, (), Config(), ("alpha", "beta", "air")),
        (None, ("alpha",), Config(), ("alpha",)),
        (["beta", "alpha"], (), Config(), ("alpha", "beta")),
        (["beta"], ("alpha", "beta"), Config(), ("beta",)),
        (["air"], (), Config(), ("air",)),
        (None, (), WITH_DSN, ("alpha",)),
    ],
)
def test_which_nodes_are_started(
    asked: list[str] | None, existing: tuple[str, ...], config: Config, expected: tuple[str, ...]
) -> None:
    """What --nodes says, else those the home has, else all three; always the primary before its standby."""
    assert wanted_nodes(asked, existing, config) == expected


@pytest.mark.parametrize(
    ("asked", "config", "said"),
    [
        (["gamma"], Config(), "there is no node 'gamma'"),
        ([], Config(), "there is no node"),
        (["beta"], Config(), "beta is a copy of alpha"),
        (["alpha", "air"], WITH_DSN, "has node alpha alone"),
    ],
)
def test_which_nodes_are_refused(asked: list[str], config: Config, said: str) -> None:
    """A call that cannot work is a usage error before anything is made."""
    with pytest.raises(UsageError, match=said):
        wanted_nodes(asked, (), config)


def test_existing_nodes_keep_their_ports() -> None:
    """A new node gets the ports it needs that nobody has; the old one stays where its clients look for it."""
    alpha = Node("alpha", "primary", 20001, 20002)
    nodes = settle({"alpha": alpha}, ["alpha", "beta"], lambda taken: max(taken) + 1)
    beta = Node("beta", "standby", *range(20003, 20009))
    assert nodes == {"alpha": replace(alpha, web_port=20009), "beta": beta}


def test_one_node_of_a_home_serves_the_page() -> None:
    """A home that was made before there was one gets it; a node that comes later gets none, nor does it move."""
    beta = Node("beta", "standby", 1, 2, web_port=3)
    nodes = settle({"beta": beta}, ["alpha", "beta"], lambda taken: max({20000, *taken}) + 1)
    assert [node.web_port for node in nodes.values()] == [0, 3]
    assert ("web" in services(nodes["alpha"], Config()), "web" in services(nodes["beta"], Config())) == (False, True)
    assert ports_of(nodes["beta"], "web") == (3,)


def test_air_reaches_each_server_by_a_port_of_its_own() -> None:
    """Two of its ports are of the link; a link of AIR's has no agent behind it."""
    nodes = settle({}, ["air"], lambda taken: max({20000, *taken}) + 1)
    assert nodes == {
        "air": Node("air", "copy", 20001, 20002, link_alpha_port=20003, link_beta_port=20004, web_port=20005)
    }
    assert set(nodes["air"].ports) == set(range(20001, 20006))


def test_servers_on_machines_of_their_own_need_no_link() -> None:
    """There the network is the link."""
    assert services(AIR, APART) == ("postgres", "embedder", "indexer", "syncd")
    assert "link" not in services(ALPHA, APART)


class Silent:
    """Nobody is told."""

    def step(self, node: str, text: str) -> None:
        """Pass over it."""

    def warn(self, node: str, error: AyaError) -> None:
        """Pass over it."""


async def test_an_air_that_cannot_enter_its_servers_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """Not after minutes, by a daemon that does not start."""
    home = Home(tmp_path / "home")
    with pytest.raises(ConfigError, match="nothing here says how aya_sync enters the primary"):
        await up(home, APART, ["air"], Silent())
    assert not home.path.exists()


def test_every_port_of_a_link_must_be_free() -> None:
    """A server's link has one for the partner's agent, too; AIR's has one for each server."""
    alpha, air = Node("alpha", "primary", 1, 2, 3, 4, 5, 6), Node("air", "copy", 1, 2, link_alpha_port=7)
    assert [ports_of(alpha, "link"), ports_of(air, "link"), ports_of(air, "syncd")] == [(5, 6), (7,), ()]


def test_with_a_dsn_no_postgres_is_ours() -> None:
    """An existing database is used, not started; air's own server, its indexer and its daemon stay."""
    assert services(ALPHA, WITH_DSN) == ("embedder", "indexer", "web")
    assert services(AIR, Config()) == ("link", "postgres", "embedder", "indexer", "syncd")


def test_a_port_is_free_untaken_and_in_the_range() -> None:
    """The same home looks at the same ports in the same order; another one elsewhere."""
    first = ports.choose((), "/home/one", lambda _: True)
    assert first == ports.choose((), "/home/one", lambda _: True)
    assert first != ports.choose((), "/home/two", lambda _: True)
    assert ports.FIRST_PORT <= first < ports.LAST_PORT
    assert ports.choose({first}, "/home/one", lambda _: True) != first
    assert ports.choose((), "/home/one", lambda port: port != first) != first


def test_no_port_left_is_said() -> None:
    """An error, not an endless search."""
    with pytest.raises(ConfigError, match="no port from"):
        ports.choose((), "x", lambda _: False)


HOME = Home(Path("/srv/aya home"))


def seen(**fields: Any) -> Seen:  # noqa: ANN401 - fields of several types
    """Return a process of somebody else, with some fields changed."""
    return replace(Seen(9, 1, "python", (), {}, "/"), **fields)


CONFIGURATION = "/srv/aya home/supervisor/supervisord.conf"
LABEL = {"SUPERVISOR_PROCESS_NAME": "com.aya.alpha.embedder"}


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (seen(arguments=("python", "-m", "supervisor.supervisord", "-c", CONFIGURATION)), ("supervisord",) * 2),
        (seen(environment={**LABEL, "AYA_HOME": "/srv/aya home"}), ("service", "com.aya.alpha.embedder")),
        (seen(name="postgres", directory="/srv/aya home/nodes/beta/data"), ("postgres", "postgres beta")),
        (seen(environment={**LABEL, "AYA_HOME": "/srv/other"}), None),
        (seen(environment={"AYA_HOME": "/srv/aya home", "AYA_NODE": "alpha"}), None),
        (seen(environment=LABEL), None),
        (seen(name="postgres", directory="/srv/other/nodes/beta/data"), None),
        (seen(name="bash", directory="/srv/aya home/nodes/beta/data"), None),
        (seen(arguments=("less", CONFIGURATION)), None),
        (seen(), None),
    ],
)
def test_only_processes_of_this_home_are_ours(process: Seen, expected: tuple[str, str] | None) -> None:
    """Another home's, a person's shell with AYA_HOME set, an MCP server of an IDE: none is ever touched."""
    found = classify(HOME, process)
    assert (found and (found.kind, found.name)) == expected


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (Observation(None), "start"),
        (Observation(7), "remove"),
        (Observation(7, others=(8,)), "wait"),
        (Observation(None, others=(8,)), "wait"),
        (Observation(7, is_server=True), "refuse"),
        (Observation(7, is_server=True, is_ours=True, supervised=True), "refuse"),
        (Observation(7, is_server=True, is_ours=True), "end"),
        (Observation(7, is_server=True, is_ours=True, others=(8,)), "end"),
    ],
)
def test_a_lock_is_removed_only_when_no_server_is_there(observation: Observation, action: str) -> None:
    """Two servers on one data directory destroy it."""
    assert decide(observation).action == action


BREW = {"homebrew.mxcl.postgresql@18": ["/opt/homebrew/bin/postgres", "-D", "/opt/homebrew/var/postgresql@18"]}


@pytest.mark.parametrize(
    ("jobs", "directory", "expected"),
    [
        (BREW, "/opt/homebrew/var/postgresql@18", "homebrew.mxcl.postgresql@18"),
        (BREW, "/opt/homebrew/var/postgresql@18/", "homebrew.mxcl.postgresql@18"),
        (BREW, "/opt/homebrew/var/postgresql@16", None),
        ({"homebrew.mxcl.postgresql@16": ["postgres", "--pgdata=/data"]}, "/data", "homebrew.mxcl.postgresql@16"),
        ({"homebrew.mxcl.postgresql@16": ["postgres", "-D/data"]}, "/data", "homebrew.mxcl.postgresql@16"),
        ({"org.example.postgres": ["postgres", "-D", "/data"]}, "/data", None),
        ({}, "/data", None),
    ],
)
def test_a_homebrew_job_on_the_same_data_is_found(
    jobs: dict[str, list[str]], directory: str, expected: str | None
) -> None:
    """Two servers on one data directory are refused; side by side on two is fine."""
    assert conflicting_job(jobs, Path(directory)) == expected


def test_launchd_is_asked_on_macos_only() -> None:
    """Elsewhere there is no Homebrew job to find."""
    assert loaded_jobs("linux") == {}


def test_services_inherit_no_other_database() -> None:
    """DB_HOST of a person's shell, or another node's name, must not lead a service astray."""
    shell = {
        "PATH": "/bin",
        "DB_HOST": "elsewhere",
        "DB_PASSWORD": "x",
        "AYA_DSN": "d",
        "AYA_NODE": "air",
        "EDITOR": "vi",
    }
    assert inherited(shell) == {"PATH": "/bin", "AYA_DSN": "d"}


def test_the_server_knows_its_home_and_no_secret() -> None:
    """Its environment tells an orphan of ours from other servers, and nothing else."""
    environ = {"PATH": "/bin", "AYA_HOME": "/h", "AYA_NODE": "alpha", "AYA_DSN": "secret", "LC_ALL": "de_DE"}
    assert server_environment(environ) == {"PATH": "/bin", "AYA_HOME": "/h", "AYA_NODE": "alpha", "LC_ALL": "C"}


def test_beta_alone_is_made_where_alpha_is_another_machine() -> None:
    """aya.toml says where alpha is: it is copied from there."""
    members = {name: Member(name, ("10.0.0.1",), 5432, 8766, 8008) for name in ("alpha", "beta")}
    assert wanted_nodes(["beta"], (), Config(members=members)) == ("beta",)
