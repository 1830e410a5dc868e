"""Starting the servers that embedder_throughput.py compares: ours, the plan's, and infinity.

Each loads the model from a directory, on a free port of the loopback, and writes what it says into a file.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from embedder_contenders import OFFLINE, Call, Server

if TYPE_CHECKING:
    from collections.abc import Generator

_CONTRACT = Call("/embed", "text", ("embedding",))
_OPENAI = Call("/embeddings", "input", ("data", 0, "embedding"))
_LOADED_WITHIN_SECONDS = 300.0  # infinity warms up for as long as its model needs for 64 long texts
_BETWEEN_LOOKS_SECONDS = 0.2
_LAST_WORDS_CHARACTERS = 2000
_OK = 200


@contextmanager
def ours(directory: str, scratch: Path, *, cache: bool) -> Generator[Server]:
    """Run our server, as it comes; cache: whether it keeps vectors in memory. On disk it keeps none."""
    port = _free_port()
    environment = {"AYA_MODEL": directory, "AYA_EMBEDDER_PORT": str(port), "AYA_EMBEDDER_CACHE_DIR": ""}
    if not cache:
        environment["AYA_EMBEDDER_CACHE_MB"] = "0"
    command = [sys.executable, "-m", "aya_embedder"]
    with _serving(command, environment, scratch / f"ours-{port}.log", port, "/ready") as pid:
        yield Server(pid, port, _CONTRACT, f"python -m aya_embedder, its cache {'on' if cache else 'off'}")


@contextmanager
def plan(peers: Path, directory: str, scratch: Path) -> Generator[Server]:
    """Run the plan's server."""
    port = _free_port()
    script = Path(__file__).with_name("plan_server.py")
    command = [str(peers / "plan" / "bin" / "python"), str(script), directory, str(port)]
    with _serving(command, {}, scratch / "plan.log", port, "/health") as pid:
        yield Server(pid, port, _CONTRACT, "FastAPI over sentence-transformers' encode, one text at a time")


@contextmanager
def infinity(peers: Path, directory: str, scratch: Path, *, better: bool = True) -> Generator[Server]:
    """Run infinity with its torch engine on the CPU, everything else as it comes; better: with BetterTransformer."""
    port = _free_port()
    environment = {"INFINITY_HOME": str(scratch), "INFINITY_BETTERTRANSFORMER": str(better).lower()}
    described = f"infinity, torch engine {'with' if better else 'without'} BetterTransformer, batches of up to 32"
    command = [str(peers / "infinity" / "bin" / "infinity_emb"), "v2", "--model-id", directory]
    command += ["--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with _serving(command, environment, scratch / f"infinity-{port}.log", port, "/health") as pid:
        yield Server(pid, port, _OPENAI, described)


@contextmanager
def _serving(command: list[str], environment: dict[str, str], log: Path, port: int, ready: str) -> Generator[int]:
    """Yield the pid once GET `ready` is answered by 200; end everything, with its last words, when it never is."""
    with (
        log.open("w") as said,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=OFFLINE | environment, cwd=log.parent
        ) as process,
    ):
        try:
            if not _becomes_ready(process, f"http://127.0.0.1:{port}{ready}"):
                sys.exit(f"{command[0]} did not come up:\n{log.read_text()[-_LAST_WORDS_CHARACTERS:]}")
            yield process.pid
        finally:
            process.kill()


def _becomes_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    end = time.monotonic() + _LOADED_WITHIN_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx2.get(url).status_code == _OK:
                return True
        except httpx2.TransportError:
            pass
        time.sleep(_BETWEEN_LOOKS_SECONDS)
    return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
