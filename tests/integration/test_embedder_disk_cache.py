"""The persistent cache on real files: restarts, bounds, other processes, kill -9, damage, full and slow disks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from aya_embedder.cache import Entry, Key, VectorCache
from aya_embedder.disk_cache import FILE_NAME, DiskCache
from aya_embedder.engine import Engine
from aya_embedder.fake import FakeEmbedder

MIB = 1024 * 1024
IDENTITY = FakeEmbedder().identity
DAMAGED = FILE_NAME + ".damaged"


def entries(first: int, count: int, floats: int = 384) -> list[tuple[Key, Entry]]:
    """Return entries whose vectors are random bytes, by the keys of numbers."""
    return [
        (Key.of(IDENTITY, "document", str(number)), Entry(os.urandom(4 * floats), number + 1))
        for number in range(first, first + count)
    ]


@contextmanager
def opened(directory: Path, max_bytes: int = 64 * MIB, now: Callable[[], float] = time.time) -> Generator[DiskCache]:
    """Open the cache, and close it, which writes everything."""
    with closing(DiskCache(directory, max_bytes, now=now)) as cache:
        yield cache


async def read(cache: DiskCache, wanted: list[tuple[Key, Entry]]) -> dict[Key, Entry]:
    """Read when the thread has time: a test asks for what is there, not for how fast it is on a busy machine."""
    async with asyncio.timeout(20):
        while True:
            await cache.flush()
            found = await cache.get([key for key, _ in wanted])
            if not cache.late:
                return found


async def test_vectors_outlive_the_process_that_computed_them(tmp_path: Path) -> None:
    """What was put before closing is there after opening, bit by bit; what was not is absent."""
    kept = entries(0, 1000)
    with opened(tmp_path / "new" / "directory") as cache:
        cache.put(kept[:700])
        cache.put(kept[700:])
    with opened(tmp_path / "new" / "directory") as cache:
        assert await read(cache, kept + entries(5000, 3)) == dict(kept)
    assert os.stat(tmp_path / "new" / "directory").st_mode & 0o777 == 0o700  # noqa: PTH116 its mode


@asynccontextmanager
async def running(model: FakeEmbedder, disk: DiskCache) -> AsyncGenerator[Engine]:
    """Run an engine with an empty memory cache over `disk`."""
    engine = Engine(lambda: model, VectorCache(MIB), disk=disk)
    async with asyncio.TaskGroup() as tasks:
        computing = tasks.create_task(engine.run())
        await engine.until_loaded()
        yield engine
        computing.cancel()


async def test_an_engine_looks_in_memory_then_on_disk_then_asks_the_model(tmp_path: Path) -> None:
    """After a restart a text comes from disk, and counts as cached; the next time it comes from memory."""
    with opened(tmp_path) as disk:
        async with running(FakeEmbedder(), disk) as engine:
            first = (await engine.embed(["one", "two"], "document", truncate=True)).embedded
    with opened(tmp_path) as disk:
        model = FakeEmbedder()
        async with running(model, disk) as engine:
            await disk.flush()
            again = (await engine.embed(["one", "two", "new"], "document", truncate=True)).embedded
            memory = (await engine.embed(["two"], "document", truncate=True)).embedded
            counters = engine.counters
    assert [one.cached for one in (*first, *again, *memory)] == [False, False, True, True, False, True]
    assert [one.vector for one in again[:2]] == [one.vector for one in first]
    assert (counters.hits_memory, counters.hits_disk, counters.misses) == (1, 2, 1)
    assert [len(batch) for batch in model.forwards] == [1, 1]


async def ask(directory: Path, text: str, free_port: int) -> dict[str, object]:
    """Start the embedder with its cache in `directory`, embed one text, end it with SIGTERM, and return the answer."""
    environment = {**os.environ, "AYA_EMBEDDER_PORT": str(free_port), "AYA_EMBEDDER_CACHE_DIR": str(directory)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "aya_embedder", env=environment)
    transport = httpx2.AsyncHTTPTransport(retries=100)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{free_port}", transport=transport, timeout=30) as client:
        async with asyncio.timeout(60):
            while (await client.get("/health")).status_code != 200:
                assert process.returncode is None
        answer: dict[str, object] = (await client.post("/embed", json={"text": text})).json()
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    return answer


async def test_a_service_finds_its_vectors_again(tmp_path: Path) -> None:
    """SIGTERM writes what is computed; after the next start the same text is cached, and its vector the same."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first = await ask(tmp_path, "Does it outlive the process?", port)
    again = await ask(tmp_path, "Does it outlive the process?", port)
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["embedding"] == again["embedding"]


async def test_the_file_stays_within_its_bound_and_keeps_what_is_used(tmp_path: Path) -> None:
    """Ten times as much as fits: the file is not larger than it may be, and what was used last is still there."""
    hours = [1.0]
    often, others = entries(0, 50), entries(1000, 6000)
    with opened(tmp_path, 2 * MIB, now=lambda: hours[0] * 3600) as cache:
        cache.put(often)
        for start in range(0, len(others), 200):
            hours[0] += 1
            cache.put(others[start : start + 200])
            assert len(await read(cache, often)) == len(often)
        found = await read(cache, others)
    assert others[-1][0] in found
    assert others[0][0] not in found
    assert (tmp_path / FILE_NAME).stat().st_size <= 2 * MIB


async def test_reading_writes_once_an_hour(tmp_path: Path) -> None:
    """What is read again and again is marked as used when the hour has changed, and not each time."""
    hours = [10.0]
    kept = entries(0, 3)
    with opened(tmp_path, now=lambda: hours[0] * 3600) as cache, sqlite3.connect(tmp_path / FILE_NAME) as other:
        cache.put(kept)
        await cache.flush()
        changes: list[int] = []
        for hour in (10.0, 10.5, 11.0, 11.5):
            hours[0] = hour
            await read(cache, kept)
            await cache.flush()
            changes.append(other.execute("PRAGMA data_version").fetchone()[0])
        used = other.execute("SELECT DISTINCT used FROM vectors").fetchall()
    other.close()
    assert changes[0] == changes[1] != changes[2] == changes[3]
    assert used == [(11,)]


async def test_a_smaller_bound_shortens_the_file(tmp_path: Path) -> None:
    """After a restart with less room the file gives its pages back."""
    kept = entries(0, 4000)
    with opened(tmp_path) as cache:
        cache.put(kept)
    before = (tmp_path / FILE_NAME).stat().st_size
    with opened(tmp_path, 2 * MIB) as cache:
        await cache.flush()
    assert before > 4 * MIB
    assert (tmp_path / FILE_NAME).stat().st_size <= 2 * MIB


# Writes vectors whose bytes tell their number, batch after batch, and says so after the first.
WRITER = """
import asyncio, sys
from pathlib import Path
from aya_embedder.cache import Entry, Key
from aya_embedder.disk_cache import DiskCache
from aya_embedder.fake import FakeEmbedder
identity = FakeEmbedder().identity
first, last = int(sys.argv[2]), int(sys.argv[3])
async def main():
    cache = DiskCache(Path(sys.argv[1]), 64 * 1024 * 1024)
    for start in range(first, last, 50):
        cache.put([(Key.of(identity, "document", str(n)), Entry(n.to_bytes(4, "little") * 384, n))
                   for n in range(start, start + 50)])
        await cache.flush()
        if start == first:
            print("writing", flush=True)
    cache.close()
asyncio.run(main())
"""


def writer(directory: Path, first: int, last: int) -> subprocess.Popen[str]:
    """Start a process that writes entries, and return when its first ones are written."""
    command = [sys.executable, "-c", WRITER, str(directory), str(first), str(last)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def written(first: int, last: int) -> list[tuple[Key, Entry]]:
    """Return what a writer writes."""
    return [
        (Key.of(IDENTITY, "document", str(number)), Entry(number.to_bytes(4, "little") * 384, number))
        for number in range(first, last)
    ]


async def test_two_processes_share_the_file(tmp_path: Path) -> None:
    """While another process writes, this one writes and reads; each finds what the other has written."""
    ours = entries(10_000, 500)
    with writer(tmp_path, 0, 1000) as other, opened(tmp_path) as cache:
        for start in range(0, 500, 50):
            cache.put(ours[start : start + 50])
            await cache.flush()
        assert other.wait(timeout=30) == 0
        found = await read(cache, written(0, 1000))
        assert found.items() <= dict(written(0, 1000)).items()
        assert len(found) > 500
        assert len(await read(cache, ours)) > 250
    assert not (tmp_path / DAMAGED).exists()


async def test_kill_9_leaves_a_good_file(tmp_path: Path) -> None:
    """A process that dies while it writes damages nothing: what is found is right, and writing goes on."""
    with writer(tmp_path, 0, 1_000_000) as process:
        process.kill()
    with opened(tmp_path) as cache:
        found = await read(cache, written(0, 50))
        cache.put(written(2_000_000, 2_000_010))
        assert found == dict(written(0, 50))
        assert len(await read(cache, written(2_000_000, 2_000_010))) == 10
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def overwrite(file: Path) -> None:
    """Put something else in the file's place."""
    file.write_bytes(b"This is no database. " * 1000)


def truncate(file: Path) -> None:
    """Cut the file in the middle of a page."""
    os.truncate(file, file.stat().st_size // 2 + 100)


def scribble(file: Path) -> None:
    """Overwrite every page but the first."""
    size = file.stat().st_size
    with file.open("r+b") as opened_file:
        opened_file.seek(4096)
        opened_file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize("damage", [overwrite, truncate, scribble])
async def test_a_damaged_file_is_moved_aside_once(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Nothing wrong is ever read; the old file is kept for a look, the log says so once, and a new one works."""
    kept = entries(0, 2000)
    with opened(tmp_path) as cache:
        cache.put(kept)
    damage(tmp_path / FILE_NAME)
    with capture_logs() as logs, opened(tmp_path) as cache:
        found = await read(cache, kept)
        for _ in range(3):
            cache.put(kept[:10])
            await cache.flush()
        assert await read(cache, kept[:10]) == dict(kept[:10])
    assert found.items() <= dict(kept).items()
    assert [entry["event"] for entry in logs] == ["disk_cache.damaged"]
    assert (tmp_path / DAMAGED).exists()


@pytest.mark.parametrize("while_running", [False, True])
async def test_a_damaged_file_that_cannot_be_moved_aside_is_no_fault_of_the_service(
    tmp_path: Path,
    while_running: bool,  # noqa: FBT001 a column of the table
) -> None:
    """The log says it once and nothing waits for the disk; once there is room beside, the cache is used again."""
    kept = entries(0, 2000)
    (tmp_path / DAMAGED).mkdir()
    with opened(tmp_path) as cache:
        cache.put(kept)
    if not while_running:
        overwrite(tmp_path / FILE_NAME)
    with capture_logs() as logs, opened(tmp_path) as cache:
        async with asyncio.timeout(20):
            await cache.flush()
            if while_running:
                scribble(tmp_path / FILE_NAME)
            assert await read(cache, kept) == {}
            cache.put(kept[:10])
            await cache.flush()
        assert [entry["event"] for entry in logs] == ["disk_cache.failed"]
        (tmp_path / DAMAGED).rmdir()
        async with asyncio.timeout(20):
            while not await cache.get([kept[0][0]]):
                cache.put(kept[:10])
                await cache.flush()
    assert [entry["event"] for entry in logs][-2:] == ["disk_cache.damaged", "disk_cache.recovered"]
    assert (tmp_path / DAMAGED).is_file()


@pytest.mark.parametrize("value", ["zeroblob(1536)", "7", "'text'", "CAST(x'ff' AS text)", "x''"])
async def test_a_damaged_row_is_noticed(tmp_path: Path, value: str) -> None:
    """A row that no longer fits its seal, or is no vector at all, is not there; the next put repairs it."""
    kept = entries(0, 2)
    with opened(tmp_path) as cache:
        cache.put(kept)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file, file:
        file.execute(f"UPDATE vectors SET vector = {value} WHERE tokens = 1")  # noqa: S608 a column of the table
    with opened(tmp_path) as cache:
        assert await read(cache, kept) == dict(kept[1:])
        cache.put(kept)
        await cache.flush()
        assert await read(cache, kept) == dict(kept)


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """The version that made it finds it as it was; this one goes on without, and says so once."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        file.execute("PRAGMA user_version = 99")
    before = (tmp_path / FILE_NAME).read_bytes()
    with capture_logs() as logs, opened(tmp_path) as cache:
        for _ in range(3):
            cache.put(entries(0, 5))
            assert await read(cache, entries(0, 5)) == {}
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [entry["event"] for entry in logs] == ["disk_cache.made_by_newer_version"]


async def test_a_directory_that_cannot_be_used_is_no_fault_of_the_service(tmp_path: Path) -> None:
    """The log says it once, vectors are computed, and when the directory is there the cache is used again."""
    place = tmp_path / "place"
    place.write_text("a file where the directory should be")
    with capture_logs() as logs, opened(place / "cache") as disk:
        model = FakeEmbedder()
        async with running(model, disk) as engine:
            for text in ("one", "two", "three"):
                assert not (await engine.embed([text], "document", truncate=True)).embedded[0].cached
            assert [entry["event"] for entry in logs if "disk" in entry["event"]] == ["disk_cache.failed"]
            place.unlink()
            kept = entries(0, 1)
            async with asyncio.timeout(20):
                while not await disk.get([kept[0][0]]):
                    disk.put(kept)
                    await disk.flush()
    assert [entry["event"] for entry in logs if "disk" in entry["event"]][1:] == ["disk_cache.recovered"]


# Lets no file grow over 1 MiB, as on a full disk, writes more than that, and prints what happened.
FULL = """
import asyncio, json, resource, sys
from pathlib import Path
from structlog.testing import capture_logs
from aya_embedder.cache import Entry, Key
from aya_embedder.disk_cache import DiskCache
from aya_embedder.fake import FakeEmbedder
identity = FakeEmbedder().identity
resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, 1024 * 1024))
def entries(first):
    return [(Key.of(identity, "document", str(n)), Entry(bytes(1536), n)) for n in range(first, first + 100)]
async def main(directory):
    cache = DiskCache(Path(directory), 64 * 1024 * 1024)
    for first in range(0, 5000, 100):
        cache.put(entries(first))
        await cache.flush()
    cache.close()
    with_room = DiskCache(Path(directory), 64 * 1024 * 1024)
    await with_room.flush()
    found = await with_room.get([key for key, _ in entries(0)])
    return len(found)
with capture_logs() as logs:
    found = asyncio.run(main(sys.argv[1]))
print(json.dumps([found, [entry["event"] for entry in logs]]))
"""


def test_a_full_disk_is_no_fault_of_the_service(tmp_path: Path) -> None:
    """What could be written before is still read, and the log says what is wrong once."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True, capture_output=True, text=True)
    found, events = json.loads(done.stdout)
    assert found == 100
    assert events == ["disk_cache.failed"]
    assert not (tmp_path / DAMAGED).exists()


async def test_a_slow_disk_does_not_delay_what_can_be_computed(tmp_path: Path) -> None:
    """While the disk hangs texts are computed, and only the first one waits 50 ms for it; later it is asked again."""
    goes_on = threading.Event()
    with opened(tmp_path, now=lambda: 3600.0 * goes_on.wait()) as disk:
        async with running(FakeEmbedder(), disk) as engine:
            await disk.flush()
            for number in range(20):
                answer = await engine.embed([f"text {number}"], "document", truncate=True)
                assert not answer.embedded[0].cached
                assert disk.late  # given up, and until it has caught up nobody asks it again
            goes_on.set()
            found = await read(disk, [(Key.of(IDENTITY, "document", "text 7"), Entry(b"", 0))])
    assert len(found) == 1


async def test_writes_that_a_slow_disk_cannot_take_are_dropped(tmp_path: Path) -> None:
    """Memory does not grow while the disk hangs: at most some thousand vectors wait."""
    goes_on = threading.Event()
    with opened(tmp_path, now=lambda: 3600.0 * goes_on.wait()) as cache:
        for first in range(0, 10_000, 100):
            cache.put(entries(first, 100, floats=1))
        assert 8000 < cache.unwritten <= 8192
        goes_on.set()
