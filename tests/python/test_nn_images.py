"""Layers of images: formulas, edges, types, masks, what is refused."""

import itertools

import numpy as np
import pytest
from fast_support import fast_paths

from ndarena import ConfigurationError, LayerWorkspaceMgr, nn
from ndarena.nn import InputType, im2col

MGR = LayerWorkspaceMgr.no_workspaces()
GEOMETRIES = [
    {"kernel_size": (3, 2)},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": (2, 2), "dilation": (3, 2), "padding": (1, 0)},
    {"kernel_size": (3, 3), "convolution_mode": "same"},
    {"kernel_size": (3, 2), "stride": (2, 3), "convolution_mode": "same"},
    {"kernel_size": (1, 4), "stride": (1, 1), "convolution_mode": "strict"},
    {"kernel_size": (1, 1), "stride": (3, 2)},
]
geometries = pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)


def images(batch=2, channels=3, height=7, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, channels, height, width))


def twin_of(layer, channels=3, **options):
    layer = layer.with_input_type(InputType.convolutional(7, 6, channels))
    return layer.instantiate(rng=np.random.default_rng(1), **options)


def edges(geometry, axis, size):
    """Return stride, dilation, cells in front, and the number of windows, as the formulas have them."""
    pick = lambda field, default: np.broadcast_to(geometry.get(field, default), 2)[axis]  # noqa: E731
    kernel, stride = pick("kernel_size", 1), pick("stride", 1)
    padding, dilation = pick("padding", 0), pick("dilation", 1)
    extent = (kernel - 1) * dilation + 1
    if geometry.get("convolution_mode") == "same":
        count = -(-size // stride)
        return stride, dilation, max((count - 1) * stride + extent - size, 0) // 2, count
    return stride, dilation, padding, (size + 2 * padding - extent) // stride + 1


def cells_of(x, geometry):
    """Go through the windows of an image; give place and cells, those outside of the image as NaN."""
    kernel = np.broadcast_to(geometry["kernel_size"], 2)
    (s, d, f, n), (t, e, g, m) = (edges(geometry, axis, x.shape[2 + axis]) for axis in (0, 1))
    around = np.pad(x, [(0, 0), (0, 0), (20, 20), (20, 20)], constant_values=np.nan)
    for i, j in itertools.product(range(n), range(m)):
        down = 20 - f + i * s + d * np.arange(kernel[0])
        across = 20 - g + j * t + e * np.arange(kernel[1])
        yield i, j, around[:, :, down[:, None], across]


@geometries
def test_convolution_is_the_sum_of_products(geometry):
    layer = twin_of(nn.ConvolutionLayer(n_out=4, activation="identity", bias_init=0.5, **geometry))
    x = images()
    out = layer.activate(x, workspace_mgr=MGR)
    for i, j, cells in cells_of(x, geometry):
        expected = np.einsum("ncij,ocij->no", np.nan_to_num(cells), layer.param_table["W"]) + 0.5
        assert np.allclose(out[:, :, i, j], expected)
    assert out.shape[2:] == (i + 1, j + 1)


@geometries
@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("max", np.nanmax),
        ("avg", np.nanmean),
        ("sum", np.nansum),
        ("pnorm", lambda cells, axis: np.nansum(np.abs(cells) ** 3, axis=axis) ** (1 / 3)),
    ],
)
def test_pooling_is_the_formula_over_every_window(kind, formula, geometry):
    layer = twin_of(nn.SubsamplingLayer(pooling_type=kind, pnorm=3, **{"stride": 1, **geometry}))
    x = images()
    out = layer.activate(x, workspace_mgr=MGR)
    for i, j, cells in cells_of(x, geometry):
        assert np.allclose(out[:, :, i, j], formula(cells, axis=(2, 3)))
    assert out.shape[2:] == (i + 1, j + 1)


def test_padding_counts_in_an_average_only_where_it_is_asked_for():
    fields = {"pooling_type": "avg", "kernel_size": 2, "stride": 2, "padding": 1}
    x = np.ones((1, 1, 4, 4))
    without = twin_of(nn.SubsamplingLayer(**fields), 1).activate(x, workspace_mgr=MGR)
    counted = nn.SubsamplingLayer(**fields, avg_pool_include_pad_in_divisor=True)
    assert (without == 1.0).all()
    assert np.array_equal(twin_of(counted, 1).activate(x, workspace_mgr=MGR)[0, 0, 0], [0.25, 0.5, 0.25])


@pytest.mark.parametrize("stride", [1, 2])
def test_of_equal_maxima_the_first_in_reading_order_gets_the_gradient(stride):
    layer = twin_of(nn.SubsamplingLayer(kernel_size=2, stride=stride), 1)
    x = np.array([[[[0.0, 5.0], [5.0, 5.0]]]])
    layer.activate(x, training=True, workspace_mgr=MGR)
    below = layer.backprop_gradient(np.full((1, 1, 1, 1), 3.0), workspace_mgr=MGR)
    assert np.array_equal(below, [[[[0.0, 3.0], [0.0, 0.0]]]])


@geometries
def test_blocks_of_columns_add_up_to_the_whole(geometry, monkeypatch):
    x, results = images(), []
    for block in (im2col.BLOCK, 1):
        monkeypatch.setattr(im2col, "BLOCK", block)
        layer = twin_of(nn.ConvolutionLayer(n_out=4, activation="tanh", **geometry))
        out = layer.activate(x, training=True, workspace_mgr=MGR)
        below = layer.backprop_gradient(np.cos(out), workspace_mgr=MGR)
        results.append((out, below, layer.gradient))
    assert all(np.allclose(a, b, rtol=1e-12) for a, b in zip(*results, strict=True))


@geometries
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ways_to_add_up_windows_give_the_same_bits(geometry, dtype):
    x, results = images().astype(dtype), []
    for on in (True, False):
        layer = twin_of(nn.ConvolutionLayer(n_out=4, activation="tanh", **geometry), dtype=dtype)
        with fast_paths(on=on):
            out = layer.activate(x, training=True, workspace_mgr=MGR)
            results.append(layer.backprop_gradient(np.cos(out), workspace_mgr=MGR))
    np.testing.assert_array_equal(*results)


SPATIAL = {
    "convolution": nn.ConvolutionLayer(n_out=4, kernel_size=2),
    "pooling": nn.SubsamplingLayer(kernel_size=2),
    "upsampling": nn.Upsampling2D(),
    "padding": nn.ZeroPaddingLayer(padding=(1, 1, 1, 1)),
    "batch": nn.BatchNormalization(),
    "channels": nn.LocalResponseNormalization(),
    "whole": nn.GlobalPoolingLayer(pooling_type="avg"),
}


@pytest.mark.parametrize("name", SPATIAL)
def test_where_images_lie_in_memory_does_not_matter(name):
    x, results = images(), []
    other = np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    for given in (x, other):
        layer = twin_of(SPATIAL[name])
        out = layer.activate(given, training=True, workspace_mgr=MGR)
        epsilon = np.sin(np.arange(out.size)).reshape(out.shape)
        below = layer.backprop_gradient(epsilon, workspace_mgr=MGR)
        results.append((np.array(out), np.array(below), layer.gradient.copy()))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", ["convolution", "pooling", "upsampling", "padding"])
def test_layers_hand_on_images_with_the_batch_last_in_memory(name):
    out = twin_of(SPATIAL[name]).activate(images(), workspace_mgr=MGR)
    assert out.transpose(1, 2, 3, 0).flags["C_CONTIGUOUS"]


# Types and what is refused.


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (nn.ConvolutionLayer(n_out=20), InputType.convolutional(28, 28, 1), (20, 24, 24)),
        (nn.SubsamplingLayer(kernel_size=2), InputType.convolutional(9, 8, 3), (3, 4, 4)),
        (nn.Upsampling2D(size=(3, 1)), InputType.convolutional(2, 5, 3), (3, 6, 5)),
        (nn.ZeroPaddingLayer(padding=(1, 2, 3, 4)), InputType.convolutional(2, 5, 3), (3, 5, 12)),
        (nn.Convolution1DLayer(n_out=2, stride=2), InputType.recurrent(3, 8), (2, 2)),
        (nn.Convolution1DLayer(n_out=2), InputType.recurrent(3), (2, None)),
        (nn.GlobalPoolingLayer(), InputType.recurrent(3, 8), (3,)),
        (nn.GlobalPoolingLayer(collapse_dimensions=False), InputType.recurrent(3, 8), (3, 1)),
        (nn.GlobalPoolingLayer(collapse_dimensions=False), InputType.convolutional(4, 5, 3), (3, 1, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_types_follow_from_windows(layer, given, expected):
    assert layer.get_output_type(given).shape == expected


@pytest.mark.parametrize(
    ("kind", "fields", "field", "reason"),
    [
        ("ConvolutionLayer", {"n_out": 2, "kernel_size": (2, 0)}, "kernel_size", "2 whole numbers from 1"),
        ("ConvolutionLayer", {"n_out": 2, "kernel_size": (2, 2, 2)}, "kernel_size", "2 whole numbers"),
        ("ConvolutionLayer", {"n_out": 2, "padding": -1}, "padding", "from 0 on"),
        ("ConvolutionLayer", {"n_out": 2, "stride": "2"}, "stride", "whole numbers"),
        ("ConvolutionLayer", {"n_out": 0}, "n_out", "from 1 on"),
        ("ConvolutionLayer", {"n_out": 2, "has_bias": 1}, "has_bias", "True or False"),
        ("ConvolutionLayer", {"n_out": 2, "convolution_mode": "full"}, "convolution_mode", "TRUNCATE"),
        ("ConvolutionLayer", {"n_out": 2, "convolution_mode": "same", "padding": 1}, "padding", "must be 0"),
        ("Convolution1DLayer", {"n_out": 2, "kernel_size": (2, 2)}, "kernel_size", "a whole number"),
        ("SubsamplingLayer", {"pooling_type": "min"}, "pooling_type", "MAX, AVG, SUM, PNORM"),
        ("SubsamplingLayer", {"pooling_type": "pnorm"}, "pnorm", "must be given"),
        ("SubsamplingLayer", {"pnorm": 0}, "pnorm", "from 1 on"),
        ("SubsamplingLayer", {"eps": -1.0}, "eps", "from 0 on"),
        (
            "SubsamplingLayer",
            {"avg_pool_include_pad_in_divisor": 1},
            "avg_pool_include_pad_in_divisor",
            "True",
        ),
        ("GlobalPoolingLayer", {"pnorm": 0}, "pnorm", "from 1 on"),
        ("GlobalPoolingLayer", {"collapse_dimensions": None}, "collapse_dimensions", "True or False"),
        ("Upsampling2D", {"size": 0}, "size", "from 1 on"),
        ("ZeroPaddingLayer", {"padding": (1, 1)}, "padding", "4 whole numbers from 0"),
        ("BatchNormalization", {"n_in": 2, "n_out": 3}, "n_out", "must be n_in=2"),
        ("BatchNormalization", {"decay": 1.5}, "decay", "at most 1"),
        ("BatchNormalization", {"eps": -1.0}, "eps", "from 0 on"),
        ("BatchNormalization", {"use_log_std": "no"}, "use_log_std", "True or False"),
        ("LocalResponseNormalization", {"n": 2.5}, "n", "whole number"),
        ("LayerNormalization", {"eps": None}, "eps", "must be a number"),
    ],
)
def test_wrong_fields_are_refused_by_name(kind, fields, field, reason):
    with pytest.raises(ConfigurationError, match=kind) as caught:
        getattr(nn, kind)(**fields)
    assert (caught.value.field, reason in caught.value.reason) == (field, True)


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (nn.ConvolutionLayer(n_out=2, kernel_size=9), InputType.convolutional(8, 9, 1)),
        (nn.SubsamplingLayer(kernel_size=3, convolution_mode="strict"), InputType.convolutional(8, 9, 1)),
        (nn.Convolution1DLayer(n_out=2, kernel_size=9), InputType.recurrent(3, 8)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_windows_that_do_not_fit_are_refused(layer, given):
    with pytest.raises(ConfigurationError, match="kernel_size"):
        layer.get_output_type(given)
    twin = layer.with_input_type(given).instantiate(index=2)
    with pytest.raises(ValueError, match=r"layer 2 \(layer2, .*fit"):
        twin.activate(np.ones((1, *given.shape)), workspace_mgr=MGR)


def test_features_have_nothing_to_pool():
    with pytest.raises(ConfigurationError, match="recurrent or convolutional"):
        nn.GlobalPoolingLayer().get_output_type(InputType.feed_forward(3))


@pytest.mark.parametrize(
    "layer", [nn.ConvolutionLayer(n_out=2), nn.BatchNormalization(), nn.LayerNormalization()], ids=str
)
def test_without_a_type_of_the_input_its_size_must_be_given(layer):
    with pytest.raises(ConfigurationError, match="n_in"):
        layer.instantiate()


def test_lenet_has_its_number_of_parameters():
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.ConvolutionLayer(n_out=20),
            nn.SubsamplingLayer(kernel_size=2),
            nn.ConvolutionLayer(n_out=50),
            nn.SubsamplingLayer(kernel_size=2),
            nn.DenseLayer(n_out=500, activation="relu"),
            nn.OutputLayer(n_out=10),
        ],
        input_type=InputType.convolutional(28, 28, 1),
    )
    assert sum(layer.num_params() for layer in conf.complete_layers()) == 520 + 25050 + 400500 + 5010


def test_weights_begin_with_the_spread_of_their_fans():
    layer = nn.ConvolutionLayer(n_in=30, n_out=40, kernel_size=(5, 4), stride=(2, 1), weight_init="xavier")
    weights = layer.instantiate(rng=np.random.default_rng(0)).param_table["W"]
    assert np.isclose(weights.var(), 2 / (30 * 20 + 40 * 20 / 2), rtol=0.05)


# Masks.

STEPS = np.array([[1, 1, 1, 0, 0, 0.0], [1, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"convolution_mode": "same"}, STEPS),
        ({}, [[1, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
        ({"stride": 2}, [[1, 1, 0], [1, 0, 1]]),
        ({"stride": 2, "padding": 1}, [[1, 1, 0, 0], [1, 0, 0, 1]]),
        ({"dilation": 2}, [[1, 1, 1, 0], [1, 0, 0, 1]]),
    ],
    ids=str,
)
def test_a_window_of_steps_counts_if_any_step_does(fields, expected):
    layer = twin_of(nn.Convolution1DLayer(n_in=3, n_out=2, kernel_size=2, bias_init=1.0, **fields))
    assert np.array_equal(layer.feed_forward_mask(STEPS), expected)
    x = np.random.default_rng(0).normal(size=(2, 3, 6))
    out = layer.activate(x, workspace_mgr=MGR, mask=STEPS)
    assert np.array_equal((out != 0).all(axis=1), np.array(expected) > 0)


PIXELS = np.array([1.0, 1, 0, 0, 0, 0, 0]).reshape(1, 1, 7, 1)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ConvolutionLayer(n_out=1, kernel_size=2), [1, 1, 0, 0, 0, 0]),
        (nn.SubsamplingLayer(kernel_size=2), [1, 0, 0]),
        (nn.Upsampling2D(size=(2, 3)), [1, 1, 1, 1] + 10 * [0]),
        (nn.ZeroPaddingLayer(padding=(1, 2, 3, 4)), [0, 1, 1] + 7 * [0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_masks_of_pixels_follow_the_windows(layer, expected):
    twin = twin_of(layer)
    assert np.array_equal(twin.feed_forward_mask(PIXELS)[0, 0, :, 0], expected)
    rows = np.ones((3, 1))
    assert twin.feed_forward_mask(rows) is rows


@pytest.mark.parametrize("kind", ["max", "avg", "sum", "pnorm"])
def test_pooling_leaves_out_what_is_masked(kind):
    layer, x = twin_of(nn.GlobalPoolingLayer(pooling_type=kind)), images()
    mask = np.zeros((2, 1, 7, 6))
    mask[0, 0, 2:4, 1:] = 1.0
    out = layer.activate(x, training=True, workspace_mgr=MGR, mask=mask)
    kept = layer.activate(x[:1, :, 2:4, 1:], workspace_mgr=MGR)
    assert np.allclose(out[0], kept[0]) and not out[1].any()
    layer.activate(x, training=True, workspace_mgr=MGR, mask=mask)
    below = layer.backprop_gradient(np.ones(out.shape), workspace_mgr=MGR)
    assert below.any() and not below[np.broadcast_to(mask == 0, below.shape)].any()
    assert layer.feed_forward_mask(mask) is None


@pytest.mark.parametrize("shape", [(2, 5), (2, 1, 7, 5), (3, 1, 7, 6), (2, 7, 6)])
def test_a_mask_that_does_not_fit_is_refused(shape):
    layer = twin_of(nn.GlobalPoolingLayer(), index=1)
    with pytest.raises(ValueError, match=r"layer 1 \(layer1, GlobalPoolingLayer\): expected mask of shape"):
        layer.activate(images(), workspace_mgr=MGR, mask=np.ones(shape))


@pytest.mark.parametrize(
    "mask",
    [
        np.array([[1.0], [0.0]]),
        np.random.default_rng(1).integers(0, 2, (2, 7, 6)).astype(float),
        np.random.default_rng(2).integers(0, 2, (2, 1, 7, 6)).astype(float),
    ],
    ids=lambda mask: str(mask.shape),
)
def test_the_loss_of_pixels_is_that_of_rows(mask):
    x, labels = images(), np.abs(images(seed=3))
    pixels, rows = twin_of(nn.CnnLossLayer(activation="softmax")), twin_of(nn.LossLayer(activation="softmax"))
    as_rows = lambda a: a.transpose(0, 2, 3, 1).reshape(-1, a.shape[1])  # noqa: E731
    whole = np.broadcast_to(mask.reshape(2, 1, *(mask.shape[-2:] if mask.ndim > 2 else (1, 1))), (2, 1, 7, 6))
    pixels.labels, rows.labels = labels, as_rows(labels)
    out = pixels.activate(x, training=True, workspace_mgr=MGR, mask=mask)
    expected = rows.activate(as_rows(x), training=True, workspace_mgr=MGR, mask=as_rows(whole))
    assert np.allclose(as_rows(out), expected)
    assert np.isclose(pixels.compute_score(workspace_mgr=MGR), rows.compute_score(workspace_mgr=MGR) * 42)
    below = pixels.backprop_gradient(None, workspace_mgr=MGR)
    assert np.allclose(as_rows(below), rows.backprop_gradient(None, workspace_mgr=MGR))


def test_a_mask_of_other_pixels_is_refused():
    layer = twin_of(nn.CnnLossLayer())
    with pytest.raises(ValueError, match="expected mask of shape"):
        layer.activate(images(), workspace_mgr=MGR, mask=np.ones((2, 5, 6)))


# Normalisation.


@pytest.mark.parametrize("shape", [(50, 3), (20, 3, 4), (6, 3, 4, 5)])
@pytest.mark.parametrize("fields", [{}, {"use_log_std": True}, {"minibatch": False}], ids=str)
def test_running_statistics_become_those_of_the_batches(shape, fields):
    layer = nn.BatchNormalization(n_in=3, decay=0.5, eps=0.0, **fields).instantiate()
    x = np.random.default_rng(0).normal(2.0, 3.0, shape)
    for _ in range(1 if fields.get("minibatch") is False else 60):
        out = np.array(layer.activate(x, training=True, workspace_mgr=MGR))
        layer.backprop_gradient(np.zeros(shape), workspace_mgr=MGR)
        layer.params[...] -= layer.gradient
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    assert np.allclose(out.mean(axis=axes), 0.0) and np.allclose(out.var(axis=axes), 1.0)
    assert np.allclose(layer.param_table["mean"], x.mean(axis=axes))
    assert np.allclose(layer.activate(x, workspace_mgr=MGR), out)


def test_only_gamma_and_beta_learn():
    layer = nn.BatchNormalization(n_in=3)
    kinds = {name: layer.param_kind(name) for name in layer.param_shapes()}
    learned, moved = nn.ParamKind.GAIN, nn.ParamKind.STATISTIC
    assert kinds == {"gamma": learned, "beta": learned, "mean": moved, "var": moved}
    locked = nn.BatchNormalization(n_in=3, lock_gamma_beta=True, use_log_std=True)
    assert list(locked.param_shapes()) == ["mean", "log10stdev"]


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_neighbouring_channels_damp(n):
    layer, x = nn.LocalResponseNormalization(n=n, alpha=0.3, k=1.5).instantiate(), images(channels=5)
    out = layer.activate(x, workspace_mgr=MGR)
    for c in range(5):
        around = x[:, max(c - n // 2, 0) : c + n // 2 + 1]
        expected = x[:, c] / (1.5 + 0.3 * (around**2).sum(axis=1)) ** 0.75
        assert np.allclose(out[:, c], expected)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (2, 4, 3, 5)])
def test_every_example_is_normalised_by_itself(shape):
    layer = nn.LayerNormalization(n_in=4, eps=0.0, gain_init=2.0, bias_init=1.0).instantiate()
    out = layer.activate(np.random.default_rng(0).normal(size=shape), workspace_mgr=MGR)
    assert np.allclose(out.mean(axis=1), 1.0) and np.allclose(out.std(axis=1), 2.0)
