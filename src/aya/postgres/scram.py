"""SCRAM-SHA-256 verifiers, so that no password travels in a statement (RFC 5802, RFC 7677).

A statement is seen in pg_stat_activity and in logs; a verifier proves a password without telling it. The form is
PostgreSQL's: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, the last three in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import unicodedata

ITERATIONS = 4096
"""PostgreSQL's own default (scram_iterations)."""
SALT_BYTES = 16
_SCHEME = "SCRAM-SHA-256"


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return the verifier of a password; salt: random, 16 bytes.

    Of SASLprep (RFC 4013) only the normalisation is done, which is all of it for printable text.
    """
    prepared = unicodedata.normalize("NFKC", password).encode("utf-8")
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"{_SCHEME}${iterations}:{_text(salt)}${_text(stored)}:{_text(server)}"


def matches(password: str, stored: str | None) -> bool:
    """Return whether `stored` (pg_authid.rolpassword) is a verifier of `password`."""
    try:
        scheme, parameters, _ = (stored or "").split("$")
        iterations, salt = parameters.split(":")
        wanted = verifier(password, base64.b64decode(salt, validate=True), int(iterations))
    except (ValueError, binascii.Error):
        return False
    return scheme == _SCHEME and hmac.compare_digest(wanted, stored or "")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
