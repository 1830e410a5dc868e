"""What config.json and the lowering of texts say about how vectors are computed, in one fixed form; pure.

Two copies of the same weights with other numbers of heads, another epsilon or another rope make other vectors. What is
known to change none is left out, and what is not known counts: a copy that says something new about itself is then
another model, which asks for an embedding too many and mixes nothing. Source: transformers/configuration_utils.py and
the configurations of BERT, XLM-RoBERTa and ModernBERT there, 4.8 to 5.x.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where the model comes from, how it is trained, kept and shown, and what only its heads or generation read.
_DESCRIPTIVE = frozenset(
    {
        "_attn_implementation",
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "auto_map",
        "bos_token_id",
        "classifier_activation",
        "classifier_bias",
        "classifier_dropout",
        "classifier_pooling",
        "cls_token_id",
        "decoder_bias",
        "deterministic_flash_attn",
        "dtype",
        "embedding_dropout",
        "eos_token_id",
        "finetuning_task",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "id2label",
        "initializer_cutoff_factor",
        "initializer_range",
        "label2id",
        "mask_token_id",
        "mlp_dropout",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "problem_type",
        "reference_compile",
        "repad_logits_with_grad",
        "return_dict",
        "sep_token_id",
        "sparse_pred_ignore_index",
        "sparse_prediction",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
# What some versions write out and others leave unsaid, for the same model.
_UNSAID: dict[str, object] = {
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "position_embedding_type": "absolute",
}


def digest(files: str, config: Mapping[str, Any], *, lowercase: bool) -> str:
    """Return one hash, 64 hex digits, of a model's files and of how they are computed.

    files: contents.digest, of weights and tokenizer; config: config.json; lowercase: whether texts are lowered first.
    """
    said = {"files": files, "config": deciding(config), "lowercase": lowercase}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of config.json that may change a vector; null is what is not said."""
    return {
        key: value
        for key, value in config.items()
        if key not in _DESCRIPTIVE and value is not None and (key not in _UNSAID or value != _UNSAID[key])
    }
