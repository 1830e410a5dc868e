"""`aya web`: where this home's page is, and whether it is served."""

from __future__ import annotations

import webbrowser

import click

from aya.cli import output
from aya.errors import AyaError, ConfigError
from aya.home import Home
from aya.settings import load_config

_SECONDS = 3.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 what a person may have written


@click.command(name="web")
@click.option("--open", "opens", is_flag=True, help="Open it in this machine's browser.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(home: Home, /, *, opens: bool, as_json: bool) -> None:
    """Print the address of the page that shows this home's nodes and searches them."""
    node, url = place(home)
    condition = _condition(url)
    if opens:
        webbrowser.open(url)
    if as_json:
        output.document({"url": url, "node": node, "status": condition, "metrics": f"{url}metrics"})
    else:
        output.line(url)


def place(home: Home) -> tuple[str, str]:
    """Return the node that serves the page, and its address; ConfigError when none does."""
    serving = next((node for node in home.nodes().values() if node.web_port), None)
    if serving is None:
        raise ConfigError(f"no node of {home.path} serves a page yet", hint="aya up")
    host = load_config(home).web_host
    host = _EVERYWHERE.get(host, host)
    return serving.name, f"http://{f'[{host}]' if ':' in host else host}:{serving.web_port}/"


def _condition(url: str) -> str:
    """Return what the page says of itself: healthy, starting or stale. Raises AyaError when it does not answer."""
    import httpx2  # noqa: PLC0415 - `aya --help` needs none of it

    try:
        with httpx2.Client(timeout=_SECONDS, trust_env=False) as client:
            return str(client.get(f"{url}health").raise_for_status().json()["status"])
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        raise AyaError(f"the page at {url} does not answer: {error}", hint="aya status, then aya up") from error
