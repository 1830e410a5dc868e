"""The page's settings: the environment, else [web] in aya.toml; read once in main and passed down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aya import home as homes
from aya.access import hosts_of, is_loopback
from aya.dsn import parse_port
from aya.errors import ConfigError
from aya.home import Home
from aya.settings import load_config

DEFAULT_PORT = 8767


@dataclass(frozen=True, slots=True)
class Config:
    """home, node: whose nodes are shown, and from whose database is read.

    host, port: where HTTP listens. token_file: what everybody must say then, this machine's own clients included;
    without one only loopback is served. allowed_hosts: further names by which it may be called.
    """

    home: Home
    node: str
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token_file: Path | None = None
    allowed_hosts: frozenset[str] = frozenset()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """Read AYA_HOME, AYA_NODE, and AYA_WEB_ with HOST, PORT, TOKEN_FILE and ALLOWED_HOSTS.

        Raises ConfigError, with what to type, on a value that cannot be used, and on an address that other machines
        reach when there is no token file.
        """
        if environ.get("AYA_WEB_TOKEN"):
            raise ConfigError(
                "AYA_WEB_TOKEN is set, and the environment of a process is no place for a secret",
                hint="unset AYA_WEB_TOKEN; export AYA_WEB_TOKEN_FILE=… (a file of mode 600 that holds it)",
            )
        home = homes.locate(environ.get("AYA_HOME"))
        told = load_config(home, environ)
        named = environ.get("AYA_WEB_TOKEN_FILE")
        port = environ.get("AYA_WEB_PORT")
        hosts = environ.get("AYA_WEB_ALLOWED_HOSTS") or ",".join(told.web_hosts)
        config = cls(
            home=home,
            node=environ.get("AYA_NODE") or next(iter(home.nodes()), "alpha"),
            host=environ.get("AYA_WEB_HOST") or told.web_host,
            port=parse_port(port) if port else DEFAULT_PORT,
            token_file=Path(named).expanduser() if named else told.web_token_file,
            allowed_hosts=hosts_of(hosts, "AYA_WEB_ALLOWED_HOSTS"),
        )
        if config.token_file is None and not is_loopback(config.host):
            raise ConfigError(
                f"the page is to listen on {config.host}, which other machines reach, and there is no token to ask for",
                hint="(umask 077; openssl rand -hex 32 > web.token), and name it in aya.toml: [web] token_file; or "
                'host = "127.0.0.1"',
            )
        return config
