"""Configurations of graphs and of chains with other than flat inputs: names, order, sizes, preprocessors."""

import dataclasses
import pickle

import numpy as np
import pytest

from ndarena import ConfigurationError, nn

FF, RNN, CNN = nn.InputType.feed_forward, nn.InputType.recurrent, nn.InputType.convolutional
OUT = nn.OutputLayer(n_out=2)


class Series(nn.Layer):
    """A layer for series that hands on what it gets."""

    input_kind = nn.InputTypeRecurrent
    n_in: int | None = None

    def with_input_type(self, input_type):
        return dataclasses.replace(self, n_in=self.n_in or input_type.size)


class Images(nn.Layer):
    """A layer for images that halves them."""

    input_kind = nn.InputTypeConvolutional

    def get_output_type(self, input_type):
        return CNN(input_type.height // 2, input_type.width // 2, input_type.channels)


def graph(vertices=None, **fields):
    vertices = vertices or {
        "h": (nn.DenseLayer(n_out=8), "a"),
        "m": (nn.MergeVertex(), "h", "b"),
        "out": (OUT, "m"),
    }
    given = {"inputs": ["a", "b"], "outputs": ["out"], "input_types": [FF(3), FF(4)], "seed": 1, **fields}
    return nn.ComputationGraphConfiguration(vertices=vertices, **given)


def single(thing, *inputs, **fields):
    return graph({"x": (thing, *inputs), "out": (OUT, "x")}, **fields)


def test_sizes_follow_through_the_vertices():
    nodes = graph().complete_nodes()
    assert [(node.name, node.inputs) for node in nodes] == [("h", ("a",)), ("m", ("h", "b")), ("out", ("m",))]
    assert (nodes[0].thing.n_in, nodes[2].thing.n_in) == (3, 12)
    assert nodes[2].thing.updater == nn.Sgd()
    assert nodes[1].thing == nn.MergeVertex()


def test_a_layer_of_several_inputs_is_given_their_merger():
    conf = graph({"out": (OUT, "a", "b")})
    assert dict(conf.vertices) == {"out-merge": (nn.MergeVertex(), "a", "b"), "out": (OUT, "out-merge")}
    assert conf.topological_order == ("a", "b", "out-merge", "out")
    assert conf.complete_nodes()[-1].thing.n_in == 7
    given = graph({"out": (OUT, "a", "b")}, topological_order=["b", "a", "out"])
    assert given.topological_order == ("b", "a", "out-merge", "out")
    assert dataclasses.replace(given) == given


def test_the_order_is_that_of_declaration_as_far_as_inputs_allow():
    vertices = {
        "out": (OUT, "sum"),
        "sum": (nn.ElementWiseVertex("add"), "late", "early"),
        "late": (nn.DenseLayer(n_out=5), "early"),
        "early": (nn.DenseLayer(n_out=5), "m"),
        "m": (nn.MergeVertex(), "a", "b"),
    }
    assert graph(vertices).topological_order == ("a", "b", "m", "early", "late", "sum", "out")


def test_an_order_that_is_given_stays():
    vertices = {
        "one": (nn.DenseLayer(n_out=5), "a"),
        "two": (nn.DenseLayer(n_out=5), "b"),
        "out": (OUT, "one", "two"),
    }
    order = ("b", "two", "a", "one", "out-merge", "out")
    conf = graph(vertices, topological_order=order)
    assert conf.topological_order == order
    assert [node.name for node in conf.complete_nodes()] == ["two", "one", "out-merge", "out"]
    assert conf != graph(vertices)


def test_graphs_compare_hash_and_pickle_by_value():
    assert graph() == graph() != graph(seed=2)
    assert hash(graph()) == hash(graph())
    for again in (pickle.loads(pickle.dumps(graph())), dataclasses.replace(graph())):
        assert again == graph()
        assert again.complete_nodes() == graph().complete_nodes()


def test_preprocessors_stand_between_kinds_of_input():
    vertices = {
        "halves": (Images(), "images"),
        "rows": (nn.DenseLayer(n_out=6), "halves"),
        "steps": (Series(), "series"),
        "dense": (nn.DenseLayer(n_out=5), "steps"),
        "again": (Series(), "dense"),
        "last": (nn.LastTimeStepVertex("series"), "again"),
        "out": (OUT, "rows", "last"),
    }
    fields = {
        "inputs": ["images", "series"],
        "input_types": [nn.InputType.convolutional_flat(8, 6, 2), RNN(7)],
    }
    nodes = {node.name: node for node in graph(vertices, **fields).complete_nodes()}
    assert nodes["halves"].preprocessor == nn.FeedForwardToCnnPreProcessor(8, 6, 2)
    assert nodes["rows"].preprocessor == nn.CnnToFeedForwardPreProcessor(4, 3, 2)
    assert nodes["rows"].thing.n_in == 24
    assert nodes["steps"].preprocessor is None
    assert nodes["dense"].preprocessor == nn.RnnToFeedForwardPreProcessor()
    assert nodes["again"].preprocessor == nn.FeedForwardToRnnPreProcessor()
    assert [nodes[n].thing.n_in for n in ("steps", "dense", "again", "out")] == [7, 7, 5, 11]


def test_a_preprocessor_that_is_given_wins_and_is_all_there_is_without_a_type():
    given = nn.ComposableInputPreProcessor(nn.CnnToFeedForwardPreProcessor(4, 3, 2))
    layers = [Images(), nn.DenseLayer(n_out=5), OUT]
    conf = nn.MultiLayerConfiguration(layers=layers, input_type=CNN(8, 6, 2), input_preprocessors={1: given})
    assert conf.complete_preprocessors() == {1: given}
    layers = [Images(), nn.DenseLayer(n_in=24, n_out=5), OUT]
    plain = nn.MultiLayerConfiguration(layers=layers, input_preprocessors={1: given})
    assert plain.complete_preprocessors() == {1: given}
    assert [getattr(layer, "n_in", None) for layer in plain.complete_layers()] == [None, 24, 5]
    assert hash(plain) == hash(dataclasses.replace(plain))
    inferred = nn.MultiLayerConfiguration(layers=layers, input_type=CNN(8, 6, 2))
    assert inferred.complete_preprocessors() == {1: nn.CnnToFeedForwardPreProcessor(4, 3, 2)}


def test_series_of_images_become_steps():
    conf = nn.MultiLayerConfiguration(layers=[Images(), Series(), OUT], input_type=CNN(8, 6, 2))
    assert conf.complete_preprocessors() == {
        1: nn.CnnToRnnPreProcessor(4, 3, 2),
        2: nn.RnnToFeedForwardPreProcessor(),
    }


RELU = nn.ActivationLayer("relu")
INFERRED = [
    (
        [nn.ConvolutionLayer(n_out=4, kernel_size=3), nn.SubsamplingLayer(kernel_size=(2, 2)), OUT],
        CNN(8, 8, 2),
        (2, 36),
    ),
    (
        [nn.BatchNormalization(), nn.GlobalPoolingLayer(), OUT],
        nn.InputType.convolutional_flat(8, 8, 2),
        (2, 2),
    ),
    ([nn.GlobalPoolingLayer(), OUT], nn.InputType.convolutional_flat(8, 8, 2), (2,)),
    ([nn.BatchNormalization(), OUT], RNN(5), (5, 5)),
    ([nn.DenseLayer(n_out=6), RELU, OUT], nn.InputType.convolutional_flat(2, 2, 2), (8, 6)),
    (
        [nn.LSTM(n_out=3), nn.DenseLayer(n_out=4), nn.LSTM(n_out=2), nn.GlobalPoolingLayer(), OUT],
        RNN(4),
        (4, 3, 4, 2),
    ),
    ([nn.Bidirectional(nn.LSTM(n_out=3)), nn.LastTimeStep(nn.SimpleRnn(n_out=5)), OUT], RNN(4), (4, 6, 5)),
    ([nn.Convolution1DLayer(n_out=3, kernel_size=2), nn.RnnOutputLayer(n_out=2)], RNN(4, 7), (4, 3)),
    ([nn.EmbeddingSequenceLayer(n_in=9, n_out=4), nn.RnnOutputLayer(n_out=2)], None, (9, 4)),
    ([nn.Bidirectional(nn.LSTM(n_in=4, n_out=3), mode="add"), nn.RnnOutputLayer(n_out=2)], None, (4, 3)),
    ([nn.Upsampling2D(), nn.ZeroPaddingLayer(padding=(1, 1, 0, 0)), OUT], CNN(2, 3, 2), (72,)),
]


@pytest.mark.parametrize(("layers", "kind", "sizes"), INFERRED)
def test_sizes_follow_through_all_kinds_of_layers(layers, kind, sizes):
    conf = nn.MultiLayerConfiguration(layers=layers, input_type=kind)
    whole = [getattr(layer, "layer", layer) for layer in conf.complete_layers()]
    assert tuple(layer.n_in for layer in whole if hasattr(layer, "n_in")) == sizes


def test_a_layer_inside_another_takes_from_the_network_too():
    inner = nn.LSTM(n_in=3, n_out=4, l1=0.5)
    layers = [nn.Bidirectional(inner), nn.RnnOutputLayer(n_out=2)]
    conf = nn.MultiLayerConfiguration(layers=layers, updater=nn.Adam(0.5), l1=0.1, l2=0.2, dropout=0.5)
    both = conf.complete_layers()[0]
    assert (both.layer.updater, both.layer.l1, both.layer.l2) == (nn.Adam(0.5), 0.5, 0.2)
    assert (both.dropout, both.layer.dropout) == (nn.Dropout(0.5), None)  # once is enough


def test_choices_take_the_spellings_of_dl4j():
    conf = graph(
        backprop_type="TruncatedBPTT", cache_mode=None, convolution_mode="Same", tbptt_fwd_length=np.int64(5)
    )
    assert conf.backprop_type is nn.BackpropType.TRUNCATED_BPTT
    assert conf.cache_mode is nn.CacheMode.NONE
    modes = graph(training_workspace_mode=None, inference_workspace_mode="none")
    assert modes.training_workspace_mode is modes.inference_workspace_mode is nn.WorkspaceMode.NONE
    assert conf.convolution_mode is nn.ConvolutionMode.SAME
    assert (conf.tbptt_fwd_length, conf.tbptt_back_length) == (5, None)
    assert graph(tbptt_fwd_length=5, tbptt_back_length=5).tbptt_back_length == 5


DENSE = nn.DenseLayer(n_out=3)


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (lambda: graph(inputs="ab"), "inputs", "sequence of names"),
        (lambda: graph(inputs=["a", "a"]), "inputs", "twice"),
        (lambda: graph(outputs=[]), "outputs", "one at least"),
        (lambda: graph(outputs=["nobody"]), "outputs", "h, m, out"),
        (lambda: graph(outputs=["h"]), "outputs", "loss"),
        (lambda: graph({"h": DENSE}), "vertices['h']", "names of its inputs"),
        (lambda: graph({"h": (DENSE,)}), "vertices['h']", "names of its inputs"),
        (lambda: graph({"h": (DENSE, 3)}), "vertices['h']", "names"),
        (lambda: graph({3: (DENSE, "a")}), "vertices[3]", "str"),
        (lambda: graph(vertices=[DENSE]), "vertices", "map names"),
        (lambda: single(DENSE, "c"), "vertices['x']", "a, b, x, out"),
        (lambda: graph({"a": (DENSE, "b"), "out": (OUT, "a")}), "vertices['a']", "input"),
        (
            lambda: graph({"out-merge": (nn.MergeVertex(), "a", "b"), "out": (OUT, "a", "out-merge")}),
            "vertices['out']",
            "is taken",
        ),
        (lambda: single(nn.L2Vertex(), "a"), "vertices['x']", "takes 2 inputs"),
        (lambda: single(nn.ScaleVertex(2.0), "a", "b"), "vertices['x']", "takes 1 input, not 2"),
        (lambda: single(nn.DuplicateToTimeSeriesVertex("c"), "a"), "vertices['x']", "'c'"),
        (lambda: graph({"out": (OUT, "a"), "x": (DENSE, "out")}), "vertices['out']", "nothing else"),
        (lambda: graph({"out": (OUT, "a"), "x": (DENSE, "b")}), "vertices['x']", "nothing takes"),
        (
            lambda: graph({"x": (DENSE, "y"), "y": (DENSE, "x"), "out": (OUT, "y")}),
            "vertices",
            "cycle",
        ),
        (lambda: graph(input_types=[FF(3)]), "input_types", "2, one per input"),
        (lambda: graph(input_types=FF(3)), "input_types", "2, one per input"),
        (lambda: graph(input_types=[3, 4]), "input_types", "InputType"),
        (lambda: graph(input_types=None), "n_in", "vertex 'h'"),
        (lambda: single(nn.DenseLayer(n_in=4, n_out=3), "a"), "n_in", "it is given 3"),
        (lambda: single(Images(), "a"), "input_type", "vertex 'x' (Images)"),
        (
            lambda: graph(topological_order=["a", "h", "m", "b", "out"]),
            "topological_order",
            "'m' stands before",
        ),
        (lambda: graph(topological_order=["a", "b", "h", "out"]), "topological_order", "each of"),
        (
            lambda: graph(input_preprocessors={"m": nn.RnnToFeedForwardPreProcessor()}),
            "input_preprocessors['m']",
            "layer",
        ),
        (lambda: graph(input_preprocessors={"h": "rnn"}), "input_preprocessors['h']", "InputPreProcessor"),
        (lambda: graph(input_preprocessors=[]), "input_preprocessors", "map"),
        (lambda: graph(tbptt_fwd_length=0), "tbptt_fwd_length", "whole number"),
        (lambda: graph(tbptt_back_length=10), "tbptt_back_length", "tbptt_fwd_length=20"),
        (lambda: graph(backprop_type="none"), "backprop_type", "STANDARD, TRUNCATED_BPTT"),
    ],
)
def test_what_is_wrong_is_named(make, field, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        (
            {"input_preprocessors": {3: nn.RnnToFeedForwardPreProcessor()}},
            "input_preprocessors[3]",
            "no such layer",
        ),
        (
            {"input_preprocessors": {"0": nn.RnnToFeedForwardPreProcessor()}},
            "input_preprocessors['0']",
            "no such layer",
        ),
        ({"input_preprocessors": {0: DENSE}}, "input_preprocessors[0]", "InputPreProcessor"),
        ({"input_preprocessors": [DENSE]}, "input_preprocessors", "map"),
        ({"layers": [Series(n_in=3), nn.OutputLayer(n_in=3, n_out=2)]}, "input_type", "InputTypeFeedForward"),
    ],
)
def test_what_is_wrong_in_a_chain_is_named(fields, field, words):
    given = {"layers": [nn.DenseLayer(n_in=3, n_out=3), OUT], **fields}
    with pytest.raises(ConfigurationError) as caught:
        nn.MultiLayerConfiguration(**given)
    assert caught.value.field == field
    assert words in str(caught.value)
