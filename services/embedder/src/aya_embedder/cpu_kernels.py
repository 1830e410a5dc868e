"""Functions of a transformer in what NumPy does fast on a CPU: sums, products, quotients and matrix products.

NumPy computes erf not at all, and exp without the processor's vectors where these are narrower than AVX-512 (2.3 ns an
element); its sums and products take 0.13 ns as long as the numbers stay in the cache. So GELU and softmax are
polynomials here, in float32, computed in place and block by block: about as exact as MLX's, as the tests show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# 0.5 erfc(x/√2) = 1 / P(x)¹⁶ for x ≥ 0, after formula 7.1.28 of Abramowitz and Stegun (3e-7), fitted anew so that the
# error of x times it is smallest: 2.1e-7, and 5.2e-7 with float32's rounding (MLX's own GELU: 4.7e-7). Fewer
# operations than a quotient of polynomials, and no clipping: P grows until the tail is 0. Lowest power first.
_TAIL = (
    1.0442748069763184,
    0.05206397920846939,
    0.02211371622979641,
    0.0033705108799040318,
    7.532208110205829e-05,
    3.964926872868091e-05,
    6.988006589381257e-06,
)
_TAIL_SQUARINGS = 4

# 2ˣ on [-0.5, 0.5], with 2⁰ = 1 exactly, by minimax on the relative error: 9.2e-8, and 1.7e-7 with rounding.
_POWER_OF_TWO = (1.0, 0.6931469776025033, 0.2402224212404091, 0.05550733777029181, 0.009671510181453234, 0.00132647036)
_LOWEST_EXPONENT = np.float32(-126.0)  # of a normal float32
_MANTISSA_BITS = 23
# Added to a float32 of less than 2²² it rounds that to a whole number, which then stands in the lowest bits.
_ROUNDER = np.float32(1.5 * 2.0**_MANTISSA_BITS)

# Scores within these bounds are raised as they are: 2¹⁰⁰ times the longest window is far from overflow, and what a sum
# loses beside its greatest term was lost anyway.
_SAFE_SCORE = 100.0

# Numbers of a block, which stays in the cache with its scratch (1.5 MB of GELU, 3 MB of scores). Smaller ones are no
# faster on one thread, and two threads meet more often at the interpreter's lock, which every operation takes anew.
_BLOCK = 128 * 1024
_SCORES = 256 * 1024


def biased_gelu(x: Array, bias: Array) -> Array:
    """Make x + bias, in place, into its GELU z·Φ(z), Φ the normal distribution (by erf, not by tanh); return it.

    x: (rows, width), C-contiguous, finite. bias: (width,).
    """
    rows = max(1, _BLOCK // x.shape[1])
    scratch = np.empty((2, min(rows, len(x)), x.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore"):  # far out P¹⁶ is infinite, and the tail 0
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            np.add(block, bias, out=block)
            _gelu(block, *scratch[:, : len(block)])
    return x


def _gelu(x: Array, size: Array, tail: Array) -> None:
    np.abs(x, out=size)
    _polynomial(size, _TAIL, out=tail)
    for _ in range(_TAIL_SQUARINGS):
        np.square(tail, out=tail)
    np.divide(size, tail, out=tail)
    np.maximum(x, np.float32(0), out=x)
    np.subtract(x, tail, out=x)


def exp2(x: Array) -> Array:
    """Return 2ˣ for x from -126 to 127, float32, C-contiguous, any shape. x is used up: it holds the fractions then."""
    whole = np.add(x, _ROUNDER)
    power = np.subtract(whole, _ROUNDER)
    np.subtract(x, power, out=x)
    _polynomial(x, _POWER_OF_TWO, out=power)
    exponent = whole.view(np.int32)
    np.left_shift(exponent, _MANTISSA_BITS, out=exponent)
    bits = power.view(np.int32)
    np.add(bits, exponent, out=bits)
    return power


def attention(queries: Array, keys: Array, values: Array, context: Array) -> None:
    """Write softmax₂(queries · keysᵀ) · values into context: softmax with base 2.

    queries, context: (texts, heads, asked, width), queries with log2(e) / √width multiplied in, so that base 2 gives
    the model's softmax. keys, values: (texts, heads, length, width). All four may be views of any strides but the last.
    """
    texts, heads, asked, _ = queries.shape
    length = keys.shape[2]
    ones = np.ones((length, 1), dtype=np.float32)
    # a row of scores belongs to a text and a head: as many at once as a block has room for, whole texts if it can
    fitting = max(1, _SCORES // (asked * length))
    texts_at_once, heads_at_once = max(1, fitting // heads), min(fitting, heads)
    for text in range(0, texts, texts_at_once):
        for head in range(0, heads, heads_at_once):
            part = (slice(text, text + texts_at_once), slice(head, head + heads_at_once))
            weights = _weights(queries[part] @ keys[part].swapaxes(-1, -2))
            np.divide(weights @ values[part], weights @ ones, out=context[part])


def _weights(scores: Array) -> Array:
    """Return 2^scores, or what is proportional to it in each row."""
    if scores.max() > _SAFE_SCORE or scores.min() < -_SAFE_SCORE:
        np.subtract(scores, scores.max(axis=-1, keepdims=True), out=scores)
        np.maximum(scores, _LOWEST_EXPONENT, out=scores)
    return exp2(scores)


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """Normalise the rows of x (rows, width), in place, to mean 0 and variance 1, times weight plus bias; return x."""
    width = x.shape[1]
    np.subtract(x, x @ np.full((width, 1), 1 / width, dtype=np.float32), out=x)
    variance = np.einsum("ij,ij->i", x, x) / np.float32(width)
    np.multiply(x, (1 / np.sqrt(variance + np.float32(epsilon)))[:, None], out=x)
    np.multiply(x, weight, out=x)
    return np.add(x, bias, out=x)


def _polynomial(x: Array, coefficients: tuple[float, ...], *, out: Array) -> None:
    """Evaluate by Horner's rule; out: another array than x."""
    np.multiply(x, np.float32(coefficients[-1]), out=out)
    for coefficient in coefficients[-2:0:-1]:
        np.add(out, np.float32(coefficient), out=out)
        np.multiply(out, x, out=out)
    np.add(out, np.float32(coefficients[0]), out=out)
