"""The product of two matrices: fast path, general path and NumPy."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from fast_support import DTYPES, misaligned, numbers, packed, read_only, three_ways

import ndarena

SIZES = [
    (2, 3, 4), (1, 1, 1), (1, 3, 1), (3, 1, 4), (5, 5, 5), (0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0),
    (17, 16, 15), (1, 40, 3), (40, 1, 3), (33, 65, 2),
]  # fmt: skip
"""Rows, the common length, columns."""

LONG = [
    (12, 13, 14),
    (16, 16, 16),
    (64, 3, 11),
    (2048, 1, 1),
    (1, 2049, 1),
    (1, 2, 2500),
    (128, 128, 64),
    (128, 128, 65),
    (1025, 1, 1025),
]
"""Around the size from which other threads may run."""

ORDERS = {
    "C": lambda a: a,
    "F": lambda a: a.T.copy("C").T,
    "columns apart": lambda a: a.repeat(2, axis=1)[:, ::2],
    "rows apart": lambda a: a.repeat(3, axis=0)[::3],
    "both apart": lambda a: a.repeat(2, axis=0).repeat(2, axis=1)[::2, 1::2],
    "rows backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "F apart": lambda a: a.T.repeat(2, axis=1)[:, ::2].T,
}


@pytest.fixture
def ws():
    workspace = ndarena.Workspace(ndarena.WorkspaceConfiguration(initial_size="4 MiB"), "W")
    with np.errstate(all="ignore"), workspace:
        yield workspace


def matrix(dtype, m, n, start=0):
    """Whole numbers, whose sums do not depend on the order of summation."""
    values = (np.arange(m * n) * 7 + start) % 5 - (0 if np.dtype(dtype).kind in "bu" else 2)
    made = values.reshape(m, n).astype(dtype)
    return made + made.dtype.type(1j) * made[::-1, ::-1] if made.dtype.kind == "c" else made


def in_order(order, array):
    return lambda make: ORDERS[order](make(array))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_size_and_order(ws, dtype):
    for m, n, p in [*SIZES, *LONG]:
        left, right = matrix(dtype, m, n), matrix(dtype, n, p, 3)
        for one, other in [("C", "C"), ("F", "C"), ("C", "F"), ("F", "F")]:
            three_ways(ws, operator.matmul, in_order(one, left), in_order(other, right))


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "i4", "f2", "?", "g"])
def test_every_order_against_every_other(ws, dtype):
    left, right = matrix(dtype, 3, 4), matrix(dtype, 4, 5, 2)
    for one, other in itertools.product(ORDERS, repeat=2):
        three_ways(ws, operator.matmul, in_order(one, left), in_order(other, right))
    for one in ORDERS:
        three_ways(ws, operator.matmul, in_order(one, left), right)
        three_ways(ws, lambda a, b: b @ a, in_order(one, right), left)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16", "g", "i8"])
def test_a_matrix_with_itself(ws, dtype):
    """BLAS computes one half of a matrix times its own transpose."""
    for shape in [(5, 5), (3, 40), (40, 3), (1, 6), (70, 70)]:
        array = matrix(dtype, *shape)
        for order in ORDERS:
            three_ways(ws, lambda a: a @ a.T, in_order(order, array))
            three_ways(ws, lambda a: a.T @ a, in_order(order, array))
        if shape[0] == shape[1]:
            three_ways(ws, lambda a: a @ a, packed(array))
            three_ways(ws, lambda a: a[::-1] @ a, packed(array))


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "f2"])
def test_awkward_values(ws, dtype):
    for m, n, p in [(2, 3, 4), (5, 19, 3), (1, 19, 1)]:
        left, right = numbers(dtype, m * n).reshape(m, n), numbers(dtype, n * p, 3).reshape(n, p)
        for one, other in [("C", "C"), ("F", "C"), ("both apart", "C")]:
            three_ways(ws, operator.matmul, in_order(one, left), in_order(other, right))


def test_what_is_left_to_numpy(ws):
    """Vectors, stacks, mixed dtypes, other byte orders, what does not fit."""
    f8 = matrix("f8", 3, 4)
    others = [
        np.ones(4), np.ones((2, 4, 3)), np.ones((4, 2), "f4"), np.ones((4, 2), ">f8"), np.ones((4, 2), "i8"),
        np.ones((3, 4)), np.ones(3), np.ones((0, 4)), np.float64(2), 2, [[1.0]] * 4, np.ones((4, 2), "m8[s]"),
    ]  # fmt: skip
    for other in others:
        three_ways(ws, operator.matmul, packed(f8), other)
        three_ways(ws, lambda a, b: b @ a, packed(f8), other)
        if type(other) is np.ndarray:
            three_ways(ws, operator.matmul, packed(f8), packed(other))
            three_ways(ws, operator.matmul, packed(other), packed(f8))
    three_ways(ws, operator.matmul, misaligned(f8), packed(f8.T.copy()))
    three_ways(ws, operator.matmul, packed(f8), misaligned(f8.T.copy()))


def test_read_only_and_broadcast_operands(ws):
    array = matrix("f8", 4, 4)
    three_ways(ws, operator.matmul, lambda make: read_only(make(array)), packed(array))
    three_ways(ws, operator.matmul, packed(array), lambda make: np.broadcast_to(make(array[0]), (4, 4)))
    three_ways(ws, operator.matmul, lambda make: np.broadcast_to(make(array[:, :1]), (4, 4)), packed(array))


def test_in_place(ws):
    for one, other in [((4, 4), (4, 4)), ((3, 4), (4, 4)), ((4, 4), (4, 3)), ((4, 4), (4,))]:
        left, right = matrix("f8", *one), np.ones(other)
        three_ways(ws, operator.imatmul, packed(left), packed(right))
    three_ways(ws, lambda a: operator.imatmul(a, a), packed(matrix("f8", 4, 4)))


def test_results_do_not_share_memory_with_operands(ws):
    a = ws.array(matrix("f8", 6, 6))
    for other in (a, a.T, a[::-1]):
        product = (a @ other).numpy()
        assert not np.may_share_memory(product, a.numpy())
        assert product.flags.c_contiguous
