"""ModernBERT on MLX: the layers of mlx_embeddings, with what its 0.1.0 does not do as the model was trained.

That version takes GELU by tanh where the model has the one by erf (5e-4 apart), reads the rope's bases only under their
old names (transformers 5 writes `rope_parameters` and `layer_types`), returns pooled states as last_hidden_state, and
in float16 its mask of -1e9 overflows to -inf, so that a padding token that sees no other token becomes NaN, and in the
next layer every token with it. Source: transformers/models/modernbert/, 5.x; https://arxiv.org/abs/2412.13663.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aya.errors import ConfigError
from aya_embedder.runtime import mx, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def config_for_mlx(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json with rope bases and layer pattern under the names that mlx_embeddings reads; pure.

    Raises ConfigError on a pattern that is not "global every n layers", or on a rope that is scaled.
    """
    stated = dict(config)
    ropes: dict[str, dict[str, Any]] = stated.get("rope_parameters") or {}
    for kind, name in ((_GLOBAL, "global_rope_theta"), (_LOCAL, "local_rope_theta")):
        rope = ropes.get(kind) or {}
        if rope.get("rope_type", "default") != "default" or stated.get("rope_scaling"):
            raise _unsupported(f"a scaled rope ({rope or stated['rope_scaling']})")
        if "rope_theta" in rope:
            stated[name] = rope["rope_theta"]
    layers = cast("list[str]", stated.get("layer_types") or [])
    if layers:
        stated["global_attn_every_n_layers"] = _period(layers)
    return stated


def _period(layers: Sequence[str]) -> int:
    """Return n where layers 0, n, 2n, … are global and no others."""
    for period in range(1, len(layers) + 1):
        if list(layers) == [_LOCAL if number % period else _GLOBAL for number in range(len(layers))]:
            return period
    raise _unsupported(f"layer_types {', '.join(layers)}")


def correct(network: Any) -> None:  # noqa: ANN401 mlx.nn modules are untyped
    """Give the layers of a ModernBertModel the GELU of their training."""
    for layer in network.layers:
        layer.mlp.act = nn.GELU()  # type: ignore[attr-defined] # MLX has no stubs for it


def bare(weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Return the weights of the encoder alone, under its own names: a masked language model has a prefix and a head."""
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


def hidden(network: Any, ids: mx.array, mask: mx.array) -> mx.array:  # noqa: ANN401 untyped
    """Return the last states (batch, length, width) of a ModernBertModel. ids, mask: (batch, length); mask: 1 or 0."""
    everywhere, nearby = masks(mask > 0, int(network.config.local_attention) // 2)
    states = network.embeddings(ids)
    for layer in network.layers:
        (states,) = layer(states, attention_mask=everywhere, sliding_window_mask=nearby)
    last: mx.array = network.final_norm(states)
    return last


def masks(present: mx.array, reach: int) -> tuple[mx.array, mx.array]:
    """Return which token sees which, everywhere and within `reach`. Each sees itself, so that no row is empty."""
    keys = present[:, None, None, :]
    places = mx.arange(present.shape[1])
    distance = mx.abs(places[:, None] - places[None, :])
    return keys, mx.logical_or(mx.logical_and(keys, distance <= reach), distance == 0)


def _unsupported(what: str) -> ConfigError:
    return ConfigError(
        f"config.json asks for something that ModernBERT here does not do: {what}", hint="export AYA_MODEL=minilm"
    )
