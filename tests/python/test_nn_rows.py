"""What layers do to all rows of a matrix in one go is what NumPy does step by step, bit for bit."""

import warnings

import numpy as np
import pytest
from nn_support import examples
from support import fixed, learning

import ndarena
from ndarena import Workspace, nn
from ndarena._core import (
    _add_bias,
    _add_up_rows,
    _cross_entropy,
    _cross_entropy_back,
    _multiply,
    _rectify_back,
    _set_fast_paths,
    _softmax,
)
from ndarena.nn.activations import ActivationReLU, ActivationSoftmax
from ndarena.nn.rectifiers import add_bias

DTYPES = ["float32", "float64"]
SHAPES = [
    (1, 1),
    (1, 64),
    (3, 1),
    (7, 10),
    (128, 10),
    (5, 1000),
    (2, 2049),
    (3, 5000),
    (700, 3),
    (40, 1000),
    (11_000, 3),
]


def drawn(shape, dtype, seed=0, *, special=True):
    """Draw numbers, of which some are infinite, none, or zeros of either sign."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(dtype) * 3
    if special and x.size > 8:
        x.ravel()[rng.integers(0, x.size, 4)] = [np.inf, -np.inf, np.nan, -0.0]
    return x


def dtype_of(name):
    return np.dtype(name).type


def softmax(x):
    share = np.exp(x - x.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def same_numbers(one, other):
    """Compare bits but where there is no number: of those there are many kinds."""
    one, nothing = np.asarray(one), np.isnan(other)
    return np.array_equal(np.isnan(one), nothing) and same_bits(one[~nothing], other[~nothing])


@pytest.mark.parametrize("place", ["plain", "workspace"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class TestBits:
    @pytest.fixture
    def make(self, place):
        with Workspace(fixed(1 << 20), "ROWS") as ws:
            yield np.array if place == "plain" else ws.array

    @pytest.mark.parametrize("in_place", [False, True])
    def test_shares(self, shape, dtype, make, in_place):
        x = drawn(shape, dtype, special=False)
        given = make(x)
        out = given if in_place else make(np.zeros_like(x))
        assert _softmax(given, out)
        assert same_bits(np.asarray(out), softmax(x))

    def test_shares_of_what_is_no_number(self, shape, dtype, make):
        x = drawn(shape, dtype)
        given, out = make(x), make(x)
        assert _softmax(given, out)
        assert same_numbers(out, softmax(x))

    @pytest.mark.parametrize("rectifies", [False, True])
    @pytest.mark.parametrize("axis", [0, -1])
    def test_a_bias(self, shape, dtype, make, axis, rectifies):
        x, b = drawn(shape, dtype), drawn(shape[axis], dtype, 1)
        sums, bias = make(x), make(b)
        assert _add_bias(sums, bias, axis, rectifies)
        wanted = x + (b[:, None] if axis == 0 else b)
        if rectifies:
            np.maximum(wanted, np.zeros_like(wanted), out=wanted)
        assert same_numbers(sums, wanted)

    @pytest.mark.parametrize("written", ["apart", "x", "epsilon"])
    def test_the_way_back_through_a_rectifier(self, shape, dtype, make, written):
        x, epsilon = drawn(shape, dtype), drawn(shape, dtype, 1)
        given = {"x": make(x), "epsilon": make(epsilon), "apart": make(x)}
        assert _rectify_back(given["x"], given["epsilon"], given[written]) is given[written]
        assert same_numbers(given[written], epsilon * (x > 0))
        made = _rectify_back(make(x), make(epsilon), None)
        assert type(made) is type(given["x"])
        assert same_numbers(made, epsilon * (x > 0))

    def test_sums_of_few_rows(self, shape, dtype, make):
        x = drawn(shape, dtype)
        rows, out = make(x), make(np.ones(shape[1], dtype))
        assert _add_up_rows(rows, out) is (shape[0] <= 64 and x.size <= 2048)
        if shape[0] <= 64 and x.size <= 2048:
            assert same_numbers(out, np.add.reduce(x, axis=0))

    @pytest.mark.parametrize("least", [1e-10, 1e-3])
    def test_the_cross_entropy_of_few_shares(self, shape, dtype, make, least):
        labels, shares = drawn(shape, dtype, special=False), softmax(drawn(shape, dtype, 1, special=False))
        found = _cross_entropy(make(labels), make(shares), least, 1.0 - least)
        if shares.nbytes > 8192:
            assert found is None
            return
        wanted = np.minimum(np.maximum(shares, dtype_of(dtype)(least)), dtype_of(dtype)(1.0 - least))
        assert found == float((-labels * np.log(wanted)).sum())

    @pytest.mark.parametrize("written", ["apart", "output"])
    def test_the_way_back_from_labels_through_softmax(self, shape, dtype, make, written):
        labels, shares = drawn(shape, dtype), softmax(drawn(shape, dtype, 1, special=False))
        given = {"labels": make(labels), "output": make(shares), "apart": make(shares)}
        wanted = shares * labels.sum(axis=1, keepdims=True) - labels
        assert _cross_entropy_back(given["labels"], given["output"], given[written]) is given[written]
        assert same_numbers(given[written], wanted)
        made = _cross_entropy_back(given["labels"], make(shares), None)
        assert type(made) is type(given["output"])
        assert same_numbers(made, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_whose_batch_lies_last(dtype):
    lying = [drawn((3, 4, 5, 6), dtype, seed) for seed in range(3)]
    x, epsilon, out = (array.transpose(3, 0, 1, 2) for array in lying)
    wanted = epsilon * (x > 0)
    assert _rectify_back(x, epsilon, out) is out
    assert same_numbers(out, wanted)
    made = _rectify_back(x, epsilon, None)
    assert made.strides == x.strides
    assert same_numbers(made, wanted)
    with Workspace(fixed(1 << 20), "ROWS") as ws:
        made = ActivationReLU().backprop(x, ndarena.array(epsilon))
        assert made.workspace is ws
        assert made.strides == x.strides
        assert same_numbers(made, wanted)
    sums, bias = drawn((3, 4, 5, 600), dtype), drawn(3, dtype, 1)
    wanted = np.maximum(sums + bias[:, None, None, None], 0)
    assert _add_bias(sums, bias, 0, True)
    assert same_numbers(sums, wanted)


def refused():
    x, b = np.ones((4, 6), "f4"), np.ones(6, "f4")
    read_only = np.ones((4, 6), "f4")
    read_only.flags.writeable = False
    unaligned = np.frombuffer(bytearray(4 * 24 + 1), "f4", 24, 1).reshape(4, 6)
    wide = np.ones((8, 12), "f4")
    for name, array in {
        "every second column": wide[::2, ::2],
        "columns first": np.asfortranarray(x),
        "read-only": read_only,
        "unaligned": unaligned,
        "swapped": x.astype(">f4"),
        "half": x.astype("f2"),
        "whole": x.astype("i4"),
        "no rows": np.ones((0, 6), "f4"),
        "a list": x.tolist(),
        "nothing": None,
    }.items():
        yield pytest.param(_softmax, (x, array), id=f"softmax-into-{name}")
        yield pytest.param(_add_bias, (array, b, -1, True), id=f"bias-{name}")
        yield pytest.param(_add_up_rows, (x, array), id=f"sums-into-{name}")
        if array is not None:  # that asks for new memory
            yield pytest.param(_rectify_back, (x, x, array), id=f"back-into-{name}")
            yield pytest.param(_cross_entropy_back, (x, x, array), id=f"entropy-back-into-{name}")
        if array is read_only:
            continue
        for out in (None, x.copy()):
            where = "new" if out is None else "given"
            yield pytest.param(_rectify_back, (array, x, out), id=f"back-at-{name}-{where}")
            yield pytest.param(_rectify_back, (x, array, out), id=f"back-of-{name}-{where}")
            yield pytest.param(_cross_entropy_back, (x, array, out), id=f"entropy-back-of-{name}-{where}")
            yield pytest.param(_cross_entropy_back, (array, x, out), id=f"entropy-back-from-{name}-{where}")
        yield pytest.param(_cross_entropy, (x, array, 1e-9, 1.0), id=f"entropy-of-{name}")
        yield pytest.param(_cross_entropy, (array, x, 1e-9, 1.0), id=f"entropy-from-{name}")
        yield pytest.param(_add_up_rows, (array, b), id=f"sums-of-{name}")
    line = np.ones(30, "f4")
    meeting = line[:24].reshape(4, 6), line[6:].reshape(4, 6)
    yield pytest.param(_softmax, meeting, id="softmax-meeting")
    yield pytest.param(_rectify_back, (x, *meeting), id="back-meeting")
    yield pytest.param(_cross_entropy_back, (x, *meeting), id="entropy-back-meeting")
    yield pytest.param(_cross_entropy_back, (x, x.copy(), x), id="entropy-back-into-labels")
    yield pytest.param(_cross_entropy, (x, np.ones((6, 4), "f4"), 0.1, 0.9), id="entropy-of-another-shape")
    yield pytest.param(_add_up_rows, (meeting[0], line[12:18]), id="sums-meeting")
    yield pytest.param(_add_up_rows, (x, np.ones(5, "f4")), id="sums-too-short")
    yield pytest.param(_add_up_rows, (x, np.ones((1, 6), "f4")), id="sums-of-two-axes")
    yield pytest.param(_add_up_rows, (x, np.ones(6)), id="sums-of-another-dtype")
    yield pytest.param(_add_up_rows, (np.ones((65, 6), "f4"), b), id="sums-of-many-rows")
    yield pytest.param(_add_bias, (meeting[0], line[12:18], -1, True), id="bias-meeting")
    yield pytest.param(_softmax, (x, np.ones((6, 4), "f4")), id="softmax-other-shape")
    yield pytest.param(_softmax, (np.ones((2, 3, 4)), np.ones((2, 3, 4))), id="softmax-three-axes")
    yield pytest.param(_add_bias, (x, np.ones(5, "f4"), -1, True), id="bias-too-short")
    yield pytest.param(_add_bias, (x, np.ones(6, "f4"), 0, True), id="bias-too-long")
    yield pytest.param(_add_bias, (x, np.ones(6), -1, True), id="bias-of-another-dtype")
    yield pytest.param(_add_bias, (x, np.ones((1, 6), "f4"), -1, True), id="bias-of-two-axes")
    yield pytest.param(_add_bias, (np.ones((), "f4"), b, -1, True), id="bias-of-a-point")
    yield pytest.param(_rectify_back, (x, np.asfortranarray(x), x.copy()), id="back-lying-otherwise")
    overlapping = np.lib.stride_tricks.as_strided(np.ones(40, "f4"), (2, 4), (28, 0))
    yield pytest.param(_rectify_back, (overlapping, overlapping, overlapping), id="back-the-same-again")


@pytest.mark.parametrize(("function", "facts"), list(refused()))
def test_what_lies_otherwise_is_left_alone(function, facts):
    before = [np.array(fact) for fact in facts]
    assert function(*facts) in {False, None}
    assert all(
        np.array_equal(fact, kept) for fact, kept in zip(facts, before, strict=True) if fact is not None
    )


def test_an_axis_in_the_middle_is_refused():
    with pytest.raises(ValueError, match="axis must be 0 or -1, not 1"):
        _add_bias(np.ones((2, 3)), np.ones(3), 1, True)


def test_stale_arrays_are_left_alone_and_told_by_the_general_path():
    ws = Workspace(learning(), "ENDED")
    with ws:
        x, b = ws.ones((2, 3)), ws.ones(3)
    assert not _softmax(x, x)
    assert not _add_bias(x, b, -1, True)
    assert _rectify_back(x, x, x) is None
    assert _rectify_back(x, x, None) is None
    assert _cross_entropy(x, x, 0.1, 0.9) is None
    assert _cross_entropy_back(x, x, None) is None
    assert _cross_entropy_back(x.dtype.type(1) * np.ones((2, 3)), x, None) is None
    assert not _add_up_rows(x, np.ones(3))
    assert not _multiply(x, x, np.ones((2, 2)), False, True)
    for use in (
        lambda: ActivationSoftmax().forward(x, out=x),
        lambda: add_bias(x, b, rectifies=True),
        lambda: ActivationReLU().backprop(x, x, out=x),
    ):
        with pytest.raises(ndarena.StaleArrayError):
            use()


@pytest.mark.parametrize("size", [3, 3000, 20_000])
def test_errors_are_told_as_numpy_is_told_to(size):
    large, infinite = np.full((2, size), 3e38, "f4"), np.full((2, size), np.inf, "f4")
    some = np.full((2, size), 0.5, "f4")
    cases = {
        "overflow encountered in add": lambda: _add_bias(large.copy(), large[0], -1, True),
        "invalid value encountered in multiply ": lambda: _cross_entropy_back(-infinite, 0 * some, None),
        "invalid value encountered in subtract ": lambda: _cross_entropy_back(infinite, some, None),
        "invalid value encountered in subtract": lambda: _softmax(infinite, infinite.copy()),
        "invalid value encountered in multiply": lambda: _rectify_back(-infinite, infinite, infinite.copy()),
    }
    if size == 3:
        cases["overflow encountered in reduce"] = lambda: _add_up_rows(large, np.ones(size, "f4"))
        cases["overflow encountered in reduce "] = lambda: _cross_entropy_back(large, some, None)
        cases["overflow encountered in reduce  "] = lambda: _cross_entropy(large, some, 0.1, 0.9)
        cases["divide by zero encountered in log"] = lambda: _cross_entropy(some, 0 * some, 0.0, 1.0)
    for key, use in cases.items():
        message = key.strip()  # one of them may have several cases
        with pytest.warns(RuntimeWarning, match=message):
            assert use() is not None
        with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=message):
            use()
        with np.errstate(all="ignore"), warnings.catch_warnings(action="error"):
            assert use() is not None
    far = np.full((2, size), -200.0, "f4")
    far[:, 0] = 0.0
    with warnings.catch_warnings(action="error"):
        assert _softmax(far, far.copy())
    with np.errstate(under="raise"), pytest.raises(FloatingPointError, match="underflow encountered in exp"):
        _softmax(far, far.copy())


@pytest.mark.parametrize("layer", ["dense", "bias-free", "normed", "masked", "convolution"])
def test_a_network_learns_the_same_bits_without_them(layer):
    def trained():
        if layer == "convolution":
            layers = [nn.ConvolutionLayer(kernel_size=(3, 3), n_out=4, activation="relu")]
            kind, x = nn.InputType.convolutional(6, 6, 1), examples(8, 36, 3)[0].reshape(8, 1, 6, 6)
        else:
            fields = {"bias-free": {"has_bias": False}, "normed": {"has_layer_norm": True}}.get(layer, {})
            layers = [nn.DenseLayer(n_out=70, activation="relu", **fields)]
            kind, x = nn.InputType.feed_forward(36), examples(8, 36, 3)[0]
        conf = nn.MultiLayerConfiguration(layers=[*layers, nn.OutputLayer(n_out=3)], input_type=kind, seed=5)
        net = nn.MultiLayerNetwork(conf)
        mask = np.array([[1], [0]] * 4, "f4") if layer == "masked" else None
        for _ in range(3):
            net.fit(ndarena.data.DataSet(x, examples(8, 36, 3)[1], mask))
        return net.params().copy(), net.output(x)

    quick = trained()
    was_on = _set_fast_paths(False)
    try:
        general = trained()
    finally:
        _set_fast_paths(was_on)
    assert all(same_bits(one, other) for one, other in zip(quick, general, strict=True))


class Twice(ActivationSoftmax):
    """Gives shares that add up to 2."""

    def forward(self, x, *, training=False, out=None):
        out = super().forward(x, training=training, out=out)
        out *= 2
        return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 600])
@pytest.mark.parametrize(
    ("activation", "eps"), [(Twice(), 1e-10), (Twice(), 1e-3), (ActivationSoftmax(), 1e-40)]
)
def test_a_score_is_the_same_however_it_is_asked_for(activation, eps, rows, dtype):
    pre_output = np.tile(np.array([[300, 0, 0, 0]], dtype), (rows, 1))
    labels = np.zeros_like(pre_output)
    labels[:, 0] = 1
    loss = nn.LossMCXENT(softmax_clip_eps=eps)
    quick = loss.compute_score(labels, pre_output, activation, output=activation.forward(pre_output))
    was_on = _set_fast_paths(False)
    try:
        general = loss.compute_score(labels, pre_output, activation)
    finally:
        _set_fast_paths(was_on)
    assert (quick, np.signbit(quick)) == (general, np.signbit(general))


def test_what_is_refused_takes_no_memory():
    x = drawn((5, 4), "float32", special=False)
    with Workspace(fixed(4096), "REFUSED") as ws:
        ours, taken = ws.array(x), ws.this_cycle_allocations
        assert _cross_entropy_back(x.astype("f8"), ours, None) is None
        assert _cross_entropy_back(x[:3], ours, None) is None
        was_on = _set_fast_paths(False)
        try:
            assert _rectify_back(ours, ours, None) is None
        finally:
            _set_fast_paths(was_on)
        assert ws.this_cycle_allocations == taken


def test_results_go_where_those_of_the_operands_do():
    x = drawn((3, 4), "float32", special=False)
    with Workspace(learning(), "HERE") as ws:
        ours = ws.array(x)
        assert type(ActivationSoftmax().forward(x)) is np.ndarray
        assert ActivationSoftmax().forward(ours).workspace is ws
        assert type(ActivationReLU().backprop(x, x)) is np.ndarray
        assert ActivationReLU().backprop(x, ours).workspace is ws
        assert ActivationReLU().backprop(ours, x).workspace is ws


def test_a_layer_without_bias_may_have_a_parameter_of_that_name():
    class Own(nn.DenseLayer):
        def param_shapes(self):
            return super().param_shapes() | {"b": (self.n_out,)}

    for has_bias, wanted in ((True, 100.0), (False, 0.0)):
        twin = Own(n_in=3, n_out=2, has_bias=has_bias, activation="identity").instantiate()
        twin.param_table["b"][...] = 100.0
        out = twin.activate(np.zeros((1, 3)), workspace_mgr=ndarena.LayerWorkspaceMgr.no_workspaces())
        assert (out == wanted).all()


@pytest.mark.parametrize("epsilon", [np.ones((1, 3)), np.ones(3), 2.0, np.ones((4, 3))])
def test_the_way_back_takes_what_numpy_broadcasts(epsilon):
    x = drawn((4, 3), "float64", special=False)
    assert np.array_equal(ActivationReLU().backprop(x, epsilon), epsilon * (x > 0))
    assert type(ActivationReLU().backprop(np.float64(1.0), np.float64(2.0))) is np.float64
    hidden = np.ma.masked_less(x, 0.0)
    assert ActivationReLU().backprop(hidden, np.ones((4, 3))).mask.tolist() == hidden.mask.tolist()
