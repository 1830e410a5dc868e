"""The re-expressed functions against float64: bounds over dense grids, blocks of every size, extreme values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from aya_embedder import cpu_kernels as kernels

FLOAT32 = np.finfo(np.float32)


def gelu(*x: float) -> NDArray[np.float32]:
    """Return the GELU of some numbers, with a bias of 0."""
    row = np.array([x], dtype=np.float32)
    return kernels.biased_gelu(row, np.zeros(len(x), dtype=np.float32)).ravel()


def exact_gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x·Φ(x), by erfc, which keeps the tail."""
    return np.array([0.5 * value * math.erfc(-value / math.sqrt(2)) for value in x])


def attended(
    queries: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the context that attention writes."""
    context = np.full((*queries.shape[:3], values.shape[-1]), np.nan, dtype=np.float32)
    kernels.attention(queries, keys, values, context)
    return context


def exact_attention(
    queries: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return softmax₂ of the scores, times the values, in float64."""
    scores = queries.astype(np.float64) @ keys.swapaxes(-1, -2).astype(np.float64)
    weights = np.exp2(scores - scores.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = weights @ values.astype(np.float64) / weights.sum(axis=-1, keepdims=True)
    return found


def test_gelu_is_exact_to_float32_rounding_everywhere() -> None:
    """Within 6e-7 of x·Φ(x) on half a million points from -12 to 12; tanh-GELU would be 4.7e-4 away."""
    grid = np.linspace(-12, 12, 500_000, dtype=np.float32)
    exact = exact_gelu(grid.astype(np.float64))
    found = kernels.biased_gelu(grid.reshape(500, 1000).copy(), np.zeros(1000, dtype=np.float32))
    assert np.abs(found.ravel() - exact).max() <= 6e-7


@pytest.mark.parametrize("shape", [(1, 3), (7, 1536), (85, 1536), (86, 1536), (3, 140_000)], ids=str)
def test_gelu_takes_every_row_in_every_block_once(shape: tuple[int, int]) -> None:
    """Whether the rows fill their blocks, or a row is longer than one; and the bias belongs to the column."""
    random = np.random.default_rng(5)
    x, bias = random.normal(0, 2, shape).astype(np.float32), random.normal(0, 1, shape[1]).astype(np.float32)
    exact = exact_gelu((x + bias).ravel().astype(np.float64)).reshape(shape)
    assert np.abs(kernels.biased_gelu(x, bias) - exact).max() <= 1e-6


@pytest.mark.parametrize("x", [0.0, 20.0, 1e4, 1e20, float(FLOAT32.max)])
def test_gelu_of_extreme_values_is_the_value_or_zero(x: float) -> None:
    """Far out it is x above and 0 below, without an overflow that anybody hears of; 0 stays 0."""
    assert gelu(x, -x).tolist() == [np.float32(x), 0.0]


def test_gelu_shows_what_is_no_number() -> None:
    """A NaN is not hidden: the forward pass must fail on it."""
    assert np.isnan(gelu(math.nan)).all()


def test_powers_of_two_are_exact_to_three_in_ten_million() -> None:
    """Relative error 2.4e-7 at most over all exponents of normal numbers, and 1 exactly for 0."""
    grid = np.linspace(-126, 127, 500_001, dtype=np.float32)
    found = kernels.exp2(grid.copy()).astype(np.float64)
    assert np.abs(found / np.exp2(grid.astype(np.float64)) - 1).max() <= 2.4e-7
    assert kernels.exp2(np.zeros(1, dtype=np.float32)).tolist() == [1.0]


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 3000.0], ids="scores times {}".format)
@pytest.mark.parametrize("length", [1, 2, 7, 64, 250])
def test_softmax_is_the_exact_one(length: int, scale: float) -> None:
    """With the identity for values, attention is the softmax itself: flat, ordinary and extreme scores."""
    random = np.random.default_rng(length)
    queries, keys = random.normal(0, 1, (2, 2, 3, length, 8)).astype(np.float32)
    queries *= np.float32(scale)
    values = np.broadcast_to(np.eye(length, dtype=np.float32), (2, 3, length, length))
    found = attended(queries, keys, values)
    # the scores themselves are rounded to float32: what their size allows
    scores = np.abs(queries.astype(np.float64) @ keys.swapaxes(-1, -2)).max()
    assert np.abs(found - exact_attention(queries, keys, values)).max() <= 5e-7 + scores * FLOAT32.eps
    assert found.sum(axis=-1) == pytest.approx(np.ones((2, 3, length)), abs=1e-6)


@pytest.mark.parametrize(("texts", "heads", "asked", "length"), [(9, 12, 62, 62), (2, 12, 250, 250), (400, 4, 1, 512)])
def test_attention_takes_every_text_and_head_in_every_block_once(
    texts: int, heads: int, asked: int, length: int
) -> None:
    """Several texts at a time, several heads of one, or one token that asks: from views as the encoder makes them."""
    random = np.random.default_rng(11)
    width = 8
    rows = random.normal(0, 1, (3, texts * length, heads * width)).astype(np.float32)
    queries, keys, values = (one.reshape(texts, length, heads, width).swapaxes(1, 2) for one in rows)
    queries = queries[:, :, :asked]
    assert np.abs(attended(queries, keys, values) - exact_attention(queries, keys, values)).max() <= 5e-6


def test_a_score_that_is_no_number_spoils_the_vector_and_not_its_neighbour() -> None:
    """Infinite activations must reach the check of the finished vector, in the text they belong to."""
    queries, keys, values = np.ones((3, 2, 1, 4, 4), dtype=np.float32)
    queries[1] = math.inf
    with np.errstate(invalid="ignore"):
        found = attended(queries, keys, values)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[0]).all()


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_layer_norm_is_the_exact_one(offset: float, spread: float) -> None:
    """Two passes over the row keep it exact although the mean is far from 0: what float32 has left decides."""
    random = np.random.default_rng(3)
    width, epsilon = 384, 1e-12
    x = random.normal(offset, spread, (9, width)).astype(np.float32)
    weight, bias = random.normal(0, 1, (2, width)).astype(np.float32)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon) * weight + bias
    assert np.abs(kernels.layer_norm(x, weight, bias, epsilon) - exact).max() <= 3e-6 * (1 + offset / spread)
