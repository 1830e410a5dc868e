"""Finding a fast BLAS for MLX on Linux, before MLX is imported.

MLX's CPU wheel for Linux is linked to the reference BLAS: 6 GFLOP/s on two cores. The dynamic linker binds
a library's symbols to the first definition in the global scope, so an OpenBLAS that was loaded there first
answers MLX's calls instead: 145 to 190 GFLOP/s on the same cores (ld.so(8), dlopen(3) RTLD_GLOBAL).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from dataclasses import dataclass
from typing import Literal

_SONAMES = ("libopenblas.so.0", "libopenblasp.so.0", "libopenblas.so")

Device = Literal["metal", "cuda", "cpu"]
Blas = Literal["metal", "cuda", "accelerate", "openblas", "reference"]


@dataclass(frozen=True, slots=True)
class Backend:
    """What computes the matrix products.

    blas: on a CPU the library in use, otherwise the device's own.
    version: of OpenBLAS, as it describes itself; None for the others.
    """

    device: Device
    blas: Blas
    version: str | None = None


def preload_openblas() -> str | None:
    """Load OpenBLAS into the process's global scope and return its own description; None where there is none.

    Must run before the first import of mlx: a library that is bound already stays bound, so None then too.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    for name in filter(None, (ctypes.util.find_library("openblas"), *_SONAMES)):
        try:
            library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return _described(library)
    return None


def _described(library: ctypes.CDLL) -> str:
    describe = library.openblas_get_config
    describe.restype = ctypes.c_char_p
    described = describe()
    return described.decode(errors="replace").strip() if isinstance(described, bytes) else "OpenBLAS"


def backend(device: Device, openblas: str | None) -> Backend:
    """Name the backend of `device`; openblas: what preload_openblas returned."""
    if device != "cpu":
        return Backend(device, device)
    if sys.platform == "darwin":
        return Backend("cpu", "accelerate")
    return Backend("cpu", "openblas", openblas) if openblas else Backend("cpu", "reference")
