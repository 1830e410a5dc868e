"""The tools for the rest of a document's life, and the resources, as a client lists them; pure."""

from __future__ import annotations

from mcp import types

from aya.knowledge.validation import LONGEST_SOURCE
from aya_mcp.arguments import (
    DEFAULT_LENGTH,
    DEFAULT_PAGE,
    LONGEST_CONTENT,
    LONGEST_TITLE,
    MOST_DELETED,
    MOST_LENGTH,
    MOST_PAGE,
)
from aya_mcp.names import DELETE, DOCUMENT_URI, LIST, SHOW, UPDATE
from aya_mcp.schema_parts import (
    ANSWERED,
    CATEGORY,
    COUNT,
    FILTERS,
    KEPT,
    MAYBE_COUNT,
    MAYBE_TEXT,
    NUMBER,
    OBJECT,
    TEXT,
    Properties,
    described,
    of_arguments,
    of_object,
    undescribed,
)

_DOCUMENT: Properties = {
    "document_id": NUMBER,
    "title": MAYBE_TEXT,
    "category": MAYBE_TEXT,
    "source": MAYBE_TEXT,
    "metadata": OBJECT,
    "uri": described(MAYBE_TEXT, "the file it was read from"),
    "rev": described(NUMBER, "grows with every change"),
    "created_at": MAYBE_TEXT,
    "updated_at": MAYBE_TEXT,
    "indexed": described({"type": "boolean"}, "false while a search by meaning does not find it yet"),
    "characters": described(COUNT, "of the whole text"),
    "content": TEXT,
}
_NEXT_CURSOR = described(MAYBE_TEXT, "send it as cursor for the next page; null after the last")
_READS = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
# Overwriting and deleting cannot be undone here; either twice is the same as once.
_OVERWRITES = types.ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)

SHOW_TOOL = types.Tool(
    name=SHOW,
    title="Show a document",
    description="Read one document of the knowledge base, whole or page by page, with its metadata and rev.",
    input_schema=of_arguments(
        {
            "document_id": NUMBER,
            "offset": described(COUNT, "first character, as next_offset said", default=0),
            "length": described(NUMBER, "characters", default=DEFAULT_LENGTH, minimum=1, maximum=MOST_LENGTH),
        },
        required=("document_id",),
    ),
    output_schema=of_object(
        {
            **_DOCUMENT,
            "offset": COUNT,
            "next_offset": described(MAYBE_COUNT, "where the text goes on; null at its end"),
            **undescribed(ANSWERED),
        }
    ),
    annotations=_READS,
)

LIST_TOOL = types.Tool(
    name=LIST,
    title="List documents",
    description="List the knowledge base's documents, the newest first, each with its first 200 characters.",
    input_schema=of_arguments(
        {
            **FILTERS,
            "limit": described(NUMBER, "how many", default=DEFAULT_PAGE, minimum=1, maximum=MOST_PAGE),
            "cursor": described(TEXT, "next_cursor of the page before"),
        },
        required=(),
    ),
    output_schema=of_object(
        {
            "documents": {"type": "array", "items": of_object(undescribed(_DOCUMENT))},
            "count": COUNT,
            "next_cursor": _NEXT_CURSOR,
            **undescribed(ANSWERED),
        }
    ),
    annotations=_READS,
)

UPDATE_TOOL = types.Tool(
    name=UPDATE,
    title="Change a document",
    description="Change a document's text or labels in place; what is left out stays as it is.",
    input_schema=of_arguments(
        {
            "document_id": NUMBER,
            "content": described(TEXT, "the whole new text", minLength=1, maxLength=LONGEST_CONTENT),
            "category": CATEGORY,
            "source": {**TEXT, "maxLength": LONGEST_SOURCE},
            "title": {**TEXT, "maxLength": LONGEST_TITLE},
            "context": described(OBJECT, "the new metadata, whole"),
            "expected_rev": described(NUMBER, "refuse if the document is no more at this rev"),
        },
        required=("document_id",),
    ),
    output_schema=of_object(
        {
            "success": {"type": "boolean", "const": True},
            "document_id": NUMBER,
            "rev": NUMBER,
            "characters": COUNT,
            "chunk_count": COUNT,
            **undescribed(KEPT),
        }
    ),
    annotations=_OVERWRITES,
)

DELETE_TOOL = types.Tool(
    name=DELETE,
    title="Delete documents",
    description="Delete documents that the user wants gone, for good; returns what they were.",
    input_schema=of_arguments(
        {"document_ids": {"type": "array", "items": NUMBER, "minItems": 1, "maxItems": MOST_DELETED}},
        required=("document_ids",),
    ),
    output_schema=of_object(
        {
            "deleted": {
                "type": "array",
                "items": of_object(
                    {
                        "document_id": NUMBER,
                        "title": MAYBE_TEXT,
                        "category": MAYBE_TEXT,
                        "characters": COUNT,
                        "content": described(TEXT, "the first 200 characters"),
                    }
                ),
            },
            "missing": described({"type": "array", "items": NUMBER}, "ids of which there is no document"),
            **undescribed(KEPT),
        }
    ),
    annotations=_OVERWRITES,
)

DOCUMENT_TEMPLATE = types.ResourceTemplate(
    name="document",
    title="A whole document",
    uri_template=DOCUMENT_URI + "{document_id}",
    description="The text of one document, by the document_id of a search result, with its metadata in _meta.",
    mime_type="text/plain",
)
PASSAGE_TEMPLATE = types.ResourceTemplate(
    name="passage",
    title="A passage of a document",
    uri_template=DOCUMENT_URI + "{document_id}#char={char_start},{char_end}",
    description="The characters from char_start up to char_end of one document, as a search result's resource names.",
    mime_type="text/plain",
)
