"""Our embedder in a process of its own, for the benches that watch the process and not the vectors."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_MIB = 1024 * 1024


@dataclass
class Embedder:
    """A running embedder; what it logs after it is ready is thrown away."""

    process: asyncio.subprocess.Process
    host: str
    port: int

    def rss_mib(self) -> float:
        """Return how much of its memory is resident, in MiB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / _MIB


@asynccontextmanager
async def running(**environ: str) -> AsyncGenerator[Embedder]:
    """Run MiniLM on a free port for as long as the block lasts, from when its model is loaded."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AYA_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aya_embedder",
        env={**clean, "AYA_EMBEDDER_PORT": "0", **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await _port_when_loaded(process)
        reading = asyncio.create_task(process.communicate(), name="embedder.log")
        yield Embedder(process, "127.0.0.1", port)
        if process.returncode is None:
            process.terminate()
        await reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _port_when_loaded(process: asyncio.subprocess.Process) -> int:
    port, said = 0, b""
    assert process.stderr is not None  # noqa: S101 a pipe was asked for
    async for line in process.stderr:
        said = line
        event = json.loads(line)
        port = event["port"] if event["event"] == "server.listening" else port
        if event["event"] == "model.loaded":
            return port
    sys.exit(f"the embedder ended before it had loaded its model: {said.decode()}")
