"""How long a client waits for the MCP server, over ten cold starts. By hand: python bench/mcp_start.py [RUNS].

initialize: from the spawn to the answer. tools/list: to its answer. first call: to the answer of the first tool
call (without a database, so that it is the imports that are measured). RSS is read after the first call.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import psutil

from aya.mcp_probe import Probe

_NO_DATABASE = {**os.environ, "DB_HOST": "127.0.0.1", "DB_PORT": "9", "EMBEDDING_URL": "http://127.0.0.1:9"}
_MEBIBYTE = 1024 * 1024


def measure() -> tuple[float, float, float, float]:
    """Start one server; return seconds to initialize, to tools/list, to the first call, and its RSS in MiB."""
    started = time.perf_counter()
    with Probe(environ=_NO_DATABASE, stderr=subprocess.DEVNULL) as probe:
        probe.initialize("2025-11-25")
        greeted = time.perf_counter() - started
        probe.ask("tools/list")
        listed = time.perf_counter() - started
        probe.call("query_aya_rag", {"query": "anything", "mode": "text"})
        called = time.perf_counter() - started
        resident = psutil.Process(probe.process.pid).memory_info().rss / _MEBIBYTE
    return greeted, listed, called, resident


def main() -> None:
    """Print the medians and the worst of all runs."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    columns = list(zip(*(measure() for _ in range(runs)), strict=True))
    names = ("initialize (s)", "tools/list (s)", "first call (s)", "RSS (MiB)")
    for name, values in zip(names, columns, strict=True):
        print(f"{name:<15} median {statistics.median(values):7.3f}   worst {max(values):7.3f}")


if __name__ == "__main__":
    main()
