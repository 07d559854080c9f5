"""ParallelInference: clients that wait for room, for their turn or for an end."""

import threading
from concurrent.futures import CancelledError
from functools import partial

import numpy as np
import pytest
from inference_support import (
    MODES,
    PATIENCE,
    Gate,
    numbered,
    request_of,
    served_by,
    serving,
    together,
)
from support import eventually

from ndarena.parallel import ParallelInference, inference_workers
from ndarena.parallel.inference_requests import RequestQueue


def putting(queue, request):
    """Put a request into a queue in another thread; return the thread, and what it was told."""
    told = []

    def client():
        try:
            queue.put(request)
        except RuntimeError as error:
            told.append(str(error))
        else:
            told.append("put")

    thread = threading.Thread(target=client)
    thread.start()
    return thread, told


def test_a_full_queue_keeps_clients_waiting():
    queue, served = RequestQueue(2, 1, 0.0), served_by(numbered(0))
    requests = [request_of(served, np.zeros((1, 2))) for _ in range(3)]
    queue.put(requests[0])
    queue.put(requests[1])
    thread, told = putting(queue, requests[2])
    thread.join(0.05)
    assert told == []
    assert queue.take() == requests[:1]
    thread.join(PATIENCE)
    assert told == ["put"]
    assert [queue.take(), queue.take()] == [requests[1:2], requests[2:]]


def test_a_client_that_waits_for_room_is_told_when_it_closes():
    queue, served = RequestQueue(1, 32, 0.0), served_by(numbered(0))
    queue.put(request_of(served, np.zeros((1, 2))))
    thread, told = putting(queue, request_of(served, np.zeros((1, 2))))
    thread.join(0.05)
    queue.close(cancel_pending=False)
    thread.join(PATIENCE)
    assert told == ["this ParallelInference is closed: make another one"]


def test_a_worker_may_be_told_to_wait_for_ever():
    with serving(numbered(0), max_wait=1e300) as inference:
        for _ in range(3):
            assert inference.output(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]
        begun = [threading.Event() for _ in range(2)]

        def ask(event):
            event.set()
            return inference.output(np.ones((1, 2)))

        for _ in range(5):  # answered together, after which the worker waits for both
            together(*(partial(ask, event) for event in begun))


def test_a_small_queue_lets_everything_through():
    with serving(numbered(0), queue_limit=1, workers=2) as inference:
        results = together(*(partial(inference.output, np.full((1, 2), float(i))) for i in range(16)))
    assert [out[0, 0] for out in results] == list(range(16))


def test_a_future_can_be_cancelled_until_a_worker_has_begun():
    gate = Gate()
    with serving(numbered(0, gate)) as inference:
        first = inference.submit(np.zeros((1, 2)))
        assert gate.begun.wait(PATIENCE)
        assert not first.cancel()
        second, third = (inference.submit(np.zeros((1, 2))) for _ in range(2))
        assert second.cancel()
        gate.open.set()
        assert third.result(PATIENCE).tolist() == [[0.0, 0.0]]
        with pytest.raises(CancelledError):
            second.result(0)
    assert gate.seen == [1, 1]


def test_closing_may_answer_what_waits():
    gate = Gate()
    inference = ParallelInference(numbered(0, gate), workers=2)
    futures = [inference.submit(np.zeros((1, 2 + i))) for i in range(6)]
    assert gate.begun.wait(PATIENCE)
    gate.open.set()
    inference.close(cancel_pending=False)
    assert [future.result(0).shape for future in futures] == [(1, 2 + i) for i in range(6)]


@pytest.mark.parametrize("mode", MODES)
def test_when_it_is_closed_it_says_so(mode):
    inference = ParallelInference(numbered(0), inference_mode=mode)
    inference.close()
    inference.close()
    for call in (inference.output, inference.submit):
        with pytest.raises(RuntimeError, match="this ParallelInference is closed: make another one"):
            call(np.zeros((1, 2)))
    with pytest.raises(RuntimeError, match="closed"):
        inference.update_model(numbered(1))


def test_inplace_as_many_ask_at_a_time_as_there_are_replicas():
    barrier = threading.Barrier(2)
    most, inside = [0], []

    def show(_):
        inside.append(1)
        most[0] = max(most[0], len(inside))
        barrier.wait(PATIENCE)
        inside.pop()

    with serving(numbered(0, show), inference_mode="INPLACE", workers=2) as inference:
        results = together(*(partial(inference.output, np.full((1, 2), float(i))) for i in range(8)))
        assert [out[0, 0] for out in results] == list(range(8))
        assert sum(inference.get_worker_counter(i) for i in range(2)) == 8
    assert most == [2]


@pytest.mark.parametrize("balance", ["FIFO", "ROUND_ROBIN"])
def test_inplace_an_interrupted_client_passes_its_turn_on(balance, monkeypatch):
    gate = Gate()
    options = {"inference_mode": "INPLACE", "load_balance_mode": balance}
    with serving(numbered(0, gate), **options) as inference:
        first = threading.Thread(target=inference.output, args=(np.zeros((1, 2)),))
        first.start()
        assert gate.begun.wait(PATIENCE)

        def interrupted(reply):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(inference_workers.Wait, "comes", interrupted)
            with pytest.raises(KeyboardInterrupt):
                inference.output(np.zeros((1, 2)))
        gate.open.set()
        first.join(PATIENCE)
        assert inference.output(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("where", ["_give_back", "_mine", "_lend", "_line"])
@pytest.mark.parametrize("balance", ["FIFO", "ROUND_ROBIN"])
def test_inplace_a_signal_while_a_replica_is_handed_over_keeps_nobody_waiting(balance, where, monkeypatch):
    gate, signals = Gate(), []
    options = {"inference_mode": "INPLACE", "load_balance_mode": balance}
    with serving(numbered(0, gate), **options) as inference:
        answering, told = inference._answering, []  # noqa: SLF001 - where the signal comes
        kept = getattr(answering, where)

        def signal(*arguments):
            if signals.pop():
                raise KeyboardInterrupt
            return kept(*arguments)

        def first():
            try:
                told.append(inference.output(np.zeros((1, 2))).tolist())
            except KeyboardInterrupt:
                told.append("interrupted")

        holding = threading.Thread(target=first)
        holding.start()
        assert gate.begun.wait(PATIENCE)
        others = [threading.Thread(target=inference.output, args=(np.zeros((1, 2)),)) for _ in range(3)]
        for thread in others:
            thread.start()
        assert eventually(lambda: sum(map(len, answering._lines)) == 3)  # noqa: SLF001 - who waits
        signals.extend([False] * 100 + [True])
        monkeypatch.setattr(answering, where, signal)
        gate.open.set()
        for thread in [holding, *others]:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert told == ["interrupted"]


def test_inplace_who_waits_for_a_replica_is_told_when_it_closes():
    gate, told = Gate(), []
    inference = ParallelInference(numbered(0, gate), inference_mode="INPLACE")

    def client():
        try:
            told.append(inference.output(np.zeros((1, 2))).tolist())
        except RuntimeError as error:
            told.append(str(error))

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert gate.begun.wait(PATIENCE)
    closing = threading.Thread(target=inference.close)
    closing.start()
    assert eventually(lambda: told)
    gate.open.set()
    for thread in [*threads, closing]:
        thread.join(PATIENCE)
    assert told == ["this ParallelInference is closed: make another one", [[0.0, 0.0]]]
