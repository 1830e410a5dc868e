"""The text of a client's configuration with our entry, or without it; pure."""

from __future__ import annotations

from typing import Any, cast

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from aya.mcp_clients import jsonc
from aya.mcp_clients.clients import SERVER_NAME, Client, Server

_TABLES = (AbstractTable, OutOfOrderTableProxy)


def installed(text: str, client: Client, server: Server) -> str:
    """Return the text with the entry; the same one when it is there. Raises ValueError for another kind of file."""
    entry = client.entry(server)
    if client.format == "toml":
        return _toml(text, client, entry)
    if jsonc.entry_of(text, client.group, SERVER_NAME) == entry:
        return text
    return jsonc.with_entry(text, client.group, SERVER_NAME, entry)


def removed(text: str, client: Client) -> str:
    """Return the text without the entry. Raises ValueError for what is no such file."""
    if client.format == "toml":
        return _toml(text, client, None)
    return jsonc.without_entry(text, client.group, SERVER_NAME)


def has_entry(text: str, client: Client) -> bool:
    """Return whether the text has an entry of our name. Raises ValueError for what is no such file."""
    return removed(text, client) != text


def snippet(client: Client, server: Server) -> str:
    """Return the smallest file that has the entry: what a person pastes."""
    return installed("", client, server)


def _toml(text: str, client: Client, entry: dict[str, object] | None) -> str:
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ValueError(str(error)) from error
    found = cast("Any", document).get(client.group)
    if found is not None and not isinstance(found, _TABLES):
        raise ValueError(f"{client.group} is no table")
    servers = cast("Any", found)
    if entry is None:
        if servers is None or SERVER_NAME not in servers:
            return text
        del servers[SERVER_NAME]
        return tomlkit.dumps(document)  # pyright: ignore[reportUnknownMemberType]
    if servers is not None and SERVER_NAME in servers and servers[SERVER_NAME].unwrap() == entry:
        return text
    if servers is None:
        servers = tomlkit.table(is_super_table=True)
        document.append(client.group, servers)
    servers[SERVER_NAME] = entry
    return tomlkit.dumps(document)  # pyright: ignore[reportUnknownMemberType]
