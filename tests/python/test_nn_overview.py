"""What networks say of themselves: summaries, memory before anything runs, copies that go their own way."""

import numpy as np
import pytest
from nn_support import chain, examples

from ndarena import ConfigurationError, nn
from ndarena.data import DataSet, MultiDataSet

X, Y = examples(8, 4, 3)


def images():
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.ConvolutionLayer(n_out=2, kernel_size=3),
            nn.DenseLayer(n_out=5, name="rows"),
            nn.OutputLayer(n_out=3),
        ],
        input_type=nn.InputType.convolutional(height=6, width=6, channels=1),
        updater=nn.Adam(),
        dtype="float64",
    )
    return nn.MultiLayerNetwork(conf)


def graph():
    vertices = {
        "d": (nn.DenseLayer(n_out=5), "a"),
        "m": (nn.MergeVertex(), "d", "b"),
        "out": (nn.OutputLayer(n_out=3), "m"),
    }
    types = [nn.InputType.feed_forward(4), nn.InputType.feed_forward(2)]
    conf = nn.ComputationGraphConfiguration(
        inputs=["a", "b"],
        input_types=types,
        vertices=vertices,
        outputs=["out"],
        updater=nn.Nesterovs(0.1),
        seed=1,
    )
    return nn.ComputationGraph(conf)


def test_a_summary_has_a_line_per_layer():
    net = images()
    head, rule, *lines, total = net.summary().splitlines()
    assert head.split() == ["name", "class", "given", "gives", "parameters"]
    assert set(rule) == {"-"}
    assert [line.split()[:2] for line in lines] == [
        ["layer0", "ConvolutionLayer"],
        ["rows", "DenseLayer"],
        ["layer2", "OutputLayer"],
    ]
    assert "layer0 through CnnToFeedForwardPreProcessor" in lines[1]
    assert "W [32, 5], b [5]" in lines[1]
    assert total.startswith(f"{net.num_params():,} parameters of float64")


def test_a_summary_of_a_graph_has_its_joins():
    lines = graph().summary().splitlines()
    assert "d, b" in lines[3]
    assert "feed-forward, 7 features" in lines[3]
    assert lines[3].endswith(" 0")


def test_what_is_not_known_is_not_made_up():
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.ConvolutionLayer(n_in=1, n_out=2, kernel_size=3),
            nn.GlobalPoolingLayer(),
            nn.OutputLayer(n_in=2, n_out=3),
        ]
    )
    net = nn.MultiLayerNetwork(conf)
    assert "?" in net.summary()
    report = net.memory_report(4)
    assert [layer.activations for layer in report.layers] == [None, None, 4 * 3 * 4]
    assert "?" in str(report)


def test_memory_follows_from_sizes():
    net, n = images(), 10
    report = net.memory_report(n)
    sizes = [n * 2 * 4 * 4 * 8, n * 5 * 8, n * 3 * 8]
    assert [layer.activations for layer in report.layers] == sizes
    assert [layer.params for layer in report.layers] == [20 * 8, 165 * 8, 18 * 8]
    assert report.params == report.gradients == net.num_params() * 8
    assert report.updater_state == 2 * report.params
    assert report.standing == 4 * report.params
    assert report.training == report.standing + sum(sizes) + sizes[0] + sizes[1]
    assert report.inference == report.params + sizes[0] + sizes[1]
    assert "minibatch 10" in str(report)
    series = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[nn.LSTM(n_out=5), nn.RnnOutputLayer(n_out=2)], input_type=nn.InputType.recurrent(3, 7)
        )
    )
    assert series.memory_report(2).layers[0].activations == 2 * 5 * 7 * 4
    for wrong in (0, 1.5, True):
        with pytest.raises(ConfigurationError, match="minibatch"):
            net.memory_report(wrong)


def test_a_graph_is_evaluated_like_a_chain():
    net, data = graph(), MultiDataSet([X, X[:, :2].copy()], [Y])
    found = net.evaluate([data, data])
    right = net.output_single(*data.features).argmax(axis=1) == Y.argmax(axis=1)
    assert found.row_count == 16
    assert found.accuracy() == right.mean()
    vertices = {"out": (nn.OutputLayer(n_out=3), "a"), "other": (nn.OutputLayer(n_out=2), "a")}
    conf = nn.ComputationGraphConfiguration(
        inputs=["a"], input_types=[nn.InputType.feed_forward(4)], vertices=vertices, outputs=["out", "other"]
    )
    with pytest.raises(ValueError, match="2 outputs"):
        nn.ComputationGraph(conf).evaluate([data])


@pytest.mark.parametrize(
    ("net", "data"),
    [
        (chain(4, 5, 3), DataSet(X, Y)),
        (graph(), MultiDataSet([X, X[:, :2].copy()], [Y])),
    ],
)
def test_a_clone_goes_on_alike_and_on_its_own(net, data):
    for _ in range(3):
        net.fit(data)
    net.training_workspace_mode = "NONE"
    twin = net.clone()
    assert type(twin) is type(net)
    assert twin.configuration is net.configuration
    assert (twin.iteration_count, twin.training_workspace_mode) == (3, nn.WorkspaceMode.NONE)
    before = net.params().copy()
    twin.fit(data)
    np.testing.assert_array_equal(net.params(), before)
    net.fit(data)
    np.testing.assert_array_equal(net.params(), twin.params())
    np.testing.assert_array_equal(net.updater_state(), twin.updater_state())
