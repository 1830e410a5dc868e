"""The MCP server object: one for every revision of the protocol, 2024-11-05's handshake and 2026-07-28's calls without.

The SDK's low-level Server, not MCPServer: that one answers an unknown tool with a result, drops unknown arguments
and shows a client the text of its own validation.
"""

from __future__ import annotations

import json
import re
import secrets
import traceback
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from aya import __version__, log
from aya.errors import AyaError, DocumentError
from aya_mcp.greeting import INSTRUCTIONS, SERVER_NAME, SERVER_TITLE
from aya_mcp.schemas import ADD, ADD_TOOL, DOCUMENT_TEMPLATE, DOCUMENT_URI, QUERY, QUERY_TOOL
from aya_mcp.tools import Tools, as_object

Context = ServerRequestContext[Any]
# A serial's ten digits at most; what is larger than an integer is no document either.
_DOCUMENT = re.compile(re.escape(DOCUMENT_URI) + r"([0-9]{1,10})")
_LARGEST_ID = 2**31 - 1
_RESOURCE_NOT_FOUND = -32002
_REVISION_WITHOUT_IT = "2026-07-28"


class Handlers:
    """What the server answers to each method."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._by_name = {QUERY: tools.query, ADD: tools.add}

    async def list_tools(self, context: Context, params: object) -> types.ListToolsResult:
        """Answer tools/list."""
        del context, params
        return types.ListToolsResult(tools=[QUERY_TOOL, ADD_TOOL])

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Answer tools/call: what goes wrong inside a tool is a result with isError, in words a model can act on."""
        del context
        tool = self._by_name.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name} (there are {', '.join(self._by_name)})")
        try:
            result = await tool(params.arguments or {})
        except AyaError as error:
            kind = type(error).__name__
            log.get_logger().warning("call.refused", tool=params.name, kind=kind, reason=error.message)
            return _refused(explained(error))
        except Exception:  # noqa: BLE001 - the boundary: told in the log, never to the client
            return _refused(self._unexplained(params.name))
        text = json.dumps(result, ensure_ascii=False)
        return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=result)

    async def list_resources(self, context: Context, params: object) -> types.ListResourcesResult:
        """Answer resources/list: none are named one by one, the template reaches every document."""
        del context, params
        return types.ListResourcesResult(resources=[])

    async def list_templates(self, context: Context, params: object) -> types.ListResourceTemplatesResult:
        """Answer resources/templates/list."""
        del context, params
        return types.ListResourceTemplatesResult(resource_templates=[DOCUMENT_TEMPLATE])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Answer resources/read for aya://document/{document_id}."""
        uri = str(params.uri)
        found = _DOCUMENT.fullmatch(uri)
        if found is None or int(found[1]) > _LARGEST_ID:
            raise _not_found(context, f"there is no resource {uri}; documents are {DOCUMENT_TEMPLATE.uri_template}")
        try:
            document = await self._tools.document(int(found[1]))
        except DocumentError as error:
            raise _not_found(context, error.message) from error
        except AyaError as error:
            raise MCPError(types.INTERNAL_ERROR, explained(error)) from error
        except Exception as error:
            raise MCPError(types.INTERNAL_ERROR, self._unexplained("resources/read")) from error
        about = {
            "title": document.title,
            "category": document.category,
            "source": document.source,
            "uri": document.uri,
            "metadata": as_object(document.metadata),
            "updated_at": document.updated_at.isoformat(),
        }
        content = types.TextResourceContents(uri=uri, mime_type="text/plain", text=document.content, _meta=about)
        return types.ReadResourceResult(contents=[content])

    def _unexplained(self, where: str) -> str:
        """Log the error at hand without secrets, and return what the client gets instead."""
        reference = secrets.token_hex(4)
        told = traceback.format_exc()
        for secret in self._tools.secrets:
            told = told.replace(secret, "***")
        log.get_logger().error("call.crashed", where=where, reference=reference, traceback=told)
        return f"internal error (reference {reference}), see the log of the MCP server. Next: aya status"


def build(tools: Tools) -> Server[Any]:
    """Return the server object, for any transport."""
    handlers = Handlers(tools)
    return Server(
        SERVER_NAME,
        version=__version__,
        title=SERVER_TITLE,
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
    )


def explained(error: AyaError) -> str:
    """Return what happened, why, and what to do next; pure."""
    again = " (the same call may succeed later)" if error.retryable else ""
    return f"{error.message}{again}." + (f" Next: {error.hint}" if error.hint else "")


def _refused(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def _not_found(context: Context, message: str) -> MCPError:
    code = types.INVALID_PARAMS if context.protocol_version >= _REVISION_WITHOUT_IT else _RESOURCE_NOT_FOUND
    return MCPError(code, message)
