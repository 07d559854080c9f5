"""Libraries that people use with NumPy: with arrays of workspaces, and inside a capture, the same bits.

Every use is made three times: with plain arrays, with arrays of a workspace, and with plain arrays while
NumPy's own memory comes from a workspace that poisons what is freed. A library that is not there is not
run, and listed.
"""

from __future__ import annotations

import gc
import importlib
import io

import numpy as np
import pytest

import ndarena
from ndarena import Workspace

RNG = np.random.default_rng(7)
MATRIX = RNG.normal(size=(96, 64))  # 48 KiB: more than the least that is captured
SQUARE = MATRIX[:64] @ MATRIX[:64].T + 64 * np.eye(64)
VECTOR = RNG.normal(size=8192)
LABELS = (MATRIX[:, 0] > 0).astype(np.int64)
WORDS = RNG.integers(0, 9, 8192)

USES = {}


def use(function):
    """Put a use into the table; its first parameter is the library."""
    USES[function.__name__] = function
    return function


# ---------------------------------------------------------------- SciPy


@use
def scipy_linear_algebra(array, linalg="scipy.linalg"):
    a = array(SQUARE)
    parts = [linalg.solve(a, array(MATRIX[:64])), linalg.cholesky(a), linalg.expm(a / 900)]
    return [*parts, *linalg.svd(a), *linalg.lu(a)]


@use
def scipy_transforms(array, fft="scipy.fft", signal="scipy.signal"):
    x = array(VECTOR)
    # welch asks whether its two series are one object, and twice asarray of an array of ours is two views.
    power = signal.welch(np.asarray(x))
    return [fft.rfft(x), fft.dct(x), signal.fftconvolve(x, array(VECTOR[:99])), *power, signal.medfilt(x, 5)]


@use
def scipy_statistics(array, stats="scipy.stats", special="scipy.special"):
    x, y = array(VECTOR), array(VECTOR[::-1].copy())
    return [stats.zscore(x), stats.rankdata(x), *stats.pearsonr(x, y), special.erf(x), special.logsumexp(x)]


@use
def scipy_images(array, ndimage="scipy.ndimage"):
    a = array(MATRIX)
    return [ndimage.gaussian_filter(a, 1.5), ndimage.sobel(a), ndimage.zoom(a, 1.5), ndimage.label(a > 0)[0]]


@use
def scipy_optimisation(array, optimize="scipy.optimize", interpolate="scipy.interpolate"):
    target = array(VECTOR[:5])
    found = optimize.minimize(lambda x: ((x - target) ** 2).sum(), np.zeros(5), method="BFGS")
    line = interpolate.CubicSpline(np.arange(8192.0), array(VECTOR))
    return [
        found.x,
        line(np.linspace(0, 8000, 4000)),
        optimize.nnls(array(np.abs(SQUARE)), array(VECTOR[:64]))[0],
    ]


@use
def scipy_sparse(array, sparse="scipy.sparse", spatial="scipy.spatial"):
    a = sparse.csr_matrix(np.asarray(array(MATRIX * (MATRIX > 1))))
    tree = spatial.cKDTree(array(MATRIX))
    return [(a @ array(MATRIX.T.copy())), (a.T @ a).toarray(), *tree.query(array(MATRIX + 0.1), 3)]


# ---------------------------------------------------------------- pandas


@use
def pandas_frames(array, pandas="pandas"):
    frame = pandas.DataFrame(np.asarray(array(MATRIX)), columns=[f"c{i}" for i in range(64)])
    frame["key"] = np.asarray(array(LABELS))
    means = frame.groupby("key").mean()
    parts = [means, frame.rolling(5).sum(), frame.corr(), frame.sort_values("c1")]
    return [part.to_numpy() for part in parts]


@use
def pandas_series(array, pandas="pandas"):
    s = pandas.Series(array(VECTOR))
    parts = [s + array(VECTOR), s.ewm(span=9).mean(), s.rank(), pandas.Series(array(WORDS)).value_counts()]
    return [part.to_numpy() for part in parts]


# ---------------------------------------------------------------- scikit-learn


@use
def sklearn_models(array, linear="sklearn.linear_model", ensemble="sklearn.ensemble", tree="sklearn.tree"):
    x, y = array(MATRIX), array(LABELS)
    models = [linear.Ridge(), linear.LogisticRegression(), tree.DecisionTreeClassifier(random_state=0)]
    models += [ensemble.RandomForestClassifier(5, random_state=0, n_jobs=1)]
    return [model.fit(x, y).predict(x) for model in models]


@use
def sklearn_unsupervised(
    array, cluster="sklearn.cluster", parts="sklearn.decomposition", pre="sklearn.preprocessing"
):
    x = array(MATRIX)
    labels = cluster.KMeans(3, random_state=0, n_init=1).fit(x).labels_
    return [labels, parts.PCA(4, svd_solver="full").fit_transform(x), pre.StandardScaler().fit_transform(x)]


# ---------------------------------------------------------------- matplotlib, numexpr, numba


@use
def matplotlib_pictures(array, matplotlib="matplotlib"):
    matplotlib.use("agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2)
    left.plot(array(VECTOR[:512]))
    left.hist(array(VECTOR), 20)
    right.imshow(array(MATRIX))
    file = io.BytesIO()
    figure.savefig(file, format="raw")
    pyplot.close(figure)
    return [np.frombuffer(file.getvalue(), np.uint8).copy()]


@use
def numexpr_expressions(array, numexpr="numexpr"):
    a, b = np.asarray(array(VECTOR)), np.asarray(array(VECTOR[::-1].copy()))
    names = {"a": a, "b": b}
    return [numexpr.evaluate("2*a + b**2 - sin(a)", names), numexpr.evaluate("sum(a*b)", names)]


@use
def numba_functions(array, numba="numba"):
    @numba.njit
    def smooth(x, out):
        for i in range(1, x.size - 1):
            out[i] = (x[i - 1] + x[i] + x[i + 1]) / 3
        return out

    @numba.vectorize(["float64(float64, float64)"])
    def mixed(x, y):
        return x * 2 + y

    x = array(VECTOR)
    return [smooth(np.asarray(x), np.zeros(8192)), mixed(np.asarray(x), np.asarray(x))]


# ---------------------------------------------------------------- torch


@use
def torch_from_arrays(array, torch="torch"):
    a = torch.from_dlpack(array(MATRIX))
    b = torch.from_numpy(np.asarray(array(MATRIX)))
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 8, dtype=torch.float64)
    loss = (torch.tanh(layer(a)) ** 2).sum()
    loss.backward()
    return [(a * 2 + b).numpy(), torch.softmax(a, 1).numpy(), layer.weight.grad.numpy(), (a.T @ b).numpy()]


@use
def torch_to_arrays(array, torch="torch"):
    t = torch.arange(8192, dtype=torch.float64).reshape(64, 128)
    back = np.from_dlpack(t)
    mine = array(np.ones((64, 128)))
    torch.from_dlpack(mine).mul_(3)  # written through the lease
    return [mine + back, np.asarray(mine * back)]


# ---------------------------------------------------------------- the three ways


def libraries_of(function):
    names = function.__defaults__ or ()
    for name in names:
        pytest.importorskip(name, reason=f"not run: {name.split('.')[0]} is not installed")
    return [importlib.import_module(name) for name in names]


def bits(results):
    """Copy the results, as dtype, shape and bytes."""
    arrays = [np.asarray(r) for r in results]
    return [(a.dtype, a.shape, a.tobytes()) for a in arrays]


@pytest.fixture(autouse=True)
def one_thread():
    """Compute in one thread: sums in several are not the same from run to run."""
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits(1)
    except ImportError:
        yield
        return
    with limits:
        yield


@pytest.mark.filterwarnings("ignore")  # of the libraries, about each other
@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("way", ["workspace arrays", "capture"])
def test_the_same_bits(name, way):
    function = USES[name]
    libraries = libraries_of(function)
    want = bits(function(lambda x: x.copy(), *libraries))
    held = ndarena.allocated_bytes()
    ws = Workspace(id="CLIENTS")
    for turn in range(3):
        if way == "capture":
            ws.enable_debug(True)
            with ws.notify_scope_entered(capture_numpy=True):
                results = function(lambda x: x.copy(), *libraries)
            assert ws.last_cycle_allocations > 0, "nothing was captured"
        else:
            with ws:
                results = function(ws.array, *libraries)
                results = [ndarena.detach(r) if isinstance(r, ndarena.WorkspaceArray) else r for r in results]
        assert bits(results) == want, f"turn {turn}"
    del results
    ws.destroy_workspace()
    del ws
    gc.collect()
    assert ndarena.allocated_bytes() - held <= 8 << 20, "a library keeps more than a cache"


@pytest.mark.parametrize("name", [name for name in USES if "torch" in name])
def test_a_tensor_keeps_its_memory(name):
    """It holds a lease: later cycles do not touch what it shows."""
    [torch] = libraries_of(USES[name])
    ws = Workspace(id="TENSORS")
    with ws:
        tensor = torch.from_dlpack(ws.full(1000, 7.0))
    for turn in range(5):
        with ws:
            ws.full(1000, float(turn))
    assert float(tensor.sum()) == 7000.0
    assert ws.retired_size >= 8000
    del tensor
    assert ws.retired_size == 0
