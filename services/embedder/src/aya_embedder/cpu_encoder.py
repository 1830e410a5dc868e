"""BERT's forward pass for a CPU: packed tokens, the functions of cpu_kernels, and nothing that is not asked for.

The weights are those of a network of mlx_embeddings, BERT or XLM-RoBERTa, whose encoder is the same; pooling is part of
it, because with one token a text the last layer need not compute the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aya_embedder import cpu_kernels as kernels
from aya_embedder.packing import Packed
from aya_embedder.runtime import mx

if TYPE_CHECKING:
    from collections.abc import Sequence

# model_type of config.json. What is not here is computed by the stock functions.
ARCHITECTURES = ("bert", "xlm-roberta")

_ONE_TOKEN = ("cls", "lasttoken")


@dataclass(frozen=True, slots=True)
class _Linear:
    """weight: (in, out), transposed from how it is kept."""

    weight: mx.array
    bias: mx.array

    def __call__(self, x: mx.array) -> mx.array:
        return mx.addmm(self.bias, x, self.weight)


@dataclass(frozen=True, slots=True)
class _Norm:
    average: mx.array
    weight: mx.array
    bias: mx.array
    epsilon: float

    def __call__(self, x: mx.array) -> mx.array:
        return kernels.layer_norm(x, self.average, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class _Layer:
    """query: with the scale of the scores and log2(e) multiplied in, as kernels.attention wants them."""

    query: _Linear
    key: _Linear
    value: _Linear
    output: _Linear
    output_norm: _Norm
    widen: _Linear
    narrow: _Linear
    narrow_norm: _Norm

    def after_attention(self, x: mx.array, context: mx.array) -> mx.array:
        x = self.output_norm(x + self.output(context))
        return self.narrow_norm(x + self.narrow(kernels.gelu(self.widen(x))))


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """How packed tokens become heads, and heads packed tokens.

    places: (texts, width), which token stands where, and tokens: which places are tokens; None when no text is padded.
    present: as kernels.attention wants it.
    """

    texts: int
    heads: int
    places: mx.array | None
    tokens: mx.array | None
    present: mx.array

    @classmethod
    def of(cls, packed: Packed, heads: int) -> _Rectangle:
        texts, width = len(packed.lengths), packed.width
        if packed.is_rectangle:
            return cls(texts, heads, None, None, mx.ones((1, 1, width, 1)))
        present = packed.present
        shape = (texts, heads, width, 1)
        return cls(
            texts,
            heads,
            mx.array(packed.rectangle()),
            mx.array(present.ravel().nonzero()[0].astype("int32")),
            mx.broadcast_to(mx.array(present.astype("float32"))[:, None, :, None], shape),
        )

    def split(self, x: mx.array) -> mx.array:
        """Turn (tokens, hidden) into (texts, heads, width, hidden / heads)."""
        return self.split_rows(x if self.places is None else x[self.places])

    def split_rows(self, x: mx.array) -> mx.array:
        """Do the same with as many rows for each text."""
        rows = mx.reshape(x, (self.texts, -1, self.heads, x.shape[-1] // self.heads))
        return mx.swapaxes(rows, 1, 2)

    def join(self, x: mx.array) -> mx.array:
        """Turn (texts, heads, width, hidden / heads) into (tokens, hidden)."""
        joined = self.join_rows(x)
        return joined if self.tokens is None else joined[self.tokens]

    def join_rows(self, x: mx.array) -> mx.array:
        """Do the same with all rows."""
        return mx.reshape(mx.swapaxes(x, 1, 2), (-1, self.heads * x.shape[-1]))


class CpuEncoder:
    """The network from token ids to pooled vectors. Any thread may call it: the weights are evaluated, and constant."""

    def __init__(self, network: Any, config: dict[str, Any], pooling: Sequence[str]) -> None:  # noqa: ANN401 untyped
        """network: of mlx_embeddings, evaluated; config: its config.json; pooling: modes of describe.POOLING_MODES."""
        embeddings = network.embeddings
        self._heads = int(config["num_attention_heads"])
        self._pooling = tuple(pooling)
        self._padding_id = None if config["model_type"] == "bert" else int(embeddings.padding_idx)
        self._words: mx.array = embeddings.word_embeddings.weight
        # no text has a second segment, so the first one's vector can stand in every position's
        self._places: mx.array = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        hidden = self._words.shape[1]
        average = mx.full((hidden, 1), 1 / hidden)
        epsilon = float(network.config.layer_norm_eps)
        self._norm = _norm(embeddings.LayerNorm, average, epsilon)
        scale = math.log2(math.e) / math.sqrt(hidden / self._heads)
        self._layers = [_layer(layer, average, epsilon, scale) for layer in network.encoder.layer]
        mx.eval(self._places, average)  # pyright: ignore[reportUnknownMemberType]

    def __call__(self, batch: Sequence[Sequence[int]]) -> mx.array:
        """Return pooled vectors, (len(batch), hidden × modes), of any length. Raises ValueError on an empty text."""
        packed = Packed.of(batch)
        rectangle = _Rectangle.of(packed, self._heads)
        x = self._words[mx.array(packed.ids)] + self._places[mx.array(packed.positions(self._padding_id))]
        x = self._norm(x)
        *lower, last = self._layers
        for layer in lower:
            x = layer.after_attention(
                x, rectangle.join(_attention(layer, rectangle, x, rectangle.split(layer.query(x))))
            )
        if len(self._pooling) == 1 and self._pooling[0] in _ONE_TOKEN:
            asked = x[_one_token(packed, self._pooling[0])]
            heads = _attention(last, rectangle, x, rectangle.split_rows(last.query(asked)))
            return last.after_attention(asked, rectangle.join_rows(heads))
        heads = _attention(last, rectangle, x, rectangle.split(last.query(x)))
        x = last.after_attention(x, rectangle.join(heads))
        return mx.concatenate([_pool(x, packed, mode) for mode in self._pooling], axis=-1)


def _attention(layer: _Layer, rectangle: _Rectangle, x: mx.array, queries: mx.array) -> mx.array:
    keys, values = rectangle.split(layer.key(x)), rectangle.split(layer.value(x))
    return kernels.attention(queries, keys, values, rectangle.present)


def _pool(x: mx.array, packed: Packed, mode: str) -> mx.array:
    """Pool (tokens, hidden) to (texts, hidden) by one of describe.POOLING_MODES."""
    if mode in _ONE_TOKEN:
        return x[_one_token(packed, mode)]
    if mode == "max":
        return x[mx.array(packed.rectangle())].max(axis=1)
    return mx.array(packed.averages(square_root=mode == "mean_sqrt_len_tokens")) @ x


def _one_token(packed: Packed, mode: str) -> mx.array:
    return mx.array(packed.firsts if mode == "cls" else packed.lasts)


def _layer(layer: Any, average: mx.array, epsilon: float, scale: float) -> _Layer:  # noqa: ANN401 untyped
    attention, output = layer.attention.self, layer.attention.output
    return _Layer(
        query=_linear(attention.query, scale),
        key=_linear(attention.key),
        value=_linear(attention.value),
        output=_linear(output.dense),
        output_norm=_norm(output.LayerNorm, average, epsilon),
        widen=_linear(layer.intermediate.dense),
        narrow=_linear(layer.output.dense),
        narrow_norm=_norm(layer.output.LayerNorm, average, epsilon),
    )


def _linear(linear: Any, scale: float | None = None) -> _Linear:  # noqa: ANN401 untyped
    weight, bias = (linear.weight.T, linear.bias) if scale is None else (linear.weight.T * scale, linear.bias * scale)
    # here, because another thread cannot evaluate what this one began, not even a transposition
    mx.eval(weight, bias)  # pyright: ignore[reportUnknownMemberType]
    return _Linear(weight, bias)


def _norm(norm: Any, average: mx.array, epsilon: float) -> _Norm:  # noqa: ANN401 untyped
    return _Norm(average, norm.weight, norm.bias, epsilon)
