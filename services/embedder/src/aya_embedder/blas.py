"""Finding a fast BLAS for MLX on Linux, before MLX is imported.

MLX's CPU wheel for Linux is linked to the reference BLAS: 6 GFLOP/s on two cores. The dynamic linker binds
a library's symbols to the first definition in the global scope, so an OpenBLAS that was loaded there first
answers MLX's calls instead: 145 to 190 GFLOP/s on the same cores (ld.so(8), dlopen(3) RTLD_GLOBAL).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import sys
from dataclasses import dataclass
from typing import Any, Literal

from threadpoolctl import (  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
    ThreadpoolController,
)

from aya_embedder.kernels import Kernels

# NumPy's wheels carry it in numpy.libs (Linux) or numpy/.dylibs (macOS).
_NUMPYS = "numpy"
_SONAMES = ("libopenblas.so.0", "libopenblasp.so.0", "libopenblas.so")

# Names and values of mallopt(3); 32 MiB is the highest threshold that every glibc takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_IN_HEAP_BYTES = 32 * 1024 * 1024
_KEPT_BYTES = 256 * 1024 * 1024

Device = Literal["metal", "cuda", "cpu"]
Blas = Literal["metal", "cuda", "accelerate", "openblas", "reference"]


@dataclass(frozen=True, slots=True)
class Backend:
    """What computes.

    blas: what computes the matrix products; on a CPU the library in use, otherwise the device's own.
    version: of OpenBLAS, as it describes itself; None for the others.
    kernels: "stock" for MLX's functions, "cpu" for those of cpu_kernels.
    streams: how many batches are computed at a time.
    """

    device: Device
    blas: Blas
    version: str | None = None
    kernels: Kernels = "stock"
    streams: int = 1


@dataclass(frozen=True, slots=True)
class OpenBlas:
    """The OpenBLAS that MLX is bound to. version: as it describes itself."""

    version: str


@functools.cache
def _of_numpy() -> Any:  # noqa: ANN401 threadpoolctl is untyped
    """Return threadpoolctl's handle on the BLAS that NumPy brought, None where it has no such handle."""
    loaded: Any = ThreadpoolController().select(user_api="blas")  # pyright: ignore[reportUnknownMemberType]
    return next((one for one in loaded.lib_controllers if _NUMPYS in one.filepath), None)


def of_numpy() -> tuple[Blas, str | None]:
    """Name the BLAS that NumPy brought, and its version; it computes the matrix products of the cpu kernels."""
    found = _of_numpy()
    if found is not None and found.internal_api == "openblas":
        return "openblas", f"OpenBLAS {found.version}"
    return ("accelerate" if sys.platform == "darwin" else "reference", None)


def limit_threads(count: int) -> None:
    """Let every matrix product of NumPy run on `count` threads, from now on and for the whole process; in 1 µs."""
    found = _of_numpy()
    if found is not None:
        found.set_num_threads(count)


def preload_openblas() -> OpenBlas | None:
    """Load OpenBLAS into the process's global scope and return it; None where there is none.

    Must run before the first import of mlx: a library that is bound already stays bound, so None then too.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    for name in filter(None, (ctypes.util.find_library("openblas"), *_SONAMES)):
        try:
            library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return OpenBlas(_described(library))
    return None


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, instead of giving it back to the system and asking for it again.

    MLX has no cache of its own on a CPU, and a batch makes and frees some hundred arrays of megabytes. By glibc's
    defaults their pages leave and are zeroed anew each time: a batch of long texts took a quarter longer (mallopt(3)).
    """
    if sys.platform != "linux":
        return
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; musl has none
    if adjust is not None:
        adjust(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP_BYTES)
        adjust(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def return_freed_memory() -> None:
    """Give back what keep_freed_memory keeps: 60 MiB of each model that was unloaded (malloc_trim(3))."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _described(library: ctypes.CDLL) -> str:
    describe = library.openblas_get_config
    describe.restype = ctypes.c_char_p
    described = describe()
    return described.decode(errors="replace").strip() if isinstance(described, bytes) else "OpenBLAS"


def in_use(device: Device, openblas: OpenBlas | None) -> Blas:
    """Name what computes the matrix products on `device`; openblas: what preload_openblas returned."""
    if device != "cpu":
        return device
    if sys.platform == "darwin":
        return "accelerate"
    return "openblas" if openblas else "reference"
