"""Training in several threads is stopped by somebody, or not begun."""

import gc
import threading

import numpy as np
import pytest
from parallel_support import At, Heard, Source, batches, dense, rows, threads, wrapped
from support import eventually, in_thread

import ndarena
from ndarena import nn
from ndarena.data import DataSet
from ndarena.errors import ConfigurationError

MODES = ["AVERAGING", "SHARED_GRADIENTS"]


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


# ---------------------------------------------------------------- somebody stops it


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["stop_fit", "close"])
def test_a_listener_may_stop_it(mode, how):
    heard = Heard()
    wrapper = wrapped(training_mode=mode)
    wrapper.set_listeners(At(2, getattr(wrapper, how)), heard)
    wrapper.fit(batches(400, size=5), epochs=3)
    assert 3 <= wrapper.model.iteration_count < 10
    assert wrapper.model.epoch_count == 0
    assert "epoch ends" not in heard.names()
    wrapper.set_listeners()
    wrapper.fit(batches(), epochs=2)
    assert wrapper.model.epoch_count == 2


@pytest.mark.parametrize("how", ["stop_fit", "close"])
def test_a_listener_of_epochs_may_stop_it(how):
    wrapper = wrapped()

    class Stops(nn.TrainingListener):
        def on_epoch_end(self, model):
            getattr(wrapper, how)()

    wrapper.set_listeners(Stops())
    wrapper.fit(batches(), epochs=5)
    assert wrapper.model.epoch_count == 1


def test_another_thread_may_close_it_and_waits_until_it_is_over():
    begun = threading.Event()
    wrapper = wrapped(listener=At(1, begun.set))

    def fit():
        wrapper.fit(batches(400, size=5), epochs=10**6)

    fitting = threading.Thread(target=fit)
    fitting.start()
    assert begun.wait(60)
    wrapper.close()
    assert not [name for name in threads() if name.startswith("ParallelWrapper")]
    fitting.join(60)
    assert not fitting.is_alive()
    assert np.isfinite(wrapper.model.params()).all()
    wrapper.close()


def test_the_end_of_a_with_block_is_a_close():
    begun = threading.Event()
    with wrapped(listener=At(0, begun.set)) as wrapper:
        fitting = threading.Thread(target=lambda: wrapper.fit(batches(), epochs=10**6))
        fitting.start()
        assert begun.wait(60)
    fitting.join(60)
    assert not fitting.is_alive()


def test_a_close_that_waits_too_long_says_so(monkeypatch):
    monkeypatch.setattr("ndarena.parallel.wrapper.PATIENCE", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    def waits():
        begun.set()
        assert go_on.wait(60)

    wrapper = wrapped(listener=At(0, waits))
    fitting = threading.Thread(target=lambda: wrapper.fit(batches()))
    fitting.start()
    assert begun.wait(60)
    with pytest.warns(ResourceWarning, match="fit has not ended"):
        wrapper.close()
    go_on.set()
    fitting.join(60)


@pytest.mark.parametrize("how", ["stop_fit", "close", "a worker fails"])
def test_nobody_waits_for_a_source_that_gives_nothing(monkeypatch, how):
    """Its thread cannot be ended, which is told; it ends when the source does."""
    monkeypatch.setattr("ndarena.data.handover.PATIENCE", 0.01)
    waiting, go_on, errors = threading.Event(), threading.Event(), []

    def waits():
        waiting.set()
        assert go_on.wait(60)

    def fails():
        assert waiting.wait(60)
        raise OSError("of a worker")

    wrapper = wrapped(listener=At(0, fails) if how == "a worker fails" else None)

    def fit():
        try:
            wrapper.fit(Source(4, waits, async_supported=True))
        except OSError as error:
            errors.append(str(error))

    fitting = threading.Thread(target=fit)
    with pytest.warns(ResourceWarning, match="the source has not come back"):
        fitting.start()
        assert waiting.wait(60)
        if how != "a worker fails":
            getattr(wrapper, how)()
        fitting.join(60)
    assert not fitting.is_alive()
    assert errors == (["of a worker"] if how == "a worker fails" else [])
    go_on.set()
    assert eventually(lambda: threads() == [])


@pytest.mark.parametrize("how", ["stop_fit", "close"])
@pytest.mark.parametrize("async_supported", [True, False])
def test_a_source_may_stop_it(how, async_supported, recwarn):
    wrapper = wrapped()
    wrapper.fit(Source(4, getattr(wrapper, how), async_supported=async_supported))
    assert wrapper.model.iteration_count <= 2
    assert not recwarn


# ---------------------------------------------------------------- one at a time


@pytest.mark.parametrize("other", ["model", "wrapper", "another wrapper"])
def test_a_model_learns_once_at_a_time(other):
    net = dense()
    wrapper = wrapped(net)
    learner = {"model": net, "wrapper": wrapper, "another wrapper": wrapped(net)}[other]
    errors = []

    def fit_again():
        try:
            learner.fit(batches())
        except RuntimeError as error:
            errors.append(str(error))

    wrapper.set_listeners(At(1, fit_again))
    wrapper.fit(batches())
    assert errors == ["this network is learning already"]
    assert net.iteration_count == 2


def test_outputs_may_be_asked_for_meanwhile():
    net, shapes = dense(), []
    x = rows().features
    wrapper = wrapped(net, listener=At(1, lambda: shapes.append(in_thread(net.output, x).shape)))
    wrapper.fit(batches())
    assert shapes == [(40, 3)]


@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        (3, {}, TypeError),
        (np.zeros((4, 6)), {}, TypeError),
        ([np.zeros((4, 6))], {}, TypeError),
        ((batch for batch in batches()), {"epochs": 2}, ValueError),
        (iter(()), {}, ValueError),
        ([], {"epochs": -1}, ConfigurationError),
        ([], {"epochs": True}, ConfigurationError),
        ([DataSet(np.zeros((4, 6)))], {}, ValueError),
    ],
)
def test_data_that_cannot_be_learned_are_refused(data, options, error):
    net = dense()
    before = net.params().copy()
    with pytest.raises(error):
        wrapped(net).fit(data, **options)
    np.testing.assert_array_equal(net.params(), before)
    wrapped(net).fit(batches())


@pytest.mark.parametrize("started", [0, 1])
def test_a_thread_that_cannot_be_started_ends_the_others(monkeypatch, started):
    start, begun = threading.Thread.start, []

    def limited(thread):
        if thread.name.startswith("ParallelWrapper"):
            if len(begun) == started:
                raise RuntimeError("can't start new thread")
            begun.append(thread)
        start(thread)

    net = dense()
    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        wrapped(net).fit(batches())
    monkeypatch.undo()
    net.fit(batches())
