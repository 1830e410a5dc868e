"""From a directory's config.json and weights to a network of mlx_embeddings on MLX; what does not fit is refused."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import sys
import types
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aya.errors import ConfigError
from aya_embedder import modernbert
from aya_embedder.describe import WEIGHTS
from aya_embedder.runtime import mx, tree_flatten  # pyright: ignore[reportUnknownVariableType]

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from pathlib import Path

# model_type of config.json: module of mlx_embeddings.models
ARCHITECTURES = {"bert": "bert", "xlm-roberta": "xlm_roberta", "modernbert": "modernbert"}
_ENCODER_PARTS = frozenset({"embeddings", "encoder", "layers", "final_norm"})
_BUFFERS = ("position_ids", "token_type_ids")
_OTHER_MODELS = "aya models list shows models that work; or export AYA_MODEL=minilm"


@dataclass(frozen=True, slots=True)
class Network:
    """A network with its weights, evaluated.

    module: of mlx_embeddings; cpu_encoder takes its weights. hidden: MLX's own functions, from token ids and mask
    (both (batch, length); 1 for a token, 0 for padding) to the last layer's states, (batch, length, width).
    """

    module: Any
    hidden: Callable[[mx.array, mx.array], mx.array]


def load(directory: Path, config: dict[str, Any], dtype: mx.Dtype) -> Network:
    """Build the network that config.json asks for and give it the weights, as `dtype`.

    Raises ConfigError when the architecture is unknown, or the weights cannot be read, are no floats or do not fit:
    some are missing, or there are some that the network would leave out.
    """
    kind = _kind(directory, config)
    _register_bare_package("mlx_embeddings")
    architecture: Any = importlib.import_module(f"mlx_embeddings.models.{ARCHITECTURES[kind]}")
    weights = _weights(directory / WEIGHTS)
    if kind == "modernbert":
        arguments = architecture.ModelArgs.from_dict(modernbert.config_for_mlx(config))
        module = architecture.ModernBertModel(arguments)
        modernbert.correct(module)
        _fill(module, modernbert.bare(weights), dtype, directory / WEIGHTS)
        return Network(module, partial(modernbert.hidden, module))
    module = architecture.Model(architecture.ModelArgs.from_dict(config))
    _fill(module, module.sanitize(weights), dtype, directory / WEIGHTS)
    return Network(module, partial(_last_hidden_state, module))


def _last_hidden_state(module: Any, ids: mx.array, mask: mx.array) -> mx.array:  # noqa: ANN401 untyped
    states: mx.array = module(ids, attention_mask=mask).last_hidden_state
    return states


def _fill(module: Any, weights: Mapping[str, mx.array], dtype: mx.Dtype, path: Path) -> None:  # noqa: ANN401 untyped
    parameters: Any = tree_flatten(module.parameters())
    expected = {name: array.shape for name, array in parameters}
    # The pooler is never evaluated: the vectors come from the last states.
    missing = [name for name, shape in expected.items() if _absent(weights.get(name), shape) and "pooler" not in name]
    if missing:
        raise ConfigError(
            f"{path} does not fit config.json: {len(missing)} weights missing or of another shape, {missing[0]} first",
            hint="fetch config.json and model.safetensors of one and the same model again",
        )
    _refuse_leftovers(weights, expected, path)
    chosen = {name: weights[name] for name in expected if name in weights}
    unusable = [name for name, weight in chosen.items() if not mx.issubdtype(weight.dtype, mx.floating)]
    if unusable:
        raise ConfigError(
            f"{path} holds {chosen[unusable[0]].dtype} in {unusable[0]}, and not floating point numbers",
            hint="fetch the model's own model.safetensors: quantised weights are not read",
        )
    module.load_weights([(name, weight.astype(dtype)) for name, weight in chosen.items()], strict=False)
    module.eval()
    mx.eval(module.parameters())  # pyright: ignore[reportUnknownMemberType]


def _refuse_leftovers(weights: Iterable[str], expected: Container[str], path: Path) -> None:
    """Raise ConfigError when the encoder's own weights are not all used: then it is not the network of its training.

    Heads stand beside the encoder's parts, and buffers of ids hold nothing that was learned.
    """
    left = [
        name
        for name in weights
        if name not in expected and name.partition(".")[0] in _ENCODER_PARTS and not name.endswith(_BUFFERS)
    ]
    if left:
        raise ConfigError(
            f"{path} does not fit config.json: {len(left)} weights of the encoder are left over, {left[0]} first",
            hint=_OTHER_MODELS,
        )


def _kind(directory: Path, config: dict[str, Any]) -> str:
    kind = config.get("model_type")
    activation = config.get("hidden_act") or config.get("hidden_activation") or "gelu"
    if not isinstance(kind, str) or kind not in ARCHITECTURES or activation != "gelu":
        raise ConfigError(
            f"{directory / 'config.json'} is of model_type {kind!r} with {activation!r}; "
            f"known are {', '.join(ARCHITECTURES)} with 'gelu'",
            hint=_OTHER_MODELS,
        )
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise ConfigError(
            f"{directory / 'config.json'} has position_embedding_type {positions!r}; known is 'absolute'",
            hint=_OTHER_MODELS,
        )
    return kind


def _register_bare_package(name: str) -> None:
    """Let `name`'s submodules be imported without its __init__.

    mlx_embeddings/__init__.py imports mlx_vlm and transformers, of which the text models use nothing. The bare
    parent has the package's __path__, which is all that the import system needs of it.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ConfigError(f"the package {name} is not installed", hint="uv sync --package aya-embedder")
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package


def _weights(path: Path) -> dict[str, mx.array]:
    try:
        loaded: Any = mx.load(str(path))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=f"ls -lL {shlex.quote(str(path))}") from error
    return dict(loaded)


def _absent(weight: mx.array | None, shape: tuple[int, ...]) -> bool:
    return weight is None or weight.shape != shape
