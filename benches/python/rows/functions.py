"""Functions without `out=`: their results come from the workspace all the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Row

from .operators import same
from .stage import DTYPES, operands, size_of

LIMITS = {1000: 2.5, 10**5: 1.2, 10**6: 1.05}
CODES = (
    "np.where(m, a, b)",
    "np.concatenate((a, b))",
    "np.stack((a, b))",
    "a[m]",
    "a[i]",
    "np.sort(a)",
)


def rows() -> list[Row]:
    """Return the rows of functions."""
    return [
        Row("function", code, size_of(n), dtype, "NumPy", Bar(limit), same(code, partial(names, n, dtype)))
        for dtype in DTYPES
        for code in CODES
        for n, limit in LIMITS.items()
    ]


def names(n: int, dtype: str) -> dict[str, Any]:
    """Return operands, a mask that takes half of them, and as many places in any order."""
    random = np.random.default_rng(2)
    return {**operands(n, dtype), "m": random.random(n) < 0.5, "i": random.permutation(n)}  # noqa: PLR2004
