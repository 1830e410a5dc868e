"""[alerts] of aya.toml, checked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from aya.errors import ConfigError
from aya.json_object import json_object

KEYS = {"commands", "webhook", "webhook_secret_file", "notify", "limits"}
Limit = Literal[
    "disk", "disk_full", "lag_mb", "copy_hours", "queue_minutes", "archive_minutes", "backup_hours", "conflicts"
]
# Per cent of the disk, MiB of WAL, hours, minutes, a number of conflicts.
LIMITS: Mapping[Limit, float] = {
    "disk": 90, "disk_full": 97, "lag_mb": 64, "copy_hours": 72, "queue_minutes": 15, "archive_minutes": 10,
    "backup_hours": 36, "conflicts": 20,
}  # fmt: skip
_HINT = "edit aya.toml"
_THIS_MACHINE = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Whom to tell. commands: as a shell splits them. secret_file: what the webhook is signed with.

    limits: beyond which a figure is told, by LIMITS; 0: never.
    """

    commands: tuple[str, ...] = ()
    webhook: str | None = None
    secret_file: Path | None = None
    notify: bool = False
    limits: Mapping[Limit, float] = field(default_factory=lambda: dict(LIMITS))

    @property
    def any(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.commands or self.webhook or self.notify)


NOBODY = AlertSettings()


def parsed(table: Mapping[str, Any], home: Path) -> AlertSettings:
    """Return what [alerts] says; a relative file is in the home. Raises ConfigError."""
    commands: object = table.get("commands", [])
    if not isinstance(commands, list) or not all(isinstance(one, str) and one for one in commands):  # pyright: ignore[reportUnknownVariableType]
        raise ConfigError("aya.toml: alerts.commands must be a list of strings", hint=_HINT)
    for command in map(str, commands):  # pyright: ignore[reportUnknownArgumentType]
        try:
            shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"aya.toml: alerts.commands: {command!r}: {error}", hint=_HINT) from error
    notify: object = table.get("notify", False)
    if not isinstance(notify, bool):
        raise ConfigError("aya.toml: alerts.notify must be true or false", hint=_HINT)
    webhook, file = _text(table, "webhook"), _text(table, "webhook_secret_file")
    if webhook is not None:
        _check(webhook)
        if file is None:
            raise ConfigError("aya.toml: alerts.webhook needs alerts.webhook_secret_file", hint=_HINT)
    secret = home / Path(file).expanduser() if file else None
    return AlertSettings(tuple(map(str, commands)), webhook, secret, notify, _limits(table))  # pyright: ignore[reportUnknownArgumentType]


def _limits(table: Mapping[str, Any]) -> dict[Limit, float]:
    said = json_object(table.get("limits", {}))
    if said is None:
        raise ConfigError("aya.toml: alerts.limits must be a table", hint=_HINT)
    unknown = sorted(said.keys() - LIMITS.keys())
    if unknown:
        raise ConfigError(f"aya.toml: alerts.limits has no {unknown[0]}", hint=f"one of {', '.join(LIMITS)}")
    for name, value in said.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
            raise ConfigError(f"aya.toml: alerts.limits.{name} must be a number from 0 on", hint=_HINT)
    return {name: float(said.get(name, usual)) for name, usual in LIMITS.items()}


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value: object = table.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"aya.toml: alerts.{key} must be a string", hint=_HINT)
    return value


def _check(url: str) -> None:
    """Refuse what is no address, and one that would send what happened here in the clear to another machine."""
    wrong = ConfigError("aya.toml: alerts.webhook must be https://… (http only to this machine)", hint=_HINT)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if (
        not host
        or not url.isprintable()
        or " " in url
        or not (parts.scheme == "https" or (parts.scheme == "http" and host in _THIS_MACHINE))
    ):
        raise wrong
    if parts.username or parts.password:
        raise ConfigError("aya.toml: alerts.webhook must hold no password: it is signed instead", hint=_HINT)
