"""Which kernels are chosen, and on how many streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aya.errors import ConfigError
from aya_embedder.kernels import Plan, Wish, plan

if TYPE_CHECKING:
    from aya_embedder.blas import Blas, Device

STOCK = Plan("stock", 1, 0)


@pytest.mark.parametrize(
    ("wish", "device", "blas", "cores", "chosen"),
    [
        pytest.param("auto", "cpu", "openblas", 2, Plan("cpu", 2, 1), id="two cores are two streams"),
        pytest.param("auto", "cpu", "openblas", 1, Plan("cpu", 1, 1), id="one core is one stream"),
        pytest.param("auto", "cpu", "openblas", 16, Plan("cpu", 4, 4), id="many cores are shared out"),
        pytest.param("auto", "cpu", "reference", 2, Plan("cpu", 2, 1), id="erf is slow without OpenBLAS, too"),
        pytest.param("auto", "cpu", "accelerate", 8, STOCK, id="a Mac's CPU keeps MLX's functions"),
        pytest.param("auto", "metal", "metal", 8, STOCK, id="Metal keeps the fused functions"),
        pytest.param("auto", "cuda", "cuda", 8, STOCK, id="so does CUDA"),
        pytest.param("stock", "cpu", "openblas", 2, STOCK, id="stock can be wished"),
        pytest.param("cpu", "cpu", "accelerate", 2, Plan("cpu", 2, 1), id="so can ours on any CPU"),
    ],
)
def test_the_choice(wish: Wish, device: Device, blas: Blas, cores: int, chosen: Plan) -> None:
    """Ours on a CPU without Accelerate, MLX's anywhere else, and what is wished where it can be had."""
    assert plan(wish, device, blas, cores, covered=True) == chosen


@pytest.mark.parametrize("wish", ["auto", "stock", "cpu"])
def test_an_architecture_that_is_not_covered_is_computed_by_the_stock_functions(wish: Wish) -> None:
    """Right vectors come before fast ones."""
    assert plan(wish, "cpu", "openblas", 2, covered=False) == STOCK


def test_cpu_kernels_on_metal_are_refused_with_what_to_type() -> None:
    """A wish that cannot be had is said, not dropped."""
    with pytest.raises(ConfigError, match="metal") as caught:
        plan("cpu", "metal", "metal", 8, covered=True)
    assert caught.value.hint == "export AYA_EMBEDDER_KERNELS=auto"
