"""How the name of a model is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya_embedder import registry, sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_every_model_is_pinned_to_a_commit() -> None:
    """A branch would move under the vectors."""
    assert "bge-base-en-v1.5" in registry.PINNED
    for name, pinned in registry.PINNED.items():
        assert re.fullmatch("[0-9a-f]{40}", pinned.revision), name
        assert re.fullmatch("[0-9a-f]{64}", pinned.weights_sha256 or ""), name
        assert name == pinned.repository.partition("/")[2]


@pytest.mark.parametrize(
    ("model", "repository"),
    [("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5"), (f"acme/mini@{COMMIT}", "acme/mini")],
)
def test_a_model_of_the_hub(model: str, repository: str) -> None:
    """By its name here, or by owner, name and commit; resolving changes neither."""
    pinned = registry.pinned(model)
    assert pinned
    assert (pinned.repository, sources.resolve(model)) == (repository, model)


@pytest.mark.parametrize("model", ["minilm", "bert", "/models/x", "acme/mini", "acme/mini@main", f"a/b/c@{COMMIT}"])
def test_what_is_no_pinned_model(model: str) -> None:
    """A branch is none, nor is a path."""
    assert registry.pinned(model) is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("bge-base-en-v1.6", "bge-base-en-v1.5"), ("BAAI/bge-small-en-v1.5", "bge-small-en-v1.5"), ("mini-lm", "minilm")],
)
def test_a_name_that_is_nearly_one_is_offered(typed: str, meant: str) -> None:
    """The error lists all names, and the hint is the command with the nearest one."""
    with pytest.raises(ConfigError, match=r"minilm, bge-small-en-v1\.5") as caught:
        sources.resolve(typed)
    assert caught.value.hint == f"did you mean {meant}? aya models use {meant}"


def test_a_name_that_is_like_none_is_refused_with_the_list(tmp_path: Path) -> None:
    """A path that leads nowhere is called one."""
    with pytest.raises(ConfigError, match="no directory") as caught:
        sources.resolve("zzz")
    assert caught.value.hint == "aya models list"
    with pytest.raises(ConfigError, match="no such directory"):
        sources.resolve(str(tmp_path / "zzz"))


def test_a_directory_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With spaces, relative, through a link or from the home: its real path."""
    place = tmp_path / "my models" / "mine"
    place.mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = [str(place), "my models/mine", "./my models/mine/", "link", "~/my models/mine"]
    assert {sources.resolve(name) for name in names} == {str(place.resolve())}


def test_a_directory_that_sentence_transformers_did_not_save_is_explained(tmp_path: Path) -> None:
    """What is missing, and what makes it."""
    with pytest.raises(ConfigError, match=r"has no modules\.json") as caught:
        sources.find(str(tmp_path), None)
    assert "SentenceTransformer" in (caught.value.hint or "")
