"""The embedder's settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya_embedder.config import Config


def test_without_settings_it_listens_on_loopback_only() -> None:
    """The defaults need no network, and expose nothing."""
    assert Config.from_environ({}) == Config(
        None, "127.0.0.1", 8765, "minilm", 64 * 1024 * 1024, None, "auto", None, 2**30
    )


def test_every_setting_is_read() -> None:
    """Each variable has its field."""
    environ = {
        "AYA_NODE": "beta",
        "AYA_EMBEDDER_HOST": "::1",
        "AYA_EMBEDDER_PORT": "0",
        "AYA_MODEL": "bge-base-en-v1.5",
        "AYA_EMBEDDER_CACHE_MB": "1",
        "AYA_HF_HOME": "/models",
        "AYA_EMBEDDER_KERNELS": "stock",
        "AYA_EMBEDDER_CACHE_DIR": "/cache",
        "AYA_EMBEDDER_DISK_CACHE_MB": "2",
        "AYA_EMBEDDER_TOKEN_FILE": "/secrets/token",
        "AYA_EMBEDDER_ALLOWED_HOSTS": " Alpha.local, [fd00::1] ,",
        "AYA_EMBEDDER_REQUEST_SECONDS": "60",
    }
    assert Config.from_environ(environ) == Config(
        "beta",
        "::1",
        0,
        "bge-base-en-v1.5",
        1024 * 1024,
        Path("/models"),
        "stock",
        Path("/cache"),
        2 * 1024 * 1024,
        Path("/secrets/token"),
        frozenset({"alpha.local", "fd00::1"}),
        60,
    )


@pytest.mark.parametrize("name", ["AYA_EMBEDDER_PORT", "AYA_EMBEDDER_CACHE_MB", "AYA_EMBEDDER_DISK_CACHE_MB"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", "99999999", "٣", " 1"])
def test_a_number_that_is_none_is_refused_with_what_to_type(name: str, value: str) -> None:
    """The error names the variable, the value and a value that works."""
    with pytest.raises(ConfigError, match=name) as caught:
        Config.from_environ({name: value})
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"export {name}=")


def test_kernels_that_are_none_are_refused_with_what_to_type() -> None:
    """A misspelt choice does not quietly become another."""
    with pytest.raises(ConfigError, match=r"AYA_EMBEDDER_KERNELS.*fast.*auto, stock, cpu") as caught:
        Config.from_environ({"AYA_EMBEDDER_KERNELS": "fast"})
    assert caught.value.hint == "export AYA_EMBEDDER_KERNELS=auto"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "alpha.local"])  # noqa: S104 refused, or with a token
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    """The service does not start without one; with one it does."""
    with pytest.raises(ConfigError, match=host) as caught:
        Config.from_environ({"AYA_EMBEDDER_HOST": host})
    assert "export AYA_EMBEDDER_TOKEN_FILE=" in (caught.value.hint or "")
    exposed = Config.from_environ({"AYA_EMBEDDER_HOST": host, "AYA_EMBEDDER_TOKEN_FILE": "token"})
    assert (exposed.host, exposed.token_file) == (host, Path("token"))


def test_a_token_in_the_environment_is_refused() -> None:
    """Other processes can read it there; it is not repeated either."""
    with pytest.raises(ConfigError, match="no place for a secret") as caught:
        Config.from_environ({"AYA_EMBEDDER_TOKEN": "hunter2hunter2hunter2"})
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("hosts", ["*", "alpha.local:8765", "http://alpha", "a b"])
def test_an_allowed_host_that_is_none_is_refused(hosts: str) -> None:
    """No wildcards, no URLs."""
    with pytest.raises(ConfigError, match="AYA_EMBEDDER_ALLOWED_HOSTS"):
        Config.from_environ({"AYA_EMBEDDER_ALLOWED_HOSTS": hosts})


def test_a_request_needs_some_time() -> None:
    """Zero seconds would refuse everything."""
    with pytest.raises(ConfigError, match="from 1 to"):
        Config.from_environ({"AYA_EMBEDDER_REQUEST_SECONDS": "0"})
