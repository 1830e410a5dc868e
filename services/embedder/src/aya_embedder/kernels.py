"""Which functions compute, and on how many streams: pure. Source: docs/adr/0010-cpu-kernels.md.

On a CPU the time is in functions that MLX computes one element at a time, and on one thread for each stream. There, the
NumPy functions of cpu_kernels and several streams of few BLAS threads are faster; anywhere else MLX's own are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aya.errors import ConfigError

if TYPE_CHECKING:
    from aya_embedder.blas import Blas, Device

Kernels = Literal["stock", "cpu"]
Wish = Literal["auto", "stock", "cpu"]
WISHES: tuple[Wish, ...] = ("auto", "stock", "cpu")

# A stream more is a model's working memory more, and a lone text is computed by one of them: with many cores each
# stream has several BLAS threads. Measured with two cores only.
_MOST_STREAMS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """kernels: whose functions; streams: how many batches at a time; blas_threads: of each, 0 for BLAS's choice."""

    kernels: Kernels
    streams: int
    blas_threads: int

    @property
    def cores(self) -> int:
        """How many BLAS threads a stream may have that computes alone."""
        return self.streams * self.blas_threads


def plan(wish: Wish, device: Device, blas: Blas, cores: int, *, covered: bool) -> Plan:
    """Choose for a device and its BLAS.

    cores: those that this process may use. covered: whether cpu_encoder knows the model's architecture; if not, the
    stock functions compute it, whatever is wished. Raises ConfigError on a wish that the device cannot have.
    """
    if wish == "cpu" and device != "cpu":
        raise ConfigError(
            f"AYA_EMBEDDER_KERNELS is cpu, and MLX computes on {device}", hint="export AYA_EMBEDDER_KERNELS=auto"
        )
    if not covered or wish == "stock" or (wish == "auto" and blas not in {"openblas", "reference"}):
        return Plan("stock", 1, 0)
    streams = max(1, min(cores, _MOST_STREAMS))
    return Plan("cpu", streams, max(1, cores // streams))
