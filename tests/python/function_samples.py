"""Operands of NumPy's functions, by name."""

from __future__ import annotations

import numpy as np

SAMPLES = {
    "m": lambda: np.arange(12.0).reshape(3, 4) - 4.5,
    "s": lambda: np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]]),
    "s2": lambda: np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 4.0], [5.0, 6.0, 0.0]]),
    "v": lambda: np.array([0.5, 2.5, 1.0, -2.0, 1.0]),
    "w": lambda: np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    "v3": lambda: np.array([1.0, 2.0, 3.0]),
    "z": lambda: np.array([1 + 2j, 3 - 1j, 0.5j, 2.0]),
    "i": lambda: np.array([3, 1, 2, 1, 0]),
    "n": lambda: np.array([2, 0, 1]),
    "b": lambda: np.array([True, False, True, True, False]),
    "b3": lambda: np.array([[True, False, True, False]] * 3),
    "u": lambda: np.arange(8, dtype=np.uint8),
    "c": lambda: np.arange(24.0).reshape(2, 3, 4),
    "h": lambda: np.eye(4).reshape(2, 2, 2, 2),
    "q": lambda: np.array([np.nan, 1.0, 2.0, np.nan, 0.5]),
    "t": lambda: np.array(["2024-02-29", "2024-03-01"], "M8[D]"),
    "text": lambda: np.array(["ab c", "Xy", "z\tq"]),
    "raw": lambda: np.array([b"ab c", b"Xy"]),
    "wide": lambda: np.zeros((3, 4)),
}
"""Operands by the name of a parameter: the lambdas of the tests name what they want."""
