"""The MCP server object: one for every revision of the protocol, 2024-11-05's handshake and 2026-07-28's calls without.

The SDK's low-level Server, not MCPServer: that one answers an unknown tool with a result, drops unknown arguments
and shows a client the text of its own validation.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from aya import __version__, log
from aya.errors import AyaError
from aya_mcp import document_schemas as documents
from aya_mcp import schemas
from aya_mcp.greeting import INSTRUCTIONS, SERVER_NAME, SERVER_TITLE
from aya_mcp.resources import Resources
from aya_mcp.tools import Tools
from aya_mcp.words import explained, unexplained

Context = ServerRequestContext[Any]
Call = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Handlers:
    """What the server answers to tools/list and tools/call."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._served: dict[str, tuple[types.Tool, Call]] = {
            tool.name: (tool, call)
            for tool, call in (
                (schemas.QUERY_TOOL, tools.query),
                (schemas.ADD_TOOL, tools.add),
                (documents.SHOW_TOOL, tools.show_document),
                (documents.LIST_TOOL, tools.list_documents),
                (documents.UPDATE_TOOL, tools.update_document),
                (documents.DELETE_TOOL, tools.delete_documents),
            )
        }

    async def list_tools(self, context: Context, params: object) -> types.ListToolsResult:
        """Answer tools/list."""
        del context, params
        return types.ListToolsResult(tools=[tool for tool, _ in self._served.values()])

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Answer tools/call: what goes wrong inside a tool is a result with isError, in words a model can act on."""
        del context
        if params.name not in self._served:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name} (there are {', '.join(self._served)})")
        _, call = self._served[params.name]
        try:
            result = await call(params.arguments or {})
        except AyaError as error:
            kind = type(error).__name__
            log.get_logger().warning("call.refused", tool=params.name, kind=kind, reason=error.message)
            return _refused(explained(error))
        except Exception:  # noqa: BLE001 - the boundary: told in the log, never to the client
            return _refused(unexplained(params.name, self._tools.secrets))
        text = json.dumps(result, ensure_ascii=False)
        return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=result)


def build(tools: Tools) -> Server[Any]:
    """Return the server object, for any transport."""
    handlers, resources = Handlers(tools), Resources(tools)
    return Server(
        SERVER_NAME,
        version=__version__,
        title=SERVER_TITLE,
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=resources.list_resources,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read_resource,
    )


def _refused(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
