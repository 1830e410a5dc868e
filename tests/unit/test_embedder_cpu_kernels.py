"""The re-expressed functions against float64: bounds over dense grids, masks, rows without tokens, extreme values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from aya_embedder import cpu_kernels as kernels
from aya_embedder.runtime import mx

FLOAT32 = np.finfo(np.float32)


def read(x: mx.array) -> NDArray[np.float32]:
    """Evaluate, as NumPy."""
    return np.array(x, dtype=np.float32)


def exact_gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x·Φ(x), by erfc, which keeps the tail."""
    return np.array([0.5 * value * math.erfc(-value / math.sqrt(2)) for value in x])


def exact_attention(
    queries: NDArray[np.float64], keys: NDArray[np.float64], values: NDArray[np.float64], present: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return softmax₂ over what is present, times the values."""
    scores = np.where(present.swapaxes(-1, -2) > 0, queries @ keys.swapaxes(-1, -2), -np.inf)
    weights = np.exp2(scores - scores.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = weights @ values / weights.sum(axis=-1, keepdims=True)
    return found


def test_gelu_is_exact_to_float32_rounding_everywhere() -> None:
    """Within 6e-7 of x·Φ(x) on half a million points from -12 to 12; tanh-GELU would be 4.7e-4 away."""
    grid = np.linspace(-12, 12, 500_001, dtype=np.float32)
    apart = np.abs(read(kernels.gelu(mx.array(grid))) - exact_gelu(grid.astype(np.float64)))
    assert apart.max() <= 6e-7


@pytest.mark.parametrize("x", [0.0, 20.0, 1e4, 1e20, float(FLOAT32.max)])
def test_gelu_of_extreme_values_is_the_value_or_zero(x: float) -> None:
    """Far out it is x above and 0 below, without an overflow on the way; 0 stays 0."""
    assert read(kernels.gelu(mx.array([x, -x]))).tolist() == [np.float32(x), 0.0]


def test_gelu_shows_what_is_no_number() -> None:
    """A NaN is not hidden: the forward pass must fail on it."""
    assert np.isnan(read(kernels.gelu(mx.array([math.nan])))).all()


def test_powers_of_two_are_exact_to_three_in_ten_million() -> None:
    """Relative error 2.4e-7 at most over all exponents of normal numbers, and 1 exactly for 0."""
    grid = np.linspace(-126, 0, 500_001, dtype=np.float32)
    found = read(kernels.exp2(mx.array(grid))).astype(np.float64)
    assert np.abs(found / np.exp2(grid.astype(np.float64)) - 1).max() <= 2.4e-7
    assert found[-1] == 1.0


@pytest.mark.parametrize("x", [-126.5, -1e4, float(FLOAT32.min), -math.inf])
def test_powers_of_two_under_the_range_are_next_to_nothing(x: float) -> None:
    """They neither wrap around nor become negative."""
    assert read(kernels.exp2(mx.array([x]))).tolist() == [2.0**-126]


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 3000.0], ids="scores times {}".format)
@pytest.mark.parametrize("length", [1, 2, 7, 64, 250])
def test_softmax_is_the_exact_one(length: int, scale: float) -> None:
    """With the identity for values, attention is the softmax itself: flat, ordinary and extreme scores."""
    random = np.random.default_rng(length)
    queries, keys = random.normal(0, 1, (2, 3, length, 8)).astype(np.float32)
    queries *= np.float32(scale)
    values, present = np.broadcast_to(np.eye(length, dtype=np.float32), (3, length, length)), np.ones((1, length, 1))
    found = read(kernels.attention(*map(mx.array, (queries, keys, values, present.astype(np.float32)))))
    # the scores themselves are rounded to float32: what their size allows
    scores = np.abs(queries.astype(np.float64) @ keys.swapaxes(-1, -2)).max()
    exact = exact_attention(*(part.astype(np.float64) for part in (queries, keys, values, present)))
    assert np.abs(found - exact).max() <= 3e-7 + scores * FLOAT32.eps
    assert found.sum(axis=-1) == pytest.approx(np.ones((3, length)), abs=1e-6)


def test_padding_is_not_seen_whatever_its_values() -> None:
    """Only what is present is averaged, in each row of the batch by its own mask."""
    random = np.random.default_rng(7)
    queries, keys, values = random.normal(0, 1, (3, 2, 5, 4)).astype(np.float32)
    keys[0, 3:], values[0, 3:] = keys[0, 0], 1e30  # padding repeats a key that is there
    present = np.ones((2, 5, 1), np.float32)
    present[0, 3:] = 0
    found = read(kernels.attention(*map(mx.array, (queries, keys, values, present))))
    exact = exact_attention(*(part.astype(np.float64) for part in (queries, keys, values, present)))
    assert np.abs(found - exact).max() <= 5e-7


def test_a_row_that_sees_nothing_is_zero() -> None:
    """No division by nothing, and no NaN that would spoil the batch."""
    ones = mx.ones((1, 3, 4))
    assert read(kernels.attention(ones, ones, ones, mx.zeros((1, 3, 1)))).tolist() == [[[0.0] * 4] * 3]


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_layer_norm_is_the_exact_one(offset: float, spread: float) -> None:
    """Two passes over the row keep it exact although the mean is far from 0: what float32 has left decides."""
    random = np.random.default_rng(3)
    width, epsilon = 384, 1e-12
    x = random.normal(offset, spread, (9, width)).astype(np.float32)
    weight, bias = random.normal(0, 1, (2, width)).astype(np.float32)
    average = mx.full((width, 1), 1 / width)
    found = read(kernels.layer_norm(mx.array(x), average, mx.array(weight), mx.array(bias), epsilon))
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon) * weight + bias
    assert np.abs(found - exact).max() <= 3e-6 * (1 + offset / spread)
