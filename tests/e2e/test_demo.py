"""`make demo` for real: the shipped notes, a person's own folder, and an interruption; nothing is ever left running."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = (sys.executable, str(ROOT / "scripts" / "demo.py"))

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which the demo makes its home: open to PostgreSQL's unprivileged user."""
    directory = Path(tempfile.mkdtemp(prefix="demo-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def begin(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo beside the test, in a process group of its own, with nothing that chooses another database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_", "EMBEDDING_"))}
    environ = {**kept, "TMPDIR": str(place)}
    out, both = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen([*DEMO, *arguments], stdout=out, stderr=both, text=True, env=environ, process_group=0)


def left(place: Path) -> list[str]:
    """Return every process that has the demo's home in its command line or environment, and what is left of files."""
    running: list[str] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if any(str(place) in part for part in (*command, process.environ().get("AYA_HOME", ""))):
                running.append(f"{process.pid} {command}")
    return running + [str(each) for each in place.glob("aya-demo-*")]


def test_the_shipped_notes_answer_every_question(place: Path) -> None:
    """As the README promises: every answer from the note that has it, exit code 0, nothing left."""
    with begin(place, "") as demo:
        said = demo.communicate()[0]
    assert demo.returncode == 0, said
    assert "6 of 6 answers came from the expected note" in said
    assert "added document" in said
    assert "nothing is left running; aya up starts it again" in said
    assert "Wrists, neck and screen: what helped" in said
    assert left(place) == []


def test_a_persons_own_folder_with_a_bad_file_in_it(place: Path) -> None:
    """The bad file is named with its reason, the others are asked for by their titles, and the demo ends well."""
    folder = place / "my own notes"
    folder.mkdir()
    (folder / "bees.md").write_text("# Wintering the bees\n\nThe hive needs eight kilograms of honey for the winter.\n")
    (folder / "latin.txt").write_bytes("Größe".encode("latin-1"))
    with begin(place, str(folder)) as demo:
        said = demo.communicate()[0]
    assert demo.returncode == 0, said
    assert "latin.txt  (It is not valid UTF-8: byte 0xf6 at offset 2." in said
    assert "Some files were not taken in, for the reasons above" in said
    assert "What do my notes say about Wintering the bees?" in said
    assert "eight kilograms of honey" in said
    assert left(place) == []


def test_a_folder_that_is_not_there_is_said_at_once(place: Path) -> None:
    """Before anything is started."""
    with begin(place, str(place / "nowhere")) as demo:
        assert "nowhere does not exist\n  next: make demo DOCS=~/notes\n" in demo.communicate()[0]
    assert demo.returncode == 1
    assert left(place) == []


@pytest.mark.parametrize(
    ("moment", "signum"),
    [
        ("$ aya up --detach", signal.SIGTERM),
        ("$ aya add", signal.SIGHUP),
        ("connected in", signal.SIGINT),
    ],
)
def test_an_interrupted_demo_stops_everything(place: Path, moment: str, signum: signal.Signals) -> None:
    """Killed in the middle, by kill, Ctrl-C or a closed terminal, it still runs `aya down` and removes its home."""
    with begin(place, "") as demo:
        assert demo.stdout is not None
        assert any(line.startswith(moment) for line in demo.stdout)
        demo.send_signal(signum)
        said = demo.stdout.read()
    assert demo.returncode == 128 + signum, said
    assert "== Stop everything" in said
    assert left(place) == []
