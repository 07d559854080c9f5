"""Networks are evaluated: in one pass, in pieces, while they learn, and with memory that does not grow."""

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from nn_support import assert_steady, chain
from sklearn.datasets import load_iris

import ndarena
from ndarena import ConfigurationError, nn
from ndarena.data import ArrayDataSetIterator, DataSet, ListDataSetIterator, MultiDataSet
from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    RegressionEvaluation,
    ROCMultiClass,
)

MODES = ["NONE", "ENABLED"]
pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")


def iris():
    """Return the 150 flowers of Iris in an order in which classes are mixed, and their classes."""
    flowers = load_iris()
    order = np.random.default_rng(0).permutation(150)
    x = (flowers.data - flowers.data.mean(axis=0)) / flowers.data.std(axis=0)
    return x[order].astype(np.float32), np.eye(3, dtype=np.float32)[flowers.target[order]]


X, Y = iris()


def batches(size=35):
    return ArrayDataSetIterator(X, Y, batch_size=size)


def graph_of_two(**fields):
    """Make a graph with a classifier and a regression on top of the same layer."""
    vertices = {
        "below": (nn.DenseLayer(n_out=5, activation="tanh"), "in"),
        "classes": (nn.OutputLayer(n_out=3), "below"),
        "numbers": (nn.OutputLayer(n_out=2, activation="identity", loss="mse"), "below"),
    }
    conf = nn.ComputationGraphConfiguration(
        inputs=["in"],
        input_types=[nn.InputType.feed_forward(4)],
        vertices=vertices,
        outputs=["classes", "numbers"],
        seed=1,
        **fields,
    )
    return nn.ComputationGraph(conf)


def series_network(kind, length=None, *, loss="mcxent", activation="softmax", n_out=6, **fields):
    """Make a network of an LSTM, which is told to go in pieces if a length is given."""
    pieces = {"backprop_type": "TRUNCATED_BPTT", "tbptt_fwd_length": length, "tbptt_back_length": length}
    fields |= pieces if length else {}
    layers = [nn.LSTM(n_out=5), nn.RnnOutputLayer(n_out=n_out, loss=loss, activation=activation)]
    if kind == "chain":
        conf = nn.MultiLayerConfiguration(
            layers=layers, input_type=nn.InputType.recurrent(4), seed=2, **fields
        )
        return nn.MultiLayerNetwork(conf)
    conf = nn.ComputationGraphConfiguration(
        inputs=["in"],
        input_types=[nn.InputType.recurrent(4)],
        vertices={"lstm": (layers[0], "in"), "out": (layers[1], "lstm")},
        outputs=["out"],
        seed=2,
        **fields,
    )
    return nn.ComputationGraph(conf)


def series(count, time, classes, *, masked, seed=0):
    """Draw data sets of series; where they are masked they begin late or end early."""
    rng = np.random.default_rng(seed)
    sets = []
    for n in count:
        x = rng.normal(size=(n, 4, time)).astype(np.float32)
        y = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, (n, time))].transpose(0, 2, 1).copy()
        mask = None
        if masked:
            mask = np.ones((n, time), np.float32)
            for row, begin in zip(mask, rng.integers(0, time // 2, n), strict=True):
                row[:begin] = 0
                row[time - 3 * (begin % 4) :] = 0
        sets.append(DataSet(x, y, mask, mask))
    return ListDataSetIterator(sets)


def evaluated_series(net, data):
    evaluations = Evaluation(), RegressionEvaluation(), ROCMultiClass(threshold_steps=9)
    if isinstance(net, nn.ComputationGraph):
        net.do_evaluation(data, {0: evaluations})
    else:
        net.do_evaluation(data, *evaluations)
    return evaluations


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", [*MODES, "SINGLE", "SEPARATE"])
@pytest.mark.parametrize(("case", "kind"), [("E01", "chain"), ("E02", "graph")])
def test_E01_E02_pieces_give_what_whole_series_give(case, kind, mode, masked):  # noqa: N802 - ids
    del case
    data = series((3, 5), 55, 6, masked=masked)
    results = []
    for length in (None, 10):
        net = series_network(kind, length, inference_workspace_mode=mode)
        results.append(evaluated_series(net, data))
    (whole, errors, roc), (in_pieces, errors_in_pieces, roc_in_pieces) = results
    assert whole.row_count > 100
    assert in_pieces.stats() == whole.stats()
    for metric in ("mean_squared_error", "r_squared", "pearson_correlation"):
        got, want = (getattr(e, metric)() for e in (errors_in_pieces, errors))
        assert got == pytest.approx(want, rel=1e-5)
    assert roc_in_pieces.to_json() == roc.to_json()


@pytest.mark.parametrize("kind", ["chain", "graph"])
@pytest.mark.parametrize("length", [None, 2])
def test_steps_of_weights_are_not_evaluated(length, kind):
    (data,) = series((4,), 5, 6, masked=False)
    mask = np.random.default_rng(3).choice(np.array([0, 0.5, 1, 2], np.float32), (4, 5))
    only = DataSet(data.features, data.labels, None, mask)
    kept = DataSet(data.features, data.labels, None, (mask == 1).astype(np.float32))
    weighed, wanted = (evaluated_series(series_network(kind, length), each) for each in (only, kept))
    assert weighed[0].row_count == (mask == 1).sum() > 0
    assert [each.to_json() for each in weighed] == [each.to_json() for each in wanted]


@pytest.mark.parametrize("kind", ["chain", "graph"])
def test_E03_pieces_without_a_labelled_step_are_no_mistake(kind):  # noqa: N802 - ids
    net = series_network(kind, 10, loss="xent", activation="sigmoid", n_out=1)
    x = np.random.default_rng(0).normal(size=(4, 4, 30)).astype(np.float32)
    y, mask = np.zeros((4, 1, 30), np.float32), np.zeros((4, 30), np.float32)
    y[:2, :, -1], mask[:, -1] = 1, 1
    assert net.evaluate(DataSet(x, y, None, mask)).row_count == 4
    assert net.evaluate_roc(DataSet(x, y, None, mask)).total_count == 4


def test_an_evaluation_in_pieces_leaves_the_states_of_the_network_alone():
    net = series_network("chain", 10)
    net.rnn_time_step(np.ones((2, 4), np.float32))
    before = net.rnn_get_previous_state(0)
    net.evaluate(series((3,), 25, 6, masked=False))
    after = net.rnn_get_previous_state(0)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("when", ["ITERATION_END", "EPOCH_START", "EPOCH_END"])
@pytest.mark.parametrize("case", ["E04"])
def test_E04_a_listener_evaluates_while_the_network_learns(case, when, mode):  # noqa: N802 - ids
    del case
    told, heard = [], []
    evaluations = [Evaluation(), ROCMultiClass()]
    listener = nn.EvaluativeListener(
        batches(),
        3,
        invocation_type=when,
        evaluations=evaluations,
        callback=lambda *call: heard.append(call),
        output=told.append,
    )
    net, plain = (
        chain(4, 5, 3, training_workspace_mode=mode, inference_workspace_mode=mode) for _ in range(2)
    )
    net.set_listeners(listener)
    for each in (net, plain):
        each.fit(batches(), epochs=4)
    assert net.params().tobytes() == plain.params().tobytes()
    times = {"ITERATION_END": 7, "EPOCH_START": 2, "EPOCH_END": 2}[when]  # of 20 iterations, of 4 epochs
    assert listener.invocation_count == times
    assert [call[2] for call in heard] == list(range(times))
    assert heard[0][:2] == (listener, net)
    assert len(told) == 2 * times
    assert evaluations[0].row_count == 150


@pytest.mark.parametrize("length", [None, 5])
def test_a_listener_evaluates_series_between_pieces_without_a_trace(length):
    data = series((3,), 20, 6, masked=True)
    net, plain = (series_network("graph", length) for _ in range(2))
    net.set_listeners(nn.EvaluativeListener(data, output=lambda _: None))
    for each in (net, plain):
        each.fit(data, epochs=2)
    assert net.params().tobytes() == plain.params().tobytes()


def test_a_listener_with_a_wrong_setting_is_refused():
    for fields in ({"frequency": 0}, {"invocation_type": "sometimes"}):
        with pytest.raises(ConfigurationError, match="EvaluativeListener"):
            nn.EvaluativeListener(batches(), **fields)


@pytest.mark.parametrize("mode", MODES)
def test_E05_E06_several_outputs_are_evaluated_in_one_pass(mode):  # noqa: N802 - ids
    net = graph_of_two(inference_workspace_mode=mode)
    numbers = np.random.default_rng(0).normal(size=(150, 2)).astype(np.float32)
    parts = [slice(i, i + 40) for i in range(0, 150, 40)]
    data = [MultiDataSet([X[part]], [Y[part], numbers[part]]) for part in parts]
    evaluations = {0: [Evaluation(), ROCMultiClass()], 1: [RegressionEvaluation(columns=["a", "b"])]}
    assert net.do_evaluation(data, evaluations) is evaluations
    seen = [
        evaluations[0][0].row_count,
        sum(evaluations[0][1].count_actual_positive(i) for i in range(3)),
        evaluations[1][0].tree()["exampleCountPerColumn"]["data"][0],
    ]
    assert seen == [150, 150, 150]
    classes, predicted = net.output(X)
    assert evaluations[0][0].accuracy() == np.mean(classes.argmax(axis=1) == Y.argmax(axis=1))
    wanted = np.mean((predicted - numbers) ** 2)
    assert evaluations[1][0].mean_squared_error() == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="2 outputs"):
        net.evaluate_regression(data)
    with pytest.raises(ValueError, match="no output 2"):
        net.do_evaluation(data, {2: [Evaluation()]})


@pytest.mark.parametrize("method", ["evaluate", "evaluate_roc", "evaluate_roc_multi_class"])
def test_E07_a_regression_is_not_evaluated_as_a_classifier(method):  # noqa: N802 - ids
    layers = [nn.OutputLayer(n_out=3, activation="identity", loss="mse")]
    conf = nn.MultiLayerConfiguration(layers=layers, input_type=nn.InputType.feed_forward(4))
    net = nn.MultiLayerNetwork(conf)
    with pytest.raises(ConfigurationError, match=r"(Evaluation|ROC).* needs a classifier.*OutputLayer"):
        getattr(net, method)(batches())
    assert net.evaluate_regression(batches()).num_columns == 3


@pytest.mark.parametrize("mode", MODES)
def test_E08_a_network_is_evaluated_as_by_hand(mode):  # noqa: N802 - ids
    net = chain(4, 5, 3, inference_workspace_mode=mode)
    net.fit(batches(), epochs=3)
    by_hand = Evaluation(labels=["a", "b", "c"], top_n=2)
    numbers = RegressionEvaluation()
    for data in batches():
        by_hand.eval(data.labels, net.output(data.features))
        numbers.eval(data.labels, net.output(data.features))
    assert net.evaluate(batches(), labels=["a", "b", "c"], top_n=2).stats() == by_hand.stats()
    assert net.evaluate_regression(batches()).stats() == numbers.stats()


@pytest.mark.parametrize("steps", [0, 32])
def test_E10_the_roc_of_a_network_is_that_by_hand(steps):  # noqa: N802 - ids
    net = chain(4, 5, 3)
    by_hand = ROCMultiClass(threshold_steps=steps)
    by_hand.eval(Y, net.output(X))
    found = net.evaluate_roc_multi_class(batches(), threshold_steps=steps)
    for i in range(3):
        assert found.calculate_auc(i) == pytest.approx(by_hand.calculate_auc(i), abs=1e-6)
        assert found.calculate_auprc(i) == pytest.approx(by_hand.calculate_auprc(i), abs=1e-6)


def test_the_roc_of_two_classes_is_that_of_the_second():
    y = Y[:, :2].copy()
    y[:, 0] = 1 - y[:, 1]
    net = chain(4, 5, 2)
    roc = net.evaluate_roc(ArrayDataSetIterator(X, y, batch_size=8))
    by_hand = ROC()
    by_hand.eval(y[:, 1:], net.output(X)[:, 1:])
    assert roc.calculate_auc() == pytest.approx(by_hand.calculate_auc())


class Watcher:
    """An evaluation that looks at where it is called, and with what."""

    def __init__(self):
        self.current, self.places, self.metadata = [], [], []

    def eval(self, labels, predictions, mask, metadata=None):
        self.current.append(ndarena.get_current_workspace())
        self.places.append(
            predictions.workspace.id if isinstance(predictions, ndarena.WorkspaceArray) else None
        )
        self.metadata.append(metadata)


@pytest.mark.parametrize(("mode", "place"), [("NONE", None), ("ENABLED", "WS_OUTPUT_MEM")])
def test_an_evaluation_sees_outputs_in_their_workspace_and_none_current(mode, place):
    watcher = Watcher()
    data = [DataSet(X, Y, metadata=list(range(150))), DataSet(X, Y)]
    assert chain(4, 5, 3, inference_workspace_mode=mode).do_evaluation(data, watcher) == (watcher,)
    assert watcher.current == [None, None]
    assert watcher.places == [place, place]
    assert watcher.metadata == [list(range(150)), None]


@pytest.mark.parametrize("mode", MODES)
def test_an_error_in_an_evaluation_leaves_nothing_open(mode):
    class Broken:
        def eval(self, *_):
            raise OSError("broken")

    net = chain(4, 5, 3, inference_workspace_mode=mode)
    with pytest.raises(OSError, match="broken"):
        net.do_evaluation(batches(), Broken())
    ndarena.assert_no_workspaces_open("afterwards")
    assert net.evaluate(batches()).row_count == 150


# Memory.

COUNTING = {
    "Evaluation": Evaluation,
    "EvaluationBinary": EvaluationBinary,
    "EvaluationCalibration": EvaluationCalibration,
    "ROCMultiClass": lambda: ROCMultiClass(threshold_steps=20),
    "RegressionEvaluation": RegressionEvaluation,
}


# Types remember for what they were asked last: names that NumPy makes for one question stay alive there.
forget_names = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache  # noqa: SLF001


class Meter:
    """Notes of every batch what is held, how many blocks of Python live, and what the batch took at most."""

    def __init__(self, count):
        self.seen, self._next = np.zeros((count, 3), np.int64), 0

    def eval(self, *_):
        living, most = tracemalloc.get_traced_memory()
        forget_names()
        self.seen[self._next] = ndarena.allocated_bytes(), sys.getallocatedblocks(), most - living
        self._next += 1
        tracemalloc.reset_peak()


@pytest.mark.parametrize(("count", "length"), [(1000, None), (200, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_D_25_a_thousand_batches_take_as_much_as_a_few(mode, count, length):  # noqa: N802 - an id
    """In a process of its own: what is traced is what all threads take, those of a test runner, too."""
    code = f"import test_evaluating; test_evaluating.evaluate_many({mode!r}, {count}, {length})"
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def evaluate_many(mode, count, length):
    if length:
        net = series_network("chain", length, inference_workspace_mode=mode)
        ((data,), pieces) = series((20,), 4, 6, masked=True), 2
    else:
        net, data, pieces = chain(4, 5, 3, inference_workspace_mode=mode), DataSet(X[:30], Y[:30]), 1
    evaluations = [make() for make in COUNTING.values()]
    net.do_evaluation((data for _ in range(100)), *(make() for make in COUNTING.values()))
    gc.collect()
    gc.disable()
    tracemalloc.start()
    meter = Meter(count * pieces)
    try:
        net.do_evaluation((data for _ in range(count)), *evaluations, meter)
    finally:
        tracemalloc.stop()
        gc.enable()
    held, living, taken = np.ptp(meter.seen[100 * pieces :].reshape(-1, pieces, 3), axis=0).T
    assert (held == 0).all()
    assert living.max() < 20  # small numbers of the meter's own; a block per batch would be more
    assert taken.max() < 300  # bytes, of the meter's numbers: every batch takes the same
    assert evaluations[0].row_count > 5000


@pytest.mark.parametrize("name", COUNTING)
def test_a_steady_evaluation_takes_no_memory_from_the_system(name):
    net, evaluation = chain(4, 5, 3), COUNTING[name]()
    data = DataSet(X, Y)
    assert_steady(lambda: net.do_evaluation(data, evaluation))


def test_a_source_of_one_epoch_is_not_evaluated_twice():
    net, once = chain(4, 5, 3), iter(batches())
    assert net.evaluate(once).row_count == 150
    for call in (net.evaluate, lambda source: net.do_evaluation(source, Evaluation())):
        with pytest.raises(ValueError, match="gave no batch: it is empty or used up"):
            call(once)
    assert net.evaluate([]).row_count == 0
    listener = nn.EvaluativeListener(iter(batches()), output=lambda _: None)
    net.set_listeners(listener)
    with pytest.raises(ValueError, match="used up"):
        net.fit(batches())
    assert (listener.invocation_count, net.iteration_count) == (1, 1)


@pytest.mark.parametrize(
    "evaluations",
    [{0: Evaluation()}, {0: (e for e in [Evaluation()])}, [Evaluation()], Evaluation(), {0: None}],
    ids=["one", "generator", "list", "object", "none"],
)
def test_a_graph_is_told_evaluations_in_lists_by_output(evaluations):
    data = MultiDataSet([X], [Y, X[:, :2]])
    with pytest.raises(TypeError, match="evaluations must be lists by index of the output"):
        graph_of_two().do_evaluation(data, evaluations)


def test_a_listener_takes_its_evaluations_when_it_is_made():
    for wrong in (Evaluation(), [Evaluation], [5]):
        with pytest.raises(TypeError, match="evaluation"):
            nn.EvaluativeListener(batches(), evaluations=wrong)
    listener = nn.EvaluativeListener(batches(), evaluations=(e for e in [Evaluation()]), output=len)
    net = chain(4, 5, 3)
    net.set_listeners(listener)
    net.fit(DataSet(X, Y))
    net.fit(DataSet(X, Y))
    assert [e.row_count for e in listener.evaluations] == [150]


def test_labels_that_are_missing_are_called_labels():
    with pytest.raises(ValueError, match="expected 2 arrays of labels, not 1"):
        graph_of_two().fit(DataSet(X, Y))


def test_a_batch_without_labels_is_refused_and_not_left_out():
    with pytest.raises(ValueError, match="no labels"):
        chain(4, 5, 3).evaluate([DataSet(X, Y), DataSet(X)])
