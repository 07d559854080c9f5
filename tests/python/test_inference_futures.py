"""ParallelInference: calls from inside, futures in strange hands, threads that wake one another."""

import threading
from collections import deque

import numpy as np
import pytest
from inference_support import (
    MODES,
    PATIENCE,
    Gate,
    inference_threads,
    numbered,
    request_of,
    result_of,
    served_by,
    serving,
)

from ndarena.parallel import ParallelInference, inference_workers
from ndarena.parallel.inference_requests import Call, Promise, RequestQueue, settle, wake_next


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_or_a_callback_may_ask_again(mode):
    def show(x):
        if x[0, 0] > 0:
            inner.append(inference.output(x - 1)[0, 0])

    inner, later = [], []
    with serving(numbered(0, show), inference_mode=mode) as inference:
        assert inference.output(np.full((1, 2), 3.0)).tolist() == [[3.0, 3.0]]
        assert inner == [0.0, 1.0, 2.0]
        future = inference.submit(np.zeros((1, 2)))
        asked = threading.Event()

        def callback(_):
            later.append(inference.submit(np.zeros((2, 2))).result(0).shape)
            asked.set()

        future.add_done_callback(callback)
        assert asked.wait(PATIENCE)
    assert later == [(2, 2)]


def test_a_callback_may_close():
    inference = ParallelInference(numbered(0), workers=2)
    closed, gone = threading.Event(), inference_threads()

    def callback(_):
        inference.close()
        closed.set()

    inference.submit(np.zeros((1, 2))).add_done_callback(callback)
    assert closed.wait(PATIENCE)
    for thread in gone:
        thread.join(PATIENCE)
    assert inference_threads() == []


def test_a_callback_that_goes_too_far_is_logged(caplog):
    gate = Gate()

    def callback(_):
        raise SystemExit("too far")

    with serving(numbered(0, gate)) as inference:
        future = inference.submit(np.zeros((1, 2)))
        assert gate.begun.wait(PATIENCE)
        future.add_done_callback(callback)
        strange = inference.submit(np.zeros((1, 2)))
        strange.set_result("mine")
        gate.open.set()
        assert inference.output(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]
        assert strange.result(0) == "mine"
    assert "could not be handed over" in caplog.text
    caplog.clear()  # the traceback, and in it the model


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_all_are_told_that_it_closes_although_a_callback_of_one_raises(error):
    def fails(_):
        raise error

    queue, served = RequestQueue(9, 9, 0.0), served_by(numbered(0))
    asked = [served.request(np.zeros((1, 2)), None, kind) for kind in (Promise, Call, Promise)]
    first, call, last = asked
    first.future.add_done_callback(fails)
    for request in asked:
        queue.put(request)
    with pytest.raises(error):
        queue.close()
    assert call.comes()
    with pytest.raises(RuntimeError, match="closed"):
        call.outcome()
    assert first.future.cancelled()
    assert last.future.cancelled()
    queue.close()


def test_a_worker_that_fails_by_itself_leaves_nobody_waiting(monkeypatch):
    threads = []
    monkeypatch.setattr(threading, "excepthook", lambda args: threads.append(args.exc_type))
    monkeypatch.delattr(inference_workers, "answered")
    inference = ParallelInference(numbered(0))
    with pytest.raises(NameError):
        inference.output(np.zeros((1, 2)))
    with pytest.raises(RuntimeError, match="closed"):
        inference.output(np.zeros((1, 2)))
    inference.close()
    assert threads == [NameError]


@pytest.mark.parametrize("left", [(), (0,), (2,), (3,), (0, 1), (0, 3), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_threads_wake_one_another_also_if_some_have_stopped_waiting(left, when):
    served = served_by(numbered(0))
    calls = [request_of(served, np.zeros((1, 2))) for _ in range(4)]
    results, line = {}, deque()

    def client(i):
        results[i] = result_of(calls[i])

    threads = {i: threading.Thread(target=client, args=(i,)) for i in range(4) if i not in left}
    for thread in threads.values():
        thread.start()
    for i in left if when == "before" else ():
        calls[i].leave()
    for i, call in enumerate(calls):
        call.stand_in(line, (i, False))
    for i in left if when == "meanwhile" else ():
        calls[i].leave()
    wake_next(line)
    for thread in threads.values():
        thread.join(PATIENCE)
    assert results == {i: i for i in threads}
    assert not line


def test_who_was_passed_over_by_a_signal_finds_its_answer():
    call = request_of(served_by(numbered(0)), np.zeros((1, 2)))
    call.stand_in(deque(), (7, False))
    assert result_of(call) == 7


def test_who_waits_does_not_wait_for_the_callbacks_of_others():
    served, came = served_by(numbered(0)), threading.Event()
    promise, call = (served.request(np.zeros((1, 2)), None, kind) for kind in (Promise, Call))
    waited = []
    promise.future.add_done_callback(lambda _: waited.append(came.wait(PATIENCE)))
    thread = threading.Thread(target=lambda: (result_of(call), came.set()))
    thread.start()
    settle([promise, call], [(1, False), (2, False)])
    thread.join(PATIENCE)
    assert waited == [True]


def test_whoever_has_stopped_waiting_is_not_answered():
    call = request_of(served_by(numbered(0)), np.zeros((1, 2)))
    assert call.is_awaited()
    call.settle((KeyboardInterrupt(), True))
    with pytest.raises(KeyboardInterrupt):
        result_of(call)
    assert not call.is_awaited()


@pytest.mark.parametrize("kind", [Call, Promise])
def test_the_first_answer_counts(kind):
    request = served_by(numbered(0)).request(np.zeros((1, 2)), None, kind)
    future = getattr(request, "future", None)
    request.settle((1, False))
    request.settle((MemoryError(), True))
    request.cancel()
    assert (result_of(request) if future is None else future.result(0)) == 1


def test_a_worker_that_tells_the_cancelled_is_still_known_as_one(monkeypatch):
    told, kept = [], RequestQueue.tell_cancelled

    def tell(queue):
        if threading.current_thread() in inference_threads():
            told.append(inference_workers.is_answering())
        kept(queue)

    monkeypatch.setattr(RequestQueue, "tell_cancelled", tell)
    with serving(numbered(0)) as inference:
        inference.output(np.zeros((1, 2)))
    assert told == [True]  # or else a callback that closes would wait for its own thread
