"""How fast the embedder refuses what nobody should send: python bench/embedder_hostile.py [--repeat 15].

Starts an embedder of its own (AYA_MODEL, minilm when unset), sends each input on a connection of its own, and prints
the status and the median and longest time from the first byte sent to the whole answer read. Exits 1 when an answer is
no 4xx, or a median is over 100 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

Send = Callable[[socket.socket], None]

_GOAL_MS = 100
_MIB = 1024 * 1024
_JSON = {"Content-Type": "application/json"}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=15)
    repeat: int = parser.parse_args().repeat
    with subprocess.Popen(
        [sys.executable, "-m", "aya_embedder"],
        env={**os.environ, "AYA_EMBEDDER_PORT": "0", "AYA_EMBEDDER_HOST": "127.0.0.1"},
        stderr=subprocess.PIPE,
    ) as process:
        try:
            sys.exit(_measure(_port(process), repeat))
        finally:
            process.send_signal(signal.SIGTERM)


def _measure(port: int, repeat: int) -> int:
    failed = 0
    print(f"| input | status | median of {repeat}, ms | longest, ms |\n|---|---:|---:|---:|")
    for name, send in _inputs():
        answers = [_ask(port, send) for _ in range(repeat)]
        statuses = {status for status, _ in answers}
        times = [seconds * 1000 for _, seconds in answers]
        median = statistics.median(times)
        failed += median > _GOAL_MS or not all(400 <= status < 500 for status in statuses)  # noqa: PLR2004
        print(f"| {name} | {'/'.join(map(str, sorted(statuses)))} | {median:.1f} | {max(times):.1f} |")
    return min(failed, 1)


def _inputs() -> Iterator[tuple[str, Send]]:
    for name, body in _bodies():
        yield name, _posting(body)
        if len(body) < _MIB and body.startswith(b'{"text":'):
            yield f"{name}, to /v1/embeddings", _posting(body.replace(b'"text":', b'"input":'), "/v1/embeddings")
    yield "no JSON by its type", _posting(b'{"text":"a"}', headers={"Content-Type": "text/plain"})
    yield (
        "Latin-1 by its charset",
        _posting(b'{"text":"a"}', headers={"Content-Type": "application/json; charset=latin-1"}),
    )
    yield "gzip by its coding", _posting(b'{"text":"a"}', headers={**_JSON, "Content-Encoding": "gzip"})
    yield "1 GB announced", lambda peer: peer.sendall(_head("/embed", {**_JSON, "Content-Length": str(10**9)}))
    yield "a chunked body without end", _endless
    yield "a head of 1 MB", lambda peer: _send_while_heard(peer, b"GET / HTTP/1.1\r\nX: " + b"a" * _MIB)
    yield "no HTTP", lambda peer: peer.sendall(b"hello there\r\n\r\n")
    yield "another host", _posting(b'{"text":"a"}', headers={**_JSON, "Host": "evil.example"})
    yield "another origin", _posting(b'{"text":"a"}', headers={**_JSON, "Origin": "https://evil.example"})


def _bodies() -> Iterator[tuple[str, bytes]]:
    yield "NUL in a text", b'{"text":"a\\u0000b"}'
    yield "a lone surrogate, escaped", b'{"text":"\\ud800"}'
    yield "a lone surrogate, in bytes", b'{"text":"\xed\xa0\x80"}'
    yield "no UTF-8", b'{"text":"\xff\xfe"}'
    yield "UTF-16", '{"text":"a"}'.encode("utf-16")
    yield "10 MB", b'{"text":"%s"}' % (b"a" * 10 * _MIB)
    yield "100,000 texts", b'{"texts":[%s"a"]}' % (b'"a",' * 99_999)
    yield "100,000 arrays deep", b'{"text":%s%s}' % (b"[" * 100_000, b"]" * 100_000)
    yield "100,000 objects deep", b'{"text":' * 100_000
    for name, character in (("CJK", "語"), ("emoji", "🎉"), ("combining marks", "\u0301")):
        size = 4 * _MIB // len(character.encode())
        yield f"4 MB of {name}", json.dumps({"text": character * size}, ensure_ascii=False).encode()
    yield "2.7 MB of CJK in 300 texts", json.dumps({"texts": ["語" * 3000] * 300}, ensure_ascii=False).encode()
    yield "a number", b'{"text":5}'
    yield "an array", b"[]"
    yield "null", b"null"
    yield "nothing", b""
    yield "NaN", b'{"text":NaN}'
    yield "Infinity beside a text", b'{"text":"a","truncate":Infinity}'
    yield "a field twice", b'{"text":"a","text":"b"}'
    yield "more after the JSON", b'{"text":"a"} {}'
    yield "an unknown field", b'{"texts":["a"],"promt":"query"}'
    yield "a number of 100,000 digits", b'{"text":%s}' % (b"9" * 100_000)


def _posting(body: bytes, path: str = "/embed", headers: Mapping[str, str] = _JSON) -> Send:
    head = _head(path, {**headers, "Content-Length": str(len(body))})
    return lambda peer: _send_while_heard(peer, head + body)


def _head(path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in {"Host": "localhost", **headers, "Connection": "close"}.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode()


def _endless(peer: socket.socket) -> None:
    """Send chunks until there is an answer."""
    peer.sendall(_head("/embed", {**_JSON, "Transfer-Encoding": "chunked"}))
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    rest = chunk
    while not select.select([peer], [], [], 0)[0]:
        if select.select([], [peer], [], 0.001)[1]:
            rest = rest[peer.send(rest) :] or chunk


def _send_while_heard(peer: socket.socket, data: bytes) -> None:
    """Send all, or until the other side will not take any more: its answer says why."""
    try:
        peer.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def _ask(port: int, send: Send) -> tuple[int, float]:
    """Return the status (0 when no answer came) and the seconds until the whole answer was there."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        began = time.perf_counter()
        send(peer)
        answer = _answer(peer)
        return (int(answer.split(b" ")[1]) if answer else 0), time.perf_counter() - began


def _answer(peer: socket.socket) -> bytes:
    """Read one answer by its Content-Length: whether the connection ends then is not waited for."""
    received = b""
    while not _is_whole(received):
        part = peer.recv(65536)
        if not part:
            break
        received += part
    return received


def _is_whole(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(found) and bool(lengths) and len(body) >= int(lengths[0])


def _port(process: subprocess.Popen[bytes]) -> int:
    assert process.stderr is not None  # noqa: S101 it was asked for
    port = 0
    for line in process.stderr:
        entry = json.loads(line)
        port = entry.get("port", port)
        if entry["event"] == "model.loaded":
            return int(port)
    sys.exit("the embedder ended before it was ready")


if __name__ == "__main__":
    main()
