"""What a stranger gets of a machine on which AYA runs: its ports, its files, its processes, as another user of it."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.e2e.test_up_nodes import Machine, new_machine

from aya.bugreport.collect import secrets_of

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]
STRANGER = "nobody"
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with all three nodes, and something to hide."""
    with new_machine() as made:
        made.aya("up", "--detach")
        made.aya("add", "--text", "the phlogiston is under the stairs")
        yield made


def processes(machine: Machine) -> list[psutil.Process]:
    """Return everything that runs for the home, PostgreSQL's processes too."""
    found: dict[int, psutil.Process] = {}
    for one in psutil.process_iter():
        try:
            words, environ = one.cmdline(), one.environ()
        except psutil.Error:
            continue
        if environ.get("AYA_HOME") == str(machine.home.path) or any(str(machine.home.path) in word for word in words):
            found |= {each.pid: each for each in (one, *one.children(recursive=True))}
    return list(found.values())


def listened(pids: set[int]) -> set[tuple[str, int]]:
    """Return the addresses and ports on which these processes wait for anybody."""
    found: set[tuple[str, int]] = set()
    for each in psutil.net_connections("inet"):
        waits = each.status == psutil.CONN_LISTEN or (each.type.name == "SOCK_DGRAM" and not each.raddr)
        if each.pid in pids and waits and each.laddr:
            found.add((str(each.laddr.ip), int(each.laddr.port)))
    return found


def test_every_port_is_open_to_this_machine_only(machine: Machine) -> None:
    """Servers, embedders, watchdogs and links alike."""
    listening = listened({process.pid for process in processes(machine)})
    ports = {port for node in machine.home.nodes().values() for port in node.ports}
    assert {node.postgres_port for node in machine.home.nodes().values()} <= {port for _, port in listening}
    assert not {(address, port) for address, port in listening if not ipaddress.ip_address(address).is_loopback}
    assert {port for _, port in listening} <= ports


def test_no_process_shows_a_secret(machine: Machine) -> None:
    """Neither its arguments, which everybody sees, nor its environment, which ends up in crash reports."""
    secrets = secrets_of(machine.home)
    assert len(secrets) > 10
    seen = processes(machine)
    assert len(seen) > 20
    for process in seen:
        try:
            shown = "\n".join((*process.cmdline(), *process.environ().values()))
        except psutil.Error:
            continue
        assert not [what for what, secret in secrets.items() if secret in shown], process


def test_no_log_holds_a_secret_or_what_somebody_wrote(machine: Machine) -> None:
    """Also not when passwords were wrong and statements failed."""
    for words in (("search", "phlogiston"), ("search", "--mode", "text", "stairs")):
        machine.aya(*words)
    secrets = secrets_of(machine.home)
    for file in machine.home.path.rglob("*.log"):
        text = file.read_text(encoding="utf-8", errors="replace")
        assert not [what for what, secret in secrets.items() if secret in text], file
        assert "phlogiston" not in text, file


def test_what_is_secret_is_its_owners_alone(machine: Machine) -> None:
    """By mode, whoever asks: no file that holds a secret can be read by others, and PostgreSQL's are closed whole."""
    secrets = secrets_of(machine.home)
    for file in machine.home.path.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_mode & stat.S_IROTH:
            content = file.read_bytes()
            assert not [what for what, secret in secrets.items() if secret.encode() in content], file
    for node in machine.home.nodes():
        for directory in (machine.home.data_directory(node), *machine.home.node_directory(node).glob("archive")):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory


@only_root
def test_another_user_reads_nothing_and_enters_nowhere(machine: Machine) -> None:
    """Tried as one: files, sockets, the supervisor, and the servers without a password."""
    user = pwd.getpwnam(STRANGER)
    secrets = {secret.encode() for secret in secrets_of(machine.home).values()}

    def tried(*command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, user=user.pw_uid, group=user.pw_gid, extra_groups=[], capture_output=True, check=False, timeout=60,
            cwd="/", env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    find = shutil.which("find") or "find"
    readable = tried(find, str(machine.home.path), "-type", "f", "-readable", "-print0").stdout.split(b"\0")
    for name in filter(None, readable):
        content = Path(os.fsdecode(name)).read_bytes()
        assert not [secret for secret in secrets if secret in content], name
        assert b"phlogiston" not in content, name
    sockets = [file for place in (machine.home.path, machine.home.runtime_directory) for file in place.rglob("*")
               if file.is_socket()]  # fmt: skip
    assert sockets
    script = (
        "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ntry: s.connect(sys.argv[1])\nexcept OSError: sys.exit(7)"
    )
    python = shutil.which("python3", path="/usr/bin:/bin") or shutil.which("python3") or "python3"
    for socket in sockets:
        done = tried(python, "-c", script, str(socket))
        assert done.returncode == 7, (socket, done.stderr)
