"""`aya models`: which embedding models there are, fetching one, choosing one, and whether it computes rightly."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from aya.cli import models_progress, output, session
from aya.errors import EXIT_FAILED, ConfigError
from aya.home import Home
from aya.model_events import events
from aya.settings import load_config

if TYPE_CHECKING:
    from aya.status.types import Model, NodeStatus

_HEADERS = ("NAME", "DIMENSION", "WINDOW", "POOLING", "SIZE", "HERE", "REVISION", "SOURCE", "USED")
_CHECK_HEADERS = ("CHECK", "RESULT", "DETAIL")
_RESULTS = {True: "ok", False: "FAILED", None: "-"}
_SHORT_REVISION, _MB = 8, 1_000_000
Event = dict[str, Any]


@click.group(name="models")
def command() -> None:
    """List, fetch, choose and check embedding models."""


@dataclass(frozen=True, slots=True)
class Uses:
    """Which nodes' embedders serve a model, and which nodes' databases hold vectors of it; by fingerprint."""

    serving: dict[str, list[str]]
    bound: dict[str, list[str]]
    names: dict[str, str]

    @classmethod
    def of(cls, nodes: Iterable[NodeStatus]) -> Uses:
        """Gather what the nodes say; pure."""
        found = cls({}, {}, {})
        for node in nodes:
            found._add(found.serving, node.seen.embedder.model, node.seen.name)
            found._add(found.bound, node.seen.database.bound, node.seen.name)
        return found

    def _add(self, where: dict[str, list[str]], model: Model | None, node: str) -> None:
        if model:
            where.setdefault(model.fingerprint, []).append(node)
            self.names[model.fingerprint] = model.model


def _uses(home: Home) -> Uses:
    # Here, not above: `aya models --help` needs no database driver.
    from aya.status.probe import collect  # noqa: PLC0415

    nodes = list(home.nodes().values())
    return Uses.of(asyncio.run(collect(home, load_config(home), nodes)) if nodes else ())


@command.command(name="list")
@session.json_option
@click.pass_obj
def list_(home: Home, /, *, as_json: bool) -> None:
    """Show the models that have a name, those on this machine, and which one is used where."""
    configured = load_config(home).model
    known = [event for event in events("list", configured) if event.pop("event") == "model"]
    models = described(known, configured, _uses(home))
    if as_json:
        output.document({"configured": configured, "models": models})
        return
    output.table(_HEADERS, [row(model) for model in models])
    for model in models:
        if model["error"]:
            output.error(f"{model['name']}: {model['error']}", f"aya models pull {shlex.quote(model['name'])}")


def described(known: Sequence[Event], configured: str, uses: Uses) -> list[Event]:
    """Return the models with who uses them, and those that are used but not known here; pure."""
    models = [
        {
            **model,
            "configured": model["name"] == configured,
            "served_by": uses.serving.get(model["fingerprint"], []),
            "bound_by": uses.bound.get(model["fingerprint"], []),
        }
        for model in known
    ]
    prints = {model["fingerprint"] for model in known}
    empty = dict.fromkeys(known[0]) if known else {}
    return models + [
        {
            **empty,
            "name": name,
            "fingerprint": fingerprint,
            "here": False,
            "configured": False,
            "served_by": uses.serving.get(fingerprint, []),
            "bound_by": uses.bound.get(fingerprint, []),
        }
        for fingerprint, name in uses.names.items()
        if fingerprint not in prints
    ]


def row(model: Event) -> tuple[str, ...]:
    """Return a model's line of the table; pure. A dash stands for what is not known."""
    used = [
        *(["configured"] if model["configured"] else []),
        *([f"served by {', '.join(model['served_by'])}"] if model["served_by"] else []),
        *([f"vectors of {', '.join(model['bound_by'])}"] if model["bound_by"] else []),
    ]
    return (
        model["name"],
        str(model["dimension"] or "-"),
        str(model["max_tokens"] or "-"),
        model["pooling"] or "-",
        f"{model['bytes'] / _MB:.0f} MB" if model["bytes"] else "-",
        "yes" if model["here"] else "damaged" if model["error"] else "no",
        (model["revision"] or "-")[:_SHORT_REVISION],
        model["source"] or "-",
        "; ".join(used) or "-",
    )


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
def pull(*, name: str, as_json: bool) -> None:
    """Fetch a model; what was fetched before is kept, and an interrupted download goes on where it stopped.

    NAME: one of `aya models list`, or owner/name@commit of the hub.
    """
    if as_json:
        for event in events("pull", name):
            output.line(json.dumps(event))
        return
    ready = _fetched(name)
    output.line(f"{ready['name']} is here: {ready['directory']}")


def _fetched(name: str) -> Event:
    """Fetch a model, showing how far it is; return what can be said of it."""
    ready = [event for event in models_progress.shown(events("pull", name)) if event["event"] == "ready"]
    if not ready:
        raise ConfigError(f"the model {name} did not arrive", hint=f"aya models pull {shlex.quote(name)}")
    return ready[-1]


@command.command()
@click.argument("name", required=False)
@session.json_option
@click.pass_obj
def check(home: Home, /, *, name: str | None, as_json: bool) -> int:
    """Fetch a model if need be, load it, and prove that its vectors are right. Exit code 1 when they are not.

    NAME: as for pull, or a directory (default: the configured model).
    """
    model = name or load_config(home).model
    found = _checked(model)
    passed = all(one["passed"] is not False for one in found)
    if as_json:
        output.document({"model": model, "passed": passed, "checks": found})
    else:
        output.table(_CHECK_HEADERS, [(one["name"], _RESULTS[one["passed"]], one["detail"]) for one in found])
    return 0 if passed else EXIT_FAILED


def _checked(model: str) -> list[Event]:
    found = [event for event in models_progress.shown(events("check", model)) if event.pop("event") == "checked"]
    if not found:
        raise ConfigError(f"the check of {model} ended without a word", hint="see what it printed above")
    return found


@command.command()
@click.argument("name")
@click.option("--no-check", is_flag=True, help="Do not load it and compare its vectors first.")
@click.pass_obj
def use(home: Home, /, *, name: str, no_check: bool) -> None:
    """Fetch and check a model, and make it the one that the embedders of this home start with.

    NAME: as for pull, or a directory. Vectors that were made by another model stay as they are: the command says what
    makes them anew.
    """
    # Here, not above: the other verbs do not write.
    from aya.config_editor import set_key  # noqa: PLC0415

    ready = _fetched(name)
    if not no_check:
        _require_right(ready["name"])
    changed = set_key(home.config_file, "embedder", "model", ready["name"])
    output.line(f"{home.config_file}: [embedder] model is {ready['name']}{'' if changed else ', as it was'}")
    named = os.environ.get("AYA_MODEL")
    if named and named != ready["name"]:
        output.error(f"AYA_MODEL is {named}, and wins over {home.config_file}", "unset AYA_MODEL")
    for text in next_steps(ready, _uses(home), running=bool(home.nodes())):
        output.progress(text)


def _require_right(model: str) -> None:
    wrong = [one for one in _checked(model) if one["passed"] is False]
    if wrong:
        raise ConfigError(
            f"{model} is not taken: {wrong[0]['name']}: {wrong[0]['detail']}",
            hint=f"aya models check {shlex.quote(model)}",
        )


def next_steps(ready: Event, uses: Uses, *, running: bool) -> list[str]:
    """Return what a person would type after `use`, and why; pure."""
    other = {print_: nodes for print_, nodes in uses.bound.items() if print_ != ready["fingerprint"]}
    said = [f"the vectors of {', '.join(nodes)} were made by {uses.names[print_]}" for print_, nodes in other.items()]
    if other:
        return [*said, f"  next: aya reembed --model {shlex.quote(ready['name'])}"]
    if ready["fingerprint"] in uses.serving and len(uses.serving) == 1:
        return []
    return ["  next: aya down, then aya up" if running else "  next: aya up"]
