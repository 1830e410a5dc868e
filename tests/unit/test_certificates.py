"""The certificates of a home: made once, whole, private; and who is let in by them, over real TLS."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from aya import certificates
from aya.certificates import Identity, identity
from aya.errors import ConfigError


def made(home: Path, *nodes: str) -> dict[str, Identity]:
    """Make the certificates of a home, and return where they are."""
    directories = {node: home / "nodes" / node / "agent" for node in nodes}
    certificates.make(home / "authority", directories)
    return {node: identity(directory) for node, directory in directories.items()}


def contents(directory: Path) -> dict[Path, bytes]:
    """Return every file below a directory."""
    return {file: file.read_bytes() for file in sorted(directory.rglob("*")) if file.is_file()}


def spoken(server: Identity, client: ssl.SSLContext, name: str) -> str | None:
    """Shake hands and return the node that the server saw, once a byte went both ways."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[str | None] = []

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            try:
                with certificates.server_context(server).wrap_socket(connection, server_side=True) as wrapped:
                    wrapped.sendall(wrapped.recv(1))
                    seen.append(certificates.node_of(wrapped.getpeercert()))
            except OSError:
                seen.append(None)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as plain,
            client.wrap_socket(plain, server_hostname=name) as wrapped,
        ):
            wrapped.sendall(b"x")
            # With TLS 1.3 a client hears that it was refused only when it reads.
            if wrapped.recv(1) != b"x":
                raise ssl.SSLError("the server said nothing")
    finally:
        thread.join()
        listener.close()
    return seen[0]


def test_the_partner_is_known_by_its_certificate(tmp_path: Path) -> None:
    """Both ends check the other, whatever address was dialled."""
    found = made(tmp_path, "alpha", "beta")
    assert spoken(found["beta"], certificates.client_context(found["alpha"]), "beta.aya") == "alpha"


def test_who_shows_no_certificate_is_refused(tmp_path: Path) -> None:
    """An anonymous client hears nothing."""
    found = made(tmp_path, "beta")
    anonymous = ssl.create_default_context(cafile=str(found["beta"].authority))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        spoken(found["beta"], anonymous, "beta.aya")


@pytest.mark.parametrize("stranger", ["client", "server"])
def test_a_certificate_of_another_home_is_refused(tmp_path: Path, stranger: str) -> None:
    """Either end refuses the other's, although the name is right."""
    ours, theirs = made(tmp_path / "a", "alpha", "beta"), made(tmp_path / "b", "alpha", "beta")
    server = theirs["beta"] if stranger == "server" else ours["beta"]
    client = theirs["alpha"] if stranger == "client" else ours["alpha"]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        spoken(server, certificates.client_context(client), "beta.aya")


def test_another_node_of_the_home_is_not_the_partner(tmp_path: Path) -> None:
    """The right authority, and the wrong name."""
    found = made(tmp_path, "alpha", "beta", "air")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"beta\.aya"):
        spoken(found["air"], certificates.client_context(found["alpha"]), "beta.aya")


def test_a_resumed_session_is_never_offered(tmp_path: Path) -> None:
    """Every connection shows its certificate anew, by TLS 1.3 and nothing older."""
    found = made(tmp_path, "beta")
    context = certificates.server_context(found["beta"])
    assert (context.num_tickets, context.minimum_version) == (0, ssl.TLSVersion.TLSv1_3)
    old = certificates.client_context(found["beta"])
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        spoken(found["beta"], old, "beta.aya")


def test_the_keys_are_private_and_made_once(tmp_path: Path) -> None:
    """A second making changes nothing, and neither does the loss of the authority while no node is added."""
    found = made(tmp_path, "alpha", "beta")
    keys = [found["alpha"].key, found["beta"].key, tmp_path / "authority" / "authority.key.pem"]
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600] * 3
    before = contents(tmp_path)
    made(tmp_path, "alpha", "beta")
    assert contents(tmp_path) == before
    (tmp_path / "authority").rename(tmp_path / "elsewhere")
    made(tmp_path, "alpha", "beta")
    assert not (tmp_path / "authority").exists()


def test_a_node_that_is_added_later_has_the_same_authority(tmp_path: Path) -> None:
    """And is let in by those that were there."""
    made(tmp_path, "alpha")
    found = made(tmp_path, "alpha", "beta")
    assert spoken(found["alpha"], certificates.client_context(found["beta"]), "alpha.aya") == "beta"


def test_a_clock_that_lost_the_date_is_no_reason(tmp_path: Path) -> None:
    """Valid from 1970 on, for 20 years from now."""
    found = made(tmp_path, "alpha")
    now = datetime.now(UTC)
    for file in (found["alpha"].certificate, found["alpha"].authority):
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        assert certificate.not_valid_before_utc.year == 1970
        assert 19.9 < (certificate.not_valid_after_utc - now).days / 365.25 < 20.1


def test_a_half_of_an_identity_is_not_completed_silently(tmp_path: Path) -> None:
    """It says which directory, and what to do."""
    found = made(tmp_path, "alpha")
    found["alpha"].key.unlink()
    with pytest.raises(ConfigError, match="a file is missing"):
        made(tmp_path, "alpha")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    found = made(tmp_path, "alpha")
    found["alpha"].key.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 644") as refused:
        certificates.server_context(found["alpha"])
    assert refused.value.hint == f"chmod 600 {found['alpha'].key}"


def test_files_that_are_missing_or_damaged_are_explained(tmp_path: Path) -> None:
    """By an error of ours, not by OpenSSL's."""
    with pytest.raises(ConfigError, match="cannot be used"):
        certificates.client_context(identity(tmp_path))
    found = made(tmp_path, "alpha")
    (tmp_path / "authority" / "authority.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match="cannot be used"):
        certificates.make_authority(tmp_path / "authority")
    found["alpha"].certificate.write_text("nonsense")
    with pytest.raises(ConfigError, match="cannot be used"):
        certificates.server_context(found["alpha"])


def test_two_that_make_it_at_once_agree(tmp_path: Path) -> None:
    """Whoever comes second takes what the first has made."""
    barrier, prints = threading.Barrier(4), set[bytes]()

    def work() -> None:
        barrier.wait()
        prints.add(certificates.make_authority(tmp_path / "authority").certificate.public_bytes(Encoding.PEM))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(prints), [path.name for path in tmp_path.iterdir()]) == (1, ["authority"])


@pytest.mark.parametrize(
    "names",
    [(), (("DNS", "beta.example"),), (("DNS", "alpha.aya"), ("DNS", "beta.aya")), (("IP Address", "beta.aya"),)],
)
def test_a_certificate_that_names_no_single_node_is_nobodys(names: tuple[tuple[str, str], ...]) -> None:
    """Neither is none at all."""
    assert certificates.node_of({"subjectAltName": names}) is None
    assert certificates.node_of(None) is None
