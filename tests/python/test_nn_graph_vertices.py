"""Vertices and preprocessors in networks: gradients, the same bits in every mode, flat memory."""

import gc

import numpy as np
import pytest

import ndarena
from ndarena import ArrayLocationError, ArrayType, ConfigurationError, nn
from ndarena.data import DataSet, MultiDataSet

FF, RNN, CNN = nn.InputType.feed_forward, nn.InputType.recurrent, nn.InputType.convolutional
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
MODES = ["NONE", "ENABLED", "SINGLE", "SEPARATE"]
N, T = 4, 5
RNG = np.random.default_rng(3)
ROWS, OTHERS = RNG.normal(size=(2, N, 6))
SERIES = RNG.normal(size=(N, 3, T))
IMAGES = RNG.normal(size=(N, 2, 4, 3))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], float)
CLASSES = np.eye(2)[[0, 1, 1, 0]]
STEPS = np.eye(2)[RNG.integers(0, 2, (N, T))].transpose(0, 2, 1).copy()


def dense(n=4):
    return nn.DenseLayer(n_out=n, activation="tanh")


OUT = nn.OutputLayer(n_out=2)
STEP_OUT = nn.RnnOutputLayer(n_out=2)
LSTM = nn.LSTM(n_out=3, activation="tanh")


def rows(**vertices):
    return {"vertices": vertices, "inputs": ["a", "b"], "input_types": [FF(6), FF(6)]}, [ROWS, OTHERS]


def series(**vertices):
    return {"vertices": vertices, "inputs": ["x", "a"], "input_types": [RNN(3), FF(6)]}, [SERIES, ROWS]


def images(**vertices):
    return {"vertices": vertices, "inputs": ["i", "x"], "input_types": [CNN(4, 3, 2), RNN(3)]}, [
        IMAGES,
        SERIES,
    ]


GRAPHS = {
    "arithmetic": rows(
        d=(dense(), "a"),
        e=(dense(), "b"),
        s=(nn.ElementWiseVertex("subtract"), "d", "e"),
        p=(nn.ElementWiseVertex("product"), "s", "e"),
        m=(nn.ElementWiseVertex("max"), "p", "d", "e"),
        f=(nn.ScaleVertex(1.5), "m"),
        g=(nn.ShiftVertex(0.5), "f"),
        u=(nn.L2NormalizeVertex(), "g"),
        v=(nn.ElementWiseVertex("average"), "u", "d"),
        out=(OUT, "v"),
    ),
    "structure": rows(
        st=(nn.StackVertex(), "a", "b"),
        d=(dense(), "st"),
        one=(nn.UnstackVertex(0, 2), "d"),
        two=(nn.UnstackVertex(1, 2), "d"),
        part=(nn.SubsetVertex(1, 2), "one"),
        far=(nn.L2Vertex(), "one", "two"),
        out=(OUT, "part", "two", "far"),
    ),
    "one array twice": rows(
        d=(dense(), "a"),
        m=(nn.MergeVertex(), "d", "d"),
        s=(nn.ElementWiseVertex("add"), "d", "d"),
        b1=(dense(), "b"),
        out=(OUT, "m", "s", "b1"),
    ),
    "steps": series(
        l=(LSTM, "x"),
        last=(nn.LastTimeStepVertex("x"), "l"),
        d=(dense(), "last", "a"),
        again=(nn.DuplicateToTimeSeriesVertex("x"), "d"),
        back=(nn.ReverseTimeSeriesVertex("x"), "l"),
        l2=(LSTM, "back", "again"),
        out=(STEP_OUT, "l2"),
    ),
    "rows of stacked series": series(
        st=(nn.StackVertex(), "x", "x"),
        d=(dense(), "st"),
        l=(LSTM, "d"),
        one=(nn.UnstackVertex(0, 2), "l"),
        r=(nn.DuplicateToTimeSeriesVertex("x"), "a"),
        out=(STEP_OUT, "one", "r"),
    ),
    "images and series": images(
        c=(nn.ConvolutionLayer(n_out=2, kernel_size=2, activation="tanh"), "i"),
        flat=(nn.PreprocessorVertex(nn.CnnToFeedForwardPreProcessor(3, 2, 2)), "c"),
        l=(LSTM, "x"),
        pool=(nn.GlobalPoolingLayer(pooling_type="avg"), "l"),
        m=(nn.MergeVertex(), "flat", "pool"),
        out=(OUT, "m"),
    ),
}


def graph(name, mode="ENABLED", **fields):
    conf, features = GRAPHS[name]
    conf = nn.ComputationGraphConfiguration(
        **conf,
        outputs=["out"],
        seed=3,
        dtype="float64",
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
        **{"updater": nn.Adam(0.05), **fields},
    )
    stepwise = isinstance(conf.vertices["out"][0], nn.RnnOutputLayer)
    masks = labels_masks = None
    if name in {"steps", "images and series"}:
        masks = [MASK if x.ndim == 3 else None for x in features]
        labels_masks = [MASK] if stepwise else None
    labels = [STEPS if stepwise else CLASSES]
    return nn.ComputationGraph(conf), MultiDataSet(features, labels, masks, labels_masks)


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_agree_with_differences(name):
    net, data = graph(name)
    checked = nn.check_gradients(net, data)
    assert checked, str(checked)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_mode_learns_and_gives_the_same_bits(name):
    bits = set()
    for mode in MODES:
        net, data = graph(name, mode)
        for _ in range(3):
            net.fit(data)
        (out,) = net.output(*data.features, features_masks=data.features_masks)
        bits.add((net.params().tobytes(), out.tobytes(), net.score(data)))
    assert len(bits) == 1


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_steady_loop_takes_nothing(name, mode):
    net, data = graph(name, mode)
    places = []

    def turn():
        net.fit(data)
        net.output(*data.features, features_masks=data.features_masks)
        assert not any(ws.spilled_size for ws in places)

    for _ in range(5):
        turn()
    places.extend(ndarena.get_all_workspaces_for_current_thread())
    sizes, held = [ws.current_size for ws in places], ndarena.allocated_bytes()
    gc.collect()
    for _ in range(10):
        turn()
    assert [ws.current_size for ws in places] == sizes
    assert ndarena.allocated_bytes() == held
    assert all(ws.escaped_count == ws.retired_size == 0 for ws in places)


STACKED = [
    ([LSTM, dense(), LSTM, STEP_OUT], RNN(3), SERIES, STEPS),
    ([nn.ConvolutionLayer(n_out=2, kernel_size=2), dense(), OUT], CNN(4, 3, 2), IMAGES, CLASSES),
    (
        [nn.ConvolutionLayer(n_out=2, kernel_size=2), nn.GlobalPoolingLayer(), OUT],
        nn.InputType.convolutional_flat(4, 3, 2),
        IMAGES.reshape(N, -1),
        CLASSES,
    ),
]


@pytest.mark.parametrize(("layers", "kind", "x", "y"), STACKED)
def test_preprocessors_in_chains(layers, kind, x, y):
    bits = set()
    for mode in MODES:
        conf = nn.MultiLayerConfiguration(
            layers=layers,
            input_type=kind,
            seed=3,
            dtype="float64",
            updater=nn.Adam(0.05),
            training_workspace_mode=mode,
            inference_workspace_mode=mode,
        )
        net = nn.MultiLayerNetwork(conf)
        if mode == "ENABLED":
            checked = nn.check_gradients(net, DataSet(x, y))
            assert checked, str(checked)
        for _ in range(3):
            net.fit(x, y)
        bits.add((net.params().tobytes(), net.output(x).tobytes()))
    assert len(bits) == 1


def test_series_of_images_are_steps_of_a_network():
    """Frames [N, C * H * W, T] become images, are convolved, and become steps again."""
    frames = RNG.normal(size=(N, 24, T))
    conf = nn.MultiLayerConfiguration(
        layers=[nn.ConvolutionLayer(n_in=2, n_out=2, kernel_size=2), nn.LSTM(n_in=12, n_out=3), STEP_OUT],
        input_preprocessors={0: nn.RnnToCnnPreProcessor(4, 3, 2), 1: nn.CnnToRnnPreProcessor(3, 2, 2)},
        seed=3,
        dtype="float64",
    )
    net = nn.MultiLayerNetwork(conf)
    checked = nn.check_gradients(net, DataSet(frames, STEPS, MASK, MASK))
    assert checked, str(checked)
    assert net.output(frames).shape == (N, 2, T)


FLAT = nn.InputType.convolutional_flat(4, 3, 2)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (FF(6), ROWS[:, :5]),
        (FF(6), SERIES),
        (RNN(3), SERIES[:, :2]),
        (RNN(3), IMAGES),
        (CNN(4, 3, 2), IMAGES[:, :1]),
        (CNN(4, 3, 2), IMAGES.reshape(N, -1)),
        (FLAT, IMAGES.reshape(N, 4, 3, 2)),
        (FLAT, ROWS),
    ],
)
def test_an_input_that_is_not_what_it_is_said_to_be_is_named(kind, given):
    layers = (
        [nn.LSTM(n_out=3), nn.GlobalPoolingLayer()] if isinstance(kind, nn.InputTypeRecurrent) else [dense()]
    )
    names = ["it", *(f"h{i}" for i in range(len(layers)))]
    vertices = {
        name: (layer, below) for name, layer, below in zip(names[1:], layers, names[:-1], strict=True)
    }
    conf = nn.ComputationGraphConfiguration(
        inputs=["it"], input_types=[kind], vertices={**vertices, "out": (OUT, names[-1])}, outputs=["out"]
    )
    net = nn.ComputationGraph(conf)
    for use in (lambda: net.output(given), lambda: net.fit(MultiDataSet([given], [CLASSES]))):
        with pytest.raises(ValueError, match=r"input 'it': expected .* not an array of shape") as caught:
            use()
        assert str(list(given.shape)) in str(caught.value)


def test_a_data_set_without_labels_is_not_learned():
    net, data = graph("arithmetic")
    with pytest.raises(ValueError, match="no labels"):
        net.fit(MultiDataSet(data.features))


class Careless(nn.GraphVertex):
    """A vertex that allocates without naming a role."""

    def do_forward(self, *inputs, training=False, workspace_mgr, masks=None):
        return inputs[0] * 2.0

    def do_backward(self, epsilon, *, workspace_mgr):
        return (epsilon * 2.0,)


@pytest.mark.parametrize("mode", ["ENABLED", "SEPARATE"])  # in SINGLE all places are one
def test_a_careless_vertex_is_told_where_its_result_lies(mode):
    vertices = {"d": (dense(), "a"), "twice": (Careless(), "d"), "out": (OUT, "twice")}
    conf = nn.ComputationGraphConfiguration(
        inputs=["a"],
        input_types=[FF(6)],
        vertices=vertices,
        outputs=["out"],
        dtype="float64",
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
    )
    net = nn.ComputationGraph(conf)
    for use in (lambda: net.output(ROWS), lambda: net.fit(MultiDataSet([ROWS], [CLASSES]))):
        with pytest.raises(ArrayLocationError, match=f"twice.*Careless.*{ArrayType.ACTIVATIONS.name}"):
            use()
        ndarena.assert_no_workspaces_open("an error leaves nothing open")
    with pytest.raises(ConfigurationError, match="Careless"):
        conf.to_json()


@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "bool"])
@pytest.mark.parametrize(
    "vertex",
    [
        nn.MergeVertex(),
        nn.ElementWiseVertex("add"),
        nn.ElementWiseVertex("average"),
        nn.ElementWiseVertex("product"),
    ],
    ids=["merge", "add", "average", "product"],
)
def test_all_activations_are_made_of_the_network_s_own_numbers(vertex, kind):
    size = 4 if isinstance(vertex, nn.MergeVertex) else 2
    output = nn.OutputLayer(n_in=size, n_out=1, loss="mse", activation="identity")
    conf = nn.ComputationGraphConfiguration(
        inputs=["a", "b"], vertices={"v": (vertex, "a", "b"), "out": (output, "v")}, outputs=["out"], seed=1
    )
    net = nn.ComputationGraph(conf)
    a, b = np.array([[200, 3]]).astype(kind), np.array([[100, 1]]).astype(kind)
    values = net.feed_forward(a, b)
    np.testing.assert_array_equal(values["out"], net.output(a, b)[0])
    assert {value.dtype for value in values.values()} == {np.dtype("f4")}
