"""Products of dense and recurrent layers: the way that is taken depends on the shapes, the numbers do not."""

from contextlib import nullcontext

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.linalg import _umath_linalg

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, WorkspaceConfiguration, nn
from ndarena._core import _multiply, _multiply_in_tiles, _set_fast_paths
from ndarena.nn import blas_kernels, products
from ndarena.nn.products import (
    EACH,
    EACH_DOUBLE,
    ELEMENTS,
    FOUR,
    LARGE,
    LONG_ENOUGH,
    MULTIPLICATIONS,
    PIECES_BACK,
    ROWS_BACK,
    ROWS_BACK_OF_INTEL,
    ROWS_BY_FOURS,
    ROWS_OF_A_THREAD,
    ROWS_OF_INTEL,
)
from ndarena.nn.recurrent import OFTEN, by_rows

PLAIN = LayerWorkspaceMgr.no_workspaces()
SINGLE, DOUBLE = 4, 8


@pytest.fixture
def kernels(monkeypatch):
    """Let there be such kernels, a processor of Intel's or not, and so many threads."""

    def pretend(*, small, fours=False, intel=False, threads=1):
        monkeypatch.setattr(products, "is_of_intel", lambda: intel)
        monkeypatch.setattr(products, "takes_rows_by_fours", lambda: fours)
        monkeypatch.setattr(products, "takes_small_products", lambda: small)
        monkeypatch.setattr(products, "threads", lambda: threads)

    return pretend


def in_working_memory():
    """Return a manager with a workspace for what a layer needs only now."""
    conf = WorkspaceConfiguration(initial_size="8 MiB")
    builder = LayerWorkspaceMgr.builder().with_(ArrayType.FF_WORKING_MEM, "WORKING", conf)
    return builder.default_no_workspace().build()


def working_bytes(mgr, work):
    """Return what comes of some work, and how many bytes of working memory it took."""
    with mgr.notify_scope_entered(ArrayType.FF_WORKING_MEM):
        result = work()
        taken = ndarena.get_workspace_for_current_thread(None, id="WORKING").stats().this_cycle_allocations
        return np.array(result), taken


def numbers(shape, dtype, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 300, 400),
        (EACH, 300, 400),
        (7, 300, 500),
        (15, 300, 500),
        (16, 300, 401),
        (97, 515, 33),
        (128, 700, 10),
        (70, 1800, 50),
        (40, 64, 500),
    ],
)
def test_a_dense_layer_is_the_same_in_pieces(kernels, shape, dtype, small):
    kernels(small=small, fours=not small)
    rows, inputs, units = shape
    layer = nn.DenseLayer(n_in=inputs, n_out=units, activation="identity", bias_init=0.5)
    twin = layer.instantiate(rng=np.random.default_rng(1), dtype=dtype)
    x, epsilon = numbers((rows, inputs), dtype, 2), numbers((rows, units), dtype, 3)
    with ndarena.Workspace(id="PRODUCTS"):
        out = np.array(twin.activate(ndarena.asarray(x), training=True, workspace_mgr=PLAIN))
        below = np.array(twin.backprop_gradient(epsilon, workspace_mgr=PLAIN))
    weights = np.asarray(twin.param_table["W"], "f8")
    close = {"rtol": 1e-4, "atol": 1e-3} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(out, x.astype("f8") @ weights + 0.5, **close)
    np.testing.assert_allclose(below, epsilon.astype("f8") @ weights.T, **close)
    np.testing.assert_allclose(twin.gradient_table["W"], x.astype("f8").T @ epsilon, **close)
    assert out.dtype == below.dtype == dtype


SHAPES = st.tuples(st.integers(2, 300), st.integers(1, 3000), st.integers(1, 3000))


@given(SHAPES, st.sampled_from([SINGLE, DOUBLE]))
@settings(max_examples=500)
def test_pieces_are_as_small_as_openblas_wants_them(shape, itemsize):
    n, n_in, n_out = shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "takes_small_products", lambda: True)
        patch.setattr(products, "is_of_intel", lambda: False)
        patch.setattr(products, "threads", lambda: 1)
        forward = products.forward_tile(n, n_in, n_out, itemsize=itemsize)
        backward = products.backward_tile(n, n_in, n_out, itemsize=itemsize)
        gradient = products.gradient_tile(n, n_out, n_in, itemsize=itemsize)
    if forward is not None:
        height, width = forward
        assert 0 < height <= n
        assert 0 < width <= n_out
        assert height * width <= ELEMENTS
        assert height * width * n_in <= MULTIPLICATIONS
    if backward is not None:
        assert backward[0] * n_in * n_out <= MULTIPLICATIONS
        assert 0 < backward[0] <= n
        assert backward[1] == n_in
    if gradient is not None:
        assert gradient[0] * gradient[1] * n <= MULTIPLICATIONS
        assert 0 < gradient[0] <= n_out
        assert 0 < gradient[1] <= n_in


def test_the_tiles_of_known_layers(kernels):
    kernels(small=True)
    assert products.forward_tile(128, 784, 1000, itemsize=SINGLE) == (128, 8)
    assert products.forward_tile(128, 1000, 10, itemsize=SINGLE) == (64, 10)
    assert products.forward_tile(60, 4096, 4096, itemsize=SINGLE) == (60, 4)
    assert products.forward_tile(100, 4096, 4096, itemsize=SINGLE) == (50, 4)
    assert products.forward_tile(129, 784, 1000, itemsize=SINGLE) is None
    assert products.forward_tile(32, 784, 1000, itemsize=DOUBLE) == (32, 16)
    assert products.forward_tile(33, 784, 1000, itemsize=DOUBLE) is None
    assert products.backward_tile(128, 1000, 10, itemsize=SINGLE) == (64, 1000)
    assert products.backward_tile(PIECES_BACK * 4, 400, 400, itemsize=SINGLE) == (4, 400)
    assert products.backward_tile(PIECES_BACK * 4 + 1, 400, 400, itemsize=SINGLE) is None
    assert products.backward_tile(ROWS_BACK + 1, 256, 200, itemsize=SINGLE) is None
    assert products.backward_tile(8, 512, 512, itemsize=SINGLE) is None
    assert products.gradient_tile(128, 1000, 784, itemsize=SINGLE) == (24, 196)


def test_rows_beside_whole_fours_are_multiplied_one_by_one(kernels):
    kernels(small=False, fours=True)
    at_once = {
        n: products.rows_at_once(n, LARGE, itemsize=SINGLE) for n in (1, 2, 3, 4, 5, 7, 15, ROWS_BY_FOURS - 1)
    }
    assert at_once == {1: 1, 2: 0, 3: 0, 4: 4, 5: 4, 7: 4, 15: 12, ROWS_BY_FOURS - 1: ROWS_BY_FOURS - FOUR}
    assert products.rows_at_once(ROWS_BY_FOURS + 1, LARGE, itemsize=SINGLE) == ROWS_BY_FOURS + 1
    assert products.rows_at_once(7, LARGE - 1, itemsize=SINGLE) == 7
    assert products.rows_at_once(EACH_DOUBLE, LARGE, itemsize=DOUBLE) == 0
    assert products.rows_at_once(EACH_DOUBLE + 2, LARGE, itemsize=DOUBLE) == EACH_DOUBLE + 2


@pytest.mark.parametrize(
    ("kind", "three"),
    [({"fours": False}, 0), ({"fours": True, "threads": 2}, 0), ({"small": True, "fours": True}, 3)],
)
def test_other_kernels_and_threads_take_all_rows_but_the_fewest(kernels, kind, three):
    kernels(**{"small": False} | kind)
    assert products.rows_at_once(EACH, LARGE, itemsize=SINGLE) == three
    assert products.rows_at_once(7, LARGE, itemsize=SINGLE) == 7


def test_on_a_processor_of_intel_s_fewer_rows_are_cut(kernels):
    kernels(small=True, intel=True)
    assert products.forward_tile(ROWS_OF_INTEL, 784, 1000, itemsize=SINGLE) == (ROWS_OF_INTEL, 24)
    assert products.forward_tile(ROWS_OF_INTEL + 1, 784, 1000, itemsize=SINGLE) is None
    assert products.backward_tile(ROWS_BACK_OF_INTEL, 256, 256, itemsize=SINGLE) == (8, 256)
    assert products.backward_tile(ROWS_BACK_OF_INTEL + 1, 256, 256, itemsize=SINGLE) is None
    assert products.gradient_tile(ROWS_OF_INTEL, 1000, 784, itemsize=SINGLE) == (24, 196)
    assert products.gradient_tile(ROWS_OF_INTEL + 1, 1000, 784, itemsize=SINGLE) is None


@pytest.mark.parametrize("tile", [products.forward_tile, products.backward_tile, products.gradient_tile])
def test_a_product_is_whole_where_pieces_have_no_kernels_or_threads_share_it(kernels, tile):
    rows = ROWS_OF_A_THREAD // 2
    kernels(small=False)
    assert tile(rows, 256, 256, itemsize=SINGLE) is None
    kernels(small=True, threads=2)
    assert tile(rows, 256, 256, itemsize=SINGLE) is not None
    assert tile(rows + 1, 256, 256, itemsize=SINGLE) is None


SIDES = st.integers(1, 40)


@given(st.tuples(SIDES, SIDES, SIDES), st.tuples(SIDES, SIDES), st.sampled_from(["f4", "f8"]), st.randoms())
@settings(max_examples=300)
def test_tiles_have_the_bits_of_stacks(shape, tile, dtype, random):
    (n, depth, n_out), in_workspace = shape, random.choice([False, True])
    order = [random.choice("CF") for _ in range(3)]
    left = np.asarray(numbers((n, depth), dtype, n), order=order[0])
    right = np.asarray(numbers((depth, n_out), dtype, depth), order=order[1])
    expected, out = (np.full((n, n_out), np.nan, dtype, order=order[2]) for _ in range(2))
    products.in_stacks(left, right, expected, tile)
    np.testing.assert_allclose(expected, left.astype("f8") @ right, rtol=1e-3, atol=1e-4)
    ws = ndarena.Workspace(id="TILES")
    with ws if in_workspace else nullcontext():
        ours = [ws.array(x, order="K") if in_workspace else x for x in (left, right, out)]
        assert _multiply_in_tiles(*ours, *tile)
        np.testing.assert_array_equal(np.array(ours[2]), expected)


@given(st.tuples(SIDES, SIDES, SIDES), st.sampled_from(["f4", "f8"]), st.randoms())
@settings(max_examples=200)
def test_products_of_transposed_matrices_have_numpys_bits(shape, dtype, random):
    (n, depth, n_out), in_workspace = shape, random.choice([False, True])
    turned = [random.choice([False, True]) for _ in range(2)]
    orders = [random.choice("CF") for _ in range(3)]
    sides = [(depth, n) if turned[0] else (n, depth), (n_out, depth) if turned[1] else (depth, n_out)]
    matrices = [np.asarray(numbers(side, dtype, i), order=orders[i]) for i, side in enumerate(sides)]
    expected, out = (np.full((n, n_out), np.nan, dtype, order=orders[2]) for _ in range(2))
    np.matmul(*(x.T if turns else x for x, turns in zip(matrices, turned, strict=True)), out=expected)
    ws = ndarena.Workspace(id="TURNED")
    with ws if in_workspace else nullcontext():
        ours = [ws.array(x, order="K") if in_workspace else x for x in (*matrices, out)]
        assert _multiply(*ours, *turned)
        np.testing.assert_array_equal(np.array(ours[2]), expected)


def test_what_is_no_product_is_left_to_numpy_and_nothing_is_written():
    a, b, out = np.ones((3, 4), "f4"), np.ones((4, 5), "f4"), np.zeros((3, 5), "f4")
    frozen = out.copy()
    frozen.flags.writeable = False
    shared = np.zeros(64, "f4")
    for wrong in (
        (a, b.astype("f8"), out),
        (a, b, out.astype("f8")),
        (a, b, np.zeros((5, 3), "f4")),
        (a, b[:3], out),
        (a, b, frozen),
        (a, b, np.zeros((3, 10), "f4")[:, ::2]),
        (a[:0], b, out[:0]),
        (a[0], b, out[0]),
        (shared[:12].reshape(3, 4), b, shared[4:19].reshape(3, 5)),
        ([[1.0]], b, out),
    ):
        assert not _multiply_in_tiles(*wrong, 2, 2)
        assert not _multiply(*wrong, False, False)
    assert not _multiply(a, b, out, True, False)
    assert not _multiply(a, b, out, False, True)
    assert not out.any()
    assert not shared.any()


@pytest.mark.parametrize("tile", [(0, 1), (1, 0), (-1, 3)])
def test_a_tile_without_rows_or_columns_is_refused(tile):
    a = np.ones((2, 2))
    with pytest.raises(ValueError, match="rows and columns"):
        _multiply_in_tiles(a, a, a.copy(), *tile)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("rows", [EACH, 15, 16])
def test_the_general_paths_have_the_same_bits(kernels, rows, small):
    kernels(small=small, fours=not small)
    x, weights = numbers((rows, 300), "f4", 5), np.asfortranarray(numbers((300, 500), "f4", 6))
    assert x.size * 500 >= LONG_ENOUGH
    fast, general = np.empty((2, rows, 500), "f4")
    products.multiply(x, weights, fast)
    was_on = _set_fast_paths(False)
    try:
        products.multiply(x, weights, general)
    finally:
        _set_fast_paths(was_on)
    np.testing.assert_array_equal(general, fast)


def test_openblas_says_its_kernels_and_threads():
    known = [pool for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"]
    assert blas_kernels.core_name() in ({pool["architecture"] for pool in known} or {""})
    for count in (1, 2):
        with threadpoolctl.threadpool_limits(count, user_api="blas"):
            assert blas_kernels.threads() == (count if blas_kernels.core_name() else 1)


@pytest.fixture
def known_anew():
    """Forget what the library said, before and after."""
    remembered = (
        blas_kernels.core_name,
        blas_kernels.is_of_intel,
        blas_kernels.of_openblas,
        blas_kernels.takes_rows_by_fours,
        blas_kernels.takes_small_products,
    )
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@pytest.mark.usefixtures("known_anew")
def test_another_library_is_asked_nothing(monkeypatch):
    monkeypatch.setattr(blas_kernels, "SPELLINGS", ("no_such_{}",))
    assert (blas_kernels.core_name(), blas_kernels.threads()) == ("", 1)
    assert not blas_kernels.takes_small_products()
    assert not blas_kernels.takes_rows_by_fours()


@pytest.mark.usefixtures("known_anew")
def test_a_library_that_cannot_be_opened_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(_umath_linalg, "__file__", str(tmp_path / "nothing.so"))
    assert (blas_kernels.core_name(), blas_kernels.threads()) == ("", 1)


@pytest.mark.usefixtures("known_anew")
@pytest.mark.parametrize("has_file", [True, False])
@pytest.mark.parametrize(("said", "is_it"), [("GenuineIntel", True), ("AuthenticAMD", False), ("", False)])
def test_the_system_says_whose_processor_it_is(monkeypatch, tmp_path, has_file, said, is_it):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(blas_kernels, "CPU_INFO", info)
    monkeypatch.delenv("PROCESSOR_IDENTIFIER", raising=False)
    if has_file:
        info.write_text(f"processor : 0\nvendor_id : {said}\n")
    elif said:
        monkeypatch.setenv("PROCESSOR_IDENTIFIER", f"x Family 6 Model 1, {said}")
    assert blas_kernels.is_of_intel() is is_it


@pytest.mark.parametrize("times", [1, OFTEN - 1, OFTEN, 10 * OFTEN])
def test_recurrent_weights_are_laid_out_by_rows_if_they_are_used_often(times):
    weights = np.asfortranarray(np.random.default_rng(3).normal(size=(5, 20)))
    mgr = in_working_memory()
    laid, taken = working_bytes(mgr, lambda: by_rows(weights, times, mgr))
    np.testing.assert_array_equal(laid, weights)
    assert (taken >= weights.nbytes) == (times >= OFTEN)
    given = by_rows(weights, times, PLAIN)
    assert (given is weights) == (times < OFTEN)
    assert given.flags["C_CONTIGUOUS"] == (times >= OFTEN)


@pytest.mark.parametrize(
    "layer", [nn.LSTM(n_in=3, n_out=2), nn.SimpleRnn(n_in=3, n_out=2)], ids=["lstm", "simple"]
)
@pytest.mark.parametrize("steps", [OFTEN - 1, OFTEN, OFTEN + 1])
def test_a_series_gives_the_same_in_one_piece_and_step_by_step(layer, steps):
    twin = layer.instantiate(rng=np.random.default_rng(4))
    x = np.random.default_rng(5).normal(size=(6, 3, steps))
    whole = twin.activate(x, workspace_mgr=PLAIN)
    single = [np.array(twin.rnn_time_step(x[:, :, [t]], workspace_mgr=PLAIN)) for t in range(steps)]
    np.testing.assert_allclose(np.concatenate(single, axis=2), whole, rtol=1e-6, atol=1e-6)
