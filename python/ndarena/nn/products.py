"""Products of dense layers, in the pieces that BLAS is quick with.

OpenBLAS arranges both matrices anew before it multiplies them, and its kernels for AVX-512 take long to do so
with weights, whose columns lie together. Beside them are some that take a small product as it lies. How a
product is cut into tiles depends on shapes, dtype, processor and the threads of BLAS: not on the numbers.

Sizes were found by measuring on AMD's Zen 4 and Zen 5, and Intel's Granite Rapids, which is sooner better off
with the whole product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndarena._core import _multiply, _multiply_in_tiles, functions
from ndarena.nn.blas_kernels import is_of_intel, takes_rows_by_fours, takes_small_products, threads

if TYPE_CHECKING:
    from ndarena.nn.words import Array

    Tile = tuple[int, int]  # rows and columns of a result

__all__ = ["multiply", "multiply_back", "multiply_gradient"]

SINGLE = np.dtype("float32").itemsize
MULTIPLICATIONS, ELEMENTS = 10**6, 1200
"""Small is for OpenBLAS what has so few multiplications; of rows with columns, so few elements."""
DEPTH = 128
"""With fewer features to add up there is little to arrange, and with more examples to add up enough to do."""
ROWS_FORWARD, ROWS_FORWARD_DOUBLE = 128, 32
"""Of more rows, in single and double precision, a piece has few columns, and the whole is quicker."""
LANES = 8
"""Columns that a kernel takes at a time; four are as good as eight."""
GRADIENT = 24, 256
"""Units that are a multiple of what kernels take at a time, and as many features as stay near."""
ROWS_OF_INTEL, ROWS_BACK_OF_INTEL = 48, 16
"""With more rows a processor of Intel's is quicker with the whole."""
PIECES_BACK, ROWS_BACK, SHORT = 8, 64, 64
"""Going back, more pieces or rows are sooner done whole, unless there are few units to add up."""
ROWS_OF_A_THREAD = 32
"""Threads share a whole product, and not a small one: two of them lose up to half as many rows."""
EACH, LONG_ENOUGH = 3, 1 << 16
"""So few rows, with so many multiplications, are done one by one: a vector needs no arranging."""
FOUR, ROWS_BY_FOURS, LARGE = 4, 64, 1 << 17
"""Of so many rows, and as large weights, what is left over beside whole fours is done one by one, too."""
EACH_DOUBLE = 7
"""In double precision so many rows: kernels take eight."""


def multiply(rows: Array, weights: Array, out: Array) -> None:
    """Set ``out [n, n_out]`` to ``rows [n, n_in] @ weights [n_in, n_out]``, which lies column by column."""
    n = len(rows)
    multiplications = n * weights.size
    is_whole = multiplications < LONG_ENOUGH or (multiplications <= MULTIPLICATIONS and n % FOUR == 0)
    if is_whole and _multiply(rows, weights, out, False, False):  # noqa: FBT003 - faster by position
        return
    tile = None
    if multiplications > MULTIPLICATIONS:
        tile = forward_tile(n, *weights.shape, itemsize=out.itemsize)
    _in_pieces(rows, weights, out, tile)


def multiply_back(delta: Array, weights: Array, out: Array) -> None:
    """Set ``out [n, n_in]`` to ``delta [n, n_out] @ weights.T``, of weights that lie column by column."""
    n = len(delta)
    multiplications = n * weights.size
    is_whole = multiplications < LONG_ENOUGH or (multiplications <= MULTIPLICATIONS and n % FOUR == 0)
    if is_whole and _multiply(delta, weights, out, False, True):  # noqa: FBT003 - faster by position
        return
    tile = None
    if multiplications > MULTIPLICATIONS:
        tile = backward_tile(n, *weights.shape, itemsize=out.itemsize)
    _in_pieces(delta, weights.T, out, tile)


def multiply_gradient(delta: Array, rows: Array, out: Array) -> None:
    """Set ``out [n_out, n_in]`` to ``delta.T @ rows``, of ``[n, n_out]`` and ``[n, n_in]``."""
    n = len(rows)
    if n == 1:  # nothing to add up, of which NumPy's matmul makes a slow loop
        np.multiply(delta.T, rows, out=out)
    elif n * out.size > MULTIPLICATIONS and (tile := gradient_tile(n, *out.shape, itemsize=out.itemsize)):
        _in_tiles(delta.T, rows, out, tile)
    elif not _multiply(delta, rows, out, True, False):  # noqa: FBT003 - faster by position
        functions.matmul(delta.T, rows, out=out)


def forward_tile(n: int, n_in: int, n_out: int, *, itemsize: int) -> Tile | None:
    """Return the tiles of ``[n, n_out]``; ``None``: it is quicker whole."""
    if n_in < DEPTH or not _pieces_are_quicker(n, ROWS_OF_INTEL):
        return None
    elements = min(ELEMENTS, 4 * MULTIPLICATIONS // (n_in * itemsize))  # half as many doubles stay near
    if elements // n_out >= LANES:
        return _evenly(n, elements // n_out), n_out
    if n > (ROWS_FORWARD if itemsize == SINGLE else ROWS_FORWARD_DOUBLE):
        return None
    for height in (n, -(-n // 2)):
        width = elements // height
        if width >= LANES // 2:
            return height, _evenly(n_out, width // LANES * LANES or LANES // 2)
    return None


def backward_tile(n: int, n_in: int, n_out: int, *, itemsize: int) -> Tile | None:
    """Return the tiles of ``[n, n_in]``; ``None``: it is quicker whole, as in double precision."""
    height = MULTIPLICATIONS // (n_in * n_out) // FOUR * FOUR
    if not height or itemsize != SINGLE or not _pieces_are_quicker(n, ROWS_BACK_OF_INTEL):
        return None
    if n > min(PIECES_BACK * height, ROWS_BACK) and n_out > SHORT:
        return None
    return min(n, -(-_evenly(n, height) // FOUR) * FOUR), n_in


def gradient_tile(n: int, n_out: int, n_in: int, *, itemsize: int) -> Tile | None:
    """Return the tiles of ``[n_out, n_in]``; ``None``: it is quicker whole, as in double precision."""
    if n > DEPTH or itemsize != SINGLE or not _pieces_are_quicker(n, ROWS_OF_INTEL):
        return None
    height, width = GRADIENT
    return min(height, n_out), _evenly(n_in, width)


def rows_at_once(n: int, elements: int, *, itemsize: int) -> int:
    """Return how many of some rows to multiply in one go; those behind them are quicker one by one."""
    if n == 1 or takes_small_products():
        return n
    if n <= EACH:
        return 0
    if n > ROWS_BY_FOURS or elements < LARGE or not takes_rows_by_fours() or threads() > 1:
        return n
    if itemsize == SINGLE:
        return n - n % FOUR
    return 0 if n <= EACH_DOUBLE else n


def _in_pieces(left: Array, right: Array, out: Array, tile: Tile | None) -> None:
    """Multiply tile by tile, or without tiles by rows."""
    n = len(left)
    if tile is not None:
        _in_tiles(left, right, out, tile)
        return
    whole = n
    if n % FOUR and n * right.size >= LONG_ENOUGH:
        whole = rows_at_once(n, right.size, itemsize=out.itemsize)
    if whole == n:
        functions.matmul(left, right, out=out)
        return
    if whole:
        functions.matmul(left[:whole], right, out=out[:whole])
    np.matmul(left[whole:, None], right, out=out[whole:, None])


def _pieces_are_quicker(n: int, rows_of_intel: int) -> bool:
    """Return whether kernels for them are, with so many rows, than all threads with the whole."""
    if n == 1 or not takes_small_products() or (n > rows_of_intel and is_of_intel()):
        return False
    count = threads()
    return count == 1 or n * count <= ROWS_OF_A_THREAD


def _evenly(size: int, most: int) -> int:
    """Return the size of parts that are about as large as each other."""
    return -(-size // -(-size // most))


def _in_tiles(left: Array, right: Array, out: Array, tile: Tile) -> None:
    if not _multiply_in_tiles(left, right, out, *tile):
        in_stacks(left, right, out, tile)


def in_stacks(left: Array, right: Array, out: Array, tile: Tile) -> None:
    """Multiply all whole tiles in one call, as NumPy takes stacks of matrices; then what is left over."""
    (n, depth), n_out = left.shape, right.shape[1]
    height, width = min(tile[0], n), min(tile[1], n_out)
    down, across = n // height, n_out // width
    bottom, end = down * height, across * width
    tops = left[:bottom].reshape(down, 1, height, depth)
    sides = right[:, :end].reshape(depth, across, width).transpose(1, 0, 2)
    np.matmul(tops, sides, out=out[:bottom, :end].reshape(down, height, across, width).transpose(0, 2, 1, 3))
    if end < n_out:
        in_stacks(left, right[:, end:], out[:, end:], tile)
    if bottom < n:
        in_stacks(left[bottom:], right[:, :end], out[bottom:, :end], tile)
