"""A small client of a stdio server, one JSON line at a time: for checks, benchmarks and tests.

It speaks any revision because it knows none: what is sent is what the caller wrote. Only the standard library.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, Self, cast

from aya.errors import AyaError

SERVER_COMMAND = (sys.executable, "-m", "aya_mcp")
TIMEOUT_SECONDS = 30.0
Message = dict[str, Any]


class ProbeFailed(AyaError):
    """The server did not answer as a server should."""


class Probe:
    """A server process and the lines to and from it. Use it as a context manager: leaving it ends the process.

    stderr: where the server's log goes; this process's own standard error when None. cwd: where it is started.
    """

    def __init__(
        self,
        command: Sequence[str] = SERVER_COMMAND,
        environ: Mapping[str, str] | None = None,
        stderr: IO[bytes] | int | None = None,
        cwd: str | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environ, cwd=cwd
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ids = itertools.count(1)
        self._reader = threading.Thread(target=self._read, name="probe-reader", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        cast("IO[bytes]", self.process.stdout).close()

    @property
    def _stdin(self) -> IO[bytes]:
        return cast("IO[bytes]", self.process.stdin)

    def hang_up(self) -> None:
        """Close the server's standard input."""
        self._stdin.close()

    def send_line(self, line: bytes) -> None:
        """Send one line as it is. Raises ProbeFailed when the server has ended."""
        try:
            self._stdin.write(line + b"\n")
            self._stdin.flush()
        except BrokenPipeError as error:
            raise ProbeFailed("the server takes nothing more: it has ended", hint="read its log") from error

    def send(self, message: Message) -> None:
        """Send one message as it is."""
        self.send_line(json.dumps(message).encode())

    def start(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request and return its id without waiting for the answer."""
        request_id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": request_id, "method": method}
        self.send(message if params is None else {**message, "params": dict(params)})
        return request_id

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        self.send({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": dict(params)})})

    def receive(self, timeout_seconds: float = TIMEOUT_SECONDS) -> Message:
        """Return the next message. Raises ProbeFailed when none comes, the server ends, or the line is no message."""
        try:
            line = self._lines.get(timeout=timeout_seconds)
        except queue.Empty:
            raise ProbeFailed(f"the server said nothing for {timeout_seconds:g} s", hint="read its log") from None
        try:
            message: object = json.loads(line)
        except ValueError as error:
            what = "a line that is no JSON" if line else "nothing more: it has ended"
            raise ProbeFailed(f"the server sent {what} ({line[:80]!r})", hint="read its log") from error
        return cast("Message", message)

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Message:
        """Send a request and return its whole answer. Raises ProbeFailed when another message comes first."""
        request_id = self.start(method, params)
        answer = self.receive()
        if answer.get("id") != request_id:
            raise ProbeFailed(f"the server answered {answer.get('id')!r} before {request_id}", hint="read its log")
        return answer

    def initialize(self, revision: str) -> Message:
        """Shake hands in a revision of the protocol, 2024-11-05 to 2025-11-25, and return the server's answer."""
        client = {"name": "aya-probe", "version": "1"}
        answer = self.ask("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": client})
        self.notify("notifications/initialized")
        return answer

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Message:
        """Call a tool and return its result. Raises ProbeFailed for a JSON-RPC error."""
        answer = self.ask("tools/call", {"name": tool, "arguments": dict(arguments)})
        if "result" not in answer:
            raise ProbeFailed(f"{tool} was answered with {answer.get('error')}", hint="read the server's log")
        return cast("Message", answer["result"])

    def _read(self) -> None:
        for line in cast("IO[bytes]", self.process.stdout):
            self._lines.put(line)
        self._lines.put(b"")
