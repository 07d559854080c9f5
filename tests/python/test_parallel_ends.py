"""Training in several threads ends well, whatever ends it: no thread is left, and the model is whole."""

import _thread
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from parallel_support import At, Source, batches, dense, graph, rows, threads, wrapped
from support import output_of

import ndarena
from ndarena import nn
from ndarena.data import DataSet
from ndarena.errors import ConfigurationError
from ndarena.parallel import GradientsAccumulator, ParallelWrapper, crew
from ndarena.parallel.meeting import Meeting
from ndarena.testing import inject

MODES = ["AVERAGING", "SHARED_GRADIENTS"]
STRIDE = int(os.environ.get("FAULT_STRIDE", "5"))  # a large number: a fault at every point
ENDS = [ValueError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """See that every test leaves no thread, and no memory of workers."""
    gc.collect()
    before = ndarena.allocated_bytes()
    yield
    assert threads() == []
    ndarena.destroy_all_workspaces_for_current_thread()
    gc.collect()
    assert ndarena.allocated_bytes() <= before


def raising(error):
    def act():
        raise error

    return act


# ---------------------------------------------------------------- a worker fails


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("worker", [0, 1])
def test_what_a_worker_raises_reaches_the_caller_and_the_model_is_as_the_last_averaging_left_it(
    mode, kind, worker
):
    error = kind("of a batch")
    wrapper = wrapped(listener=At(3, raising(error), worker), training_mode=mode, averaging_frequency=2)
    data = list(batches(80, size=5))
    with pytest.raises(kind) as caught:
        wrapper.fit(data)
    assert caught.value is error
    reference = wrapped(training_mode=mode, averaging_frequency=2)
    whole = 2 if mode == "AVERAGING" else 3  # rounds
    reference.fit(data[: 2 * whole])
    np.testing.assert_array_equal(wrapper.model.params(), reference.model.params())
    np.testing.assert_array_equal(wrapper.model.updater_state(), reference.model.updater_state())
    assert wrapper.model.iteration_count == whole
    assert wrapper.model.epoch_count == 0
    wrapper.set_listeners()
    wrapper.fit(data)
    assert wrapper.model.iteration_count == whole + 8


@pytest.mark.parametrize("worker", [0, 1])
def test_a_constraint_that_fails_for_the_mean_in_one_worker_leaves_the_model_as_it_was(worker):
    calls = [0, 0]

    @dataclass(frozen=True)
    class Failing(nn.LayerConstraint):
        def apply(self, param):
            here = int(threading.current_thread().name.rpartition(" ")[2])
            calls[here] += 1
            if (here, calls[here]) == (worker, 3):  # two weights are constrained by its own step
                raise KeyError

    model = dense(constraints=[Failing()])
    before = model.params().copy()
    with pytest.raises(KeyError):
        wrapped(model).fit([rows(10), rows(10)])
    np.testing.assert_array_equal(model.params(), before)
    assert model.iteration_count == 0


@pytest.mark.parametrize("kind", [dense, graph])
@pytest.mark.parametrize("mode", MODES)
def test_a_batch_that_does_not_fit_is_told_as_by_fit_itself(kind, mode):
    wrong = DataSet(np.zeros((4, 5)), np.zeros((4, 3)))
    with pytest.raises(ValueError) as told:
        kind().fit(wrong)
    wrapper = wrapped(kind(), training_mode=mode)
    with pytest.raises(type(told.value)) as caught:
        wrapper.fit([rows(10), wrong, rows(10), rows(10)])
    assert str(caught.value) == str(told.value)
    wrapper.fit([rows(10), rows(10)])


@pytest.fixture(scope="module")
def after_batches():
    """Return, by training mode, what the model is after so many batches."""
    data = list(batches(40, size=5))
    found = {}
    for mode in MODES:
        found[mode] = []
        for count in range(9):
            wrapper = wrapped(dense(updater=nn.Adam(0.05), dropout=0.8), training_mode=mode)
            wrapper.fit(data[:count])
            found[mode].append(state_of(wrapper.model))
    return found


def state_of(net):
    return net.params().tobytes(), net.updater_state().tobytes(), net.iteration_count


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("point", "exception"),
    [
        ("allocation", MemoryError),
        ("allocation", KeyboardInterrupt),
        ("scope", KeyboardInterrupt),
        ("system", MemoryError),
    ],
)
def test_a_fault_anywhere_leaves_the_model_as_it_is_after_some_batches(after_batches, mode, point, exception):
    """In a worker, or where batches are copied: at the first points each, then at ever fewer of them."""
    data, nth, reached = list(batches(40, size=5)), 1, True
    while reached:
        wrapper = wrapped(dense(updater=nn.Adam(0.05), dropout=0.8), training_mode=mode)
        fault = inject(exception, **{point: nth})
        with fault, suppress(exception):
            wrapper.fit(data)
        assert threads() == []
        assert state_of(wrapper.model) in after_batches[mode]
        wrapper.fit(data[:2])
        reached = fault.reached
        nth += 1 + nth // STRIDE
    assert nth > 10


def test_a_worker_without_memory_says_what_its_workspaces_hold():
    with pytest.raises(MemoryError) as caught:
        wrapped(listener=At(1, raising(MemoryError()))).fit(batches())
    assert "WS_ALL_LAYERS_ACT" in caught.value.__notes__[0]


def test_an_error_holds_nothing_once_it_is_dropped():
    for _ in range(2):
        with pytest.raises(ValueError):
            wrapped(listener=At(1, raising(ValueError()))).fit(batches())
    gc.collect()
    before = len(gc.get_objects())
    gc.disable()
    try:
        with pytest.raises(ValueError):
            wrapped(listener=At(1, raising(ValueError()))).fit(batches())
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert gc.collect() < 2000
    assert grown < 5000


def test_a_meeting_that_took_place_is_not_called_off_for_anybody():
    for _ in range(200):
        meeting = Meeting(2)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(meeting.wait)
            meeting.wait()
            meeting.call_off()
            other.result(timeout=60)


def test_nobody_waits_for_a_meeting_that_is_called_off():
    meeting = Meeting(3)
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(meeting.wait) for _ in range(2)]
        meeting.call_off()
        for other in others:
            with pytest.raises(threading.BrokenBarrierError):
                other.result(timeout=60)
    with pytest.raises(threading.BrokenBarrierError):
        meeting.wait()


# ---------------------------------------------------------------- the source fails, the caller is interrupted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ENDS[:4])
@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("count", [0, 1, 6, 7])
def test_batches_before_the_one_that_cannot_be_read_are_learned(mode, kind, ahead, count):
    error = kind("of the source")
    wrapper = wrapped(training_mode=mode, averaging_frequency=3)
    with pytest.raises(kind) as caught:
        wrapper.fit(Source(count, raising(error), async_supported=ahead))
    assert caught.value is error
    reference = wrapped(training_mode=mode, averaging_frequency=3)
    reference.fit(Source(count, lambda: None, async_supported=ahead))
    np.testing.assert_array_equal(wrapper.model.params(), reference.model.params())
    assert (wrapper.model.iteration_count, wrapper.model.epoch_count) == (-(-count // 2), 0)
    wrapper.fit(batches())


def test_a_source_that_fails_after_a_worker_did_says_so_in_a_note():
    reading, failing = threading.Event(), threading.Event()

    class Fails(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            assert reading.wait(60)
            failing.set()
            raise ValueError("of a worker")

    def later():
        reading.set()
        assert failing.wait(60)
        raise OSError("of the source")

    with pytest.raises(OSError, match="of the source") as caught:
        wrapped(listener=Fails()).fit(Source(2, later, async_supported=False))
    assert "ValueError('of a worker')" in caught.value.__notes__[0]


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupt_of_the_caller_lets_workers_finish(mode):
    """The signal comes while an iteration runs in another thread; the main thread waits or reads."""
    wrapper = wrapped(listener=At(2, _thread.interrupt_main), training_mode=mode)
    with pytest.raises(KeyboardInterrupt):
        wrapper.fit(Source(10**6, lambda: None, async_supported=False), epochs=1000)
    assert wrapper.model.iteration_count >= 2
    assert np.isfinite(wrapper.model.params()).all()
    wrapper.set_listeners()
    wrapper.fit(batches())


def test_an_interrupt_while_it_waits_for_workers_comes_when_they_have_ended():
    class Interrupts(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            _thread.interrupt_main()

    wrapper = wrapped(listener=Interrupts())
    with pytest.raises((KeyboardInterrupt, OSError)):
        wrapper.fit(Source(4, raising(OSError()), async_supported=False))
    assert wrapper.model.iteration_count <= 2


def test_an_interrupt_when_the_threads_have_just_begun_ends_them(monkeypatch):
    start = crew.Crew.start

    def interrupted(one):
        start(one)
        raise KeyboardInterrupt

    monkeypatch.setattr(crew.Crew, "start", interrupted)
    wrapper = wrapped()
    with pytest.raises(KeyboardInterrupt):
        wrapper.fit(batches())
    assert threads() == []
    monkeypatch.undo()
    wrapper.fit(batches())


def test_whatever_a_signal_raises_while_it_waits_for_workers_comes_when_they_have_ended(monkeypatch):
    joined, signals = crew.joined, [TimeoutError("of a signal")]

    def interrupted(thread):
        if signals:
            raise signals.pop()
        return joined(thread)

    monkeypatch.setattr(crew, "joined", interrupted)
    wrapper = wrapped(listener=At(1, lambda: time.sleep(0.3)))
    with pytest.raises((TimeoutError, OSError)):
        wrapper.fit(Source(4, raising(OSError()), async_supported=False))
    assert threads() == []
    assert wrapper.model.iteration_count == 2


# ---------------------------------------------------------------- accumulators of one's own


class Mean(GradientsAccumulator):
    """Everybody takes the mean of all steps: with equal batches that of one large batch."""

    def __init__(self, fails=None):
        self.stored, self.calls, self._fails = {}, [], fails

    def register_consumers(self, consumers, num_params, dtype):
        self.calls.append(("register", consumers, num_params, dtype))

    def store_update(self, update, *, worker, iteration, epoch):
        if self._fails == ("store", worker, iteration):
            raise ValueError("of the accumulator")
        self.stored[worker] = update

    def apply_update(self, params, update, *, worker, contributors):
        if self._fails == ("apply", worker):
            raise ValueError("of the accumulator")
        params -= np.mean([self.stored[other] for other in contributors], axis=0)

    def reset(self):
        self.calls.append("reset")


@pytest.mark.parametrize("kind", [dense, graph])
def test_an_accumulator_of_ones_own_says_what_is_shared(kind):
    ours, theirs, accumulator = kind(), kind(), Mean()
    wrapper = wrapped(ours, workers=4, training_mode="CUSTOM", gradients_accumulator=accumulator)
    wrapper.fit(batches(80, size=10), epochs=2)
    theirs.fit(batches(80, size=40), epochs=2)
    np.testing.assert_allclose(ours.params(), theirs.params(), rtol=1e-12)
    assert accumulator.calls == [("register", 4, ours.num_params(), np.dtype("float64")), "reset"]


@pytest.mark.parametrize("fails", [("store", 1, 2), ("apply", 0), ("apply", 1)])
def test_an_accumulator_that_fails_ends_it(fails):
    accumulator = Mean(fails)
    wrapper = wrapped(training_mode="CUSTOM", gradients_accumulator=accumulator)
    with pytest.raises(ValueError, match="of the accumulator"):
        wrapper.fit(batches(80, size=5))
    assert accumulator.calls[-1] == "reset"
    assert wrapper.model.iteration_count == (2 if fails[0] == "store" else 0)


def test_an_accumulator_is_needed():
    with pytest.raises(ConfigurationError, match="gradients_accumulator"):
        ParallelWrapper(dense(), training_mode="CUSTOM")


# ---------------------------------------------------------------- the end of the program, and forks

PROGRAM = """
import os, sys, threading
import numpy as np
from ndarena import nn
from ndarena.data import DataSet
from ndarena.parallel import ParallelWrapper

net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(
    layers=[nn.DenseLayer(n_in=4, n_out=50), nn.OutputLayer(n_in=50, n_out=2)]))
batch = DataSet(np.ones((64, 4), np.float32), np.eye(2, dtype=np.float32)[[0, 1] * 32])
begun = threading.Event()

class Begins(nn.TrainingListener):
    def iteration_done(self, model, iteration, epoch):
        begun.set()

net.set_listeners(Begins())
wrapper = ParallelWrapper(net, workers=2, training_mode=MODE)
fitting = threading.Thread(target=lambda: wrapper.fit([batch] * 10, epochs=10**9), daemon=True)
fitting.start()
assert begun.wait(60)
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["", "sys.exit(0)", "wrapper.close(); fitting.join()"])
def test_a_program_ends_while_workers_learn(mode, end):
    env = {"OPENBLAS_NUM_THREADS": "1"}
    assert output_of(f"MODE = {mode!r}\n{PROGRAM}\nprint('well')\n{end}\n", env=env) == "well\n"


def test_a_forked_child_is_not_kept_waiting():
    body = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
pid = os.fork()
if pid == 0:
    code = 1
    try:
        wrapper.close()
        try:
            wrapper.fit([batch])
        except RuntimeError:
            code = 0
        ParallelWrapper(net.clone(), workers=2).fit([batch] * 3)
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
wrapper.close()
fitting.join()
"""
    assert output_of(f"MODE = 'AVERAGING'\n{PROGRAM}\n{body}", env={"OPENBLAS_NUM_THREADS": "1"}) == "0\n"
