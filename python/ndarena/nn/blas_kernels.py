"""What NumPy's OpenBLAS says about itself, and the system about the processor."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.linalg import _umath_linalg

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "core_name",
    "is_of_intel",
    "of_openblas",
    "takes_rows_by_fours",
    "takes_small_products",
    "threads",
]

CPU_INFO = Path("/proc/cpuinfo")
SPELLINGS = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")
"""How its functions are called in NumPy's wheels and in builds against the system's library."""
SMALL_PRODUCTS = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""Kernels for AVX-512; beside them lie those that take the matrices of a small product as they are."""
ROWS_BY_FOURS = ("Haswell", "Zen")
"""Kernels for AVX2."""


@cache
def core_name() -> str:
    """Return the name of the kernels, ``""`` if NumPy was built with another library."""
    function: Any = of_openblas("get_corename")
    if function is None:
        return ""
    function.restype = ctypes.c_char_p
    return bytes(function()).decode()


@cache
def takes_small_products() -> bool:
    """Return whether small products of single and double precision have kernels of their own."""
    return core_name() in SMALL_PRODUCTS


@cache
def takes_rows_by_fours() -> bool:
    """Return whether a product takes for one to three rows as long as for four, or longer."""
    return core_name() in ROWS_BY_FOURS


@cache
def is_of_intel() -> bool:
    """Return whether the system says that the processor is one of Intel's."""
    try:
        said = CPU_INFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        said = os.environ.get("PROCESSOR_IDENTIFIER", "")  # Windows
    return "GenuineIntel" in said


def threads() -> int:
    """Return how many threads a product takes now, 1 if that is not known."""
    function = of_openblas("get_num_threads")
    return 1 if function is None else int(function())


@cache
def of_openblas(name: str) -> Callable[[], Any] | None:
    """Return a function of the library that NumPy's linear algebra was linked with, if it has it."""
    try:
        library = ctypes.PyDLL(_umath_linalg.__file__)
    except OSError:
        return None
    found = (getattr(library, spelling.format(name), None) for spelling in SPELLINGS)
    return next((function for function in found if function is not None), None)
