"""The certificates by which two watchdogs know each other: one authority per home, one certificate per node.

Both sides of a connection show theirs (mutual TLS 1.3). A node is known by its name in the certificate, not by its
address, which changes with the network; and the validity reaches far back, for a machine's clock may be wrong.
"""

from __future__ import annotations

import datetime
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.timezone.utc)
_AUTHORITY = "aya authority"


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a node's certificate is. key: mode 600."""

    authority: Path
    certificate: Path
    key: Path


def identity(directory: Path) -> Identity:
    """Return the files of a node's identity below `directory`."""
    return Identity(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")


def server_name(node: str) -> str:
    """Return the name by which a node's certificate is checked, whatever address it was reached at."""
    return f"{node}.aya"


def make(authority_directory: Path, directories: dict[str, Path]) -> None:
    """Make the authority in `authority_directory`, and a certificate for each node that has none, by node name.

    What is there stays. The authority's key is needed again only when a node is added.
    """
    authority_key, authority = _authority(authority_directory)
    for node, directory in directories.items():
        files = identity(directory)
        if files.certificate.exists() and files.key.exists() and files.authority.exists():
            continue
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = (
            _builder(node, authority.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name(node))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(files.key, _pem_of_key(key))
        _write(files.authority, authority.public_bytes(serialization.Encoding.PEM))
        _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def server_context(files: Identity) -> ssl.SSLContext:
    """Return how a node listens: nobody without a certificate of its own authority gets a word in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: Identity) -> ssl.SSLContext:
    """Return how a node connects to another, whose name it checks (server_hostname=server_name(node))."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    return context


def _authority(directory: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_file, certificate_file = directory / "authority.key.pem", directory / "authority.pem"
    if key_file.exists() and certificate_file.exists():
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} holds another kind of key than ours")
        return loaded, x509.load_pem_x509_certificate(certificate_file.read_bytes())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)])
    certificate = (
        _builder(_AUTHORITY, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem_of_key(key))
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
    )


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes) -> None:
    partial = file.with_name(f".{file.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
