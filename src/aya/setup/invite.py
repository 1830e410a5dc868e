"""Make a join file on the server that leads, and take one in on the machine that joins."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aya import certificates
from aya.errors import ConfigError, UsageError
from aya.flush import flush
from aya.home import Home
from aya.postgres.config import SERVERS, SYNC_ROLE
from aya.proof import speaks_tls
from aya.settings import Config
from aya.setup.join_file import AUTHORITY_FILES, CERTIFICATE_FILES, LARGEST_BYTES, JoinFile, parse


def invite(home: Home, config: Config, node: str, *, now: datetime, hours: int) -> JoinFile:
    """Return what `node` needs to join this home's base: for a server everything, for air one password and a proof.

    Raises ConfigError when this home has no server, or names no addresses, UsageError for a node that it has itself.
    """
    here = next((name for name in SERVERS if name in home.nodes()), None)
    if here is None or not config.members:
        raise ConfigError(
            "this home has no server that other machines know", hint="on ALPHA: aya init --role alpha, then invite"
        )
    if node in home.nodes():
        raise UsageError(f"node {node} is on this machine already", hint=f"aya up --nodes {node}")
    secrets = home.secrets(here)
    is_server = node in SERVERS
    return JoinFile(
        node=node,
        expires_at=now + timedelta(hours=hours),
        members=tuple(config.members[name] for name in SERVERS),
        clients=config.clients,
        major=config.postgres_major,
        model=None if os.sep in config.model else config.model,
        tls=speaks_tls(config),
        secrets=secrets if is_server else {SYNC_ROLE: secrets[SYNC_ROLE]},
        certificate=_certificate(home, node) if is_server else _proof(home),
        authority=_texts(home.authority_directory, AUTHORITY_FILES) if is_server else {},
    )


def _certificate(home: Home, node: str) -> dict[str, str]:
    authority = certificates.make_authority(home.authority_directory)
    with tempfile.TemporaryDirectory() as directory:
        certificates.issue(authority, node, Path(directory) / node)
        return _texts(Path(directory) / node, CERTIFICATE_FILES)


def _proof(home: Home) -> dict[str, str]:
    certificates.make_authority(home.authority_directory)
    return {"ca.pem": (home.authority_directory / "authority.pem").read_text(encoding="ascii")}


def _texts(directory: Path, names: tuple[str, ...]) -> dict[str, str]:
    return {name: (directory / name).read_text(encoding="ascii") for name in names}


def read(file: Path, *, node: str, now: datetime) -> JoinFile:
    """Return the join file for `node` in `file`. Raises ConfigError when it cannot be used."""
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        hint = f"on the server that leads: aya init invite {node} > {node}.aya-join; bring it here with scp"
        raise ConfigError(f"the join file {file} cannot be read: {error.strerror}", hint=hint) from error
    join = parse(data, now)
    if join.node != node:
        raise ConfigError(
            f"the join file is for {join.node}, not for {node}", hint=f"aya init --role {join.node} --join …"
        )
    _check_pem(join)
    return join


def _check_pem(join: JoinFile) -> None:
    """Raise ConfigError unless certificate, keys and authority are what they say they are."""
    try:
        if join.node not in SERVERS:
            x509.load_pem_x509_certificate(join.certificate["ca.pem"].encode())
            return
        authority = x509.load_pem_x509_certificate(join.authority["authority.pem"].encode())
        own = x509.load_pem_x509_certificate(join.certificate["cert.pem"].encode())
        key = serialization.load_pem_private_key(join.certificate["key.pem"].encode(), None)
        signs = serialization.load_pem_private_key(join.authority["authority.key.pem"].encode(), None)
        own.verify_directly_issued_by(authority)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        fits = (
            key.public_key() == own.public_key()
            and signs.public_key() == authority.public_key()
            and join.certificate["ca.pem"] == join.authority["authority.pem"]
            and names.get_values_for_type(x509.DNSName) == [certificates.server_name(join.node)]
        )
    except Exception as error:
        raise _unfit() from error
    if not fits:
        raise _unfit()


def _unfit() -> ConfigError:
    return ConfigError(
        "the join file cannot be used: its certificate does not fit", hint="make a new one: aya init invite NODE"
    )


def take(home: Home, join: JoinFile) -> None:
    """Put what a join file brings into files of mode 600. The authority's and the node's former ones stay beside it."""
    _place(home.agent_directory(join.node), join.certificate)
    if join.node in SERVERS:
        _place(home.authority_directory, join.authority)
    home.save_secrets(join.node, {**home.secrets(join.node), **_words(join)})


def has(home: Home, join: JoinFile) -> bool:
    """Return whether everything that a join file brings is here."""
    return (
        _words(join).items() <= home.secrets(join.node).items()
        and _is_there(home.agent_directory(join.node), join.certificate)
        and (join.node not in SERVERS or _is_there(home.authority_directory, join.authority))
    )


def _words(join: JoinFile) -> dict[str, str]:
    if join.node in SERVERS:
        return dict(join.secrets)
    return {f"{SYNC_ROLE}@primary": join.secrets[SYNC_ROLE]}


def _is_there(directory: Path, texts: Mapping[str, str]) -> bool:
    try:
        return all((directory / name).read_text(encoding="ascii") == text for name, text in texts.items())
    except (OSError, UnicodeDecodeError):
        return False


def _place(directory: Path, texts: Mapping[str, str]) -> None:
    """Write a directory (mode 700, files 600) whole or not at all; what was there is moved aside, never deleted."""
    if _is_there(directory, texts):
        return
    if directory.exists():
        directory.rename(directory.with_name(f"{directory.name}.before-{os.getpid()}"))
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for name, text in texts.items():
            handle = os.open(draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                flush(stream.fileno())
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
