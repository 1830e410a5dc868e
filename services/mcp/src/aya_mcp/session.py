"""Between the wire and the SDK: lines become messages, others get their error, and nobody leaves too early."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from aya import log
from aya_mcp.greeting import RequestId, refusal
from aya_mcp.shutdown import Shutdown
from aya_mcp.wire import LONGEST_LINE, TooLong, Wire

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]


class Session:
    """One client's session on one wire.

    greeted: the id of an `initialize` that was answered before the SDK was there; its second answer is dropped.
    """

    def __init__(self, wire: Wire, shutdown: Shutdown, greeted: RequestId | None) -> None:
        self._wire = wire
        self._shutdown = shutdown
        self._greeted = greeted
        self._unanswered: set[RequestId] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, server: Server[Any], opening: bytes) -> None:
        """Serve until the client has gone or a signal arrived, and what it asked for is answered.

        opening: the first line for the SDK.
        """
        to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
        outgoing, from_server = anyio.create_memory_object_stream[SessionMessage]()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(opening, to_server), name="session.read")
            tasks.create_task(self._write(from_server), name="session.write")
            await server.run(incoming, outgoing, server.create_initialization_options())

    async def _read(self, opening: bytes, to_server: Incoming) -> None:
        # Closing the stream is what ends the SDK's loop, and cancels what still runs in it: so it is closed last.
        async with to_server:
            line: bytes | None = opening
            while line is not None:
                message = self._parse(line)
                if message is not None:
                    await to_server.send(SessionMessage(message))
                line = None if self._shutdown.requested else await self._wire.receive()
            await self._shutdown.wait_for(self._idle)

    def _parse(self, line: bytes) -> types.JSONRPCMessage | None:
        if not line.strip():
            return None
        if isinstance(line, TooLong):
            self._refuse(line, types.PARSE_ERROR, f"Parse error: a message may have {LONGEST_LINE} bytes")
            return None
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError as error:
            broken = error.errors(include_url=False)[0]["type"] == "json_invalid"
            code, text = (types.PARSE_ERROR, "Parse error") if broken else (types.INVALID_REQUEST, "Invalid request")
            self._refuse(line, code, text)
            return None
        self._note(message)
        return message

    def _refuse(self, line: bytes, code: int, text: str) -> None:
        log.get_logger().warning("line.refused", reason=text, bytes=len(line))
        self._wire.send(refusal(line, code=code, message=text))

    def _note(self, message: types.JSONRPCMessage) -> None:
        """Remember which requests are owed an answer; one that its client cancels is owed none."""
        if isinstance(message, types.JSONRPCRequest):
            self._unanswered.add(message.id)
            self._idle.clear()
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            request_id = (message.params or {}).get("requestId")
            if isinstance(request_id, int | str):
                self._settled(request_id)

    async def _write(self, from_server: Outgoing) -> None:
        async with from_server:
            async for item in from_server:
                message = item.message
                answered = message.id if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) else None
                if answered is None or answered != self._greeted:
                    self._wire.send(message.model_dump_json(by_alias=True, exclude_unset=True).encode())
                elif isinstance(message, types.JSONRPCError):
                    raise RuntimeError(f"the client was greeted, but the SDK refused it: {message.error.message}")
                if answered is not None:
                    self._greeted = None if answered == self._greeted else self._greeted
                    self._settled(answered)

    def _settled(self, request_id: RequestId) -> None:
        self._unanswered.discard(request_id)
        if not self._unanswered:
            self._idle.set()
