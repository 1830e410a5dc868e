"""The clients that ask a server for one text a request, as many at once as wished, in a process of their own.

    http_load.py

Each line in, {"host", "port", "path", "body": {…}, "text_key", "found": [keys], "concurrency", "texts", "save"}, is
answered by {"seconds", "latencies": seconds by text, "cpu_seconds", "cached": answers that say so}. Lines are JSON.
The requests are written before the clock starts, the answers are read as JSON after it stops, and between the two
there is plain HTTP/1.1 on kept connections (RFC 9112): an HTTP library would take its share of the server's cores.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_HEAD_BYTES = 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_SHOWN_CHARACTERS = 300


def requests_of(asked: dict[str, Any]) -> list[bytes]:
    """Return a whole POST for each text."""
    head = f"POST {asked['path']} HTTP/1.1\r\nHost: {asked['host']}:{asked['port']}\r\nContent-Type: application/json"
    bodies = (json.dumps({**asked["body"], asked["text_key"]: text}).encode() for text in asked["texts"])
    return [f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Return the body of the answer. Raises RuntimeError, with the answer's beginning, unless it is a plain 200."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    if not (length and head.startswith(b"HTTP/1.1 200")):
        raise RuntimeError((head + body).decode(errors="replace")[:_SHOWN_CHARACTERS])
    return body


async def load(asked: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Ask for all the texts; return what it took from the first request to the last answer, and the answers."""
    requests = requests_of(asked)
    latencies, answers = [0.0] * len(requests), [b""] * len(requests)
    waiting = iter(range(len(requests)))
    many = range(min(asked["concurrency"], len(requests)))
    pairs = [await asyncio.open_connection(asked["host"], asked["port"], limit=_LARGEST_HEAD_BYTES) for _ in many]

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, numbers: Iterator[int]) -> None:
        for number in numbers:
            began = time.perf_counter()
            answers[number] = await ask(reader, writer, requests[number])
            latencies[number] = time.perf_counter() - began

    started, spent = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as clients:
        for reader, writer in pairs:
            clients.create_task(client(reader, writer, waiting))
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    for _, writer in pairs:
        writer.close()
    return {"seconds": seconds, "latencies": latencies, "cpu_seconds": spent}, answers


def vector(answer: Any, found: list[str | int]) -> Any:  # noqa: ANN401 any JSON
    """Return what stands at `found`, key by key: a list of numbers."""
    for key in found:
        answer = answer[key]
    return answer


def main() -> None:
    """Load what is asked until nobody asks."""
    for line in sys.stdin:
        asked = json.loads(line)
        taken, answers = asyncio.run(load(asked))
        read = [json.loads(one) for one in answers]
        if asked["save"]:
            np.save(asked["save"], np.array([vector(one, asked["found"]) for one in read], dtype=np.float32))
        cached = sum(one.get("cached") is True for one in read)
        print(json.dumps({**taken, "cached": cached}), flush=True)


if __name__ == "__main__":
    main()
