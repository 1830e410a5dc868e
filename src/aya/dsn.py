"""A database and how it is written down: postgresql://user:password@host:port,host:port/database?option=value; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote

from aya.errors import ConfigError
from aya.pins import require_strong

DEFAULT_DATABASE = "aya_rag"
OWNER = "aya_user"
DEFAULT_POSTGRES_PORT = 5432
TARGET = "target_session_attrs"
_LARGEST_PORT = 65535
_DSN = re.compile(r"postgres(?:ql)?://(?P<netloc>[^/?#]+)(?:/(?P<database>[^?#@]*))?(?:\?(?P<options>[^#]*))?")
# How long libpq waits for a host: `aya dsn` prints them for others, the server does not know them, and we have our own.
_OF_LIBPQ = {"connect_timeout", "tcp_user_timeout"}


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """One database, reachable at one address or more; the password never shows in repr or display."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = ()

    def display(self) -> str:
        """Return the DSN without its password."""
        return self._url(self.user)

    def dsn(self) -> str:
        """Return the DSN with its password."""
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        return self._url(f"{quote(self.user, safe='')}{secret}")

    def _url(self, user: str) -> str:
        # A host that is a path names the directory of a socket, and its slashes are quoted (libpq 34.1.1.2).
        quoted = ((f"[{host}]" if ":" in host else quote(host, safe=""), port) for host, port in self.hosts)
        hosts = ",".join(f"{host}:{port}" for host, port in quoted)
        options = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in self.options)
        return f"postgresql://{user}@{hosts}/{quote(self.database, safe='')}" + (f"?{options}" if options else "")


def parse_dsn(dsn: str) -> DatabaseSettings:
    """Parse postgresql://user:password@host[:port][,host[:port]…]/database?option=value.

    Raises ConfigError without repeating the password: an unquoted / ? or # ends it, and its rest looks like a port;
    and for an option that gives up what a commit is promised (aya.pins).
    """
    parts = _DSN.fullmatch(dsn)
    options = (parts and parts["options"]) or ""
    if parts is None or ("@" in options and "@" not in parts["netloc"]):
        raise ConfigError(
            "the DSN is not of the form postgresql://user:password@host:port/database"
            " (in a password, / is written %2F, ? %3F, # %23 and @ %40)",
            hint="check AYA_DSN or aya.toml",
        )
    require_strong(parse_qsl(options))
    credentials, _, addresses = parts["netloc"].rpartition("@")
    user, _, password = credentials.partition(":")
    return DatabaseSettings(
        hosts=tuple(parse_address(address) for address in addresses.split(",")),
        database=unquote(parts["database"] or "") or DEFAULT_DATABASE,
        user=unquote(user) or OWNER,
        password=unquote(password) or None,
        options=tuple(option for option in parse_qsl(options) if option[0] not in _OF_LIBPQ),
    )


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of host:port, [IPv6]:port, or of a host alone. Raises ConfigError."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        port = port.lstrip(":")
    else:
        host, _, port = address.partition(":")
    return unquote(host) or "127.0.0.1", parse_port(port or str(DEFAULT_POSTGRES_PORT))


def parse_port(text: str) -> int:
    """Return a TCP port; ConfigError when `text` is none."""
    if re.fullmatch(r"0*[1-9][0-9]{0,4}", text) and int(text) <= _LARGEST_PORT:
        return int(text)
    raise ConfigError(f"{text!r} is not a port (1 to {_LARGEST_PORT})", hint="check DB_PORT or the DSN")


def writable(settings: DatabaseSettings) -> DatabaseSettings:
    """Return the same, asking for the one of several servers that may be written, unless it asks for another; pure."""
    if len(settings.hosts) == 1 or any(key == TARGET for key, _ in settings.options):
        return settings
    return replace(settings, options=(*settings.options, (TARGET, "read-write")))
