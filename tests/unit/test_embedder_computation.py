"""Which keys of config.json make another model, and which only describe it."""

from __future__ import annotations

import pytest

from aya_embedder.computation import digest

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 384,
    "layer_norm_eps": 1e-12,
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
}
FILES = "f" * 64


@pytest.mark.parametrize(
    "changed",
    [
        {"num_attention_heads": 6},
        {"layer_norm_eps": 1e-5},
        {"hidden_act": "gelu_new"},
        {"pad_token_id": 1},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
        {"local_attention": 64},
        {"a_key_of_next_year": 1},
    ],
)
def test_what_decides_the_vectors_makes_another_model(changed: dict[str, object]) -> None:
    """Also a key that nobody knows yet."""
    assert digest(FILES, {**CONFIG, **changed}, lowercase=False) != digest(FILES, CONFIG, lowercase=False)


@pytest.mark.parametrize(
    "beside",
    [
        {"_name_or_path": "/somewhere", "architectures": ["BertModel"], "transformers_version": "5.0.0"},
        {"torch_dtype": "float32", "dtype": "float32"},
        {"use_cache": True, "gradient_checkpointing": False, "classifier_dropout": None},
        {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.02},
        {"position_embedding_type": "absolute", "is_decoder": False, "rope_scaling": None},
    ],
)
def test_what_only_describes_it_does_not(beside: dict[str, object]) -> None:
    """A copy that another version of transformers saved is the same model."""
    assert digest(FILES, {**CONFIG, **beside}, lowercase=False) == digest(FILES, CONFIG, lowercase=False)


def test_order_and_layout_are_no_difference() -> None:
    """One object has one hash."""
    assert digest(FILES, dict(reversed(CONFIG.items())), lowercase=False) == digest(FILES, CONFIG, lowercase=False)


def test_files_and_lowering_make_another_model() -> None:
    """Other weights, and texts that are lowered first."""
    first = digest(FILES, CONFIG, lowercase=False)
    assert len({first, digest("0" * 64, CONFIG, lowercase=False), digest(FILES, CONFIG, lowercase=True)}) == 3
