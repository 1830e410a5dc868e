"""Soak of the WAL archive: many segments under load, with the archive program and the server killed in between.

    python bench/archive.py [--segments 1000] [--kills 20] [--server-kills 5] [--segment-mib 1]

Then every segment is there, whole, and has its checksum; pg_waldump reads the log from end to end; a base backup taken
at the beginning is rolled forward through all of it, and a byte that is flipped is found. Exit code 1 when anything is
not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.backup_lab import Lab, interrupted, new_lab, numbers

MIB = 1 << 20
_AYA = str(Path(sys.executable).with_name("aya"))


def _aya(lab: Lab, *arguments: str) -> tuple[int, str]:
    command = [_AYA, "--home", str(lab.home.path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class _Killer:
    """Kills the archive program with -9, every few seconds, as soon as it is seen."""

    def __init__(self, lab: Lab, wanted: int, rest_seconds: float) -> None:
        self.killed = 0
        self.stop = threading.Event()
        self._lab, self._wanted, self._rest = lab, wanted, rest_seconds
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self.killed < self._wanted and not self.stop.wait(0.005):
            if sum(interrupted(one) for one in self._lab.archivers()):
                self.killed += 1
                self.stop.wait(self._rest)
        self.stop.set()

    def join(self) -> None:
        self.stop.set()
        self._thread.join()


def _load(lab: Lab, segments: int, server_kills: int) -> int:
    """Write so many segments, and kill the server with -9 in between; return how often."""
    step = -(-segments // (server_kills + 1))
    killed = 0
    for part in range(0, segments, step):
        lab.fill(min(step, segments - part))
        if part + step < segments and server_kills:
            lab.kill()
            lab.start()
            killed += 1
            print(f"{part + step} segments written, server killed and started", flush=True)
    return killed


def _drain(lab: Lab, killer: _Killer) -> None:
    """Wait until the killer has had enough and everything is archived."""
    while lab.sql("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"):
        # One that failed three times rests for a minute, unless there is something new.
        lab.close()
        time.sleep(1.0)
    killer.stop.set()


def _rate(lab: Lab, segments: int) -> float:
    """Return how many segments a second are archived when nobody kills anything."""
    before = lab.sql("SELECT archived_count FROM pg_stat_archiver")
    began = time.monotonic()
    lab.fill(segments)
    while lab.sql("SELECT archived_count FROM pg_stat_archiver") < before + segments:
        time.sleep(0.05)
    return segments / (time.monotonic() - began)


def _is_readable(lab: Lab, kept: list[str]) -> bool:
    """Return whether pg_waldump reads the archive from its first segment to its last."""
    command = [lab.cluster.binaries.program("pg_waldump"), "--quiet", f"--path={lab.archive}", kept[0], kept[-1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The last segment is filled up with zeros behind its last record, which it takes for the end.
    return done.returncode == 0 or "invalid record length" in done.stderr


def soak(options: argparse.Namespace) -> int:
    """Run it and print what was found."""
    with new_lab(segment_mib=options.segment_mib) as lab:
        lab.provision()
        lab.sql("INSERT INTO documents (content) VALUES ('first')", database="aya_rag")
        print(_aya(lab, "backup", "create")[1].strip(), flush=True)
        rate = _rate(lab, 50)
        began = time.monotonic()
        killer = _Killer(lab, options.kills, 1.0)
        server_kills = _load(lab, options.segments, options.server_kills)
        lab.sql("INSERT INTO documents (content) VALUES ('last')", database="aya_rag")
        _drain(lab, killer)
        killer.join()
        lab.switch()
        seconds = time.monotonic() - began
        kept = lab.kept()
        found = list(numbers(kept, options.segment_mib * MIB))
        gaps = found[-1] - found[0] + 1 - len(found)
        bad = lab.bad()
        kills = f"archive program killed {killer.killed} times, server {server_kills} times"
        print(f"{len(kept)} segments of {options.segment_mib} MiB in {seconds:.0f} s; {kills}")
        print(f"torn {len(bad)}, missing {gaps}; undisturbed {rate:.1f} segments a second")
        readable = _is_readable(lab, kept)
        print(f"pg_waldump reads all of it: {'yes' if readable else 'NO'}")
        code, said = _aya(lab, "backup", "drill", "--json")
        with contextlib.suppress(ValueError):
            drilled = json.JSONDecoder().raw_decode(said[said.index("{") :])[0]
            print(f"drill: {drilled['documents']} documents, {drilled['seconds']} s for {len(kept)} segments")
        middle = lab.archive / kept[len(kept) // 2]
        content = bytearray(middle.read_bytes())
        content[len(content) // 2] ^= 1
        with middle.open("r+b") as stream:
            stream.write(content)
        began = time.monotonic()
        damage, told = _aya(lab, "backup", "verify")
        is_found = damage == 1 and f"{middle.name} is not what was archived" in told
        print(f"flipped byte found: {'yes' if is_found else 'NO'}, {time.monotonic() - began:.1f} s for all")
    return 0 if not bad and not gaps and readable and code == 0 and is_found else 1


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--segment-mib", type=int, default=1, choices=(1, 2, 4, 8, 16))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--server-kills", type=int, default=5)
    return soak(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
