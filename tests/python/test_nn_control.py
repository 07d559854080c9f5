"""The collector and the memory in the middle of training and evaluation."""

import gc
import threading

import numpy as np
import pytest
from nn_support import chain, examples
from support import eventually, held_bytes, in_thread

import ndarena
from ndarena import ArrayType, DestroyedWorkspaceError, nn
from ndarena.data import ArrayDataSetIterator, AsyncShieldDataSetIterator, DataSet
from ndarena.evaluation import Evaluation
from ndarena.parallel import ParallelWrapper

pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")

MODES = ["NONE", "ENABLED", "SINGLE", "SEPARATE"]
LONG = 3_600_000
X, Y = examples(40, 4, 3)


def batches():
    """Return batches that are not read ahead: what a ring holds belongs to another thread."""
    return AsyncShieldDataSetIterator(ArrayDataSetIterator(X, Y, batch_size=8))


def in_mode(mode):
    return {"training_workspace_mode": mode, "inference_workspace_mode": mode}


def lists(count=3000):
    """Make what the collector looks at, and would look at again at once."""
    return [[] for _ in range(count)]


class Listener(nn.TrainingListener):
    """Does something at every event."""

    def __init__(self, act, *events):
        for event in events:
            setattr(self, event, lambda *_, event=event: act(event))


IN_STEP = ("on_forward_pass", "on_backward_pass", "on_gradient_calculation", "iteration_done")
BETWEEN = ("on_epoch_start", "on_epoch_end")
EVENTS = (*IN_STEP, *BETWEEN)


# ---------------------------------------------------------------- the collector


class Collections:
    """Counts collections, apart those inside a step of some thread."""

    def __init__(self):
        self.inside, self.between, self._steps = 0, 0, set()

    def __enter__(self):
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_):
        gc.callbacks.remove(self._note)

    def _note(self, phase, _):
        if phase == "start":
            self.inside += bool(self._steps)
            self.between += not self._steps

    def begin(self):
        self._steps.add(threading.get_ident())

    def end(self):
        self._steps.discard(threading.get_ident())

    def listener(self):
        """Return what tells when a step begins and ends, and keeps a history of small lists."""
        kept = []

        def act(event):
            self.begin()
            kept.append(lists())
            if event == "iteration_done":
                self.end()

        return Listener(act, *IN_STEP)


class KeepingEvaluation(Evaluation):
    """Keeps a history of small lists."""

    def __init__(self, collections):
        super().__init__()
        self._collections, self._kept = collections, []

    def eval(self, *batch):
        self._collections.begin()
        self._kept.append(lists())
        super().eval(*batch)
        self._kept.append(lists())
        self._collections.end()


def fit(net, collections):
    net.set_listeners(collections.listener())
    net.fit(batches(), epochs=4)


def evaluate(net, collections):
    for _ in range(4):
        net.do_evaluation(batches(), KeepingEvaluation(collections))


WAYS = pytest.mark.parametrize("way", [fit, evaluate])
EACH_MODE = pytest.mark.parametrize("mode", MODES)


@WAYS
@EACH_MODE
def test_while_the_collector_is_paced_none_runs_inside_a_step(way, mode):
    net = chain(4, 5, 3, **in_mode(mode))
    with Collections() as by_itself:
        way(net, by_itself)
    assert by_itself.inside > 0
    with ndarena.gc_policy(auto_gc_window=LONG), Collections() as paced:
        way(net, paced)
    assert paced.inside == 0
    assert paced.between > 0
    assert ndarena.get_auto_gc_window() == 0
    assert gc.isenabled()


@WAYS
@EACH_MODE
def test_a_window_that_has_passed_is_used_at_the_end_of_a_step(way, mode):
    net = chain(4, 5, 3, **in_mode(mode))
    way(net, Collections())
    whole = []

    def note(phase, info):
        if phase == "start" and info["generation"] == 2:
            whole.append(ndarena.any_workspace_active_for_current_thread())

    thresholds = gc.get_threshold()
    gc.set_threshold(0)  # only we collect
    gc.callbacks.append(note)
    try:
        with ndarena.gc_policy(auto_gc_window=1):
            assert eventually(lambda: way(net, Collections()) or whole)
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*thresholds)
    assert not any(whole)


@WAYS
@EACH_MODE
def test_a_collector_that_is_switched_off_stays_off(way, mode):
    net = chain(4, 5, 3, **in_mode(mode))
    ndarena.toggle_periodic_gc(False)
    with Collections() as collections:
        way(net, collections)
    assert (collections.inside, collections.between) == (0, 0)
    assert not gc.isenabled()
    ndarena.toggle_periodic_gc(True)
    assert gc.isenabled()


def test_an_error_in_a_paced_step_gives_the_collector_back():
    def fail(_):
        raise OSError("broken")

    net = chain(4, 5, 3)
    for event in IN_STEP:
        net.set_listeners(Listener(fail, event))
        with ndarena.gc_policy(auto_gc_window=LONG), pytest.raises(OSError, match="broken"):
            net.fit(batches())
        assert gc.isenabled()
        ndarena.assert_no_workspaces_open("after an error")


def test_pieces_of_series_are_steps():
    x = np.random.default_rng(0).normal(size=(3, 4, 25)).astype(np.float32)
    y = np.zeros((3, 2, 25), np.float32)
    y[:, 0] = 1
    conf = nn.MultiLayerConfiguration(
        layers=[nn.LSTM(n_out=3), nn.RnnOutputLayer(n_out=2)],
        input_type=nn.InputType.recurrent(4),
        backprop_type="TRUNCATED_BPTT",
        tbptt_fwd_length=5,
    )
    net = nn.MultiLayerNetwork(conf)
    with ndarena.gc_policy(auto_gc_window=LONG), Collections() as collections:
        net.set_listeners(collections.listener())
        net.fit(DataSet(x, y), epochs=3)
        net.do_evaluation(DataSet(x, y), KeepingEvaluation(collections))
    assert collections.inside == 0
    assert collections.between > 0
    assert net.iteration_count == 15


def test_workers_pace_the_collector_together():
    workers, together = 3, threading.Barrier(3, timeout=60)
    with ndarena.gc_policy(auto_gc_window=LONG), Collections() as collections:

        def work(seed):
            net = chain(4, 5, 3, seed=seed)
            together.wait()
            fit(net, collections)
            evaluate(net, collections)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert collections.inside == 0


class Keeping(nn.Layer):
    """Keeps a history of small lists in every step."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        self.kept = [*getattr(self, "kept", []), lists()]
        return workspace_mgr.dup(ArrayType.ACTIVATIONS, x)

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        return workspace_mgr.dup(ArrayType.ACTIVATION_GRAD, epsilon)


@pytest.mark.parametrize("mode", ["AVERAGING", "SHARED_GRADIENTS"])
def test_workers_of_a_wrapper_are_left_alone_while_the_collector_is_paced(mode):
    conf = nn.MultiLayerConfiguration(
        layers=[Keeping(), nn.OutputLayer(n_out=3)], input_type=nn.InputType.feed_forward(4)
    )

    def collections(window):
        """Return how many collections there were while some thread had a workspace of a network open."""
        inside = 0

        def note(phase, _):
            nonlocal inside
            those = ndarena.allocation_statistics()
            inside += phase == "start" and any(s.is_scope_active and s.id.startswith("WS_") for s in those)

        gc.callbacks.append(note)
        try:
            wrapper = ParallelWrapper(nn.MultiLayerNetwork(conf), workers=2, training_mode=mode)
            with wrapper, ndarena.gc_policy(auto_gc_window=window):
                wrapper.fit(batches(), epochs=4)
        finally:
            gc.callbacks.remove(note)
        return inside

    assert collections(0) > 0
    assert collections(LONG) == 0


# ---------------------------------------------------------------- the memory


def destroying(calls, *, every=3):
    """Return what destroys all workspaces now and then, and notes what is held then."""
    calls.append(0)

    def act(_=None):
        calls[0] += 1
        if calls[0] % every == 0:
            ndarena.destroy_all_workspaces_for_current_thread()
            calls.append(ndarena.allocated_bytes())

    return act


@EACH_MODE
@pytest.mark.parametrize("event", [event for event in EVENTS if event != "on_forward_pass"])
def test_a_listener_may_give_everything_back(event, mode):
    plain, net = (chain(4, 5, 3, **in_mode(mode)) for _ in range(2))
    held, calls = held_bytes(), []
    net.set_listeners(Listener(destroying(calls), event))
    net.fit(batches(), epochs=6)
    assert set(calls[1:]) == {held}
    ndarena.destroy_all_workspaces_for_current_thread()
    plain.fit(batches(), epochs=6)
    assert net.params().tobytes() == plain.params().tobytes()


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_listener_that_destroys_what_it_is_shown_is_told_so(mode):
    plain, net = (chain(4, 5, 3, **in_mode(mode)) for _ in range(2))
    net.set_listeners(Listener(destroying([], every=1), "on_forward_pass"))
    for _ in range(2):
        with pytest.raises(DestroyedWorkspaceError, match=r"on_forward_pass\(\).*iteration_done") as caught:
            net.fit(X, Y)
        assert caught.value.workspace_id.startswith("WS_")
        ndarena.assert_no_workspaces_open("after an error")
    net.set_listeners()
    for each in (net, plain):
        each.fit(X, Y, epochs=3)
    assert net.params().tobytes() == plain.params().tobytes()


@EACH_MODE
def test_a_source_may_give_everything_back_between_batches(mode):
    plain, net = (chain(4, 5, 3, **in_mode(mode)) for _ in range(2))
    held, calls = held_bytes(), []
    act = destroying(calls, every=2)

    class Source:
        def __iter__(self):
            for batch in batches():
                act()
                yield batch

    net.fit(Source(), epochs=2)
    evaluation = net.evaluate(Source())
    assert len(calls) > 6
    assert set(calls[1:]) == {held}
    plain.fit(batches(), epochs=2)
    assert net.params().tobytes() == plain.params().tobytes()
    assert evaluation.to_json() == plain.evaluate(batches()).to_json()


@EACH_MODE
def test_an_evaluation_may_give_everything_back(mode):
    net = chain(4, 5, 3, **in_mode(mode))
    calls = []

    class Destroying(Evaluation):
        def eval(self, *batch):
            super().eval(*batch)
            act()

    held = held_bytes()
    act = destroying(calls, every=2)
    (evaluation,) = net.do_evaluation(batches(), Destroying())
    assert set(calls[1:]) == {held}
    assert evaluation.stats() == net.evaluate(batches()).stats()


def test_what_somebody_holds_is_not_given_back():
    net, views = chain(4, 5, 3), []

    class Keeping(Evaluation):
        def eval(self, labels, predictions, *others):
            super().eval(labels, predictions, *others)
            views.append(predictions.numpy())
            ndarena.destroy_all_workspaces_for_current_thread()

    held = held_bytes()
    net.do_evaluation(batches(), Keeping())
    assert ndarena.allocated_bytes() >= held + sum(view.nbytes for view in views)
    assert (
        np.concatenate(views).tobytes()
        == np.concatenate([net.output(batch.features) for batch in batches()]).tobytes()
    )
    ndarena.destroy_all_workspaces_for_current_thread()
    views.clear()
    assert ndarena.allocated_bytes() == held


def test_statistics_are_of_all_threads_while_they_learn():
    workers, trained, looked = 3, threading.Barrier(4, timeout=60), threading.Barrier(4, timeout=60)
    names = {}

    def work(place):
        net = chain(4, 5 + 20 * place, 3)
        net.fit(batches())
        names[threading.get_ident()] = ndarena.get_all_workspaces_for_current_thread()
        trained.wait()
        looked.wait()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(workers)]
    for thread in threads:
        thread.start()
    trained.wait()
    found = {(s.thread_id, s.id): s for s in ndarena.allocation_statistics()}
    looked.wait()
    for thread in threads:
        thread.join(60)
    wanted = {(thread, ws.id) for thread, those in names.items() for ws in those}
    assert wanted <= found.keys()
    assert len(names) == workers
    sizes = {found[thread, "WS_ALL_LAYERS_ACT"].current_size for thread in names}
    assert len(sizes) == workers
    assert all(found[key].spilled_size == 0 for key in wanted)
    names.clear()
    assert eventually(lambda: not any(s.thread_id in found for s in ndarena.allocation_statistics()))


@pytest.mark.parametrize("mode", ["ENABLED", "SEPARATE"])
def test_a_report_before_running_is_what_running_takes(mode):
    net, n = chain(256, 256, 256, 256, 10, **in_mode(mode)), 1024
    x, y = examples(n, 256, 10)
    report = net.memory_report(n)
    assert ndarena.get_all_workspaces_for_current_thread() == []
    assert report.standing == 2 * net.params().nbytes + net.updater_state().nbytes

    def sizes(use):
        def body():
            for _ in range(3):
                use()
            those = ndarena.get_all_workspaces_for_current_thread()
            return sum(ws.current_size for ws in those if ws.id != "WS_LAYER_WORKING_MEM")

        return in_thread(body)

    assert sizes(lambda: net.output(x)) == pytest.approx(report.inference - report.params, rel=0.05)
    learning = report.training - report.standing + x.nbytes  # and at most sums beside every activation
    assert learning <= sizes(lambda: net.fit(x, y)) <= 2 * learning
