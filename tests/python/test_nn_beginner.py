"""The commonest mistakes with networks: what is raised says where and what is due, and the cure works."""

import copy
import pickle
from dataclasses import field

import numpy as np
import pytest

import ndarena
from ndarena import data, evaluation, nn
from ndarena.data import ArrayDataSetIterator, DataSet, MultiDataSet
from ndarena.evaluation import Evaluation
from ndarena.parallel import ParallelWrapper

X = np.random.default_rng(1).normal(size=(6, 4))
NUMBERS = np.array([0, 1, 2, 0, 1, 2])
Y = np.eye(3)[NUMBERS]
SERIES = np.ones((6, 4, 5))


def network(*layers, **fields):
    layers = layers or (nn.DenseLayer(n_in=4, n_out=5), nn.OutputLayer(n_in=5, n_out=3))
    return nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, seed=1, **fields))


def graph():
    vertices = {"both": (nn.MergeVertex(), "a", "b"), "out": (nn.OutputLayer(n_in=8, n_out=3), "both")}
    return nn.ComputationGraph(
        nn.ComputationGraphConfiguration(inputs=["a", "b"], vertices=vertices, outputs=["out"], seed=1)
    )


@pytest.mark.parametrize(
    ("labels", "cure"),
    [(NUMBERS, "np.eye(3)[labels]"), (NUMBERS[:, None], "np.eye(3)[labels[:, 0]]")],
)
def test_numbers_of_classes_where_rows_are_due(labels, cure):
    net = network()
    with pytest.raises(ValueError) as caught:
        net.fit(X, labels)
    assert "layer 1 (layer1, OutputLayer): expected labels of shape [6, 3]" in str(caught.value)
    assert cure in str(caught.value)
    net.fit(X, eval(cure, {"np": np, "labels": labels}))
    assert net.iteration_count == 1


@pytest.mark.parametrize("layer", [{"loss": "mse", "activation": "identity"}, {"loss": "sparse_mcxent"}])
def test_one_number_an_example_is_a_column(layer):
    net = network(nn.OutputLayer(n_in=4, n_out=3 if "sparse" in layer["loss"] else 1, **layer))
    with pytest.raises(ValueError, match=r"expected labels of shape \[6, 1\], not \[6\]: labels\[:, None\]"):
        net.fit(X, NUMBERS)
    net.fit(X, NUMBERS[:, None])


def test_other_labels_of_a_wrong_shape_get_no_advice():
    with pytest.raises(ValueError, match=r"expected labels of shape \[6, 3\], not \[6, 2\]$"):
        network().fit(X, Y[:, :2])


def test_an_evaluation_of_numbers_of_classes():
    with pytest.raises(ValueError, match=r"np\.eye\(3\)\[labels\]"):
        Evaluation().eval(NUMBERS, Y)


@pytest.mark.parametrize(
    ("layers", "x", "mask", "words"),
    [
        (
            [nn.DenseLayer(n_in=4, n_out=5)],
            X,
            (6, 4),
            r"layer 0 \(layer0, DenseLayer\).* \[6, 1\], not \[6, 4\]",
        ),
        ([nn.OutputLayer(n_in=4, n_out=3)], X, (6, 4), r"layer0, OutputLayer\).* \[6, 1\] or \[6, 3\], not"),
        ([nn.LossLayer()], X[:, :3], (6, 2), "features_mask must have shape"),
        (
            [nn.LSTM(n_in=4, n_out=3)],
            SERIES,
            (6, 4),
            r"LSTM\): expected mask of shape \[6, 5\], not \[6, 4\]",
        ),
        (
            [nn.Convolution1DLayer(n_in=4, n_out=3, kernel_size=2)],
            SERIES,
            (6, 4),
            r"Convolution1DLayer.* \[6, 5\]",
        ),
        (
            [nn.RnnOutputLayer(n_in=4, n_out=3)],
            SERIES,
            (6, 4),
            r"\[6, 5\] or \[6, 1, 5\] or \[6, 3, 5\], not",
        ),
        ([nn.RnnLossLayer()], SERIES, (6, 1), r"RnnLossLayer\): expected mask of shape \[6, 5\] or"),
        (
            [nn.EmbeddingSequenceLayer(n_in=4, n_out=3), nn.RnnOutputLayer(n_in=3, n_out=3)],
            np.ones((6, 1, 5)),
            (6, 4),
            r"EmbeddingSequenceLayer\): expected mask of shape \[6, 5\]",
        ),
    ],
)
def test_a_mask_that_fits_nothing_names_the_layer(layers, x, mask, words):
    ending = nn.RnnOutputLayer if x.ndim == 3 else nn.OutputLayer
    if not hasattr(layers[-1], "loss"):
        layers = [*layers, ending(n_in=layers[-1].n_out, n_out=3)]
    net = network(*layers)
    with pytest.raises(ValueError, match=words):
        net.output(x, features_mask=np.ones(mask))


def test_a_mask_of_labels_that_fits_nothing_names_the_layer():
    net = network()
    with pytest.raises(
        ValueError, match=r"OutputLayer\): expected mask of shape \[6, 1\] or \[6, 3\], not \[6, 2\]"
    ):
        net.output(X, labels_mask=np.ones((6, 2)))
    assert net.output(X, labels_mask=np.zeros((6, 1))).sum() == 0
    assert net.output(X, labels_mask=np.zeros((6, 3))).sum() == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (X, r"features and labels, not an array of shape \[6, 4\]"),
        ([(X, Y)], r"not tuple: DataSet\(features, labels\) is one"),
        ((X, Y), r"not ndarray: DataSet\(features, labels\) is one"),
    ],
)
def test_arrays_where_a_data_set_is_due(data, words):
    with pytest.raises(TypeError, match=words):
        network().fit(data)


def test_the_inputs_of_a_graph_as_a_list():
    net = graph()
    with pytest.raises(TypeError, match="one by one"):
        net.output([X, X])
    assert net.output(X, X)[0].shape == (6, 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"activation": "rleu"}, "did you mean RELU"),
        ({"activation": "linear"}, "did you mean IDENTITY"),
        ({"activation": "relu", "weight_init": "xavjer"}, "did you mean XAVIER"),
        ({"weight_init": "he_uniform"}, "did you mean RELU_UNIFORM"),
        ({"updater": "adam"}, r"must be an IUpdater, such as Sgd\(\) or Adam\(\); did you mean Adam"),
        ({"loss": "crossentropy"}, "did you mean MCXENT"),
        ({"loss": "binary_crossentropy"}, "did you mean XENT"),
        ({"loss": "sparse_categorical_cross_entropy"}, "did you mean SPARSE_MCXENT"),
        ({"loss": "mean_squared_errors"}, "did you mean MSE"),
    ],
)
def test_a_name_that_is_not_ours_is_answered_with_the_one_that_was_meant(given, words):
    kind = nn.OutputLayer if "loss" in given else nn.DenseLayer
    with pytest.raises(ndarena.ConfigurationError, match=words):
        kind(n_in=4, n_out=5, **given)


@pytest.mark.parametrize("kind", [nn.Activation, nn.LossFunction, nn.WeightInit])
def test_what_other_libraries_say_means_a_name_of_ours(kind):
    assert kind.elsewhere()
    assert set(kind.elsewhere().values()) <= set(kind.__members__)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda net: net.fit(X, Y, 10),
            r"MultiLayerNetwork\.fit takes 2 positional arguments, not 3: .* epochs=",
        ),
        (
            lambda net: net.evaluate(X, Y),
            r"MultiLayerNetwork\.evaluate takes 1 positional arguments, not 2: DataSet\(",
        ),
        (lambda net: net.evaluate_roc(X, Y), r"MultiLayerNetwork\.evaluate_roc takes 1 positional arguments"),
        (
            lambda net: net.score(X, Y),
            r"MultiLayerNetwork\.score takes 1 positional arguments, not 2: DataSet\(",
        ),
        (
            lambda net: ParallelWrapper(net, workers=1).fit(X, Y),
            r"ParallelWrapper\.fit takes 1 positional arguments, not 2: .*ArrayDataSetIterator\(",
        ),
    ],
)
def test_more_arguments_than_there_are_places_for(call, words):
    with pytest.raises(TypeError, match=words):
        call(network())


def test_the_result_of_an_evaluation_is_printed_as_its_report():
    result = network().evaluate(DataSet(X, Y))
    assert str(result) == result.stats()
    assert "Accuracy" in f"{result}"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluation.Evaluation("3"), "num_classes must be a whole number from 1 on, not '3'"),
        (lambda: evaluation.Evaluation(top_n="3"), "top_n must be a whole number from 1 on, not '3'"),
        (lambda: evaluation.Evaluation(labels="abc"), "labels must be a sequence of names, .* not 'abc'"),
        (lambda: evaluation.Evaluation(labels=3), "labels must be a sequence of names, .* not 3"),
        (lambda: evaluation.Evaluation(cost_array=["a"]), r"cost_array must be numbers, not \['a'\]"),
        (
            lambda: evaluation.Evaluation(binary_decision_threshold="x"),
            "binary_decision_threshold must be a number from 0 to 1, not 'x'",
        ),
        (lambda: evaluation.EvaluationBinary(decision_threshold="x"), "decision_threshold must be numbers"),
        (
            lambda: evaluation.EvaluationBinary(roc_binary_steps="x"),
            "roc_binary_steps must be a whole number",
        ),
        (
            lambda: evaluation.ROC(threshold_steps=0.5),
            "threshold_steps must be a whole number from 0 on, not 0.5",
        ),
        (
            lambda: evaluation.EvaluationCalibration(histogram_bins="x"),
            "histogram_bins must be a whole number",
        ),
        (lambda: evaluation.Evaluation().eval(Y, "x"), "predictions must be numbers, not 'x'"),
        (lambda: evaluation.Evaluation().eval(Y, Y, None, 3), "metadata must be a sequence, .* not 3"),
        (lambda: DataSet(X, 3), "labels must be an array of examples, not 3"),
        (lambda: DataSet(X, Y, metadata=3), "metadata must be a sequence, .* not 3"),
        (lambda: MultiDataSet([X, 3]), r"features\[1\] must be an array of examples, not 3"),
        (lambda: ArrayDataSetIterator(X, Y, batch_size=2, seed="x"), "seed must be a whole number from 0 on"),
        (
            lambda: data.NormalizerMinMaxScaler("x"),
            "min_range='x' must be below max_range=1.0, both finite num",
        ),
        (lambda: data.NormalizerStandardize().fit(X), "expected a DataSet, not ndarray: DataSet"),
        (lambda: data.NormalizerStandardize().fit(3), "expected a DataSet, not int: DataSet"),
        (lambda: data.ImagePreProcessingScaler().transform(X), "expected a DataSet, not ndarray: DataSet"),
        (lambda: network().evaluate(3), "expected a DataSet, not int: DataSet"),
        (lambda: network().evaluate(X), "expected a DataSet, not ndarray: DataSet"),
        (lambda: network().output(3), "features must be an array of examples, not a number"),
        (lambda: network().output(np.float64(3)), "features must be an array of examples, not a number"),
        (lambda: nn.MultiLayerNetwork.load(3), "path must be a str or a path, not int"),
        (lambda: network().save(3), "path must be a str or a path, not int"),
        (lambda: nn.Activation("rleu"), "'rleu' is not a valid Activation; known are CUBE, ELU"),
        (
            lambda: ndarena.SpillPolicy(3),
            "3 is not a valid SpillPolicy; known are EXTERNAL, REALLOCATE, FAIL",
        ),
        (lambda: network(tbptt_back_length=[1]), "tbptt_back_length"),
    ],
)
def test_a_value_that_does_not_fit_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: nn.DenseLayer(4, 5),
            r"DenseLayer\(\) takes 0 positional arguments, not 2: .* as in DenseLayer\(n_out=…\)",
        ),
        (lambda: nn.ActivationLayer("relu", 3), r"ActivationLayer\(\) takes 1 positional arguments, not 2"),
        (lambda: nn.DenseLayer(nin=4, n_out=5), r"unexpected keyword argument 'nin'; did you mean n_in\?"),
        (lambda: nn.Adam(learningrate=0.1), "'learningrate'; did you mean learning_rate"),
        (lambda: network(optimiser=nn.Adam()), "unexpected keyword argument 'optimiser'"),
        (lambda: network(weight_inits="zero"), r"'weight_inits'; did you mean weight_init\?"),
        (lambda: nn.MultiLayerConfiguration([nn.OutputLayer(n_in=4, n_out=3)]), r"Configuration\(layers=…\)"),
        (lambda: network().do_evaluation(DataSet(X, Y), Evaluation), r"such as Evaluation\(\), not <class"),
    ],
)
def test_an_argument_that_is_not_taken_is_answered_with_the_one_that_was_meant(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize("part", ["features", "labels_mask"])
@pytest.mark.parametrize("given", [(X, Y), [[1.0, 2.0], [3.0]]])
def test_several_arrays_where_one_is_due(part, given):
    with pytest.raises(ValueError, match=f"^{part} must be one array, not ") as caught:
        DataSet(**{"features": X, part: given})
    assert "inhomogeneous" not in str(caught.value)
    with pytest.raises(ValueError, match="features must be one array, not 2 of shapes"):
        ArrayDataSetIterator((X, Y), batch_size=2)


def test_a_network_is_saved_into_a_folder_that_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="make it first") as caught:
        network().save(tmp_path / "models" / "net.zip")
    assert caught.value.filename == str(tmp_path / "models")
    (tmp_path / "models").mkdir()
    network().save(tmp_path / "models" / "net.zip")
    with pytest.raises(IsADirectoryError) as caught:
        network().save(tmp_path / "models")
    assert caught.value.filename == str(tmp_path / "models")
    assert caught.value.filename2 is None


def test_a_softmax_of_one_column_is_told():
    with pytest.warns(UserWarning, match="softmax of one column is always 1.*sigmoid"):
        network(nn.OutputLayer(n_in=4, n_out=1))
    network(nn.OutputLayer(n_in=4, n_out=1, activation="sigmoid", loss="xent"))


@pytest.mark.parametrize("listener", [nn.CollectScoresListener, [nn.CollectScoresListener()], print])
@pytest.mark.parametrize("method", ["set_listeners", "add_listeners"])
def test_what_is_no_listener_is_refused_at_once(listener, method):
    net = network()
    with pytest.raises(TypeError, match="derived from TrainingListener, one by one"):
        getattr(net, method)(listener)
    assert net.listeners == ()


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ({"workspace": "LOOP"}, TypeError, "must be a Workspace"),
        ({"out": [0.0] * 6}, TypeError, "out must be an array, not list"),
        ({"out": np.zeros((6, 4))}, ValueError, "out must have shape"),
        (
            {"out": np.zeros((6, 3), np.int64)},
            TypeError,
            "out must be able to hold float32, and int64 is not",
        ),
    ],
)
def test_a_target_that_cannot_hold_the_output(target, error, words):
    with pytest.raises(error, match=words):
        network().output(X, **target)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("made", [network, graph])
def test_a_copied_network_goes_on_by_itself(made, copied):
    net = made(updater=nn.Adam(0.1)) if made is network else made()
    inputs = [X] if made is network else [X, X]
    data = (X, Y) if made is network else (inputs, [Y])
    net.fit(*data, epochs=3)
    net.training_workspace_mode = "NONE"
    net.set_listeners(nn.CollectScoresListener())
    twin = copied(net)
    assert (twin.iteration_count, twin.training_workspace_mode) == (3, nn.WorkspaceMode.NONE)
    assert twin.listeners == ()
    assert twin.params().tobytes() == net.params().tobytes()
    assert twin.updater_state().tobytes() == net.updater_state().tobytes()
    before = net.params().copy()
    twin.fit(*data)
    assert net.params().tobytes() == before.tobytes()
    net.fit(*data)
    assert twin.params().tobytes() == net.params().tobytes()


def test_what_is_printed_says_what_it_is():
    net = network()
    net.fit(X, Y)
    assert repr(net) == "<MultiLayerNetwork: 2 layers, 43 parameters of float32, iteration 1, epoch 0>"
    assert repr(nn.DenseLayer(n_in=4, n_out=5, has_bias=True)) == "DenseLayer(n_in=4, n_out=5)"
    assert repr(nn.MergeVertex()) == "MergeVertex()"
    assert "dropout" not in repr(net.configuration)
    with pytest.raises(
        ndarena.ConfigurationError, match=r"layers=DenseLayer\(n_in=4, n_out=5\): the last layer"
    ):
        nn.MultiLayerConfiguration(layers=[nn.DenseLayer(n_in=4, n_out=5)])


def test_a_shown_layer_may_have_arrays_as_defaults():
    class Scaled(nn.Layer):
        scale: object = field(default_factory=lambda: np.ones(3))

    assert repr(Scaled()) == "Scaled()"
    assert "scale=array([2., 2., 2.])" in repr(Scaled(scale=np.full(3, 2.0)))


def test_a_mode_that_there_is_not_names_the_kind_of_network():
    with pytest.raises(ndarena.ConfigurationError, match=r"^ComputationGraph: training_workspace_mode"):
        graph().training_workspace_mode = "ENABLE"
    with pytest.raises(ndarena.ConfigurationError, match=r"^MultiLayerNetwork: inference_workspace_mode"):
        network().inference_workspace_mode = 3


def test_a_misspelt_name_of_the_module_may_be_suggested():
    with pytest.raises(AttributeError) as caught:
        _ = ndarena.Workspce
    assert (caught.value.name, caught.value.obj) == ("Workspce", ndarena)


def test_an_evaluated_set_of_arrays():
    with pytest.raises(TypeError, match="expected a DataSet"):
        network().evaluate(X)
    assert network().evaluate(DataSet(X, Y)).row_count == 6
