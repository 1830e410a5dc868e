"""The embedder's settings, read once from the environment in main and passed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aya.access import hosts_of, is_loopback
from aya.errors import ConfigError
from aya_embedder.kernels import WISHES, Wish

if TYPE_CHECKING:
    from collections.abc import Mapping

_MIB = 1024 * 1024
_HIGHEST_PORT = 65535
_HIGHEST_CACHE_MB = 1024 * 1024
# 2048 passages of a full window take MiniLM 290 s on two x86 cores.
_REQUEST_SECONDS = 600
_LONGEST_REQUEST_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a person can set.

    node: the node's name for the log, None when there is but one.
    host, port: where HTTP listens; port 0 takes a free one, which the log's `server.listening` names.
    model: a name of registry.NAMES, owner/name@commit of the hub, or a directory that sentence-transformers describes.
    cache_bytes: bound of the vector cache; 0 turns it off.
    hf_home: where hub downloads are kept, None for huggingface_hub's own place.
    kernels: whose functions compute: "stock" for MLX's, "cpu" for those that are faster on a CPU, or "auto": "cpu" on
        a CPU without Apple's Accelerate, for the architectures that it knows, and "stock" elsewhere. GET /info says
        which it is, and on how many streams.
    cache_directory: where vectors are kept from one start to the next, None for nowhere.
    disk_cache_bytes: bound of the file there; 0 means nowhere, too.
    token_file: what clients on other machines must say; without one only loopback is served.
    allowed_hosts: names, besides those of loopback, by which clients may call, and from whose pages browsers may.
    request_seconds: how long a request may take to be computed.
    """

    node: str | None
    host: str
    port: int
    model: str
    cache_bytes: int
    hf_home: Path | None
    kernels: Wish = "auto"
    cache_directory: Path | None = None
    disk_cache_bytes: int = 1024 * _MIB
    token_file: Path | None = None
    allowed_hosts: frozenset[str] = frozenset()
    request_seconds: int = _REQUEST_SECONDS

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """Read AYA_NODE, AYA_MODEL, AYA_HF_HOME, and AYA_EMBEDDER_ with the name of every other setting.

        ALLOWED_HOSTS has commas between the names. An empty value counts as unset.
        Raises ConfigError, with what to type, on a value that cannot be used, and on an address that other machines
        reach when there is no token file.
        """
        hf_home = environ.get("AYA_HF_HOME")
        cache = environ.get("AYA_EMBEDDER_CACHE_DIR")
        disk_cache_mb = _integer(environ, "AYA_EMBEDDER_DISK_CACHE_MB", default=1024, highest=_HIGHEST_CACHE_MB)
        config = cls(
            node=environ.get("AYA_NODE") or None,
            host=environ.get("AYA_EMBEDDER_HOST") or "127.0.0.1",
            port=_integer(environ, "AYA_EMBEDDER_PORT", default=8765, highest=_HIGHEST_PORT),
            model=environ.get("AYA_MODEL") or "minilm",
            cache_bytes=_integer(environ, "AYA_EMBEDDER_CACHE_MB", default=64, highest=_HIGHEST_CACHE_MB) * _MIB,
            hf_home=Path(hf_home).expanduser() if hf_home else None,
            kernels=_kernels(environ),
            cache_directory=Path(cache).expanduser() if cache else None,
            disk_cache_bytes=disk_cache_mb * _MIB,
            token_file=_token_file(environ),
            allowed_hosts=hosts_of(environ.get("AYA_EMBEDDER_ALLOWED_HOSTS") or "", "AYA_EMBEDDER_ALLOWED_HOSTS"),
            request_seconds=_integer(
                environ,
                "AYA_EMBEDDER_REQUEST_SECONDS",
                default=_REQUEST_SECONDS,
                lowest=1,
                highest=_LONGEST_REQUEST_SECONDS,
            ),
        )
        _refuse_exposure(config)
        return config


def _refuse_exposure(config: Config) -> None:
    if config.token_file is None and not is_loopback(config.host):
        raise ConfigError(
            f"AYA_EMBEDDER_HOST is {config.host}, which other machines reach, and there is no token to ask them for",
            hint="(umask 077; openssl rand -hex 32 > embedder.token) and export AYA_EMBEDDER_TOKEN_FILE="
            '"$PWD/embedder.token"; or export AYA_EMBEDDER_HOST=127.0.0.1',
        )


def _token_file(environ: Mapping[str, str]) -> Path | None:
    if environ.get("AYA_EMBEDDER_TOKEN"):
        raise ConfigError(
            "AYA_EMBEDDER_TOKEN is set, and the environment of a process is no place for a secret",
            hint="unset AYA_EMBEDDER_TOKEN; export AYA_EMBEDDER_TOKEN_FILE=… (a file of mode 600 that holds it)",
        )
    named = environ.get("AYA_EMBEDDER_TOKEN_FILE")
    return Path(named).expanduser() if named else None


def _integer(environ: Mapping[str, str], name: str, *, default: int, highest: int, lowest: int = 0) -> int:
    value = environ.get(name) or str(default)
    if not (value.isascii() and value.isdigit() and lowest <= int(value) <= highest):
        raise ConfigError(
            f"{name} is {value!r}, not a whole number from {lowest} to {highest}",
            hint=f"export {name}={default}",
        )
    return int(value)


def _kernels(environ: Mapping[str, str]) -> Wish:
    value = environ.get("AYA_EMBEDDER_KERNELS") or "auto"
    for wish in WISHES:
        if value == wish:
            return wish
    raise ConfigError(
        f"AYA_EMBEDDER_KERNELS is {value!r}, not one of {', '.join(WISHES)}", hint="export AYA_EMBEDDER_KERNELS=auto"
    )
