"""DL4J's JSON: recorded trees come back as they were, our own objects become DL4J's, the rest is refused."""

import contextlib
import copy
import dataclasses
import functools
import json
import operator
import pickle
import random
import warnings

import numpy as np
import pytest
from nn_support import recorded

from ndarena import ConfigurationError, nn

CHAIN, GRAPH = nn.MultiLayerConfiguration, nn.ComputationGraphConfiguration
DECAY = "mlp-clipped-weight-decay-adam"  # DL4J doubles the decay of the network
LENGTHS = "lstm-tbptt-4-2-adam"  # its lengths differ


def trees(section):
    return {case["id"]: case["dl4j_json"] for case in recorded(section) if "dl4j_json" in case}


TREES = {**trees("networks"), **trees("graphs")}


def kind_of(tree):
    return CHAIN if "confs" in tree else GRAPH


def read(tree):
    return kind_of(tree).from_json(json.dumps(tree))


def written(conf):
    return json.loads(conf.to_json())


@pytest.mark.parametrize("name", sorted(TREES.keys() - {LENGTHS}))
def test_what_is_read_is_written_again(name):
    conf = read(TREES[name])
    assert written(conf) == TREES[name]
    assert read(written(conf)) == conf
    for again in (pickle.loads(pickle.dumps(conf)), copy.deepcopy(conf)):
        assert written(again) == TREES[name]


def anew(thing):
    """Build an object again from its fields, so that it does not know of what it was read from."""
    if isinstance(thing, tuple | list):
        return tuple(anew(v) for v in thing)
    if not dataclasses.is_dataclass(thing):
        return thing
    if isinstance(thing, nn.ComposableInputPreProcessor):
        return nn.ComposableInputPreProcessor(*anew(thing.preprocessors))
    values = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
    if isinstance(thing, GRAPH):
        values["vertices"] = {name: anew(v) for name, v in thing.vertices.items()}
    if isinstance(thing, CHAIN | GRAPH):
        values["input_preprocessors"] = {k: anew(v) for k, v in thing.input_preprocessors.items()}
    return type(thing)(
        **{k: v if k in {"vertices", "input_preprocessors"} else anew(v) for k, v in values.items()}
    )


def without_notes(tree):
    """Return a tree without what DL4J notes of the input; nothing depends on it."""
    if isinstance(tree, list):
        return [without_notes(v) for v in tree]
    if not isinstance(tree, dict):
        return tree
    notes = {"poolingDimensions", "timeDistributedFormat"}
    return {k: None if k in notes else without_notes(v) for k, v in tree.items()}


@pytest.mark.parametrize("name", sorted(TREES.keys() - {LENGTHS, DECAY}))
def test_what_is_built_from_its_fields_is_written_as_dl4j_does(name):
    assert without_notes(written(anew(read(TREES[name])))) == without_notes(TREES[name])


def test_a_decay_that_dl4j_doubled_is_added_up():
    conf = read(TREES[DECAY])
    assert [layer.weight_decay for layer in conf.layers] == [0.02] * len(conf.layers)
    assert read(written(anew(conf))) == conf


def test_lengths_that_differ_are_warned_of():
    with pytest.warns(UserWarning, match="tbpttBackLength=2 is taken as 4"):
        conf = read(TREES[LENGTHS])
    assert (conf.tbptt_fwd_length, conf.backprop_type) == (4, nn.BackpropType.TRUNCATED_BPTT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(written(conf)) == conf


def round_trip(*layers, **fields):
    """Write a chain of layers, read it, and return its layers and those that were read."""
    conf = CHAIN(layers=layers, **{"seed": 3, **fields})
    again = CHAIN.from_json(conf.to_json())
    assert again.complete_preprocessors() == conf.complete_preprocessors()
    assert written(anew(again)) == written(conf)
    return conf.complete_layers(), list(again.layers)


ROW = nn.InputType.feed_forward(4)
SCHEDULES = [
    nn.FixedSchedule(0.1),
    nn.StepSchedule("iteration", 0.1, 0.5, 10.0),
    nn.ExponentialSchedule("epoch", 0.1, 0.9),
    nn.InverseSchedule("iteration", 0.1, 0.9, 2.0),
    nn.PolySchedule("epoch", 0.1, 2.0, 100),
    nn.SigmoidSchedule("iteration", 0.1, 0.9, 50),
    nn.MapSchedule("epoch", {0: 0.1, 10: 0.05}),
    nn.CycleSchedule("iteration", 0.01, 0.1, 20, 4),
    nn.RampSchedule(nn.FixedSchedule(0.1), 10),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_schedules_stand_beside_a_rate_that_is_no_number(schedule):
    given = nn.DenseLayer(n_out=3, l2=schedule, l1_bias=schedule)
    (dense, _), (again, _) = round_trip(given, nn.OutputLayer(n_out=2), input_type=ROW)
    fixed = isinstance(schedule, nn.FixedSchedule)
    assert (again.l2, again.l1_bias) == ((0.1,) * 2 if fixed else (schedule,) * 2)
    tree = written(CHAIN(layers=[dense, nn.OutputLayer(n_in=3, n_out=2)]))
    (entry,) = tree["confs"][0]["layer"]["regularization"]
    assert entry["l2"]["@class"] == f"org.nd4j.linalg.schedule.{type(schedule).__name__}"


@pytest.mark.parametrize("schedule", SCHEDULES[:-2], ids=lambda s: type(s).__name__)
def test_equal_schedules_of_a_decay_are_added_up(schedule):
    conf = CHAIN(
        layers=[nn.DenseLayer(n_in=4, n_out=3, weight_decay=schedule), nn.OutputLayer(n_out=2)], seed=1
    )
    tree = written(conf)
    tree["confs"][0]["layer"]["regularization"] *= 2
    twice = read(tree).layers[0].weight_decay
    values = [twice if isinstance(twice, float) else twice.value_at(i, i) for i in (0, 3, 15)]
    assert values == pytest.approx([2 * schedule.value_at(i, i) for i in (0, 3, 15)])


@pytest.mark.parametrize(
    "noise",
    [
        {"dropout": 0.5},
        {"dropout": nn.AlphaDropout(0.9)},
        {"dropout": nn.GaussianDropout(0.2)},
        {"dropout": nn.GaussianNoise(0.1)},
        {"dropout": nn.SpatialDropout(0.5)},
        {"weight_noise": nn.DropConnect(0.5)},
        {"weight_noise": nn.WeightNoise(nn.NormalDistribution(0.0, 0.1), additive=False)},
        {"weight_noise": nn.WeightNoise(nn.UniformDistribution(-1.0, 1.0))},
        {"constraints": [nn.MaxNormConstraint(2.0)]},
        {"constraints": [nn.MinMaxNormConstraint(1.0, 2.0, 0.5, apply_to_biases=True)]},
        {"constraints": [nn.NonNegativeConstraint(), nn.UnitNormConstraint(dimensions=(0,))]},
        {"weight_init": "ones"},
        {"weight_init": "relu_uniform"},
        {"weight_init": nn.NormalDistribution(0.0, 0.1)},
        {"weight_init": nn.GaussianDistribution(0.0, 0.1)},
        {"weight_init": nn.TruncatedNormalDistribution(0.5, 0.1)},
        {"weight_init": nn.OrthogonalDistribution(0.5)},
        {"weight_noise": nn.WeightNoise(nn.LogNormalDistribution(0.0, 0.1))},
        {"weight_noise": nn.WeightNoise(nn.BinomialDistribution(3, 0.5))},
        {"weight_init": nn.WeightInitConstant(0.25)},
        {"bias_updater": nn.Sgd(0.5)},
        {"gradient_normalization": "ClipElementWiseAbsoluteValue", "gradient_normalization_threshold": 0.5},
        {"weight_decay": 0.1, "weight_decay_bias": 0.2, "weight_decay_apply_lr": False},
    ],
    ids=str,
)
def test_fields_of_layers_and_of_the_network_are_written(noise):
    for of_layer, of_network in ((noise, {}), ({}, noise)):
        dense = nn.DenseLayer(n_out=3, name="first", **of_layer)
        whole, again = round_trip(dense, nn.OutputLayer(n_out=2), input_type=ROW, **of_network)
        named = [f.name for f in dataclasses.fields(whole[0]) if f.name != "constraints"]
        for before, after in zip(whole, again, strict=True):
            assert [getattr(after, n) or None for n in named if hasattr(after, n)] == [
                getattr(before, n) or None for n in named if hasattr(before, n)
            ]
            assert [type(c) for c in after.constraints or ()] == [type(c) for c in before.constraints or ()]


def test_a_number_for_dropout_is_the_class_that_dl4j_writes():
    dense = nn.DenseLayer(n_in=4, n_out=3, dropout=0.5)
    tree = written(CHAIN(layers=[dense, nn.OutputLayer(n_out=2)]))["confs"][0]["layer"]
    name = "org.deeplearning4j.nn.conf.dropout.Dropout"
    assert tree["idropout"] == {"@class": name, "helperAllowFallback": True, "p": 0.5, "pschedule": None}


def test_distributions_have_their_class_under_another_key():
    uniform = nn.UniformDistribution(-1.0, 1.0)
    dense = nn.DenseLayer(n_in=4, n_out=3, weight_init=uniform, weight_noise=nn.WeightNoise(uniform))
    tree = written(CHAIN(layers=[dense, nn.OutputLayer(n_out=2)]))["confs"][0]["layer"]
    of_uniform = {
        "type": "org.deeplearning4j.nn.conf.distribution.UniformDistribution",
        "lower": -1.0,
        "upper": 1.0,
    }
    assert tree["weightInitFn"] == {
        "@class": "org.deeplearning4j.nn.weights.WeightInitDistribution",
        "distribution": of_uniform,
    }
    assert tree["weightNoise"] == {
        "@class": "org.deeplearning4j.nn.conf.weightnoise.WeightNoise",
        "additive": True,
        "applyToBias": False,
        "distribution": of_uniform,
    }


ACTIVATIONS = [
    nn.ActivationReLU(max=6.0, threshold=0.5, negative_slope=0.1),
    nn.ActivationLReLU(alpha=0.2),
    nn.ActivationELU(alpha=0.5),
    nn.ActivationThresholdedReLU(theta=0.5),
    *(member.get_activation_function() for member in nn.Activation),
]
LOSSES = [
    nn.LossMSE(weights=(0.5, 2.0)),
    nn.LossMCXENT(weights=(1.0, 3.0), softmax_clip_eps=1e-8),
    nn.LossBinaryXENT(clip_eps=1e-4),
    *(member.get_loss_function() for member in nn.LossFunction),
]
UPDATERS = [
    nn.Sgd(0.5),
    nn.NoOp(),
    nn.Nesterovs(0.5, momentum=0.25),
    nn.Nesterovs(SCHEDULES[1], momentum=SCHEDULES[2]),
    *(kind(0.5, beta1=0.8, beta2=0.9, epsilon=1e-4) for kind in (nn.Adam, nn.AdaMax, nn.AMSGrad, nn.Nadam)),
    nn.Adam(SCHEDULES[3]),
    nn.AdaGrad(0.5, epsilon=1e-4),
    nn.RmsProp(SCHEDULES[6], rms_decay=0.9, epsilon=1e-4),
    nn.AdaDelta(rho=0.5, epsilon=1e-4),
]


@pytest.mark.parametrize("part", [*ACTIVATIONS, *LOSSES, *UPDATERS], ids=str)
def test_parts_come_back(part):
    field = {nn.IActivation: "activation", nn.ILossFunction: "loss", nn.IUpdater: "updater"}
    name = next(name for base, name in field.items() if isinstance(part, base))
    _, (again,) = round_trip(nn.OutputLayer(n_in=3, n_out=2, **{name: part}))
    assert getattr(again, name) == part


def test_a_rate_by_schedule_is_no_number_in_dl4j():
    conf = CHAIN(
        layers=[nn.OutputLayer(n_in=3, n_out=2)], updater=nn.Nesterovs(SCHEDULES[1], momentum=SCHEDULES[2])
    )
    tree = written(conf)["confs"][0]["layer"]["iupdater"]
    assert (tree["learningRate"], tree["momentum"]) == ("NaN", "NaN")
    assert tree["learningRateSchedule"]["@class"].endswith("StepSchedule")
    assert tree["momentumISchedule"]["@class"].endswith("ExponentialSchedule")


IMAGE, SERIES = nn.InputType.convolutional(8, 8, 3), nn.InputType.recurrent(3, 6)
ROWS, STEPS = nn.OutputLayer(n_out=2), nn.RnnOutputLayer(n_out=2, activation="sigmoid", loss="xent")
LAYERS = [
    ([nn.DenseLayer(n_out=3, has_bias=False, has_layer_norm=True, gain_init=0.5), ROWS], ROW),
    ([nn.LossLayer(loss="mse", activation="tanh")], ROW),
    ([nn.RnnLossLayer(loss="mse")], SERIES),
    ([nn.CnnLossLayer(loss="mse")], IMAGE),
    ([nn.ActivationLayer("relu"), nn.DropoutLayer(0.5), ROWS], ROW),
    ([nn.EmbeddingLayer(n_in=9, n_out=4, has_bias=True), ROWS], nn.InputType.feed_forward(1)),
    ([nn.EmbeddingSequenceLayer(n_in=9, n_out=4, input_length=6), STEPS], nn.InputType.feed_forward(6)),
    ([nn.EmbeddingSequenceLayer(n_in=9, n_out=4), STEPS], nn.InputType.feed_forward(6)),
    ([nn.BatchNormalization(decay=0.5, eps=1e-3, gamma=2.0, use_log_std=True, minibatch=False), ROWS], IMAGE),
    (
        [
            nn.ConvolutionLayer(n_out=2, kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
            ROWS,
        ],
        IMAGE,
    ),
    ([nn.Convolution1DLayer(n_out=2, kernel_size=3, stride=2, convolution_mode="same"), STEPS], SERIES),
    ([nn.SubsamplingLayer(pooling_type="pnorm", pnorm=3, kernel_size=(2, 2)), ROWS], IMAGE),
    ([nn.GlobalPoolingLayer(pooling_type="avg"), ROWS], IMAGE),
    ([nn.Upsampling2D(size=(2, 3)), nn.ZeroPaddingLayer(padding=(1, 2, 3, 4)), ROWS], IMAGE),
    ([nn.LocalResponseNormalization(k=1.0, n=3, alpha=0.1, beta=0.5), ROWS], IMAGE),
    ([nn.SimpleRnn(n_out=4, weight_init_recurrent="ones", has_layer_norm=True), STEPS], SERIES),
    ([nn.LSTM(n_out=4, gate_activation="hardsigmoid", forget_gate_bias_init=2.0), STEPS], SERIES),
    ([nn.GravesLSTM(n_out=4, dropout=0.5, l2=0.1), STEPS], SERIES),
    ([nn.Bidirectional(nn.LSTM(n_out=4, l2=0.1), mode="average", name="both"), STEPS], SERIES),
    ([nn.LastTimeStep(nn.SimpleRnn(n_out=4, activation="relu")), ROWS], SERIES),
]


@pytest.mark.parametrize(
    ("layers", "kind"), LAYERS, ids=lambda v: type(v[0]).__name__ if isinstance(v, list) else None
)
def test_layers_come_back(layers, kind):
    whole, again = round_trip(*layers, input_type=kind, updater=nn.Adam(0.5), l1=0.25)
    for before, after in zip(whole, again, strict=True):
        assert type(after) is type(before)
        for f in dataclasses.fields(before):
            if f.name != "layer":
                assert (getattr(after, f.name) or None) == (getattr(before, f.name) or None), f.name
        inner = getattr(before, "layer", None)
        if inner is not None:
            assert (after.layer.n_in, after.layer.l2, after.layer.updater) == (
                inner.n_in,
                inner.l2,
                inner.updater,
            )


def test_seeds_of_64_bits_are_signed():
    for seed in (0, 12345, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        conf = CHAIN(layers=[nn.OutputLayer(n_in=4, n_out=2)], seed=seed)
        number = written(conf)["confs"][0]["seed"]
        assert -(1 << 63) <= number < 1 << 63
        assert CHAIN.from_json(conf.to_json()).seed == seed
    with pytest.raises(ConfigurationError, match="64 bits"):
        CHAIN(layers=[nn.OutputLayer(n_in=4, n_out=2)], seed=1 << 64).to_json()


def test_a_changed_copy_is_written_as_changed():
    tree = copy.deepcopy(TREES["mlp-classifier-adam"])
    tree["confs"][0]["layer"]["helperAllowFallback"] = False
    tree["confs"][1]["optimizationHint"] = tree["hint"] = 3
    conf = read(tree)
    assert written(conf) == tree
    changed = dataclasses.replace(conf, bias_updater=nn.Sgd(0.25), seed=7)
    for place in written(changed)["confs"]:
        assert place["layer"]["biasUpdater"]["learningRate"] == 0.25
        assert place["seed"] == 7
    assert written(changed)["confs"][0]["layer"]["helperAllowFallback"] is False


def damaged(**changes):
    """Return the recorded tree of a chain with other properties in its first layer."""
    tree = copy.deepcopy(TREES["mlp-classifier-adam"])
    tree["confs"][0]["layer"].update(changes)
    return json.dumps(tree)


def places(tree, path=()):
    """Go through all paths into a tree."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


NONSENSE = (None, 3, -1, 1.5, "x", "", [], [None], {}, {"@class": "x.Y"}, {"a": 1}, True, "NaN")


@pytest.mark.parametrize("name", sorted(TREES.keys() - {LENGTHS}))
def test_damage_anywhere_passes_or_is_named(name):
    rng = random.Random(name)
    everywhere = list(places(TREES[name]))
    for _ in range(40):
        tree = copy.deepcopy(TREES[name])
        *path, last = rng.choice(everywhere)
        functools.reduce(operator.getitem, path, tree)[last] = rng.choice(NONSENSE)
        with contextlib.suppress(ConfigurationError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written(kind_of(TREES[name]).from_json(json.dumps(tree)))


ACTIVATION = "org.nd4j.linalg.activations.impl"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[1]", "no network"),
        ("{}", "no network"),
        (json.dumps(TREES["merge-adam"]), "ComputationGraph"),
        ('{"confs": 3}', "list of layers"),
        ('{"confs": []}', "at least one layer"),
        ('{"confs": [{"layer": {"dense": {}}}]}', "@class"),
        ('{"confs": [{"layer": "dense"}]}', "damaged"),
        (damaged(**{"@class": "org.deeplearning4j.nn.conf.layers.AutoEncoder"}), "layers.AutoEncoder"),
        (damaged(**{"@class": "java.lang.Runtime"}), "java.lang.Runtime"),
        (damaged(**{"@class": None}), "None"),
        (damaged(activationFn={"@class": f"{ACTIVATION}.ActivationRReLU"}), "ActivationRReLU"),
        (
            damaged(weightInitFn={"@class": "org.deeplearning4j.nn.weights.WeightInitEmbedding"}),
            "WeightInitEmbedding",
        ),
        (damaged(iupdater={"@class": "org.nd4j.linalg.learning.config.AdamW"}), "config.AdamW"),
        (damaged(timeDistributedFormat="NWC"), "timeDistributedFormat='NWC'"),
        (damaged(constraints=[{"@class": "org.example.Mine"}]), "org.example.Mine"),
        (damaged(regularization=[{"@class": "org.example.Elastic"}]), "org.example.Elastic"),
        (damaged(nout=-3), "n_out"),
        (damaged(idropout={"@class": "org.deeplearning4j.nn.conf.dropout.Dropout", "p": "NaN"}), "finite"),
    ],
)
def test_what_cannot_be_read_is_named(text, words):
    with pytest.raises(ConfigurationError, match=words):
        CHAIN.from_json(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"minimize": False}, "minimize=False"),
        ({"optimizationAlgo": "LBFGS"}, "LBFGS"),
        ({"miniBatch": False}, "miniBatch"),
    ],
)
def test_settings_without_a_counterpart_are_refused(change, words):
    tree = copy.deepcopy(TREES["mlp-classifier-adam"])
    tree["confs"][1].update(change)
    with pytest.raises(ConfigurationError, match=words):
        CHAIN.from_json(json.dumps(tree))


def test_a_type_without_a_counterpart_is_refused():
    tree = {**TREES["mlp-classifier-adam"], "dataType": "HALF"}
    with pytest.raises(ConfigurationError, match="HALF"):
        read(tree)
    with pytest.raises(ConfigurationError, match="MultiLayerNetwork"):
        GRAPH.from_json(json.dumps(TREES["mlp-classifier-adam"]))


@dataclasses.dataclass(frozen=True)
class OwnActivation(nn.ActivationTanH):
    """A function that DL4J has not."""


class OwnLayer(nn.DenseLayer):
    """A layer that DL4J has not."""


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([nn.OutputLayer(n_in=4, n_out=2, activation=OwnActivation())], "OwnActivation"),
        ([OwnLayer(n_in=4, n_out=3), nn.OutputLayer(n_out=2)], "OwnLayer"),
    ],
)
def test_classes_of_ones_own_cannot_be_written(layers, words):
    conf = CHAIN(layers=layers)
    with pytest.raises(ConfigurationError, match=words):
        conf.to_json()


def test_a_field_that_dl4j_forgets_must_have_its_default():
    vertices = {"d": (nn.L2Vertex(eps=1e-3), "a", "b"), "out": (nn.OutputLayer(n_in=1, n_out=2), "d")}
    conf = GRAPH(inputs=["a", "b"], vertices=vertices, outputs=["out"])
    with pytest.raises(ConfigurationError, match="eps"):
        conf.to_json()


def test_vertices_of_all_kinds_are_written():
    numbers = nn.PreprocessorVertex(nn.ComposableInputPreProcessor(nn.CnnToFeedForwardPreProcessor(2, 2, 1)))
    vertices = {
        "flat": (numbers, "image"),
        "part": (nn.SubsetVertex(0, 1), "flat"),
        "twice": (nn.StackVertex(), "part", "part"),
        "once": (nn.UnstackVertex(1, 2), "twice"),
        "scaled": (nn.ScaleVertex(2.0), "once"),
        "shifted": (nn.ShiftVertex(2.0), "scaled"),
        "unit": (nn.L2NormalizeVertex(dimension=(1,)), "shifted"),
        "steps": (nn.DuplicateToTimeSeriesVertex("series"), "unit"),
        "back": (nn.ReverseTimeSeriesVertex("series"), "steps"),
        "last": (nn.LastTimeStepVertex("series"), "back"),
        "sum": (nn.ElementWiseVertex("average"), "last", "unit"),
        "out": (nn.OutputLayer(n_out=2), "sum", "unit"),
    }
    types = [nn.InputType.convolutional(2, 2, 1), nn.InputType.recurrent(3)]
    conf = GRAPH(inputs=["image", "series"], vertices=vertices, outputs=["out"], input_types=types, seed=1)
    again = GRAPH.from_json(conf.to_json())
    assert {n: v[0] for n, v in again.vertices.items() if n != "out"} == {
        n: v[0] for n, v in conf.vertices.items() if n != "out"
    }
    assert again.topological_order == conf.topological_order
    assert written(anew(again)) == written(conf)
    np.testing.assert_equal(written(conf)["vertices"]["sum"]["op"], "Average")


@pytest.mark.parametrize(
    "fields",
    [
        {"updater": nn.Sgd(nn.CycleSchedule("iteration", 0.1, 0.2, np.int64(10), np.int64(2)))},
        {"loss": nn.LossMCXENT(softmax_clip_eps=np.float32(0.5**10))},
        {"loss": nn.LossBinaryXENT(clip_eps=np.float32(0.5**10)), "activation": "sigmoid"},
        {
            "activation": nn.ActivationReLU(
                max=np.float32(3), threshold=np.float32(0.5), negative_slope=np.float32(0)
            )
        },
        {"constraints": [nn.MaxNormConstraint(1.0, dimensions=(np.int64(1),))]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_numbers_of_numpy_are_written(fields):
    conf = nn.MultiLayerConfiguration(layers=[nn.OutputLayer(n_in=3, n_out=2, **fields)], seed=1)
    again = nn.MultiLayerConfiguration.from_json(conf.to_json())
    assert again.to_json() == conf.to_json()
