"""What sentence-transformers' files say about a model, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aya.errors import ConfigError
from aya_embedder.describe import describe

if TYPE_CHECKING:
    from pathlib import Path

BERT = {
    "model_type": "bert",
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 512,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 100,
}
STEPS = ("Transformer", "Pooling", "Normalize")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model's description: BERT, mean pooling, nothing else said."""
    write(tmp_path / "config.json", BERT)
    write_modules(tmp_path, STEPS)
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    return tmp_path


def write(path: Path, value: object) -> None:
    """Write a JSON file and its folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def write_modules(directory: Path, steps: tuple[str, ...]) -> None:
    """Write modules.json as sentence-transformers does."""
    listed = [
        {"idx": index, "path": "" if index == 0 else f"{index}_{step}", "type": f"sentence_transformers.models.{step}"}
        for index, step in enumerate(steps)
    ]
    write(directory / "modules.json", listed)


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_mean_tokens": True}, ("mean",)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens",)),
        ({"pooling_mode_max_tokens": True}, ("max",)),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean")),
        ({"pooling_mode": "cls"}, ("cls",)),
        ({"pooling_mode": ["mean", "max"]}, ("mean", "max")),
    ],
)
def test_pooling_is_the_models_own(directory: Path, settings: dict[str, Any], pooling: tuple[str, ...]) -> None:
    """Both the old flags and the new list are understood; several modes keep sentence-transformers' order."""
    write(directory / "1_Pooling" / "config.json", settings)
    assert describe(directory, "any").pooling == pooling


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode": "attention"}, "attention"),
        ({}, "none"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt"),
    ],
)
def test_unknown_pooling_is_refused_by_name(directory: Path, settings: dict[str, Any], named: str) -> None:
    """Nothing is guessed: a wrong pooling gives plausible, wrong vectors."""
    write(directory / "1_Pooling" / "config.json", settings)
    with pytest.raises(ConfigError, match=named):
        describe(directory, "any")


def test_an_unknown_step_is_refused(directory: Path) -> None:
    """A Dense layer after the pooling would silently be left out."""
    write_modules(directory, ("Transformer", "Pooling", "Dense"))
    with pytest.raises(ConfigError, match="Dense"):
        describe(directory, "any")


@pytest.mark.parametrize(
    ("bert", "tokenizer", "config", "tokens"),
    [
        pytest.param({"max_seq_length": 256}, {"model_max_length": 512}, BERT, 256, id="sentence-transformers' own"),
        pytest.param({}, {"model_max_length": 128}, BERT, 128, id="the tokenizer's when that is missing"),
        pytest.param({}, {"model_max_length": 10**30}, BERT, 512, id="never more than there are positions"),
        pytest.param({}, {}, BERT, 512, id="the positions when nothing is said"),
        pytest.param(
            {},
            {},
            {**BERT, "model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1},
            512,
            id="RoBERTa's positions start after the padding index",
        ),
        pytest.param(
            {},
            {"model_max_length": 8192},
            {**BERT, "model_type": "modernbert", "max_position_embeddings": 8192, "pad_token_id": 50283},
            8192,
            id="ModernBERT's positions are a rope's, and start at the first token",
        ),
    ],
)
def test_the_window(directory: Path, bert: object, tokenizer: object, config: object, tokens: int) -> None:
    """The window comes from the model's description."""
    write(directory / "sentence_bert_config.json", bert)
    write(directory / "tokenizer_config.json", tokenizer)
    write(directory / "config.json", config)
    assert describe(directory, "any").max_tokens == tokens


@pytest.mark.parametrize(
    ("name", "prompts", "prefixes"),
    [
        ("any", None, ("", "")),
        ("any", {"query": "q: ", "document": "d: "}, ("q: ", "d: ")),
        ("any", {"query": "query: ", "passage": "passage: "}, ("query: ", "passage: ")),
        ("BAAI/bge-base-en-v1.5", None, ("Represent this sentence for searching relevant passages: ", "")),
        (
            "bge-base-en-v1.5",
            {"query": "", "document": ""},
            ("Represent this sentence for searching relevant passages: ", ""),
        ),
        ("bge-base-en-v1.5", {"query": "mine: "}, ("mine: ", "")),
        ("intfloat/multilingual-e5-small", None, ("query: ", "passage: ")),
    ],
)
def test_prefixes(directory: Path, name: str, prompts: object, prefixes: tuple[str, str]) -> None:
    """The files' prompts win; a few known models have prefixes that their files lack."""
    write(directory / "config_sentence_transformers.json", {"prompts": prompts} if prompts else {})
    described = describe(directory, name)
    assert (described.query_prefix, described.document_prefix) == prefixes


@pytest.mark.parametrize("missing", ["config.json", "modules.json", "1_Pooling/config.json"])
def test_a_missing_file_is_named(directory: Path, missing: str) -> None:
    """A directory that sentence-transformers did not save says which file it lacks."""
    (directory / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        describe(directory, "any")


@pytest.mark.parametrize(
    ("file", "value", "named"),
    [
        *(
            ("config.json", {name: size for name, size in BERT.items() if name != missing}, f"{missing} is None")
            for missing in BERT
            if missing != "model_type"
        ),
        ("config.json", {**BERT, "vocab_size": "100"}, "vocab_size is '100'"),
        ("config.json", [], "no JSON object"),
        ("modules.json", {"idx": 0}, "no list of steps"),
        ("modules.json", [{"type": "x.Transformer"}], "no list of steps"),
    ],
)
def test_a_file_that_says_too_little_is_refused(directory: Path, file: str, value: object, named: str) -> None:
    """The file and what it lacks are named, and what to do."""
    write(directory / file, value)
    with pytest.raises(ConfigError, match=named) as caught:
        describe(directory, "any")
    assert file in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_no_json_is_named(directory: Path) -> None:
    """A download that broke off is told from one that never happened."""
    (directory / "modules.json").write_text('[{"idx":')
    with pytest.raises(ConfigError, match=r"modules\.json is no JSON"):
        describe(directory, "any")
