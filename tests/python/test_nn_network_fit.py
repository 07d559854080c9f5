"""What happens while a network learns: epochs, listeners, threads, failures."""

import sys
import threading

import pytest
from nn_support import chain, examples

import ndarena
from ndarena import StaleArrayError, WorkspaceArray, nn
from ndarena.data import ArrayDataSetIterator, DataSet, DataSetIterator

MODES = ["NONE", "ENABLED", "SINGLE", "SEPARATE"]
pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")
X, Y = examples(8, 5, 3)


def data(n=8, seed=0, dtype="float32"):
    return DataSet(*examples(n, 5, 3, dtype, seed))


# Epochs, listeners, and who may do what at once.


class Counter(nn.TrainingListener):
    def __init__(self, action=None):
        self.calls, self.action = [], action

    def iteration_done(self, model, iteration, epoch):
        self.calls.append((iteration, epoch))
        if self.action is not None:
            self.action(model)


def test_iterations_and_epochs_are_counted():
    net, listener = chain(5, 7, 3), Counter()
    net.set_listeners(listener)
    x, y = examples(10, 5, 3)
    net.fit(ArrayDataSetIterator(x, y, batch_size=4), epochs=2)
    assert listener.calls == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]
    net.fit(x, y, epochs=3)
    net.fit([data(), data()])
    assert (net.iteration_count, net.epoch_count) == (11, 3)
    net.fit(x, y, epochs=0)
    assert net.iteration_count == 11


def test_a_source_that_cannot_begin_again_gives_one_epoch():
    net = chain(5, 7, 3)
    net.fit(data(seed=i) for i in range(3))
    assert (net.iteration_count, net.epoch_count) == (3, 1)
    with pytest.raises(ValueError, match="cannot begin again"):
        net.fit((data() for _ in range(3)), epochs=2)

    class Once(DataSetIterator):
        reset_supported = False

    with pytest.raises(ValueError, match="Once gives one epoch"):
        net.fit(Once(), epochs=2)
    assert net.iteration_count == 3


class Busy(nn.TrainingListener):
    """Uses the network at every event."""

    def __getattribute__(self, name):
        if name in {"on_forward_pass", "on_backward_pass", "on_gradient_calculation", "iteration_done"}:
            return self.use
        return object.__getattribute__(self, name)

    def use(self, model, *facts):
        before = model.gradient().tobytes()
        model.output(X)
        model.output(X[:2], training=True)
        model.feed_forward(X)
        model.score(data())
        model.evaluate([data()])
        assert model.gradient().tobytes() == before


@pytest.mark.parametrize("mode", MODES)
def test_a_listener_may_use_the_network(mode):
    nets = [chain(5, 7, 6, 3, training_workspace_mode=mode, inference_workspace_mode=mode) for _ in range(2)]
    nets[0].add_listeners(Busy())
    for net in nets:
        net.fit(X, Y, epochs=3)
    assert nets[0].params().tobytes() == nets[1].params().tobytes()


def test_one_fit_at_a_time():
    net = chain(5, 7, 3)
    net.set_listeners(Counter(lambda model: model.fit(X, Y)))
    with pytest.raises(RuntimeError, match="learning already"):
        net.fit(X, Y)
    net.set_listeners(Counter(lambda model: model.compute_gradient_and_score(data())))
    with pytest.raises(RuntimeError, match="learning already"):
        net.fit(X, Y)
    net.set_listeners()
    net.fit(X, Y)


@pytest.mark.parametrize("line", [1, 2, 4, 5])
def test_a_signal_before_learning_begins_keeps_nobody_out(line):
    """At the lines of what keeps others out; none can come at the one that does nothing but add to a list."""
    net = chain(5, 7, 3)
    seen = []

    def trace(frame, event, _):
        if frame.f_code.co_name != "_alone":
            return None
        if event == "line":
            seen.append(frame.f_lineno)
            if len(seen) == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, Y)
    finally:
        sys.settrace(before)
    net.fit(X, Y)


def test_many_threads_may_ask_while_one_learns():
    net = chain(5, 7, 6, 3, updater=nn.Sgd(0.0))
    want = net.output(X).tobytes()
    answers, done = [], threading.Event()

    def ask():
        while True:
            answers.append(net.output(X).tobytes() == want)
            if done.is_set():
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        net.fit(X, Y)
    done.set()
    for thread in threads:
        thread.join(timeout=60)
    assert len(answers) >= 4
    assert all(answers)
    assert net.iteration_count == 50


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "event",
    ["on_epoch_start", "on_forward_pass", "on_backward_pass", "on_gradient_calculation", "iteration_done"],
)
def test_an_exception_leaves_nothing_open(event, mode):
    net, reference = (
        chain(5, 7, 6, 3, training_workspace_mode=mode, inference_workspace_mode=mode) for _ in range(2)
    )

    def fail(*_):
        raise KeyError(event)

    listener = nn.TrainingListener()
    setattr(listener, event, fail)
    net.set_listeners(listener)
    with pytest.raises(KeyError):
        net.fit([data()])
    ndarena.assert_no_workspaces_open("after the exception")
    assert ndarena.get_current_workspace() is None
    net.set_listeners()
    net.set_params(reference.params())
    net.set_updater_state(reference.updater_state())
    net.iteration_count = 0
    net.fit(X, Y)
    reference.fit(X, Y)
    assert net.params().tobytes() == reference.params().tobytes()


def test_a_memory_error_tells_what_the_workspaces_hold():
    net = chain(5, 7, 3)
    net.fit(X, Y)

    def fail(_):
        raise MemoryError

    net.set_listeners(Counter(fail))
    with pytest.raises(MemoryError) as caught:
        net.fit(X, Y)
    assert "WS_ALL_LAYERS_ACT" in caught.value.__notes__[0]


def test_layers_keep_nothing_of_an_iteration():
    net = chain(5, 7, 3)
    seen = []

    class Keeper(nn.TrainingListener):
        def on_forward_pass(self, model, activations):
            seen.extend(activations)

    net.set_listeners(Keeper())
    net.fit(X, Y)
    assert isinstance(seen[1], WorkspaceArray)
    with pytest.raises(StaleArrayError):
        seen[1].sum()
    assert all(layer._kept is None for layer in net.layers)  # noqa: SLF001
