"""The hashes of a model's files: which copies are one model, and when they are computed again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya_embedder.contents import digest, weights_sha256

TOKENIZER = {"model": {"vocab": {"a": 0}}, "truncation": None, "padding": None}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Weights and a tokenizer."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return tmp_path


def say(directory: Path, tokenizer: object, **form: int) -> None:
    """Write tokenizer.json."""
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer, **form))  # type: ignore[arg-type]


def test_other_weights_and_another_tokenizer_are_another_model(directory: Path, tmp_path: Path) -> None:
    """Either changes the vectors."""
    memory = tmp_path / "memory.json"
    first = digest(directory, memory)
    say(directory, {**TOKENIZER, "model": {"vocab": {"b": 0}}})
    second = digest(directory, memory)
    (directory / "model.safetensors").write_bytes(b"other weights")
    assert len({first, second, digest(directory, memory)}) == 3


def test_a_tokenizer_that_was_saved_again_is_the_same(directory: Path, tmp_path: Path) -> None:
    """Its layout, and the truncation and padding that we turn off, change no vector."""
    memory = tmp_path / "memory.json"
    first = digest(directory, memory)
    say(directory, {**TOKENIZER, "truncation": {"max_length": 128}, "padding": {"pad_id": 0}}, indent=2)
    assert digest(directory, memory) == first


def test_a_file_is_hashed_once_for_each_of_its_states(directory: Path, tmp_path: Path) -> None:
    """The memory answers while size and times are the same, and not afterwards."""
    memory = tmp_path / "cache" / "memory.json"
    first = weights_sha256(directory, memory)
    told = json.loads(memory.read_text())
    place = str(directory / "model.safetensors")
    memory.write_text(json.dumps({place: {**told[place], "hash": "remembered"}}))
    assert weights_sha256(directory, memory) == "remembered"
    status = (directory / "model.safetensors").stat()
    (directory / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(directory / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights_sha256(directory, memory) not in {first, "remembered"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', '{"/model.safetensors": 3}'])
def test_a_damaged_memory_costs_a_computation(directory: Path, tmp_path: Path, text: str) -> None:
    """It is no more than a cache."""
    memory = tmp_path / "memory.json"
    expected = weights_sha256(directory, tmp_path / "other.json")
    memory.write_text(text)
    assert weights_sha256(directory, memory) == expected


def test_a_memory_that_cannot_be_written_is_done_without(directory: Path, tmp_path: Path) -> None:
    """A read-only home does not keep a model from loading."""
    (tmp_path / "file").write_text("")
    assert weights_sha256(directory, tmp_path / "file" / "memory.json")


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(directory: Path, tmp_path: Path, missing: str) -> None:
    """With the command that shows what is there."""
    (directory / missing).unlink()
    with pytest.raises(ConfigError, match=missing) as caught:
        digest(directory, tmp_path / "memory.json")
    assert (caught.value.hint or "").startswith("ls -lL ")


def test_a_tokenizer_that_is_no_json_is_named(directory: Path, tmp_path: Path) -> None:
    """Half a download is told from none."""
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        digest(directory, tmp_path / "memory.json")
