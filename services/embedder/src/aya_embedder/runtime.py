"""MLX, bound to a fast BLAS. What computes takes `mx` from here: imported first elsewhere, MLX keeps its own BLAS."""

from __future__ import annotations

from aya_embedder import blas

OPENBLAS = blas.preload_openblas()  # before mlx.core, whose BLAS symbols bind to what is loaded first

import mlx.core as mx  # noqa: E402
from mlx import nn  # noqa: E402 # pyright: ignore[reportMissingTypeStubs]
from mlx.utils import tree_flatten  # noqa: E402 # pyright: ignore[reportUnknownVariableType]

__all__ = ["OPENBLAS", "device", "mx", "nn", "tree_flatten"]


def device() -> blas.Device:
    """Say what MLX computes on by default."""
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"
