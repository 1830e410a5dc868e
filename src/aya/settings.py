"""Where a process finds its database and its embedder; read once in main and passed down.

Precedence: the contract's environment names (DB_HOST …), then AYA_DSN or `dsn` in aya.toml, then the node in AYA_HOME.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from aya.alerts import config as alerts_config
from aya.alerts.config import NOBODY, AlertSettings
from aya.dsn import (
    DEFAULT_DATABASE,
    DEFAULT_POSTGRES_PORT,
    OWNER,
    DatabaseSettings,
    parse_address,
    parse_dsn,
    parse_port,
    writable,
)
from aya.errors import ConfigError
from aya.home import ROLE_OF_NODE, Home
from aya.json_object import json_object
from aya.members import Member, leaders, members, word_of
from aya.postgres.config import SYNC_ROLE
from aya.proof import proof_options
from aya.secret_file import read_token

DEFAULT_EMBEDDER_URL = "http://127.0.0.1:8765"
_LARGEST_COUNT = 1000


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything a process needs to know of its node.

    database: where it writes, whoever leads: every server that may lead, this node's first. own: this node's server,
    for what has to be read here; None when that is the same. embedder_token: what the embedder asks of clients on
    other machines; it never shows in repr.
    """

    node: str
    database: DatabaseSettings
    embedder_url: str
    embedder_token: str | None = field(default=None, repr=False)
    own: DatabaseSettings | None = None

    @property
    def local(self) -> DatabaseSettings:
        """Return this node's server, whether or not it leads."""
        return self.own or self.database

    @property
    def near(self) -> DatabaseSettings:
        """Return where to read: on this node, and elsewhere only when that does not answer."""
        return replace(self.local, hosts=self.database.hosts)


@dataclass(frozen=True, slots=True)
class Config:
    """aya.toml, checked. None or the default where it says nothing.

    members: the servers on machines of their own, by name; empty when all are on this one. clients: addresses or
    networks from which clients are let in, beside these machines' own. witnesses: addresses that answer as long as this
    machine has a network. tls: whether the servers speak TLS; None: as this machine's can. alerts: who is told when
    something happened.
    backups_kept: how many good base backups stay. backup_at: hour and minute of the daily one, local time.
    primary_password_file: of an AIR on a machine of its own, by which its sync daemon enters the servers.
    web_host, web_token_file, web_hosts: where the page listens, what it asks of whom, further names that it goes by.
    """

    postgres_major: int = 18
    pg_config: str | None = None
    dsn: str | None = field(default=None, repr=False)
    model: str = "minilm"
    members: Mapping[str, Member] = field(default_factory=dict[str, Member])
    witnesses: tuple[tuple[str, int], ...] = ()
    clients: tuple[str, ...] = ()
    tls: bool | None = None
    alerts: AlertSettings = NOBODY
    backups_kept: int = 3
    backup_at: tuple[int, int] = (3, 30)
    primary_password_file: Path | None = None
    web_host: str = "127.0.0.1"
    web_token_file: Path | None = None
    web_hosts: tuple[str, ...] = ()


_KNOWN_KEYS = {
    "postgres": {"major", "pg_config", "dsn"},
    "embedder": {"model"},
    "cluster": {"alpha", "beta", "clients", "witnesses", "tls"},
    "alerts": alerts_config.KEYS,
    "backup": {"keep", "at"},
    "sync": {"primary_password_file"},
    "web": {"host", "token_file", "allowed_hosts"},
}
_MEMBER_PORTS = {"postgres_port": 5432, "agent_port": 8766, "health_port": 8008}


def load_config(home: Home, environ: Mapping[str, str] = os.environ) -> Config:
    """Read aya.toml; AYA_PG_MAJOR, AYA_PG_CONFIG, AYA_DSN and AYA_MODEL win over it.

    Raises ConfigError for a file that cannot be parsed, an unknown key or a value of the wrong type.
    """
    table = _read_toml(home)
    postgres, embedder = table.get("postgres", {}), table.get("embedder", {})
    major = environ.get("AYA_PG_MAJOR") or postgres.get("major", 18)
    if str(major) not in {"16", "17", "18"}:
        raise ConfigError(f"PostgreSQL {major!r} is not supported (16, 17 or 18)", hint="unset AYA_PG_MAJOR")
    return Config(
        postgres_major=int(major),
        pg_config=environ.get("AYA_PG_CONFIG") or _text(postgres, "pg_config"),
        dsn=environ.get("AYA_DSN") or _text(postgres, "dsn"),
        model=environ.get("AYA_MODEL") or _text(embedder, "model") or "minilm",
        members=_members(table.get("cluster", {})),
        witnesses=tuple(
            parse_address(one) for one in _texts(table.get("cluster", {}).get("witnesses", []), "witnesses")
        ),
        clients=_texts(table.get("cluster", {}).get("clients", []), "cluster.clients"),
        tls=_flag(table.get("cluster", {}), "cluster", "tls"),
        alerts=alerts_config.parsed(table.get("alerts", {}), home.path),
        backups_kept=_count(table.get("backup", {}), "keep", 3),
        backup_at=_time_of_day(table.get("backup", {}), "at", "03:30"),
        primary_password_file=_file(home, table.get("sync", {}), "primary_password_file"),
        web_host=_text(table.get("web", {}), "host") or "127.0.0.1",
        web_token_file=_file(home, table.get("web", {}), "token_file"),
        web_hosts=_texts(table.get("web", {}).get("allowed_hosts", []), "web.allowed_hosts"),
    )


def _flag(table: Mapping[str, Any], section: str, key: str) -> bool | None:
    value: object = table.get(key)
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"aya.toml: {section}.{key} must be true or false, not {value!r}", hint="edit aya.toml")
    return value


def _count(table: Mapping[str, Any], key: str, default: int) -> int:
    value: object = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST_COUNT:
        raise ConfigError(
            f"aya.toml: backup.{key} must be a number from 1 to {_LARGEST_COUNT}, not {value!r}", hint="edit aya.toml"
        )
    return value


def _time_of_day(table: Mapping[str, Any], key: str, default: str) -> tuple[int, int]:
    value: object = table.get(key, default)
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if match is None:
        raise ConfigError(f'aya.toml: backup.{key} must be a time such as "03:30", not {value!r}', hint="edit aya.toml")
    return int(match[1]), int(match[2])


def _members(cluster: Mapping[str, Any]) -> dict[str, Member]:
    """Return the servers that [cluster.alpha] and [cluster.beta] describe: both, or none."""
    tables = {name: json_object(cluster[name]) for name in ("alpha", "beta") if name in cluster}
    if len(tables) == 1:
        raise ConfigError("aya.toml: [cluster] needs both alpha and beta", hint="edit aya.toml")
    return {name: _member(name, table) for name, table in tables.items()}


def _member(name: str, table: dict[str, Any] | None) -> Member:
    if table is None or table.keys() - {"addresses", *_MEMBER_PORTS}:
        raise ConfigError(
            f"aya.toml: [cluster.{name}] may have addresses, {', '.join(_MEMBER_PORTS)}", hint="edit aya.toml"
        )
    addresses = _texts(table.get("addresses", []), f"cluster.{name}.addresses")
    if not addresses:
        raise ConfigError(f'aya.toml: [cluster.{name}] needs addresses = ["…"]', hint="edit aya.toml")
    ports = {key: parse_port(str(table.get(key, default))) for key, default in _MEMBER_PORTS.items()}
    return Member(name, addresses, **ports)


def _texts(value: object, key: str) -> tuple[str, ...]:
    words = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(word, str) and word for word in words):
        raise ConfigError(f"aya.toml: {key} must be a list of strings", hint="edit aya.toml")
    return tuple(str(word) for word in words)


def _read_toml(home: Home) -> dict[str, dict[str, Any]]:
    try:
        table = tomllib.loads(home.config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{home.config_file} cannot be read: {error}", hint=f"edit {home.config_file}") from error
    for section, value in table.items():
        keys = json_object(value)
        if section not in _KNOWN_KEYS or keys is None:
            raise ConfigError(f"{home.config_file} has an unknown entry {section!r}", hint=f"edit {home.config_file}")
        for key in keys.keys() - _KNOWN_KEYS[section]:
            known = ", ".join(sorted(_KNOWN_KEYS[section]))
            raise ConfigError(
                f"{home.config_file}: [{section}] has no key {key!r} (it knows {known})",
                hint=f"edit {home.config_file}",
            )
    return table


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"aya.toml: {key} must be a string, not {type(value).__name__}")
    return value


def _file(home: Home, table: Mapping[str, Any], key: str) -> Path | None:
    """Return a file's path; one that is not absolute starts where aya.toml is."""
    name = _text(table, key)
    return home.path / Path(name).expanduser() if name else None


def node_settings(home: Home, node: str, *, role: str = OWNER, environ: Mapping[str, str] = os.environ) -> NodeSettings:
    """Return what a process of `node` needs, as database role `role`.

    AYA_EMBEDDER_TOKEN_FILE names the file with the embedder's token. Raises ConfigError.
    """
    token = _embedder_token(environ)
    explicit_url = _embedder_url(environ.get("EMBEDDING_URL"))
    if environ.get("DB_HOST"):
        return _settings(node, _from_environment(environ), explicit_url or DEFAULT_EMBEDDER_URL, token)
    config = load_config(home, environ)
    known = home.nodes().get(node)
    default_url = f"http://127.0.0.1:{known.embedder_port}" if known else DEFAULT_EMBEDDER_URL
    if config.dsn:
        return _settings(node, parse_dsn(config.dsn), explicit_url or default_url, token)
    port = home.node(node).postgres_port
    password = home.secrets(node).get(role)
    if password is None:
        raise ConfigError(f"node {node} has no password for role {role}", hint="aya up")
    own = DatabaseSettings((("127.0.0.1", port),), DEFAULT_DATABASE, role, password)
    if node in config.members:
        own = replace(own, options=proof_options(home, config, node))
    return _settings(node, own, explicit_url or default_url, token, partners=_partners(home, config, node))


def _settings(
    node: str,
    own: DatabaseSettings,
    embedder_url: str,
    embedder_token: str | None,
    partners: tuple[tuple[str, int], ...] = (),
) -> NodeSettings:
    everywhere = replace(own, hosts=tuple(dict.fromkeys((*own.hosts, *partners))))
    return NodeSettings(node, writable(everywhere), embedder_url, embedder_token, own)


def _partners(home: Home, config: Config, node: str) -> tuple[tuple[str, int], ...]:
    """Return where the server is that this node's changes places with; nothing for a node without one."""
    known = members(home, config)
    return tuple(host for name, member in known.items() if node in known and name != node for host in member.hosts)


def primary_settings(
    home: Home, node: str, *, role: str = OWNER, environ: Mapping[str, str] = os.environ
) -> DatabaseSettings:
    """Return the base as `node` reaches it where it may be written, whoever leads.

    A copy's own server is none of those that may lead: AYA_DSN or aya.toml names them there, else they are this home's.
    Raises ConfigError when nothing does.
    """
    if ROLE_OF_NODE.get(node) != "copy":
        return node_settings(home, node, role=role, environ=environ).database
    config = load_config(home, environ)
    if config.dsn:
        return writable(parse_dsn(config.dsn))
    hosts = leaders(home, config, node)
    if not hosts:
        raise ConfigError(f"{node} has no primary", hint="name alpha and beta in aya.toml: [cluster.alpha], addresses")
    password, proof = primary_password(home, config, node, role), proof_options(home, config, node)
    return writable(DatabaseSettings(hosts, DEFAULT_DATABASE, role, password, options=proof))


def primary_reader(home: Home, node: str) -> DatabaseSettings:
    """Return the same for who only reads there: the one password that a copy's machine was given is its daemon's."""
    return primary_settings(home, node, role=SYNC_ROLE if ROLE_OF_NODE.get(node) == "copy" else OWNER)


def primary_password(home: Home, config: Config, node: str, role: str) -> str:
    """Return the password by which a role of a copy enters the servers; ConfigError says how to bring it here."""
    password = word_of(home, config, node, role)
    if password is not None:
        return password
    into = "a file of mode 600, and name that in aya.toml: [sync] primary_password_file"
    if role != SYNC_ROLE:
        into = f'{home.secrets_file(node)}, as "{role}@primary"'
    raise ConfigError(
        f"nothing here says how {role} enters the primary",
        hint=f"on ALPHA: aya dsn --role {role} --password shows the password; write it into {into}",
    )


def _embedder_token(environ: Mapping[str, str]) -> str | None:
    named = environ.get("AYA_EMBEDDER_TOKEN_FILE")
    return read_token(Path(named).expanduser()) if named else None


def _embedder_url(url: str | None) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        usable = False
    if not usable:
        raise ConfigError(f"EMBEDDING_URL {url!r} is not of the form http://host:port", hint="unset EMBEDDING_URL")
    return url


def _from_environment(environ: Mapping[str, str]) -> DatabaseSettings:
    port = parse_port(environ.get("DB_PORT") or str(DEFAULT_POSTGRES_PORT))
    hosts = tuple((host.strip(), port) for host in environ["DB_HOST"].split(",") if host.strip())
    if not hosts:
        raise ConfigError(f"DB_HOST names no host: {environ['DB_HOST']!r}", hint="unset DB_HOST, or name one")
    return DatabaseSettings(
        hosts=hosts,
        database=environ.get("DB_NAME") or DEFAULT_DATABASE,
        user=environ.get("DB_USER") or OWNER,
        password=environ.get("DB_PASSWORD") or None,
    )


def as_role(settings: DatabaseSettings, role: str, password: str | None) -> DatabaseSettings:
    """Return the same database, entered as another role."""
    return replace(settings, user=role, password=password)
