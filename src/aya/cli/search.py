"""`aya search`: the passages that answer a question, with where they stand."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

import click

from aya.cli import output, session
from aya.cli.given import check_words
from aya.errors import UsageError
from aya.home import Home
from aya.knowledge.types import Filters, Hit, Mode
from aya.knowledge.validation import check_limit, check_query, parse_metadata

_DATE_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


Command = TypeVar("Command", bound=Callable[..., object])


class FilterOptions(TypedDict):
    """What the filter options hand over."""

    category: str | None
    source: str | None
    metadata: str | None
    since: datetime | None
    until: datetime | None


def filter_options(function: Command) -> Command:
    """Add --category, --source, --metadata, --since and --until to a verb."""
    date = click.DateTime(_DATE_FORMATS)
    for option in (
        click.option("--until", type=date, help="Created before this moment (UTC)."),
        click.option("--since", type=date, help="Created at or after this moment (UTC)."),
        click.option("--metadata", metavar="JSON", help="Only where the metadata contains this object."),
        click.option("--source", help="Only from this source."),
        click.option("--category", help="Only in this category."),
    ):
        function = option(function)
    return function


def filters_from(options: FilterOptions) -> Filters:
    """Return the filters that the options name.

    Raises UsageError for metadata that is no JSON object, and for what no document can be labelled with.
    """
    check_words(category=options["category"], source=options["source"])
    metadata = options["metadata"]
    return Filters(
        category=options["category"],
        source=options["source"],
        metadata=None if metadata is None else parse_metadata(metadata),
        since=options["since"],
        until=options["until"],
    )


@click.command(name="search")
@click.argument("query", required=False)
@click.option("--like", type=int, metavar="ID", help="What is like this document, instead of a query.")
@click.option("-k", "--limit", type=int, default=5, show_default=True, help="How many passages (1 to 200).")
@click.option("--mode", type=click.Choice(["vector", "text", "hybrid"]), default="hybrid", show_default=True)
@filter_options
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    query: str | None,
    like: int | None,
    limit: int,
    mode: Mode,
    node: str | None,
    as_json: bool,
    **filters: Unpack[FilterOptions],
) -> None:
    """Search by meaning (vector), by words (text) or by both (hybrid); or for what is like a document (--like).

    Passages that follow each other in a document are shown as one.
    """
    find = _finder(query, like, limit, mode, filters_from(filters))
    started = time.perf_counter()
    hits = session.run(home, node, find)
    took_ms = round(1000 * (time.perf_counter() - started), 1)
    if as_json:
        asked: dict[str, Any] = {"query": query, "mode": mode} if like is None else {"like": like}
        output.document({**asked, "took_ms": took_ms, "count": len(hits), "results": _plain(hits)})
        return
    for rank, hit in enumerate(hits, start=1):
        _print(rank, hit)
    ending = f"{len(hits)} passage{'s' if len(hits) > 1 else ''} in {took_ms:.0f} ms." if hits else "Nothing found."
    first = next((hit.document_id for hit in hits if hit.document_id is not None), None)
    output.progress(f"{ending} Next: aya {'list' if first is None else f'show {first}'}")


def _finder(
    query: str | None, like: int | None, limit: int, mode: Mode, filters: Filters
) -> Callable[[session.Session], Awaitable[list[Hit]]]:
    if like is not None and query is not None:
        raise UsageError("a query and --like exclude each other", hint=f"aya search --like {like}")
    check_limit(limit)
    if like is not None:
        return lambda opened: opened.searcher.like(like, limit=limit, filters=filters)
    asked = query or ""
    check_query(asked)
    return lambda opened: opened.searcher.search(asked, limit=limit, mode=mode, filters=filters)


def _plain(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [asdict(hit) for hit in hits]


def _print(rank: int, hit: Hit) -> None:
    if output.is_terminal():
        _draw(rank, hit)
        return
    output.line(f"{rank}. {place_of(hit)}")
    output.line(f"   {hit.snippet}")
    output.line(f"   {facts_of(hit)}\n")


def _draw(rank: int, hit: Hit) -> None:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(no_color=not output.colours(), highlight=False)
    snippet = Text(output.inert(hit.snippet))
    for start, end in hit.highlights:
        snippet.stylize("bold yellow", start, end)
    console.print(Text(output.inert(f"{rank}. {place_of(hit)}"), style="bold"))
    console.print(Padding(snippet, (0, 0, 0, 3)))
    console.print(Padding(Text(output.inert(f"{facts_of(hit)}\n"), style="dim", overflow="fold"), (0, 0, 0, 3)))


def place_of(hit: Hit) -> str:
    """Return the title and headings above a passage; pure."""
    # The first heading of a Markdown file is its title.
    parts = dict.fromkeys(part for part in (hit.title, *(hit.heading or "").split(" > ")) if part)
    return " > ".join(parts) or _whose(hit)


def _whose(hit: Hit) -> str:
    return f"chunk {hit.chunk_id} of no document" if hit.document_id is None else f"document {hit.document_id}"


def facts_of(hit: Hit) -> str:
    """Return where a passage stands and how near it is; pure."""
    facts = [_whose(hit), hit.uri or hit.source]
    if hit.page is not None:
        facts.append(f"page {hit.page}")
    if hit.char_start is not None:
        facts.append(f"characters {hit.char_start}–{hit.char_end}")
    if hit.distance is not None:
        facts.append(f"distance {hit.distance:.3f}")
    return " · ".join(fact for fact in facts if fact)
