"""The certificates by which two watchdogs know each other: one authority per home, one certificate per node.

Both sides of a connection show theirs (TLS 1.3). A node is known by the name in its certificate, not by its address,
which changes with the network. The validity begins long ago, for a machine's clock may have lost the date.

HOME/authority/                 authority.key.pem and authority.pem; needed only to issue, so on one machine only
HOME/nodes/NODE/agent/          ca.pem, cert.pem, key.pem

A directory is made beside its place, synced, and moved there whole: there is all of it, or none.
"""

from __future__ import annotations

import os
import shlex
import shutil
import ssl
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aya.errors import ConfigError
from aya.flush import flush

_YEARS = 20
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_SUFFIX = ".aya"
_AUTHORITY_NAME = "aya authority"
_AUTHORITY_KEY, _AUTHORITY = "authority.key.pem", "authority.pem"
_FOR_OTHERS = 0o077
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a node's certificate is. key: mode 600."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs the nodes' certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def identity(directory: Path) -> Identity:
    """Return the files of a node's identity in `directory`."""
    return Identity(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")


def server_name(node: str) -> str:
    """Return the name by which a node's certificate is checked, whatever address it was reached at."""
    return f"{node}{_SUFFIX}"


def node_of(certificate: Mapping[str, Any] | None) -> str | None:
    """Return the node that a certificate names, as ssl's getpeercert() shows it; None when it names none, or two."""
    names = [str(value) for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "DNS"]
    if len(names) != 1 or not names[0].endswith(_SUFFIX):
        return None
    return names[0].removesuffix(_SUFFIX)


def make(authority_directory: Path, directories: Mapping[str, Path]) -> None:
    """Make a certificate for each node that has none, by node name; and the authority, if one is to be made.

    What is there stays. Raises ConfigError for a directory that holds something else.
    """
    missing = {node: directory for node, directory in directories.items() if not _is_there(directory)}
    if missing:
        authority = make_authority(authority_directory)
        for node, directory in missing.items():
            issue(authority, node, directory)


def make_authority(directory: Path) -> Authority:
    """Return the authority in `directory`, made on first use. Raises ConfigError for a damaged one."""
    if not directory.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(_AUTHORITY_NAME)
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _place(directory, {_AUTHORITY_KEY: _pem_of_key(key), _AUTHORITY: certificate.public_bytes(_PEM)})
    return _load_authority(directory)


def issue(authority: Authority, node: str, directory: Path) -> Identity:
    """Make a key and a certificate for `node` in `directory`, for both ends of a connection."""
    key = ec.generate_private_key(ec.SECP256R1())
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer_key = authority.key.public_key()
    certificate = (
        _builder(_named(node), authority.certificate.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name(node))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(uses, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    files = identity(directory)
    _place(
        directory,
        {
            files.key.name: _pem_of_key(key),
            files.authority.name: authority.certificate.public_bytes(_PEM),
            files.certificate.name: certificate.public_bytes(_PEM),
        },
    )
    return files


def server_context(files: Identity) -> ssl.SSLContext:
    """Return how a node listens: nobody without a certificate of its own authority gets a word in.

    Raises ConfigError when the files are missing, damaged, or may be read by others.
    """
    context = _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would show the certificate of long ago.
    context.num_tickets = 0
    return context


def client_context(files: Identity) -> ssl.SSLContext:
    """Return how a node connects to another, whose name it checks (server_hostname=server_name(node)).

    Raises ConfigError when the files are missing, damaged, or may be read by others.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _loaded(context: ssl.SSLContext, files: Identity) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        mode = files.key.stat().st_mode
        if mode & _FOR_OTHERS:
            hint = f"chmod 600 {shlex.quote(str(files.key))}"
            raise ConfigError(f"{files.key} has mode {stat.S_IMODE(mode):o}: others may read it", hint=hint)
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
    except OSError as error:  # ssl.SSLError is one
        raise _damaged(files.key.parent, error) from error
    return context


def _is_there(directory: Path) -> bool:
    files = identity(directory)
    present = [file.exists() for file in (files.authority, files.certificate, files.key)]
    if any(present) and not all(present):
        raise _damaged(directory, "a file is missing")
    return all(present)


def _load_authority(directory: Path) -> Authority:
    try:
        key = serialization.load_pem_private_key((directory / _AUTHORITY_KEY).read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate((directory / _AUTHORITY).read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(directory, error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _damaged(directory, "the key is not the certificate's")
    return Authority(key, certificate)


def _damaged(directory: Path, why: object) -> ConfigError:
    return ConfigError(
        f"the certificates in {directory} cannot be used: {why}",
        hint=f"move {shlex.quote(str(directory))} away, then aya up on the machine that holds the authority",
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + timedelta(days=365.25 * _YEARS)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(end)
    )


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _place(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write a directory (mode 700, files 600) whole or not at all; one that is there already stays as it is."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for name, content in contents.items():
            handle = os.open(draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                flush(stream.fileno())
        _sync(draft)
        draft.rename(directory)
    except OSError:
        if not directory.is_dir() or not any(directory.iterdir()):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _sync(directory.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        flush(handle)
    finally:
        os.close(handle)
