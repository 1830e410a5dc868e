"""The page of the embedder's calls: complete, and with nothing from anywhere else."""

from __future__ import annotations

import re

from aya_embedder.reference import page

DESCRIBED = {
    "info": {"title": "T<", "description": "About & more"},
    "paths": {
        "/embed": {
            "post": {
                "summary": "Embed",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Embed"}}}},
            }
        },
        "/health": {"get": {"description": "<script>alert(1)</script>"}},
    },
    "components": {
        "schemas": {
            "Embed": {
                "required": ["text"],
                "properties": {
                    "text": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                    "prompt": {"enum": ["query", "document"], "description": "Which <prefix>."},
                },
            }
        }
    },
}


def test_every_call_and_field_is_shown() -> None:
    """With its type, and whether it is needed; texts are texts."""
    text = page(DESCRIBED)
    assert "<code>POST /embed</code>" in text
    assert "<code>text</code></td><td>string or list of string, required</td>" in text
    assert "query | document</td><td>Which &lt;prefix&gt;.</td>" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_nothing_comes_from_anywhere() -> None:
    """No script, no address of somebody else."""
    assert not re.search(r"<script|https?:|src=|@import|url\(", page(DESCRIBED))
