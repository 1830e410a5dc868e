"""Reading what sentence-transformers' files say about a model directory; nothing is guessed.

modules.json names the steps, 1_Pooling/config.json the pooling, config_sentence_transformers.json the prompts,
sentence_bert_config.json the length. Source: sentence_transformers/sentence_transformer/modules/pooling.py and
base/modules/transformer.py, 6.2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aya.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "model.safetensors"
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "lasttoken")

# In the order in which sentence-transformers concatenates several modes.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What every network is built from.
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)
_MODULES = ("Transformer", "Pooling", "Normalize")

# Query and document prefixes of models whose files lack their prompts. Source: the model cards of BAAI/bge-*-en-v1.5
# and of intfloat/multilingual-e5-*.
_BGE_ENGLISH = ("Represent this sentence for searching relevant passages: ", "")
_E5 = ("query: ", "passage: ")
_KNOWN_PREFIXES = {
    "bge-small-en-v1.5": _BGE_ENGLISH,
    "bge-base-en-v1.5": _BGE_ENGLISH,
    "bge-large-en-v1.5": _BGE_ENGLISH,
    "multilingual-e5-small": _E5,
}


@dataclass(frozen=True, slots=True)
class Description:
    """What the files say.

    config: config.json, the architecture's hyperparameters.
    pooling: one mode or more of POOLING_MODES, concatenated in this order.
    normalizes: whether modules.json has a Normalize step.
    max_tokens: the window, special tokens included.
    lowercase: whether the text is lowered before it is tokenised.
    """

    config: dict[str, Any]
    pooling: tuple[str, ...]
    normalizes: bool
    query_prefix: str
    document_prefix: str
    max_tokens: int
    lowercase: bool


def describe(directory: Path, name: str) -> Description:
    """Read the description of the model in `directory`.

    name: the model's name; its last part finds the prefixes that files of known models lack.
    Raises ConfigError, naming the file, on a missing file or a value that is not supported.
    """
    config = _object(directory / "config.json")
    for key in _SIZES:
        if not isinstance(config.get(key), int):
            raise _unsupported(directory / "config.json", f"{key} is {config.get(key)!r}, and no whole number")
    modules = _modules(directory)
    bert = _object(directory / "sentence_bert_config.json", required=False)
    query_prefix, document_prefix = _prompts(directory, name)
    return Description(
        config=config,
        pooling=_pooling(directory / modules.get("Pooling", "1_Pooling") / "config.json"),
        normalizes="Normalize" in modules,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        max_tokens=_max_tokens(directory, config, bert),
        lowercase=bool(bert.get("do_lower_case")),
    )


def _modules(directory: Path) -> dict[str, str]:
    path = directory / "modules.json"
    listed = cast("list[dict[str, str]]", _json(path))
    try:
        modules = {module["type"].rpartition(".")[2]: module["path"] for module in listed}
    except (LookupError, TypeError, AttributeError) as error:
        raise _unsupported(path, "no list of steps with a type and a path") from error
    unknown = [kind for kind in modules if kind not in _MODULES]
    if unknown or "Transformer" not in modules:
        raise _unsupported(path, f"its steps are {', '.join(modules)}; known are {', '.join(_MODULES)}")
    return modules


def _pooling(path: Path) -> tuple[str, ...]:
    settings = _object(path)
    modes = settings.get("pooling_mode") or [mode for flag, mode in _POOLING_FLAGS.items() if settings.get(flag)]
    found = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = [mode for mode in found if mode not in POOLING_MODES]
    if unknown or not found:
        raise _unsupported(path, f"pooling {', '.join(unknown) or 'none'}; known are {', '.join(POOLING_MODES)}")
    if settings.get("include_prompt") is False:
        raise _unsupported(path, "include_prompt false")
    return found


def _prompts(directory: Path, name: str) -> tuple[str, str]:
    settings = _object(directory / "config_sentence_transformers.json", required=False)
    prompts: dict[str, str] = settings.get("prompts") or {}
    query, document = _KNOWN_PREFIXES.get(name.rpartition("/")[2].lower(), ("", ""))
    return prompts.get("query") or query, prompts.get("document") or prompts.get("passage") or document


def _max_tokens(directory: Path, config: dict[str, Any], bert: dict[str, Any]) -> int:
    tokenizer = _object(directory / "tokenizer_config.json", required=False)
    positions = int(config["max_position_embeddings"])
    if config.get("model_type") == "xlm-roberta":
        # RoBERTa's positions start after the padding index (transformers, create_position_ids_from_input_ids)
        positions -= int(config.get("pad_token_id", 1)) + 1
    wished = bert.get("max_seq_length") or tokenizer.get("model_max_length") or positions
    return min(int(wished), positions)


def _object(path: Path, *, required: bool = True) -> dict[str, Any]:
    if not required and not path.exists():
        return {}
    value = _json(path)
    if not isinstance(value, dict):
        raise _unsupported(path, "no JSON object")
    return cast("dict[str, Any]", value)


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            hint="AYA_MODEL must name a directory that sentence-transformers saved (modules.json, 1_Pooling/, …)",
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}", hint=f"fetch {path.name} of the model again") from error


def _unsupported(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path} asks for something this embedder does not do: {what}",
        hint="aya models list shows models that work; or export AYA_MODEL=minilm",
    )
