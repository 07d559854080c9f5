"""Networks that read ahead: the same bits, batches where they lie, no thread and no memory left."""

import gc
import threading

import numpy as np
import pytest
from iterator_support import threads_are_gone
from nn_support import chain, examples
from support import eventually, faults, held_bytes, output_of

import ndarena
from ndarena import nn
from ndarena.data import (
    ArrayDataSetIterator,
    AsyncDataSetIterator,
    AsyncShieldDataSetIterator,
    DataSet,
    DataSetIterator,
    ListDataSetIterator,
    MultiDataSet,
)
from ndarena.evaluation import Evaluation, ROCMultiClass

pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")

MODES = ["NONE", "ENABLED", "SINGLE", "SEPARATE"]
X, Y = examples(50, 4, 3)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threads_are_gone(before)


def in_mode(mode):
    return {"training_workspace_mode": mode, "inference_workspace_mode": mode}


def rows(**fields):
    return ArrayDataSetIterator(X, Y, **{"batch_size": 8, "shuffle": True, "seed": 1, **fields})


def graph(mode="ENABLED"):
    """Make a graph of two inputs, one of which two layers read."""
    conf = nn.ComputationGraphConfiguration(
        inputs=["a", "b"],
        vertices={
            "left": (nn.DenseLayer(n_in=4, n_out=5, activation="tanh"), "a"),
            "right": (nn.DenseLayer(n_in=7, n_out=5), "a", "b"),
            "sum": (nn.ElementWiseVertex("add"), "left", "right"),
            "out": (nn.OutputLayer(n_in=5, n_out=3), "sum"),
        },
        outputs=["out"],
        updater=nn.Adam(0.01),
        seed=3,
        **in_mode(mode),
    )
    return nn.ComputationGraph(conf)


class Sets(DataSetIterator):
    """Data sets of any kind, which may be read ahead, and who asked for them."""

    def __init__(self, sets):
        self.sets, self.threads = list(sets), []

    def batches(self):
        for data in self.sets:
            self.threads.append(threading.current_thread().name)
            yield data


def several():
    b = np.random.default_rng(5).normal(size=(50, 3)).astype("f4")
    return Sets(MultiDataSet([X[i : i + 8], b[i : i + 8]], [Y[i : i + 8]]) for i in range(0, 50, 8))


def series(masked):
    x = np.random.default_rng(0).normal(size=(12, 4, 9)).astype("f4")
    y = np.eye(3, dtype="f4")[np.random.default_rng(1).integers(0, 3, (12, 9))].transpose(0, 2, 1).copy()
    mask = (np.arange(9) < np.arange(12)[:, None] % 9 + 1).astype("f4") if masked else None
    return Sets(DataSet(x, y, mask, mask).batch_by(5))


def recurrent(mode, **fields):
    return nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[nn.LSTM(n_in=4, n_out=5, activation="tanh"), nn.RnnOutputLayer(n_out=3)],
            input_type=nn.InputType.recurrent(4),
            updater=nn.Adam(0.01),
            seed=3,
            **in_mode(mode),
            **fields,
        )
    )


def images(mode):
    conf = nn.MultiLayerConfiguration(
        layers=[nn.ConvolutionLayer(n_out=3, kernel_size=(2, 2), activation="relu"), nn.OutputLayer(n_out=3)],
        input_type=nn.InputType.convolutional_flat(2, 2, 1),
        seed=3,
        **in_mode(mode),
    )
    return nn.MultiLayerNetwork(conf)


CASES = {
    "dense": (lambda mode: chain(4, 6, 3, **in_mode(mode)), rows),
    "another dtype": (lambda mode: chain(4, 6, 3, dtype="float64", **in_mode(mode)), rows),
    "graph": (graph, several),
    "series": (recurrent, lambda: series(masked=False)),
    "masked series in pieces": (
        lambda mode: recurrent(mode, backprop_type="TRUNCATED_BPTT", tbptt_fwd_length=4),
        lambda: series(masked=True),
    ),
    "images from rows": (images, rows),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("make", "source"), CASES.values(), ids=CASES)
def test_reading_ahead_changes_no_bit(make, source, mode):
    found = []
    for shield in (lambda base: base, AsyncShieldDataSetIterator):
        net = make(mode)
        net.fit(shield(source()), epochs=3)
        evaluation = net.evaluate(shield(source()))
        roc = ROCMultiClass()
        net.do_evaluation(shield(source()), *([{0: [roc]}] if "graph" in str(type(net)) else [roc]))
        net.fit(shield(source()))
        found.append(
            (net.params().tobytes(), evaluation.to_json(), roc.to_json(), net.score(), net.epoch_count)
        )
    assert found[0] == found[1]


def seen_by_layers(source, net, act):
    """Return where the inputs of the first layer lay."""
    places = []
    first = net.layers[0]
    activate = type(first).activate

    def watched(x, **options):
        places.append(x.workspace.id.rpartition("ITER-")[0] if hasattr(x, "workspace") else "plain")
        return activate(first, x, **options)

    first.activate = watched
    act(net, source)
    return set(places)


@pytest.mark.parametrize("mode", ["ENABLED", "SINGLE", "SEPARATE"])
@pytest.mark.parametrize(
    "act", [lambda net, s: net.fit(s), lambda net, s: net.evaluate(s)], ids=["fit", "evaluate"]
)
def test_a_batch_is_read_where_it_lies(mode, act):
    assert seen_by_layers(rows(), chain(4, 6, 3, **in_mode(mode)), act) == {"ADSI_"}
    assert seen_by_layers(several(), graph(mode), act) == {"AMDSI_"}


def test_who_reads():
    here, adsi = threading.current_thread().name, "ADSI prefetch thread"
    plain = DataSet(X, Y).batch_by(8)
    net = chain(4, 6, 3)
    for wrap, reader in (
        (lambda base: base, adsi),
        (AsyncDataSetIterator, adsi),
        (AsyncShieldDataSetIterator, here),
        (iter, here),
        (lambda base: ListDataSetIterator(list(base)), here),
    ):
        for act in (net.fit, net.evaluate):
            source = Sets(plain)
            act(wrap(source))
            assert set(source.threads) == {reader}, wrap
    source = several()
    graph().fit(source, epochs=2)
    assert source.threads == ["AMDSI prefetch thread"] * 14


class Stop(BaseException):
    """No `Exception`."""


class Stopping(nn.TrainingListener):
    """Raises at the n-th iteration."""

    def __init__(self, n, error):
        self.n, self.error = n, error

    def iteration_done(self, model, iteration, epoch):
        if iteration == self.n:
            raise self.error


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [ArithmeticError, KeyboardInterrupt, Stop])
def test_an_error_of_the_loop_ends_the_reading_at_once(mode, kind):
    error = kind("x")
    source = Sets(DataSet(X, Y).batch_by(1) * 20)
    net, threads = chain(4, 6, 3, **in_mode(mode)), threading.active_count()
    net.set_listeners(Stopping(5, error))
    with pytest.raises(kind) as caught:
        net.fit(source, epochs=2)
    assert threading.active_count() == threads
    assert caught.value is error
    assert len(source.threads) <= 6 + 2 + 2
    ndarena.assert_no_workspaces_open("after the error")
    net.set_listeners()
    net.fit(source)

    class Failing(Evaluation):
        def eval(self, *batch):
            raise error

    before = net.training_workspace_mode, net.inference_workspace_mode
    with pytest.raises(kind):
        net.do_evaluation(source, Failing())
    assert threading.active_count() == threads
    assert (net.training_workspace_mode, net.inference_workspace_mode) == before


@pytest.mark.parametrize("place", [0, 1, 4])
def test_an_error_of_the_source_comes_after_the_batches_before_it(place):
    class Failing(Sets):
        def batches(self):
            for i, data in enumerate(super().batches()):
                if i == place:
                    raise LookupError("here")
                yield data

    source = Failing(DataSet(X, Y).batch_by(8))
    net = chain(4, 6, 3)
    for iterations in (place, 2 * place):
        with pytest.raises(LookupError, match="here"):
            net.fit(source)
        assert (net.iteration_count, net.epoch_count) == (iterations, 0)
    expected = chain(4, 6, 3)
    for _ in range(2):
        expected.fit(source.sets[:place])
    assert net.params().tobytes() == expected.params().tobytes()
    with pytest.raises(LookupError, match="here"):
        net.evaluate(source)


def test_a_source_that_is_used_up_says_so():
    net = chain(4, 6, 3)
    batches = iter(DataSet(X, Y).batch_by(8))
    net.fit(batches)
    assert net.iteration_count == 7
    with pytest.raises(ValueError, match="list_iterator gave no batch: it is empty or used up"):
        net.fit(batches)
    with pytest.raises(ValueError, match="list_iterator gives one epoch, not 2"):
        net.fit(iter([DataSet(X, Y)]), epochs=2)
    net.fit([])  # a list could be gone through again
    assert net.iteration_count == 7


class Counting(nn.TrainingListener):
    """Notes page faults of the thread, bytes held and spills after every iteration."""

    def __init__(self, iterations):
        self.seen = np.full((iterations, 3), -1, np.int64)

    def iteration_done(self, model, iteration, epoch):
        spills = sum(ws.spilled_size for ws in ndarena.get_all_workspaces_for_current_thread())
        self.seen[iteration] = faults(), ndarena.allocated_bytes(), spills


@pytest.mark.parametrize("epochs", [1, 400])
def test_a_loop_over_batches_that_are_read_ahead_takes_nothing(epochs):
    net, counting = chain(4, 30, 30, 3), Counting(2000)
    source = Sets(DataSet(X, Y).batch_by(10) * (400 // epochs))
    net.set_listeners(counting)
    gc.collect()
    gc.disable()
    try:
        net.fit(source, epochs=epochs)
    finally:
        gc.enable()
    taken, held, spilled = counting.seen[500:].T
    windows = [taken[i + 300] - taken[i] for i in range(0, 1200, 300)]
    assert min(windows) == 0
    assert (held == held[0]).all()
    assert (spilled == 0).all()


def test_a_paced_collector_does_not_run_beside_a_step():
    net, where = chain(4, 6, 3), []

    def note(phase, _):
        if phase == "start":
            where.append(threading.current_thread().name)

    source = Sets(DataSet(X, Y).batch_by(5) * 20)
    net.fit(source)
    gc.collect()
    gc.freeze()  # or else each of 600 collections looks at all that other tests have made
    gc.callbacks.append(note)
    try:
        with ndarena.gc_policy(auto_gc_window=1):
            net.fit(source)
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
    assert set(where) == {threading.current_thread().name}


def test_what_was_read_ahead_is_given_back():
    net = chain(4, 6, 3)
    before = held_bytes()
    net.fit(rows(), epochs=2)
    net.evaluate(rows())
    ndarena.destroy_all_workspaces_for_current_thread()
    assert eventually(lambda: held_bytes() == before)


def test_a_program_ends_in_the_middle_of_learning():
    source = """
        import threading, numpy as np
        from ndarena import nn
        from ndarena.data import DataSet, DataSetIterator

        class Endless(DataSetIterator):
            def batches(self):
                while True:
                    yield DataSet(np.ones((4, 3), "f4"), np.eye(2, dtype="f4")[[0, 1, 0, 1]])

        learned = threading.Event()

        class Telling(nn.TrainingListener):
            def iteration_done(self, model, iteration, epoch):
                if iteration == 9:
                    learned.set()

        layers = [nn.DenseLayer(n_in=3, n_out=4), nn.OutputLayer(n_in=4, n_out=2)]
        net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers))
        net.set_listeners(Telling())
        threading.Thread(target=net.fit, args=(Endless(),), daemon=True).start()
        learned.wait()
        print("over")
    """
    assert output_of(source, timeout=60) == "over\n"
