"""Functions of a transformer in the operations that MLX does fast on a CPU: sums, products, quotients, matrix products.

MLX's x86 wheel computes erf, exp and rsqrt one element at a time (26, 16 and 14 ns an element), and sums, products and
quotients with the processor's vectors (0.2 to 0.4 ns). So GELU and softmax are polynomials here, in float32, about as
exact as the stock functions; the tests hold the bounds. On Metal and CUDA the stock, fused functions are faster.
"""

from __future__ import annotations

from aya_embedder.runtime import mx

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
_LOWEST_EXPONENT = -126.0  # of a normal float32
_MANTISSA_BITS = 23
# Added to a float32 of less than 2²² it rounds that to a whole number, which then stands in the lowest bits.
_ROUNDER = 1.5 * 2.0**_MANTISSA_BITS
_SMALLEST = 2.0**_LOWEST_EXPONENT


def gelu(x: mx.array) -> mx.array:
    """Return x·Φ(x), Φ the normal distribution: the GELU by erf, not the one by tanh. x: finite, float32, any shape."""
    size = mx.abs(x)
    tail = _polynomial(size, _TAIL)
    for _ in range(_TAIL_SQUARINGS):
        tail = mx.square(tail)
    return mx.maximum(x, 0.0) - size / tail


def exp2(x: mx.array) -> mx.array:
    """Return 2ˣ for x ≤ 0, float32, any shape; under -126 it stays 2⁻¹²⁶, which a softmax cannot tell from 0."""
    bounded = mx.maximum(x, _LOWEST_EXPONENT)
    rounded = bounded + _ROUNDER
    fraction = bounded - (rounded - _ROUNDER)
    exponent = mx.left_shift(rounded.view(mx.int32), _MANTISSA_BITS)
    return (_polynomial(fraction, _POWER_OF_TWO).view(mx.int32) + exponent).view(mx.float32)


def attention(queries: mx.array, keys: mx.array, values: mx.array, present: mx.array) -> mx.array:
    """Return softmax₂(queries · keysᵀ) · values, (…, asked, width): softmax with base 2.

    queries: (…, asked, width), log2(e) / √width times what the model says, so that base 2 gives its softmax.
    keys, values: (…, length, width). present: (…, length, 1), 1 for a token and 0 for padding, whose values must be
    finite, and whose keys should be those of a token beside it: the greatest score, padding's too, is subtracted.
    A row to which nothing is present is 0.
    """
    scores = queries @ keys.swapaxes(-1, -2)
    weights = exp2(scores - scores.max(axis=-1, keepdims=True))
    # dividing at the end divides fewer numbers; and the sum is a matrix product, which leaves padding out by itself
    return (weights @ (values * present)) / mx.maximum(weights @ present, _SMALLEST)


def layer_norm(x: mx.array, average: mx.array, weight: mx.array, bias: mx.array, epsilon: float) -> mx.array:
    """Normalise the rows of x (rows, width) to mean 0 and variance 1, times weight plus bias (width).

    average: (width, 1), every element 1 / width: means by a matrix product take a third of MLX's time for them.
    """
    centred = x - x @ average
    variance = mx.square(centred) @ average
    return centred * mx.rsqrt(variance + epsilon) * weight + bias


def _polynomial(x: mx.array, coefficients: tuple[float, ...]) -> mx.array:
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value
