"""GET /docs: every call with its fields, as a page that needs nothing from anywhere.

FastAPI's own page loads its script from a CDN: somebody else's code would run beside a service that is open to this
machine, and opening it would tell them so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, cast

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_NOTHING_FROM_ANYWHERE = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}"
)


def add_reference(app: FastAPI) -> None:
    """Add GET /docs, after all calls."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": _NOTHING_FROM_ANYWHERE})


def page(described: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document; pure."""
    title = escape(str(described["info"]["title"]))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><h1>{title}</h1>'
        f"<p>{escape(str(described['info'].get('description', '')))}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a></p>{"".join(_calls(described))}</html>'
    )


def _calls(described: Mapping[str, Any]) -> Iterator[str]:
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            about = call.get("description") or call.get("summary", "")
            yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(about)}</p>"
            content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "schema" in content:
                yield _fields(_resolved(described, content["schema"]))


def _resolved(described: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return cast("Mapping[str, Any]", described["components"]["schemas"][name]) if name else schema


def _fields(schema: Mapping[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td>"
        f"<td>{escape(_kind(field))}{', required' if name in needed else ''}</td>"
        f"<td>{escape(str(field.get('description', '')))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>field</th><th>type</th><th></th></tr>{rows}</table>"


def _kind(field: Mapping[str, Any]) -> str:
    """Return what a field may be, in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(one) for one in field["anyOf"]))
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    name = str(field.get("type") or str(field.get("$ref", "anything")).rpartition("/")[2])
    return f"list of {_kind(field['items'])}" if name == "array" and "items" in field else name
