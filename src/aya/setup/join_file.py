"""The join file: what a node needs from the server that leads, as one JSON object of mode 600 (docs/adr/0025).

For alpha or beta: every role's password, a certificate of its own and the authority, for the two are equals. For air:
the password of aya_sync, and the authority's certificate, by which servers prove who they are. It is good for a day.
Pure: bytes in, checked value out, and the other way round.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from aya.errors import ConfigError
from aya.home import ROLE_OF_NODE
from aya.members import Member
from aya.postgres.config import SERVERS, SYNC_ROLE

VERSION = 2
SUFFIX = ".aya-join"
LARGEST_BYTES = 64 * 1024
CERTIFICATE_FILES = ("ca.pem", "cert.pem", "key.pem")
PROOF_FILES = ("ca.pem",)
AUTHORITY_FILES = ("authority.key.pem", "authority.pem")
_LARGEST_PORT = 65535
_LONGEST = 8192
_WORD = re.compile(r"[!-~]{16,256}")
_ADDRESS = re.compile(r"[0-9A-Za-z._:%/-]{1,255}")
_ROLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MODEL = re.compile(r"[0-9A-Za-z._-]{1,128}")
_MAJORS = (16, 17, 18)


@dataclass(frozen=True, slots=True)
class JoinFile:
    """What is in it.

    tls: whether the servers speak it. secrets: passwords by role. certificate, authority: PEM texts by file name; for
    air what the servers are known by alone.
    """

    node: str
    expires_at: datetime
    members: tuple[Member, ...]
    clients: tuple[str, ...]
    major: int
    model: str | None
    tls: bool
    secrets: Mapping[str, str] = field(repr=False)
    certificate: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    authority: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def fingerprint(self) -> str:
        """Return what two people can compare by voice: of the authority."""
        return hashlib.sha256(self.certificate["ca.pem"].encode()).hexdigest()[:16]


def dumped(join: JoinFile) -> str:
    """Return the file's text."""
    said = asdict(join)
    said["expires_at"] = join.expires_at.astimezone(UTC).isoformat(timespec="seconds")
    return json.dumps({"aya_join": VERSION, **said, "fingerprint": join.fingerprint}, indent=1) + "\n"


def parse(data: bytes, now: datetime) -> JoinFile:
    """Return what a join file says. Raises ConfigError, which repeats no secret, for anything else than a whole one.

    now: aware; a file that has expired is refused.
    """
    try:
        join, fingerprint = _read(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error) if isinstance(error, _Wrong) else "it is damaged, or no join file"
        raise ConfigError(f"the join file cannot be used: {reason}", hint=_HINT) from error
    if fingerprint != join.fingerprint:
        raise ConfigError("the join file cannot be used: its fingerprint does not fit its content", hint=_HINT)
    if join.expires_at <= now:
        raise ConfigError(f"the join file has expired ({join.expires_at.isoformat(timespec='minutes')})", hint=_HINT)
    return join


_HINT = "make a new one on the server that leads: aya init invite NODE > NODE.aya-join"


class _Wrong(ValueError):
    """What is wrong, in words without a secret."""


def _read(data: bytes) -> tuple[JoinFile, str]:
    if len(data) > LARGEST_BYTES:
        raise _Wrong(f"it is larger than {LARGEST_BYTES} bytes")
    said = _table(json.loads(data.decode("ascii")), "it")
    if said.get("aya_join") != VERSION or isinstance(said["aya_join"], bool):
        raise _Wrong(f"it is of version {said.get('aya_join')!r:.20}, and this AYA knows {VERSION}")
    known = {"aya_join", "fingerprint", *JoinFile.__dataclass_fields__}
    if said.keys() != known:
        raise _Wrong("it has other entries than it should")
    node = _match(said["node"], re.compile("|".join(ROLE_OF_NODE)), "node")
    is_server = node in SERVERS
    join = JoinFile(
        node=node,
        expires_at=_moment(said["expires_at"]),
        members=_members(said["members"]),
        clients=tuple(_match(one, _ADDRESS, "clients") for one in _list(said["clients"], "clients")),
        major=_whole(said["major"], _MAJORS[0], _MAJORS[-1], "major"),
        model=None if said["model"] is None else _match(said["model"], _MODEL, "model"),
        tls=_flag(said["tls"], "tls"),
        secrets={
            _match(role, _ROLE, "secrets"): _match(word, _WORD, "secrets")
            for role, word in _table(said["secrets"], "secrets").items()
        },
        certificate=_pem(said["certificate"], CERTIFICATE_FILES if is_server else PROOF_FILES, "certificate"),
        authority=_pem(said["authority"], AUTHORITY_FILES if is_server else (), "authority"),
    )
    if SYNC_ROLE not in join.secrets or (not is_server and len(join.secrets) > 1):
        raise _Wrong(f"it has other passwords than {node} needs")
    return join, str(said["fingerprint"])


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is no object")
    return cast("dict[str, Any]", value)


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise _Wrong(f"{what} is no list")
    return cast("list[object]", value)


def _match(value: object, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Wrong(f"{what} holds what it should not")
    return value


def _whole(value: object, least: int, most: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _Wrong(f"{what} is no number from {least} to {most}")
    return value


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{what} is neither true nor false")
    return value


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise _Wrong("expires_at is no moment")
    return moment


def _members(value: object) -> tuple[Member, ...]:
    members = tuple(_member(_table(one, "members")) for one in _list(value, "members"))
    if tuple(member.name for member in members) != SERVERS:
        raise _Wrong("it does not name both servers")
    return members


def _member(said: Mapping[str, Any]) -> Member:
    ports = ("postgres_port", "agent_port", "health_port")
    if set(said) != {"name", "addresses", *ports}:
        raise _Wrong("a member has other entries than it should")
    addresses = tuple(_match(one, _ADDRESS, "addresses") for one in _list(said["addresses"], "addresses"))
    if not addresses:
        raise _Wrong("a member has no address")
    name = _match(said["name"], re.compile("|".join(SERVERS)), "members")
    return Member(name, addresses, *(_whole(said[port], 1, _LARGEST_PORT, port) for port in ports))


def _pem(value: object, names: tuple[str, ...], what: str) -> dict[str, str]:
    table = _table(value, what)
    if tuple(sorted(table)) != tuple(sorted(names)):
        raise _Wrong(f"{what} has other files than it should")
    for text in table.values():
        if not isinstance(text, str) or len(text) > _LONGEST or not text.startswith("-----BEGIN "):
            raise _Wrong(f"{what} holds what is no PEM")
    return table
