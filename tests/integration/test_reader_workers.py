"""Files are read in processes that may hang, crash or eat memory: each file ends in documents or a reason."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import signal
import sys
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from aya.readers.formats import MIB
from aya.readers.pool import Readers
from aya.readers.process import Limits
from aya.textfile import Found, Refused, TextFile

MUTATIONS = 25
PDF_PAGES = 10_000


def written(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pdf(pages: int, *, kid: str | None = None) -> bytes:
    """Return a PDF of pages that each say their number. kid: what all pages are instead."""
    numbers = [4 + 2 * number for number in range(pages)]
    kids = " ".join(kid or f"{number} 0 R" for number in numbers)
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: f"<</Type/Pages/Count {pages}/Kids[{kids}]>>".encode(),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    }
    for page, number in enumerate(numbers, start=1):
        said = f"BT /F 12 Tf 50 700 Td (Page number {page} speaks.) Tj ET".encode()
        about = f"/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {number + 1} 0 R/Resources<</Font<</F 3 0 R>>>>"
        objects[number] = f"<</Type/Page{about}>>".encode()
        objects[number + 1] = b"<</Length %d>>stream\n%s\nendstream" % (len(said), said)
    out, offsets = bytearray(b"%PDF-1.4\n"), list[int]()
    for number, body in objects.items():
        offsets.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(out))
    return bytes(out) + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def docx(body: str) -> bytes:
    """Return the smallest DOCX file with some XML in its body."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml", '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
        )
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
            'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{body}'
            "</w:body></w:document>",
        )
    return stream.getvalue()


PARAGRAPH = "<w:p><w:r><w:t>Words of a document.</w:t></w:r></w:p>"
MAIL = b"""Subject: Kettle\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable\n\n<h1>Big=20words</h1>\n--b\nContent-Type: image/png
Content-Disposition: attachment; filename="=?utf-8?b?w6QucG5n?="\nContent-Transfer-Encoding: base64\n\nAAAA\n--b--\n"""
GOOD: dict[str, str | bytes] = {
    "a.html": "<h1>Title</h1><p>Words of a page.",
    "a.pdf": pdf(2),
    "a.docx": docx(PARAGRAPH),
    "a.ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": "Words of a notebook."}]}),
    "a.eml": MAIL,
    "a.mbox": b"From x\n" + MAIL + b"\nFrom y\nSubject: b\n\nWords.\n",
    "a.csv": "name,price\nkettle,3\n",
    "a.json": '[{"id": 1}, {"id": 2}]',
    "a.py": "print('words of a program')\n",
    "line\nbreak.html": "<p>Words.",
}


@pytest_asyncio.fixture
async def readers() -> AsyncGenerator[Readers]:
    """A pool of two."""
    async with Readers(2, Limits(seconds=20)) as pool:
        yield pool


async def read(readers: Readers, path: Path) -> list[TextFile | Refused]:
    """Read a file to its end."""
    async with aclosing(readers.read(Found(path, named=True))) as readings:
        return [reading async for reading in readings]


async def reason(readers: Readers, path: Path) -> str:
    """Return why a file is refused; it must be, and say nothing else."""
    (refused,) = await read(readers, path)
    assert isinstance(refused, Refused), refused
    return refused.reason


def workers() -> list[psutil.Process]:
    """Return the worker processes of this one that are alive."""
    children = psutil.Process().children()
    return [child for child in children if "aya.readers.worker" in child.cmdline()]


async def test_every_format_is_read(readers: Readers, tmp_path: Path) -> None:
    """Several at once, by two workers, each document with its file's path, size and time."""
    paths = {name: written(tmp_path, name, content) for name, content in GOOD.items()}
    found = await asyncio.gather(*(read(readers, path) for path in paths.values()))
    counts = {}
    for (name, path), readings in zip(paths.items(), found, strict=True):
        assert all(isinstance(each, TextFile) and each.path == path for each in readings), readings
        assert all(isinstance(each, TextFile) and each.size_bytes == path.stat().st_size for each in readings)
        counts[name] = len(readings)
    assert counts == dict.fromkeys(GOOD, 1) | {"a.mbox": 2, "a.json": 2}
    assert len(workers()) == 2


async def test_what_cannot_be_read_is_refused_before_a_worker_is_asked(readers: Readers, tmp_path: Path) -> None:
    """What is too large, not there, or no file."""
    with written(tmp_path, "huge.html", "").open("r+b") as huge:
        huge.truncate(2**40)
    os.mkfifo(tmp_path / "pipe.pdf")
    assert "1,099,511,627,776 bytes" in await reason(readers, tmp_path / "huge.html")
    assert "named pipe" in await reason(readers, tmp_path / "pipe.pdf")
    assert "does not exist" in await reason(readers, tmp_path / "gone.docx")
    assert not workers()


@pytest.mark.slow
async def test_a_pdf_of_ten_thousand_pages_is_whole(readers: Readers, tmp_path: Path) -> None:
    """Every page is there, and where it is said to be."""
    (found,) = await read(readers, written(tmp_path, "long.pdf", pdf(PDF_PAGES)))
    assert isinstance(found, TextFile)
    pages = found.metadata["pages"]
    assert len(pages) == PDF_PAGES
    assert all(found.text.startswith(f"Page number {page} speaks.", pages[page - 1]) for page in (1, 77, PDF_PAGES))


async def test_a_pdf_that_loops_ends(readers: Readers, tmp_path: Path) -> None:
    """Pages that are their own parents are a damaged file, not an endless one."""
    for kid in ("2 0 R", "1 0 R", "999 0 R"):
        assert await reason(readers, written(tmp_path, "loop.pdf", pdf(3, kid=kid)))


async def test_a_reader_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """The file is refused, its worker is gone, and the next file is read by another."""
    async with Readers(1, Limits(seconds=0.15)) as readers:
        said = await reason(readers, written(tmp_path, "slow.json", "[" + "[]," * 4_000_000 + "[]]"))
        assert "longer than 0.15 seconds" in said
    async with Readers(1) as readers:
        (found,) = await read(readers, written(tmp_path, "a.json", "{}"))
        assert isinstance(found, TextFile)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(memory_bytes=100 * MIB),
        pytest.param(Limits(address_bytes=220 * MIB), marks=pytest.mark.skipif("os.uname().sysname != 'Linux'")),
    ],
    ids=["what is resident is watched", "what is mapped is limited by the system"],
)
async def test_a_reader_that_takes_too_much_memory_is_ended(tmp_path: Path, limits: Limits) -> None:
    """Here half a gigabyte of lists."""
    async with Readers(1, limits) as readers:
        path = written(tmp_path, "large.json", "[" + "[]," * 8_000_000 + "[]]")
        assert await reason(readers, path) == "It needs more memory than a reader may take."


async def test_a_worker_that_was_killed_while_idle_is_replaced(readers: Readers, tmp_path: Path) -> None:
    """A system short of memory may do that; the file is not to blame."""
    path = written(tmp_path, "a.html", "Words.")
    await read(readers, path)
    (worker,) = workers()
    worker.send_signal(signal.SIGSEGV)
    (found,) = await read(readers, path)
    assert isinstance(found, TextFile)


async def test_a_worker_that_crashes_costs_the_rest_of_its_file(readers: Readers, tmp_path: Path) -> None:
    """What was read before stays, the rest is refused with how it ended, and the pool goes on."""
    path = written(
        tmp_path, "a.mbox", b"".join(b"From x\nSubject: %d\n\n%s\n\n" % (n, b"w" * 999) for n in range(9_000))
    )
    readings = list[TextFile | Refused]()
    async with aclosing(readers.read(Found(path, named=True))) as all_of_them:
        async for reading in all_of_them:
            if not readings:
                workers()[0].send_signal(signal.SIGSEGV)
            readings.append(reading)
    last = readings[-1]
    assert isinstance(last, Refused)
    assert "crashed (SIGSEGV)" in last.reason
    assert 1 < len(readings) < 9_000
    (found,) = await read(readers, written(tmp_path, "a.html", "Words."))
    assert isinstance(found, TextFile)


async def test_a_long_archive_is_read_as_it_is_taken(readers: Readers, tmp_path: Path) -> None:
    """A worker waits for whoever takes its documents: neither side holds the archive."""
    message = b"Subject: %d\n\n" + b"w" * 50_000 + b"\n\n"
    path = written(tmp_path, "a.mbox", b"".join(b"From x\n" + message % number for number in range(400)))
    count = 0
    async with aclosing(readers.read(Found(path, named=True))) as readings:
        async for _ in readings:
            count += 1
            if count == 200:
                assert psutil.Process(workers()[0].pid).memory_info().rss < 100 * MIB
    assert count == 400


async def test_whoever_stops_leaves_no_process_behind(tmp_path: Path) -> None:
    """Neither in the middle of a file, nor by being cancelled (Ctrl-C)."""
    path = written(
        tmp_path, "a.mbox", b"".join(b"From x\nSubject: %d\n\nwords\n\n" % number for number in range(50_000))
    )
    started = asyncio.Event()

    async def work() -> None:
        async with Readers(2) as readers, aclosing(readers.read(Found(path, named=True))) as readings:
            async for _ in readings:
                started.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    assert len(workers()) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not workers()


async def test_a_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also when that was killed: its input ends."""
    program = (
        "import asyncio\nfrom aya.readers.process import *\n"
        "async def main():\n  print((await Worker.start(Limits())).pid, flush=True)\n  await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    python = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    assert python.stdout is not None
    worker = psutil.Process(int(await python.stdout.readline()))
    python.kill()
    await python.wait()
    assert await asyncio.to_thread(psutil.wait_procs, [worker], timeout=20) == ([worker], [])


async def test_any_bytes_end_in_documents_or_a_reason(readers: Readers, tmp_path: Path) -> None:
    """Files of every risky format, cut, changed and doubled at random: always a value, never an exception."""
    chance = random.Random(20)  # noqa: S311

    async def every(name: str, content: bytes) -> None:
        for number in range(MUTATIONS):
            path = written(tmp_path, f"{number}-{name}", mutated(content, chance))
            for reading in await read(readers, path):
                assert isinstance(reading, TextFile | Refused)
                if isinstance(reading, TextFile):
                    assert "\0" not in reading.text
                    reading.text.encode()

    risky = ["a.pdf", "a.docx", "a.eml", "a.mbox", "a.html", "a.csv", "a.ipynb"]
    contents = {name: content if isinstance(content := GOOD[name], bytes) else content.encode() for name in risky}
    await asyncio.gather(*(every(name, content) for name, content in contents.items()))


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few places changed, a piece cut out, or a piece repeated."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data))
        until = min(len(data), at + chance.randint(1, 20))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1 if len(data) > 100:
                del data[at:until]
            case 2:
                data[at:at] = data[at:until] * chance.randint(1, 50)
            case _:
                data[at:until] = chance.randbytes(until - at)
    return bytes(data)
