"""BERT's forward pass for a CPU, in NumPy: packed tokens, the functions of cpu_kernels, nothing that is not asked for.

The weights are those of a network of mlx_embeddings, BERT or XLM-RoBERTa, whose encoder is the same; pooling is part of
it, because with one token a text the last layer need not compute the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aya_embedder import cpu_kernels as kernels
from aya_embedder.packing import Packed, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# model_type of config.json. What is not here is computed by the stock functions.
ARCHITECTURES = ("bert", "xlm-roberta")

_ONE_TOKEN = ("cls", "lasttoken")


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Array
    bias: Array
    epsilon: float

    def __call__(self, x: Array) -> Array:
        return kernels.layer_norm(x, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Matrices are (in, out), transposed from how they are kept.

    query_bias and its third of `projection` have the scale of the scores and log2(e) multiplied in, as
    kernels.attention wants them. The keys have no bias: it adds the same to all scores of a query, which a softmax does
    not see. Nor have the values: weights that sum to 1 carry it through, so it is part of output_bias.
    """

    projection: Array
    query_bias: Array
    output: Array
    output_bias: Array
    output_norm: _Norm
    widen: Array
    widen_bias: Array
    narrow: Array
    narrow_bias: Array
    narrow_norm: _Norm

    def after_attention(self, x: Array, context: Array) -> Array:
        attended = context @ self.output
        attended += self.output_bias
        attended += x
        x = self.output_norm(attended)
        narrowed = kernels.biased_gelu(x @ self.widen, self.widen_bias) @ self.narrow
        narrowed += self.narrow_bias
        narrowed += x
        return self.narrow_norm(narrowed)


class CpuEncoder:
    """The network from token ids to pooled vectors. Any thread may call it: what is kept is constant."""

    def __init__(self, network: Any, config: dict[str, Any], pooling: Sequence[str]) -> None:  # noqa: ANN401 untyped
        """network: of mlx_embeddings, evaluated; config: its config.json; pooling: modes of describe.POOLING_MODES."""
        embeddings = network.embeddings
        self._heads = int(config["num_attention_heads"])
        self._pooling = tuple(pooling)
        self._padding_id = None if config["model_type"] == "bert" else int(embeddings.padding_idx)
        self._words = _array(embeddings.word_embeddings.weight)
        # no text has a second segment, so the first one's vector can stand in every position's
        segment = _array(embeddings.token_type_embeddings.weight)[0]
        self._places = _array(embeddings.position_embeddings.weight) + segment
        epsilon = float(network.config.layer_norm_eps)
        self._norm = _norm(embeddings.LayerNorm, epsilon)
        scale = math.log2(math.e) / math.sqrt(self._words.shape[1] / self._heads)
        self._layers = [_layer(layer, epsilon, scale) for layer in network.encoder.layer]

    def __call__(self, batch: Sequence[Sequence[int]]) -> Array:
        """Return pooled vectors, (len(batch), hidden × modes), of any length. Raises ValueError on an empty text."""
        packed = Packed.of(batch)
        with np.errstate(invalid="ignore"):  # what is no number is found in the finished vector
            return packed.unsorted(self._pooled(packed))

    def _pooled(self, packed: Packed) -> Array:
        """Return the vectors in the order in which the texts are packed."""
        x = self._norm(self._words[packed.ids] + self._places[packed.positions(self._padding_id)])
        *lower, last = self._layers
        for layer in lower:
            x = layer.after_attention(x, self._attend(layer, packed.runs, x, None))
        if len(self._pooling) == 1 and self._pooling[0] in _ONE_TOKEN:
            asked = packed.firsts if self._pooling[0] == "cls" else packed.lasts
            return last.after_attention(x[asked], self._attend(last, packed.runs, x, asked))
        x = last.after_attention(x, self._attend(last, packed.runs, x, None))
        return np.concatenate([_pool(x, packed, mode) for mode in self._pooling], axis=1)

    def _attend(self, layer: _Layer, runs: Sequence[Run], x: Array, asked: NDArray[np.int64] | None) -> Array:
        """Return what attention makes of x (tokens, hidden), for all tokens, or for one asked of each text."""
        hidden = x.shape[1]
        if asked is None:
            projected = x @ layer.projection
            queries, keys, values = projected[:, :hidden], projected[:, hidden : 2 * hidden], projected[:, 2 * hidden :]
        else:
            projected = x @ layer.projection[:, hidden:]
            queries, keys, values = (
                x[asked] @ layer.projection[:, :hidden],
                projected[:, :hidden],
                projected[:, hidden:],
            )
        queries += layer.query_bias
        context = np.empty((len(queries), hidden), dtype=np.float32)
        for run in runs:
            rows = run.tokens if asked is None else run.texts
            kernels.attention(
                self._split(queries[rows], run),
                self._split(keys[run.tokens], run),
                self._split(values[run.tokens], run),
                self._split(context[rows], run),
            )
        return context

    def _split(self, x: Array, run: Run) -> Array:
        """View (rows, hidden), the rows of a run, as (texts, heads, rows of each, hidden / heads)."""
        texts = run.texts.stop - run.texts.start
        rows, hidden = x.shape
        return x.reshape(texts, rows // texts, self._heads, hidden // self._heads).swapaxes(1, 2)


def _pool(x: Array, packed: Packed, mode: str) -> Array:
    """Pool (tokens, hidden) to (texts, hidden) by one of describe.POOLING_MODES."""
    if mode in _ONE_TOKEN:
        return x[packed.firsts if mode == "cls" else packed.lasts]
    if mode == "max":
        return np.maximum.reduceat(x, packed.firsts, axis=0)
    divisors = packed.lengths if mode == "mean" else np.sqrt(packed.lengths)
    return np.divide(np.add.reduceat(x, packed.firsts, axis=0), divisors[:, None], dtype=np.float32)


def _layer(layer: Any, epsilon: float, scale: float) -> _Layer:  # noqa: ANN401 untyped
    attention, output = layer.attention.self, layer.attention.output
    query, key, value = (_array(part.weight).T for part in (attention.query, attention.key, attention.value))
    mixing = _array(output.dense.weight).T
    output_bias = _array(output.dense.bias)
    output_bias += _array(attention.value.bias) @ mixing
    return _Layer(
        projection=np.ascontiguousarray(np.concatenate([query * np.float32(scale), key, value], axis=1)),
        query_bias=_array(attention.query.bias) * np.float32(scale),
        output=np.ascontiguousarray(mixing),
        output_bias=output_bias,
        output_norm=_norm(output.LayerNorm, epsilon),
        widen=np.ascontiguousarray(_array(layer.intermediate.dense.weight).T),
        widen_bias=_array(layer.intermediate.dense.bias),
        narrow=np.ascontiguousarray(_array(layer.output.dense.weight).T),
        narrow_bias=_array(layer.output.dense.bias),
        narrow_norm=_norm(layer.output.LayerNorm, epsilon),
    )


def _norm(norm: Any, epsilon: float) -> _Norm:  # noqa: ANN401 untyped
    return _Norm(_array(norm.weight), _array(norm.bias), epsilon)


def _array(weight: Any) -> Array:  # noqa: ANN401 untyped
    """Copy an MLX array: the network it belongs to can go."""
    return np.array(weight, dtype=np.float32)
