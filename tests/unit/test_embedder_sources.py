"""The one way to write a model, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya_embedder.sources import resolve


def test_a_directory_is_its_real_path(tmp_path: Path) -> None:
    """By whichever link it is named."""
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    assert resolve(f"{tmp_path}/link/") == str((tmp_path / "model").resolve())


@pytest.mark.parametrize("model", ["minilm", "bge-base-en-v1.5", f"acme/mini@{'ab' * 20}"])
def test_a_name_stays_as_it_is(model: str) -> None:
    """Those of the list, and any of the hub at a commit."""
    assert resolve(model) == model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param("x" * 4096, "File name too long", id="a name that is too long"),
        pytest.param("/x" * 4096, "File name too long", id="a path that is too long"),
        pytest.param("~nobody-of-that-name/model", "home directory", id="of no user"),
        pytest.param("a\0b", "it is no directory", id="NUL"),
        pytest.param("/no/such", "there is no such directory", id="not there"),
        pytest.param("gpt-7", "it is no directory", id="no name"),
    ],
)
def test_what_is_no_model_is_explained_in_a_line(model: str, said: str) -> None:
    """Also what the system refuses to look for."""
    with pytest.raises(ConfigError, match=said) as caught:
        resolve(model)
    assert len(caught.value.message) < 400
    assert caught.value.hint == "aya models list"
