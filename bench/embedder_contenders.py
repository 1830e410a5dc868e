"""The contenders of embedder_throughput.py: programs in processes of their own, loaded once, asked in turns.

An in-process contender is embedder_worker.py behind its pipe; a server is asked by http_load.py, of which there is one
for all of them. Nobody's threads are set: each has the machine in its turn, as it would have by its own defaults. The
hub is never asked, and infinity's usage statistics are off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_HERE = Path(__file__).parent
WORKER = _HERE / "embedder_worker.py"
CLIENTS = _HERE / "http_load.py"
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, slots=True)
class Timed:
    """One turn. latencies: of each text, in seconds; client_cpu_seconds: of http_load.py; cached: answers that were."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    client_cpu_seconds: float = 0.0
    cached: int = 0


class Contender(Protocol):
    """What embeds texts. described: for people; pid: of the process that computes."""

    described: str
    pid: int

    def embed(self, texts: Sequence[str], save: Path | None = None) -> Timed:
        """Embed the texts, each once, and say how long that took; save: where the vectors go, as numpy's file."""
        ...


@dataclass
class Pipe:
    """A process that answers each line of JSON by one."""

    process: subprocess.Popen[str]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send a question and return its answer; end everything when the process has ended."""
        pipe = cast("IO[str]", self.process.stdin)
        pipe.write(json.dumps(question) + "\n")
        pipe.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """Return the next answer."""
        line = cast("IO[str]", self.process.stdout).readline()
        if not line:
            sys.exit(f"{self.process.args!r} ended; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Worker:
    """An in-process contender."""

    def __init__(self, pipe: Pipe) -> None:
        """Wait until it has loaded its model."""
        self._pipe = pipe
        self.pid = pipe.process.pid
        self.described: str = pipe.read()["described"]

    def embed(self, texts: Sequence[str], save: Path | None = None) -> Timed:
        """See Contender."""
        return Timed(self._pipe.ask({"texts": list(texts), "save": str(save) if save else None})["seconds"])


@dataclass(frozen=True, slots=True)
class Call:
    """How a server is asked for one text, and where in its answer the vector stands."""

    path: str
    text_key: str
    found: tuple[str | int, ...]
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has loaded its model."""

    pid: int
    port: int
    call: Call
    described: str


@dataclass
class Asked:
    """A server, asked by `concurrency` clients at once."""

    server: Server
    clients: Pipe
    concurrency: int

    def __post_init__(self) -> None:
        self.pid = self.server.pid
        self.described = self.server.described

    def embed(self, texts: Sequence[str], save: Path | None = None) -> Timed:
        """See Contender."""
        call = self.server.call
        answer = self.clients.ask(
            {
                "host": "127.0.0.1",
                "port": self.server.port,
                "path": call.path,
                "body": call.body,
                "text_key": call.text_key,
                "found": call.found,
                "concurrency": self.concurrency,
                "texts": list(texts),
                "save": str(save) if save else None,
            }
        )
        return Timed(answer["seconds"], answer["latencies"], answer["cpu_seconds"], answer["cached"])


@contextmanager
def piped(*command: str) -> Generator[Pipe]:
    """Run a program behind its pipe for as long as the block lasts."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=OFFLINE) as process:
        try:
            yield Pipe(process)
        finally:
            process.kill()


@contextmanager
def worker(interpreter: str, *arguments: str) -> Generator[Worker]:
    """Run an in-process contender for as long as the block lasts."""
    with piped(interpreter, str(WORKER), *arguments) as pipe:
        yield Worker(pipe)
