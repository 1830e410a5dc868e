"""`python3 scripts/fetch_uv.py VERSION FILE`: put the uv program into FILE, with nothing but the standard library.

For a Python without ensurepip (Debian's, when python3-venv is not installed), which has no pip to fetch it with. From
the package index that uv or pip is told to use, by its JSON interface (PEP 691), checked against the index's sha256.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import io
import json
import os
import platform
import sys
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

DEFAULT_INDEX = "https://pypi.org/simple"
_JSON = "application/vnd.pypi.simple.v1+json"
_TIMEOUT_SECONDS = 120


def index_url(environ: Mapping[str, str], texts: Sequence[str]) -> str:
    """Return the index that uv or pip is told to use, else the default of both; pure.

    texts: pip's configuration files, the one that wins last (https://pip.pypa.io/en/stable/topics/configuration/).
    """
    parser = configparser.RawConfigParser(strict=False)
    for text in texts:
        parser.read_string(text)
    configured = (parser.get(section, "index-url", fallback="") for section in ("install", "global"))
    named = (environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"))
    found = next((url for url in (*named, *configured) if url), DEFAULT_INDEX)
    # UV_DEFAULT_INDEX may be name=URL
    return (found.partition("=")[2] if "://" in found.partition("=")[2] else found).rstrip("/")


def configuration_files(environ: Mapping[str, str]) -> list[Path]:
    """Return where pip looks for its configuration on Linux and macOS, the file that wins last."""
    home = Path(environ.get("HOME") or "/")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    support = Path("Library/Application Support/pip/pip.conf")
    found = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), Path("/") / support]
    found += [home / ".pip/pip.conf", user, home / support]
    return [*found, Path(environ["PIP_CONFIG_FILE"])] if environ.get("PIP_CONFIG_FILE") else found


def choose(files: Sequence[Mapping[str, Any]], version: str, system: str, machine: str, libc: str) -> Mapping[str, Any]:
    """Return the index's entry of the wheel for this machine, the least demanding one; LookupError without; pure."""
    kind = "macosx" if system == "Darwin" else "manylinux" if libc == "glibc" else "musllinux"
    start = f"uv-{version}-py3-none-"
    fitting = [
        file
        for file in files
        if str(file["filename"]).startswith(start) and not file.get("yanked")
        for tag in str(file["filename"]).removeprefix(start).removesuffix(".whl").split(".")
        if tag.startswith(kind) and tag.endswith(f"_{machine}")
    ]
    if not fitting:
        raise LookupError(f"the index has no uv {version} for {system} on {machine} ({kind})")
    return min(fitting, key=lambda file: str(file["filename"]))


def program(wheel: bytes, version: str, sha256: str | None) -> bytes:
    """Return the uv program inside a wheel; ValueError when the wheel is not the one the index describes; pure."""
    if not sha256 or hashlib.sha256(wheel).hexdigest() != sha256:
        raise ValueError(f"the downloaded wheel is not what the index describes (sha256 {sha256})")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read(f"uv-{version}.data/scripts/uv")


def get(url: str, accept: str = "*/*") -> tuple[str, bytes]:
    """Return the final address and what is there; a user and password in the URL become a header."""
    parts = urlsplit(url)
    credentials, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"Accept": accept})  # noqa: S310 - the index of whoever configured it
    if credentials:
        # Not handed on when the index redirects elsewhere.
        word = base64.b64encode(unquote(credentials).encode()).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {word}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
        return str(answer.url), answer.read()


def fetch(version: str, target: Path) -> None:
    """Download, check and unpack uv; the target appears whole or not at all."""
    texts = [file.read_text(encoding="utf-8") for file in configuration_files(os.environ) if file.is_file()]
    index = index_url(os.environ, texts)
    page, listing = get(f"{index}/uv/", _JSON)
    libc = platform.libc_ver()[0]
    found = choose(json.loads(listing)["files"], version, platform.system(), platform.machine(), libc)
    url = urldefrag(urljoin(page, str(found["url"]))).url
    credentials, _, host = urlsplit(index).netloc.rpartition("@")
    if credentials and urlsplit(url).netloc == host:
        url = urlsplit(url)._replace(netloc=f"{credentials}@{host}").geturl()
    content = program(get(url)[1], version, found["hashes"].get("sha256"))
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.replace(target)


def main(arguments: Sequence[str]) -> int:
    """Fetch what is asked for; one sentence and exit code 1 when that fails."""
    if len(arguments) != 2:  # noqa: PLR2004 - the version and the file
        sys.stderr.write("usage: python3 scripts/fetch_uv.py VERSION FILE\n")
        return 2
    try:
        fetch(arguments[0], Path(arguments[1]))
    except (OSError, LookupError, ValueError, configparser.Error, zipfile.BadZipFile) as error:
        sys.stderr.write(f"uv could not be fetched: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
