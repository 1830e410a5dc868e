"""Between the wire and the SDK: lines become messages, others get their error, and nobody leaves too early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from mcp import types
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage

from aya import log
from aya_mcp.greeting import RequestId, is_json, line_of, refusal
from aya_mcp.outbox import Outbox
from aya_mcp.shutdown import Shutdown
from aya_mcp.wire import LONGEST_LINE, TooLong, Wire

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

    Item = SessionMessage | Exception

_NO_JSON = (types.PARSE_ERROR, "Parse error")


class Session:
    """One client's session on one wire. greeted: the id of an `initialize` that is already answered."""

    def __init__(self, wire: Wire, shutdown: Shutdown, greeted: RequestId | None) -> None:
        self._wire = wire
        self._shutdown = shutdown
        self._outbox = Outbox(wire.send, greeted)

    async def run(self, server: Server[Any], opening: Sequence[bytes]) -> None:
        """Serve until the client has gone or a signal arrived, and what it asked for is answered.

        opening: the first lines for the SDK.
        """
        async with (
            create_client_server_memory_streams() as ((from_server, to_server), (incoming, outgoing)),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._read(opening, to_server), name="session.read")
            tasks.create_task(self._write(from_server), name="session.write")
            await server.run(incoming, outgoing, server.create_initialization_options())

    async def _read(self, opening: Sequence[bytes], to_server: WriteStream[Item]) -> None:
        # Closing the stream is what ends the SDK's loop, and cancels what still runs in it: so it is closed last.
        async with to_server:
            for line in opening:
                await self._pass_on(line, to_server)
            while not self._shutdown.requested and (received := await self._wire.receive()) is not None:
                await self._pass_on(received, to_server)
            await self._shutdown.wait_for(self._outbox.idle)

    async def _pass_on(self, line: bytes, to_server: WriteStream[Item]) -> None:
        for message in self._messages(line):
            await to_server.send(SessionMessage(message))

    def _messages(self, line: bytes) -> Iterator[types.JSONRPCMessage]:
        if isinstance(line, TooLong):
            self._refuse(line, types.PARSE_ERROR, f"Parse error: a message may have {LONGEST_LINE} bytes")
        elif line.lstrip().startswith(b"["):
            yield from self._batch(line)
        elif line.strip():
            yield from self._single(line)

    def _single(self, line: bytes) -> Iterator[types.JSONRPCMessage]:
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._refuse(line, *((types.INVALID_REQUEST, "Invalid request") if is_json(line) else _NO_JSON))
            return
        self._outbox.owe(_asked([message]))
        self._forgive_cancelled(message)
        yield message

    def _batch(self, line: bytes) -> Iterator[types.JSONRPCMessage]:
        """Revision 2025-03-26 has servers take several messages in one array; later ones have none."""
        try:
            parts = cast("list[object]", json.loads(line))
        except (ValueError, RecursionError):
            self._refuse(line, *_NO_JSON)
            return
        if not parts:
            self._refuse(line, types.INVALID_REQUEST, "Invalid request")
            return
        messages: list[types.JSONRPCMessage] = []
        refusals: list[bytes] = []
        for part in parts:
            try:
                messages.append(types.jsonrpc_message_adapter.validate_python(part, by_name=False))
            except ValueError:
                refusals.append(refusal(line_of(part), code=types.INVALID_REQUEST, message="Invalid request"))
        self._outbox.owe_together(_asked(messages), refusals)
        yield from messages

    def _refuse(self, line: bytes, code: int, text: str) -> None:
        log.get_logger().warning("line.refused", reason=text, bytes=len(line))
        self._wire.send(refusal(line, code=code, message=text))

    def _forgive_cancelled(self, message: types.JSONRPCMessage) -> None:
        if isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            request_id = (message.params or {}).get("requestId")
            if isinstance(request_id, int | str):
                self._outbox.forgive(request_id)

    async def _write(self, from_server: ReadStream[Item]) -> None:
        async with from_server:
            async for item in from_server:
                if isinstance(item, Exception):  # in the streams' type only: the SDK sends none
                    raise item
                line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                request_id = _answered(item.message)
                if request_id is None:
                    self._wire.send(line)
                else:
                    self._outbox.answer(request_id, line)


def _asked(messages: list[types.JSONRPCMessage]) -> list[RequestId]:
    return [message.id for message in messages if isinstance(message, types.JSONRPCRequest)]


def _answered(message: types.JSONRPCMessage) -> RequestId | None:
    return message.id if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) else None
