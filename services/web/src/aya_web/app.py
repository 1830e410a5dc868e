"""The HTTP application: the page's files, and what the page asks for. There are no calls that write.

Every endpoint is `async def`: none of them waits for anything but the database and the embedder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response

from aya.home import Home
from aya.knowledge.types import Filters, Mode
from aya.status.judge import overall
from aya.status.types import document as status_document
from aya_web import answers
from aya_web.base import Base
from aya_web.history import columns
from aya_web.metrics import CONTENT_TYPE, Metrics
from aya_web.refusals import RESPONSES, ErrorAnswer, Refusal, add_refusals, refused
from aya_web.static_files import StaticFile, read_all
from aya_web.watcher import EVERY_SECONDS, Watcher

LONGEST_QUERY = 1000
MOST_HITS = 50
_LARGEST_ID = 2**31 - 1
_LATEST = 1e11
_EARLY = Refusal(503, "starting", "the nodes have not been looked at yet", "the same in a moment", {"retry-after": "1"})
_GONE: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "There is no such document"}}

# Text that PostgreSQL can keep; of a question not blanks alone.
_TEXT = r"^[^\x00]+$"
_QUESTION = r"^[^\x00]*[^\s\x00][^\x00]*$"
Text = Annotated[str | None, Query(min_length=1, max_length=100, pattern=_TEXT)]


def create_app(home: Home, base: Base, watcher: Watcher, metrics: Metrics) -> FastAPI:
    """Return the ASGI application, without its gate (aya_web.gate). watcher: whose `run` is the caller's."""
    app = FastAPI(
        title="AYA",
        description="What the page of this home is made from. It reads and never writes.",
        version=version("aya-web"),
        docs_url=None,
        redoc_url=None,
        responses=RESPONSES,
    )
    add_refusals(app)
    for path, file in read_all().items():
        app.add_api_route(path, _serving(file), methods=["GET", "HEAD"], include_in_schema=False)
    _add_watched(app, home, watcher, metrics)
    _add_base(app, base)
    return app


def _serving(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    # no-cache: kept, but asked for each time; after an update the page and its scripts belong together
    headers = {"etag": file.etag, "cache-control": "no-cache"}

    async def serve(request: Request) -> Response:
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return serve


def _add_watched(app: FastAPI, home: Home, watcher: Watcher, metrics: Metrics) -> None:
    """Add what is answered from the last look."""

    @app.get("/api/status")
    async def status() -> Response:
        """Return what `aya status --json` says, and when it was seen: at and now, in seconds since the epoch."""
        look = watcher.last
        if look is None:
            return refused(_EARLY)
        told = status_document(home, overall(look.nodes), look.nodes)
        return _json({"at": look.at, "now": time.time(), "every_seconds": EVERY_SECONDS, **told})

    @app.get("/api/history")
    async def history(since: Annotated[float, Query(ge=0, le=_LATEST)] = 0) -> Response:
        """Return what was measured since the service started, for a day at most: figures by node, beside their moments.

        since: only what was measured after that moment, in seconds since the epoch.
        """
        newer = (sample for sample in watcher.history if sample.at > since)
        return _json({"every_seconds": EVERY_SECONDS, **columns(newer)})

    @app.get("/health")
    async def health() -> Response:
        """Say whether the service answers, and has looked at the nodes lately."""
        look = watcher.last
        fresh = look is not None and time.time() - look.at < 6 * EVERY_SECONDS
        return _json({"status": "healthy" if fresh else "starting" if look is None else "stale"})

    @app.get("/metrics", response_class=Response)
    async def exposition() -> Response:
        """Return the figures of all nodes for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})


def _add_base(app: FastAPI, base: Base) -> None:
    """Add what is read from the knowledge base."""

    @app.get("/api/search")
    async def search(
        q: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY, pattern=_QUESTION)],
        k: Annotated[int, Query(ge=1, le=MOST_HITS)] = 10,
        mode: Mode = "hybrid",
        category: Text = None,
        source: Text = None,
    ) -> Response:
        """Return the passages that answer a question, the best first."""
        began = time.perf_counter()
        hits = await base.search(q, limit=k, mode=mode, filters=Filters(category=category, source=source))
        took_ms = round(1000 * (time.perf_counter() - began), 1)
        return _json(
            {"query": q, "took_ms": took_ms, "count": len(hits), "results": [answers.hit(one) for one in hits]}
        )

    @app.get("/api/documents/{document_id}", responses=_GONE)
    async def document(
        document_id: Annotated[int, Path(ge=-_LARGEST_ID, le=_LARGEST_ID)],
        start: Annotated[int | None, Query(ge=0, le=_LARGEST_ID)] = None,
        end: Annotated[int | None, Query(ge=0, le=_LARGEST_ID)] = None,
    ) -> Response:
        """Return a document, in segments; what stands from start to end, in characters, is marked."""
        return _json(answers.document(await base.document(document_id), start, end))

    @app.get("/api/conflicts")
    async def conflicts() -> Response:
        """Return the conflicts that nobody has decided, their texts cut to 200 characters."""
        found = await base.conflicts()
        return _json({"count": len(found), "conflicts": [answers.conflict(one) for one in found]})


def _json(value: dict[str, Any]) -> Response:
    # str: moments, and identifiers
    content = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str, separators=(",", ":"))
    return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")
