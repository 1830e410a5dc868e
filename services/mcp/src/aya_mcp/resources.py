"""Documents as resources: the newest by name, every one and every passage by its URI."""

from __future__ import annotations

from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from aya.errors import AyaError, DocumentError, UsageError
from aya_mcp import results
from aya_mcp.cursor import decoded
from aya_mcp.document_schemas import DOCUMENT_TEMPLATE, PASSAGE_TEMPLATE
from aya_mcp.names import uri_of, wanted_by
from aya_mcp.parts import Part
from aya_mcp.tools import Tools
from aya_mcp.words import explained, unexplained

Context = ServerRequestContext[Any]
PAGE = 50
# Some hosts fetch every page when they start; whoever wants older documents searches, or lists them by the tool.
MOST_LISTED = 500
_LONGEST_NAME = 80
_RESOURCE_NOT_FOUND = -32002
_REVISION_WITHOUT_IT = "2026-07-28"


class Resources:
    """What the server answers to each method of resources."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """Answer resources/list: the newest documents, in pages, 500 in all."""
        del context
        try:
            after = decoded(params.cursor) if params is not None and params.cursor is not None else None
            page = await self._tools.recent(PAGE, after)
        except UsageError as error:
            raise MCPError(types.INVALID_PARAMS, explained(error)) from error
        except AyaError as error:
            raise MCPError(types.INTERNAL_ERROR, explained(error)) from error
        except Exception as error:
            raise MCPError(types.INTERNAL_ERROR, unexplained("resources/list", self._tools.secrets)) from error
        following = results.following(page, PAGE, after, most=MOST_LISTED)
        return types.ListResourcesResult(resources=[resource_of(part) for part in page], next_cursor=following)

    async def list_templates(self, context: Context, params: object) -> types.ListResourceTemplatesResult:
        """Answer resources/templates/list."""
        del context, params
        return types.ListResourceTemplatesResult(resource_templates=[DOCUMENT_TEMPLATE, PASSAGE_TEMPLATE])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Answer resources/read for aya://document/{document_id}, and for #char={start},{end} of it."""
        uri = str(params.uri)
        wanted = wanted_by(uri)
        if wanted is None:
            known = f"{DOCUMENT_TEMPLATE.uri_template} or {PASSAGE_TEMPLATE.uri_template}"
            raise _not_found(context, f"there is no resource {uri}; documents are {known}")
        try:
            part = await self._tools.read(wanted)
        except DocumentError as error:
            raise _not_found(context, error.message) from error
        except AyaError as error:
            raise MCPError(types.INTERNAL_ERROR, explained(error)) from error
        except Exception as error:
            raise MCPError(types.INTERNAL_ERROR, unexplained("resources/read", self._tools.secrets)) from error
        about = results.described(part)
        content = types.TextResourceContents(uri=uri, mime_type="text/plain", text=part.content, _meta=about)
        return types.ReadResourceResult(contents=[content])


def resource_of(part: Part) -> types.Resource:
    """Return a document as resources/list names it; pure."""
    beginning = next(iter(part.content.strip().splitlines()), "")
    name = (part.title or beginning.lstrip("# "))[:_LONGEST_NAME] or f"document {part.id}"
    facts = (part.category, part.source, results.utc(part.created_at), f"{part.characters} characters")
    return types.Resource(
        uri=uri_of(part.id),
        name=name,
        description=" · ".join(fact for fact in facts if fact),
        mime_type="text/plain",
        annotations=types.Annotations(last_modified=results.utc(part.updated_at)),
    )


def _not_found(context: Context, message: str) -> MCPError:
    code = types.INVALID_PARAMS if context.protocol_version >= _REVISION_WITHOUT_IT else _RESOURCE_NOT_FOUND
    return MCPError(code, message)
