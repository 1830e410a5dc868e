"""A client of `aya mcp serve` over stdio, as an IDE is one: a JSON-RPC message a line.

Source: Model Context Protocol, revision 2025-11-25, Lifecycle, Transports and Tools.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aya import __version__
from aya.errors import AyaError
from aya.home import Home
from aya.json_object import json_object

REVISION = "2025-11-25"
# The first call waits for the server's imports, on a machine that has just started.
_SECONDS = 60.0
_LONGEST_LINE = 1 << 24
_END_SECONDS = 10.0
_OTHERS = ("DB_", "ALPHA_HOST", "EMBEDDING_URL", "AYA_NODE", "AYA_HOME", "AYA_DSN")


class McpClient:
    """A server of its own for one node, used as `async with`. Every call raises AyaError when it is not answered."""

    def __init__(self, home: Home, node: str) -> None:
        self._node = node
        self._command = (str(Path(sys.executable).with_name("aya")), "--home", str(home.path))
        self._ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start the server. What it logs is not shown."""
        # The shell's own DB_HOST would lead it elsewhere: it is about this node.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, "mcp", "serve", "--node", self._node,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env=environ, limit=_LONGEST_LINE,
            )  # fmt: skip
        except OSError as error:
            raise AyaError(f"{self._command[0]} could not be run: {error}", hint="scripts/bootstrap") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up, and end it when it does not go by itself."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        finally:
            with suppress(ProcessLookupError):
                process.kill()

    async def initialize(self) -> dict[str, Any]:
        """Shake hands; return the result."""
        client = {"name": "aya-verify", "version": __version__}
        said = await self.ask("initialize", {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client})
        await self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return said

    async def tools(self) -> list[str]:
        """Return the names of the tools."""
        said = await self.ask("tools/list", {})
        return [str(tool.get("name")) for tool in map(json_object, said.get("tools", [])) if tool]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool and return the JSON in its text content. Raises AyaError in the tool's own words."""
        said = await self.ask("tools/call", {"name": tool, "arguments": dict(arguments)})
        text = " ".join(str(part.get("text", "")) for part in map(json_object, said.get("content", [])) if part)
        if said.get("isError"):
            raise AyaError(f"{tool}: {text}")
        try:
            answer = json_object(json.loads(text))
        except ValueError:
            answer = None
        if answer is None:
            raise AyaError(f"{tool} answered with no JSON object: {text[:80]!r}")
        return answer

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the result of its answer; what the server tells meanwhile is passed over."""
        number = next(self._ids)
        await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params)})
        try:
            async with asyncio.timeout(_SECONDS):
                while (answer := await self._receive()).get("id") != number:
                    pass
        except TimeoutError as error:
            raise AyaError(f"{method} was not answered within {_SECONDS:.0f} s") from error
        result = json_object(answer.get("result"))
        if result is None:
            raise AyaError(f"{method} was answered with {answer.get('error')}")
        return result

    async def _send(self, message: Mapping[str, Any]) -> None:
        process = self._running()
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AyaError("the server has ended") from error

    async def _receive(self) -> dict[str, Any]:
        try:
            line = await self._running().stdout.readline()
            message = json_object(json.loads(line)) if line else None
        except ValueError as error:
            raise AyaError("the server sent a line that is no JSON") from error
        if message is None:
            raise AyaError("the server has ended" if not line else "the server sent no JSON object")
        return message

    def _running(self) -> Any:  # noqa: ANN401 - a process whose streams are there
        if self._process is None:
            raise AyaError("the server was not started")
        return self._process
