"""`aya bugreport` on a real home: what helps is in it, and neither a secret nor a word that somebody has written."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tarfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import asyncpg
import pytest
from tests.e2e.test_up_nodes import ENVIRON, Machine, new_machine

from aya.bugreport.collect import secrets_of
from aya.cli import VERBS
from aya.postgres.cluster import SUPERUSER
from aya.postgres.provision import superuser_settings
from aya.postgres.run import cluster_of
from aya.settings import load_config

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]

KNOWLEDGE = ("Xyloquartz", "geheim.md", "phlogistonvortex")


# Each said to the server in another way; a session that asks for it has all of them logged.
VERBOSE = """SET log_error_verbosity = 'verbose'; SET log_min_error_statement = 'error'; SET log_statement = 'all';
    SET log_min_duration_statement = 0; SET log_parameter_max_length = -1; SET log_parameter_max_length_on_error = -1"""
STATEMENTS = (
    "CREATE TEMPORARY TABLE kept (word text UNIQUE)",
    "INSERT INTO kept VALUES ('phlogistonvortex Xyloquartz')",
    "INSERT INTO kept VALUES ('phlogistonvortex Xyloquartz')",
    "SELECT 'phlogistonvortex'::integer",
    "SELECT '{\"a\": Xyloquartz}'::json",
    "SELECT *\nFROM kept\n\tWHERE word = 'Xyloquartz' AND phlogistonvortex",
    "DO $$ BEGIN RAISE WARNING 'found \"the Xyloquartz\"'; END $$",
)


async def confide(machine: Machine) -> None:
    """Have the server log what people have written, in every way that it has."""
    cluster = cluster_of(machine.home, load_config(machine.home, {}), "alpha")
    settings = superuser_settings(cluster, machine.home.secrets("alpha")[SUPERUSER])
    connection = await asyncpg.connect(settings.dsn())
    try:
        await connection.execute(VERBOSE)
        for statement in STATEMENTS:
            with suppress(asyncpg.PostgresError):
                await connection.execute(statement)
        with suppress(asyncpg.PostgresError):
            await connection.fetchval("SELECT length($1) / 0", "Xyloquartz")
        with suppress(asyncpg.PostgresError):
            await connection.copy_to_table("kept", source=BytesIO(b"phlogistonvortex\tXyloquartz\n"))
    finally:
        await connection.close()


def contents(file: Path) -> dict[str, str]:
    """Return the texts of a report by name."""
    with tarfile.open(file) as archive:
        found = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive.getmembers()}
        return {name: stream.read().decode() for name, stream in found.items() if stream}


def test_a_report_helps_and_betrays_nothing(tmp_path: Path) -> None:
    """Of a machine that works, and of the same when it is down; a home that is not there has one, too."""
    with new_machine() as machine:
        machine.home.path.mkdir()
        (machine.home.path / "aya.toml").write_text('[alerts]\ncommands = ["/bin/x --token=hunter2hunter2"]\n')
        machine.aya("up", "--nodes", "alpha", "--detach")
        (tmp_path / "geheim.md").write_text("# Xyloquartz\n\nNobody is to know.")
        machine.aya("add", str(tmp_path / "geheim.md"))
        machine.aya("search", "phlogistonvortex")
        asyncio.run(confide(machine))
        logged = (machine.home.log_directory("alpha") / "postgres.log").read_text()
        assert all(word in logged for word in ("Xyloquartz", "phlogistonvortex", "DETAIL", "CONTEXT", "STATEMENT"))
        secrets = secrets_of(machine.home)
        assert len(secrets) > 5
        for state, file in (("up", tmp_path / "a.tar.gz"), ("down", tmp_path / "b.tar.gz")):
            if state == "down":
                machine.aya("down")
            machine.aya("bugreport", "--output", str(file))
            assert file.stat().st_mode & 0o777 == 0o600
            texts = contents(file)
            everything = "\n".join(texts.values())
            assert not [what for what, secret in secrets.items() if secret in everything]
            assert not [word for word in (*KNOWLEDGE, "hunter2") if word in everything]
            assert {"versions.txt", "machine.txt", "status.json", "aya.toml", "state.json", "alpha/indexer.log"} <= {
                *texts
            }
            assert "document.indexed" in texts["alpha/indexer.log"] or "service.started" in texts["alpha/indexer.log"]
            assert "asyncpg 0." in texts["versions.txt"]
            assert (str(machine.home.data_directory("alpha")) in texts["machine.txt"]) == (state == "up")
            json.loads(texts["status.json"])
            assert 'duplicate key value violates unique constraint "kept_word_key"' in texts["alpha/postgres.log"]
        machine.aya("bugreport", "--output", str(file), expect=1)
        machine.aya("--home", str(tmp_path / "none"), "bugreport", "--output", str(tmp_path / "c.tar.gz"))
        assert "versions.txt" in contents(tmp_path / "c.tar.gz")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_verbs(shell: str) -> None:
    """The script is printed, and what it calls names the verbs with what they do."""
    aya = str(Path(sys.executable).with_name("aya"))
    script = subprocess.run([aya, "completions", shell], capture_output=True, text=True, check=True, env=ENVIRON).stdout
    assert "_AYA_COMPLETE" in script
    asking = {
        **ENVIRON,
        "_AYA_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "aya ",
        "COMP_CWORD": "" if shell == "fish" else "1",
    }
    said = subprocess.run([aya], capture_output=True, text=True, check=True, env=asking).stdout
    assert all(verb in said for verb in VERBS)


def test_bash_runs_its_script() -> None:
    """A real one: after `aya mig` and a tab it knows one word."""
    aya = Path(sys.executable).with_name("aya")
    program = f"""
        source <("{aya}" completions bash)
        COMP_WORDS=(aya mig) COMP_CWORD=1
        _aya_completion aya mig aya
        echo "${{COMPREPLY[@]}}"
    """
    environ = {**ENVIRON, "PATH": f"{aya.parent}:{ENVIRON.get('PATH', '/usr/bin:/bin')}"}
    said = subprocess.run(["/bin/bash", "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert said.stdout.split() == ["migrate"]
