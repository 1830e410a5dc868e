"""`aya up`, `status`, `env` and `down` on real homes, whose paths have a space: crashes, freezes, interruptions.

As root PostgreSQL runs as an unprivileged user; as an ordinary user everything runs as that user.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from aya.home import Home
from aya.local.clusters import marker
from aya.local.wait import SETTLE_SECONDS
from aya.processes import leftovers
from aya.settings import node_settings

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]

AYA = str(Path(sys.executable).with_name("aya"))
DASHBOARD = Path(__file__).parents[2] / "docs" / "operations" / "grafana-dashboard.json"
# Nothing of the shell that runs the tests may choose another database or home.
ENVIRON = {
    name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_")) or name == "AYA_PG_MAJOR"
}


@dataclass(frozen=True)
class Machine:
    """One AYA_HOME, driven by the real command."""

    home: Home

    def aya(self, *arguments: str, expect: int | None = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end and check its exit code (None: any)."""
        command = [AYA, "--home", str(self.home.path), *arguments]
        environment = {**ENVIRON, **environ}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def begun(self, *arguments: str) -> Generator[subprocess.Popen[str]]:
        """Run a verb beside the test, as a terminal would: in a process group of its own."""
        command = [AYA, "--home", str(self.home.path), *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRON, process_group=0) as process:
            try:
                yield process
            finally:
                process.terminate()

    def status(self, *, expect: int | None = 0) -> list[dict[str, Any]]:
        """Return the nodes of `aya status --json`."""
        nodes: list[dict[str, Any]] = json.loads(self.aya("status", "--json", expect=expect).stdout)["nodes"]
        return nodes

    def alpha(self, *, expect: int | None = 0) -> dict[str, Any]:
        """Return the first node's status."""
        return self.status(expect=expect)[0]

    def pid(self, service: str) -> int:
        """Return the process id of a service of alpha."""
        return next(int(one["pid"] or 0) for one in self.alpha(expect=None)["services"] if one["name"] == service)

    def supervisord(self) -> int:
        """Return the process id of the supervisor."""
        return int((self.home.path / "supervisor" / "supervisord.pid").read_text(encoding="ascii"))

    def left(self) -> list[str]:
        """Return every process on this machine that mentions the home in its command line, or is of it."""
        named = [
            f"{process.pid} {process.info['cmdline']}"
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.home.path) in part for part in process.info["cmdline"] or ())
        ]
        return named + [str(one) for one in leftovers.find(self.home)]


@contextlib.contextmanager
def new_machine() -> Generator[Machine]:
    """Make a home that PostgreSQL's user can enter (pytest's own directories are mode 700)."""
    directory = Path(tempfile.mkdtemp(prefix="aya e2e "))
    directory.chmod(0o755)
    machine = Machine(Home(directory.resolve() / "home"))
    try:
        yield machine
    finally:
        machine.aya("down", expect=None)
        leftovers.end(machine.home)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def prepared() -> Iterator[Machine]:
    """A machine with node alpha."""
    with new_machine() as made:
        made.aya("up", "--nodes", "alpha", "--detach")
        yield made


@pytest.fixture
def machine(prepared: Machine) -> Machine:
    """The machine with node alpha, healthy whatever the test before did to it."""
    prepared.aya("up", "--detach")
    return prepared


@pytest.fixture
def fresh() -> Iterator[Machine]:
    """A machine on which nothing was made yet."""
    with new_machine() as made:
        yield made


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `check` holds; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


async def run_sql(machine: Machine, statement: str, node: str = "alpha") -> object:
    """Run one statement as the owner and return its value."""
    connection = await asyncpg.connect(node_settings(machine.home, node, environ={}).local.dsn())
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_a_node_is_healthy_after_up_and_status_tells_all(machine: Machine) -> None:
    """Exit code 0, every service with its pid and what it did last, no password anywhere."""
    node = machine.alpha()
    assert (node["name"], node["role"], node["health"], node["problems"]) == ("alpha", "primary", "healthy", [])
    assert [(one["name"], bool(one["pid"]), bool(one["last"])) for one in node["services"]] == [
        ("link", True, True),
        ("watchdog", True, True),
        ("embedder", True, True),
        ("indexer", True, True),
        ("backup", True, True),
        ("web", True, True),
    ]
    assert psutil.Process(node["postmaster_pid"]).name().startswith("postgres")
    assert all(node["versions"].values())
    assert node["model"]["bound"] == node["model"]["embedder"]
    text = machine.aya("status").stdout
    for secret in machine.home.secrets("alpha").values():
        assert secret not in text
        assert secret not in json.dumps(node)


def scraped(*urls: str) -> set[str]:
    """Return the names of all metrics that are told there."""
    found: set[str] = set()
    for url in urls:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 our own loopback address
            lines = answer.read().decode().splitlines()
        found |= {re.split(r"[{ ]", line, maxsplit=1)[0] for line in lines if not line.startswith("#")}
    return found


def test_the_page_is_served_and_its_verb_says_where(machine: Machine) -> None:
    """It has looked at the node, and tells no password either."""
    told = json.loads(machine.aya("web", "--json").stdout)
    assert machine.aya("web").stdout.strip() == told["url"]
    seen = eventually_answered(f"{told['url']}api/status")
    assert [node["health"] for node in json.loads(seen)["nodes"]] == ["healthy"]
    assert not [secret for secret in machine.home.secrets("alpha").values() if secret in seen]


def metrics_of(machine: Machine) -> set[str]:
    """Return the names of all metrics that a home tells: of its page, and of alpha's embedder and watchdog."""
    node = machine.home.node("alpha")
    return scraped(
        *(f"http://127.0.0.1:{port}/metrics" for port in (node.web_port, node.embedder_port, node.health_port))
    )


def dashboard_metrics() -> set[str]:
    """Return every metric that the Grafana dashboard asks for."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    found = {name for expression in expressions for name in re.findall(r"\b(?:aya|te)_[a-z_]+", expression)}
    assert len(found) > 20
    return found


def eventually_answered(url: str) -> str:
    """Return what is answered there, once it is 200."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 our own loopback address
                return str(answer.read().decode())
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_up_again_is_a_quick_no_op_that_says_so(machine: Machine) -> None:
    """The same processes as before; without --detach too it is over at once."""
    before = machine.pid("watchdog")
    assert "already running: alpha" in machine.aya("up", "--detach").stderr
    assert "already running: alpha" in machine.aya("up").stderr
    assert machine.pid("watchdog") == before


def test_another_major_version_is_refused_before_anything_is_touched(machine: Machine) -> None:
    """The running server goes on; the error says which version the data belongs to."""
    before = machine.alpha()["postmaster_pid"]
    other = "16" if machine.alpha()["versions"]["postgresql"].startswith("18") else "18"
    said = machine.aya("up", "--detach", expect=1, AYA_PG_MAJOR=other).stderr
    assert f"but {other}." in said
    assert machine.alpha()["postmaster_pid"] == before


def test_env_is_read_by_a_shell(machine: Machine) -> None:
    """The six names of the contract, and another node's values in the shell do not win over them."""
    command = f'eval "$({shlex.quote(AYA)} --home {shlex.quote(str(machine.home.path))} env alpha)"; '
    code = command + 'echo "$DB_HOST|$DB_PORT|$DB_NAME|$DB_USER|$DB_PASSWORD|$EMBEDDING_URL"'
    environ = {**ENVIRON, "DB_HOST": "elsewhere", "EMBEDDING_URL": "http://elsewhere"}
    done = subprocess.run(["/bin/sh", "-c", code], capture_output=True, text=True, env=environ, check=True)
    node = machine.home.node("alpha")
    password = machine.home.secrets("alpha")["aya_user"]
    expected = f"127.0.0.1|{node.postgres_port}|aya_rag|aya_user|{password}|http://127.0.0.1:{node.embedder_port}"
    assert done.stdout.strip() == expected


def test_postgres_never_runs_as_root_and_files_are_private(machine: Machine) -> None:
    """The data directory belongs to who runs the server; passwords are readable by nobody else."""
    data = machine.home.data_directory("alpha")
    owner = data.stat().st_uid
    assert owner != 0
    assert psutil.Process(machine.alpha()["postmaster_pid"]).username() == pwd.getpwuid(owner).pw_name
    assert data.stat().st_mode & 0o777 == 0o700
    assert machine.home.secrets_file("alpha").stat().st_mode & 0o777 == 0o600
    for file in (machine.home.node_directory("alpha") / "launchd").iterdir():
        text = file.read_text(encoding="utf-8")
        assert not [word for word in machine.home.secrets("alpha").values() if word in text]


async def test_a_killed_server_comes_back_with_its_data(machine: Machine) -> None:
    """Kill -9 of the postmaster: the supervisor starts it again."""
    await run_sql(machine, "INSERT INTO documents (content, category) VALUES ('kept', 'crash')")
    before = machine.alpha()["postmaster_pid"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: machine.alpha(expect=None)["postmaster_pid"] not in {before, None})
    eventually(lambda: machine.alpha(expect=None)["health"] == "healthy")
    assert await run_sql(machine, "SELECT count(*) FROM documents WHERE content = 'kept'") == 1


def test_a_killed_watchdog_leaves_its_server_alone(machine: Machine) -> None:
    """The next one takes the same server up; there is no second."""
    before, watchdog = machine.alpha()["postmaster_pid"], machine.pid("watchdog")
    os.kill(watchdog, signal.SIGKILL)
    eventually(lambda: machine.pid("watchdog") not in {watchdog, 0})
    eventually(lambda: machine.alpha(expect=None)["health"] == "healthy")
    assert machine.alpha()["postmaster_pid"] == before


def test_up_recovers_from_a_killed_supervisor(machine: Machine) -> None:
    """What it left behind is seen, ended politely and started again."""
    os.kill(machine.supervisord(), signal.SIGKILL)
    eventually(lambda: {one["state"] for one in machine.alpha(expect=3)["services"]} == {"orphaned"})
    machine.aya("up", "--detach")
    assert machine.alpha()["health"] == "healthy"


def test_down_recovers_from_a_killed_supervisor_and_leaves_nothing(machine: Machine) -> None:
    """Services and server end, though nobody supervises them."""
    os.kill(machine.supervisord(), signal.SIGKILL)
    assert "nothing is left running" in machine.aya("down").stdout
    assert machine.left() == []


async def test_a_database_of_a_newer_aya_is_refused_by_every_verb(machine: Machine) -> None:
    """What a newer AYA migrated is neither read nor written: up, add and search say so and exit 1."""
    await run_sql(machine, "INSERT INTO schema_migrations VALUES (99, '0099_post_future', 'x', '9.9')")
    try:
        for verb in (("up", "--detach"), ("add", "--text", "x"), ("search", "x"), ("list",)):
            assert "newer AYA" in machine.aya(*verb, expect=1).stderr
    finally:
        await run_sql(machine, "DELETE FROM schema_migrations WHERE version = 99")
    machine.aya("up", "--detach")


def test_a_frozen_embedder_is_started_anew_by_up(machine: Machine) -> None:
    """An embedder that lives and does not answer is no reason to wait for ever."""
    pid = machine.pid("embedder")
    eventually(lambda: time.time() - psutil.Process(pid).create_time() > SETTLE_SECONDS + 1)
    os.kill(pid, signal.SIGSTOP)
    said = machine.aya("up", "--detach").stderr
    assert "started anew" in said
    assert machine.pid("embedder") != pid


def test_a_frozen_server_does_not_hang_status(machine: Machine) -> None:
    """Every probe has a deadline of 2 seconds."""
    server = machine.alpha()["postmaster_pid"]
    os.kill(server, signal.SIGSTOP)
    try:
        node = machine.alpha(expect=1)
        assert node["health"] == "down"
        assert "the database does not answer (no answer within 2 s): aya up" in node["problems"]
    finally:
        os.kill(server, signal.SIGCONT)


async def test_a_stuck_indexer_is_a_problem(machine: Machine) -> None:
    """Its process is there, but what waits for it is long due; once it works again the node is healthy."""
    indexer = machine.pid("indexer")
    os.kill(indexer, signal.SIGSTOP)
    try:
        await run_sql(machine, "INSERT INTO documents (content) VALUES ('waits')")
        assert machine.alpha()["counts"]["overdue"] == 0
        await run_sql(machine, "UPDATE index_queue SET retry_at = now() - interval '61 seconds'")
        node = machine.alpha(expect=3)
        assert node["counts"]["overdue"] == 1
        assert node["problems"] == [
            "1 documents wait longer than a minute for the indexer: aya down, then aya up",
        ]
    finally:
        os.kill(indexer, signal.SIGCONT)
    await run_sql(machine, "SELECT pg_notify('aya_index', '')")
    eventually(lambda: machine.alpha(expect=None)["health"] == "healthy")


def test_down_ends_a_frozen_supervisor(machine: Machine) -> None:
    """One that does not answer is woken, asked, and at last killed."""
    os.kill(machine.supervisord(), signal.SIGSTOP)
    machine.aya("down")
    assert machine.left() == []


def test_after_down_nothing_is_left_and_up_finds_everything_again(machine: Machine) -> None:
    """Status says down (exit code 1); the data, ports and passwords are the same afterwards."""
    node, secrets = machine.home.node("alpha"), machine.home.secrets("alpha")
    machine.aya("down")
    assert machine.left() == []
    assert machine.alpha(expect=1)["health"] == "down"
    assert "nothing of" in machine.aya("down").stdout
    machine.aya("up", "--detach")
    assert (machine.home.node("alpha"), machine.home.secrets("alpha")) == (node, secrets)


def test_a_taken_port_names_who_has_it(machine: Machine) -> None:
    """The port of a home that is down was taken by somebody else; nothing is left running after the error."""
    machine.aya("down")
    with socket.create_server(("127.0.0.1", machine.home.node("alpha").postgres_port)):
        said = machine.aya("up", "--detach", expect=1).stderr
    assert f"is taken by {psutil.Process().name()} (pid {os.getpid()})" in said
    assert machine.left() == []


def test_a_service_that_does_not_start_is_quoted(machine: Machine) -> None:
    """The error has the log's last words; what ran before goes on, and a good call mends it."""
    said = machine.aya("up", "--detach", expect=1, AYA_MODEL="no-such-model").stderr
    assert "aya: embedder of node alpha does not start; its log ends: " in said
    assert "service.failed error=there is no model 'no-such-model'" in said
    assert machine.alpha(expect=3)["health"] == "degraded"
    machine.aya("up", "--detach")
    assert machine.alpha()["health"] == "healthy"


def test_one_up_at_a_time(machine: Machine) -> None:
    """The second says who is at work, and disturbs nothing."""
    machine.aya("down")
    lock = machine.home.path / "supervisor" / "lock"
    with machine.begun("up", "--detach") as first:
        eventually(lambda: f"aya up (pid {first.pid})" in lock.read_text(encoding="utf-8"))
        assert f"aya up (pid {first.pid}) is at work" in machine.aya("up", "--detach", expect=1).stderr
        first.communicate(timeout=60)
        assert first.returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_stops_everything_when_it_ends(machine: Machine, signum: signal.Signals) -> None:
    """Ctrl-C and SIGTERM are the good ends of a foreground `aya up`: exit code 0, nothing left."""
    machine.aya("down")
    with machine.begun("up") as process:
        assert process.stdout is not None
        assert "Ctrl-C stops everything.\n" in process.stdout
        process.send_signal(signum)
        assert "stopped: com.aya.alpha.backup, com.aya.alpha.embedder" in process.communicate(timeout=60)[1]
        assert process.returncode == 0
    assert machine.left() == []


def test_the_foreground_ends_when_everything_is_stopped_from_elsewhere(machine: Machine) -> None:
    """`aya down` in another terminal: the first one says so and ends well."""
    machine.aya("down")
    with machine.begun("up") as process:
        assert process.stdout is not None
        assert "Ctrl-C stops everything.\n" in process.stdout
        machine.aya("down")
        assert "stopped from elsewhere" in process.communicate(timeout=60)[1]
        assert process.returncode == 0


def test_an_interrupted_first_up_does_not_block_the_next(fresh: Machine) -> None:
    """Ctrl-C while the cluster is made: exit code 130, nothing runs, and the next `aya up` makes it anew."""
    with fresh.begun("up", "--nodes", "alpha", "--detach") as process:
        eventually(marker(fresh.home, "alpha").exists)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, "interrupted; " in said) == (130, True)
    assert fresh.left() == []
    fresh.aya("up", "--nodes", "alpha", "--detach")
    assert not marker(fresh.home, "alpha").exists()


def test_sigterm_ends_an_up_whose_starter_ignores_interrupts(fresh: Machine) -> None:
    """A script's background job ignores INT; TERM still ends it, and nothing is left."""
    script = (
        f'trap "" INT; exec {shlex.quote(AYA)} --home {shlex.quote(str(fresh.home.path))} up --nodes alpha --detach'
    )
    with subprocess.Popen(["/bin/sh", "-c", script], env=ENVIRON, stderr=subprocess.PIPE, text=True) as process:
        eventually(marker(fresh.home, "alpha").exists)
        process.terminate()
        assert "interrupted; " in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert fresh.left() == []


def test_a_killed_first_up_does_not_block_the_next(fresh: Machine) -> None:
    """Kill -9 in the middle of making the cluster: what is half made is made anew."""
    with fresh.begun("up", "--nodes", "alpha", "--detach") as process:
        eventually(marker(fresh.home, "alpha").exists)
        eventually((fresh.home.data_directory("alpha") / "PG_VERSION").exists)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    fresh.aya("up", "--nodes", "alpha", "--detach")
    assert fresh.alpha()["health"] == "healthy"


async def test_three_nodes_beside_another_home(machine: Machine, fresh: Machine) -> None:
    """Two homes side by side do not collide; beta streams from alpha, air fetches, all of it is measured."""
    fresh.aya("up", "--detach")
    alpha, beta, air = fresh.status()
    assert [node["role"] for node in (alpha, beta, air)] == ["primary", "standby", "copy"]
    assert beta["replication"]["state"] == "streaming"
    assert [(one["name"], bool(one["pid"])) for one in air["services"]] == [
        ("link", True),
        ("postgres", True),
        ("embedder", True),
        ("indexer", True),
        ("syncd", True),
    ]
    await run_sql(fresh, "INSERT INTO documents (content) VALUES ('copied')")
    fresh.aya("backup", "create", "--node", "alpha")
    eventually(lambda: dashboard_metrics() <= metrics_of(fresh))
    count = "SELECT count(*) FROM documents WHERE content = 'copied'"
    eventually(lambda: fresh.status(expect=None)[1]["counts"]["documents"] == 1)
    eventually(lambda: fresh.status(expect=None)[2]["counts"]["documents"] == 1)
    assert await run_sql(fresh, count, "air") == 1
    assert await run_sql(machine, count) == 0
    fresh.aya("down")
    assert fresh.left() == []
    assert machine.alpha()["health"] == "healthy"


def test_an_existing_database_is_used_and_not_started(machine: Machine, fresh: Machine) -> None:
    """With a DSN only embedder, indexer and page are ours; the database goes on when they are stopped."""
    dsn = node_settings(machine.home, "alpha", environ={}).database.dsn()
    fresh.home.path.mkdir(parents=True)
    fresh.home.config_file.write_text(f'[postgres]\ndsn = "{dsn}"\n', encoding="utf-8")
    fresh.aya("up", "--detach")
    node = fresh.alpha()
    assert (node["health"], node["data_dir"], node["postmaster_pid"]) == ("healthy", None, None)
    assert [one["name"] for one in node["services"]] == ["embedder", "indexer", "web"]
    assert dsn not in json.dumps(node)
    assert "has node alpha alone" in fresh.aya("up", "--nodes", "air", "--detach", expect=2).stderr
    fresh.aya("down")
    assert machine.alpha()["health"] == "healthy"
