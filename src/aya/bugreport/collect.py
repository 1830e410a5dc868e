"""What goes into a report: each part by itself and within bounds, for whoever needs one has something broken."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import psutil

from aya import __version__
from aya.bugreport.redact import Redactor, without_knowledge
from aya.errors import AyaError
from aya.home import Home

_AYA = (sys.executable, "-P", "-c", "from aya.cli import main; main()")
_SECONDS = 30.0
_MOST_BYTES = 1_000_000
_LARGEST_SECRET = 10_000
# What the command itself says, by the name that the answer gets.
_ASKED: Mapping[str, tuple[str, ...]] = {
    "status.json": ("status", "--json"),
    "doctor.json": ("doctor", "--json"),
    "history.json": ("history", "--json"),
    "sync.json": ("sync", "status", "--json"),
    "index.json": ("index", "status", "--json"),
    "backups.json": ("backup", "list", "--json"),
    "models.json": ("models", "list", "--json"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the report, and what makes its text. is_log: its lines are events."""

    name: str
    make: Callable[[], str]
    is_log: bool = False


def secrets_of(home: Home) -> dict[str, str]:
    """Return all that must not be in a report, by what it is: passwords, keys, and files of mode 600."""
    found: dict[str, str] = {}
    for node in _nodes(home):
        try:
            found |= {f"password of {role} at {node}": word for role, word in home.secrets(node).items()}
        except AyaError:
            continue
    for file in _private_files(home):
        text = file.read_text(encoding="utf-8", errors="ignore").strip()
        found |= {
            f"line {number} of {file.parent.parent.name}/{file.parent.name}/{file.name}": line
            for number, line in enumerate(text.splitlines(), 1)
            if not line.startswith(("-----", "{", "}"))
        }
    return found


def _private_files(home: Home) -> Iterator[Path]:
    """Find the small files that are the user's alone: keys, tokens, passwords. secrets.json is read as what it is."""
    places = [home.path, home.authority_directory, *(home.agent_directory(node) for node in _nodes(home))]
    for place in places:
        for file in sorted(place.glob("*")) if place.is_dir() else []:
            status = file.lstat()
            own = file.is_file() and not file.is_symlink() and status.st_mode & 0o077 == 0
            if own and status.st_size < _LARGEST_SECRET and file.suffix not in {".json", ".toml", ".sqlite3", ".lock"}:
                yield file


def parts(home: Home) -> list[Part]:
    """Return what there is to say of a home."""
    asked = [Part(name, partial(_asked, home, words)) for name, words in _ASKED.items()]
    found = [Part("versions.txt", _versions), Part("machine.txt", partial(_machine, home)), *asked]
    found += [Part(file.name, partial(_read, file)) for file in (home.config_file, home.state_file)]
    for node in _nodes(home):
        directory = home.node_directory(node)
        for pattern, is_log in (("log/*.log", True), ("launchd/*.plist", False), ("watchdog.json", False)):
            for file in sorted(directory.glob(pattern)):
                found.append(Part(f"{node}/{file.name}", partial(_read, file), is_log))
        for name in ("aya.conf", "guard.conf", "postgresql.auto.conf", "pg_hba.conf"):
            file = home.data_directory(node) / name
            if _exists(file):
                found.append(Part(f"{node}/{name}", partial(_read, file)))
    return found


def text_of(part: Part, redactor: Redactor) -> str:
    """Return a part's text without what nobody else should see; why there is none, where it cannot be had."""
    try:
        text = part.make()
    except (AyaError, OSError, ValueError, subprocess.SubprocessError, psutil.Error) as error:
        text = f"not to be had: {error}\n"
    if part.is_log:
        return redactor.log(text)
    if part.name.endswith(".json"):
        text = _without_knowledge(text)
    return redactor(text)


def _without_knowledge(text: str) -> str:
    try:
        return json.dumps(without_knowledge(json.loads(text)), indent=1, ensure_ascii=False) + "\n"
    except ValueError:
        return text


def _nodes(home: Home) -> list[str]:
    directory = home.path / "nodes"
    return sorted(one.name for one in directory.iterdir() if one.is_dir()) if directory.is_dir() else []


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return False


def _read(file: Path) -> str:
    """Return the end of a file, from the beginning of a line."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(size - _MOST_BYTES, 0))
        text = stream.read(_MOST_BYTES).decode("utf-8", errors="replace")
    return text if size <= _MOST_BYTES else f"… ({size} bytes in all)\n{text.partition(chr(10))[2]}"


def _asked(home: Home, words: tuple[str, ...]) -> str:
    done = subprocess.run(
        [*_AYA, "--home", str(home.path), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    said = done.stdout or "{}"
    return said if not done.stderr.strip() else json.dumps({"said": _json(said), "complained": done.stderr.strip()})


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text[:2000]


def _versions() -> str:
    packages = sorted({f"{one.name} {one.version}" for one in metadata.distributions()}, key=str.lower)
    return "\n".join([
        f"aya {__version__}", f"Python {sys.version}", f"{sys.executable}", platform.platform(), "", *packages,
    ]) + "\n"  # fmt: skip


def _machine(home: Home) -> str:
    """Return memory, disk and load, and AYA's processes with what they use."""
    memory, load = psutil.virtual_memory(), psutil.getloadavg()
    lines = [
        f"cores {psutil.cpu_count()}, memory {memory.total >> 20} MiB, {memory.available >> 20} MiB of it free",
        f"load {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}", "",
    ]  # fmt: skip
    if home.path.exists():
        disk = shutil.disk_usage(home.path)
        lines += [f"disk of the home: {disk.total >> 20} MiB, {disk.free >> 20} MiB of it free", ""]
    lines.append("pid  user  MiB  started  command")
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            # The program only: its arguments may hold what was asked.
            said = " ".join(process.cmdline()[:3])
            if "aya" in said or "postgres" in said:
                used = process.memory_info().rss >> 20
                lines.append(f"{process.pid}  {process.username()}  {used}  {process.create_time():.0f}  {said}")
    return "\n".join(lines) + "\n"
