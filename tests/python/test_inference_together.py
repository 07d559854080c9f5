"""ParallelInference: which requests are answered together, and how long a worker waits for them."""

import threading

import numpy as np
import pytest
from inference_support import (
    PATIENCE,
    Gate,
    answered,
    lstm,
    numbered,
    request_of,
    served_by,
    serving,
    stacking,
)

import ndarena
from ndarena import nn
from ndarena.parallel.batching import KEPT, TRIALS, TRIED, Batching
from ndarena.parallel.inference_requests import RequestQueue


def test_what_waits_is_answered_together_up_to_the_limit_of_rows():
    gate = Gate()
    with serving(numbered(1, gate), batch_limit=5) as inference:
        first = inference.submit(np.zeros((1, 2)))
        assert gate.begun.wait(PATIENCE)
        others = [inference.submit(np.full((n, 2), float(n))) for n in (2, 2, 3, 9, 1)]
        gate.open.set()
        for n, future in zip((2, 2, 3, 9, 1), others, strict=True):
            assert future.result(PATIENCE).tolist() == [[n + 1.0] * 2] * n
        assert first.result(PATIENCE).tolist() == [[1.0, 1.0]]
        assert inference.get_worker_counter(0) == 6
    assert gate.seen == [1, 4, 3, 9, 1]


def test_one_after_the_other_is_alone():
    gate = Gate()
    with serving(numbered(1, gate), inference_mode="sequential") as inference:
        futures = [inference.submit(np.zeros((2, 2))) for _ in range(4)]
        gate.open.set()
        for future in futures:
            future.result(PATIENCE)
    assert gate.seen == [2, 2, 2, 2]


def test_requests_of_other_shapes_masks_and_models_are_not_mixed():
    net, other = numbered(0), numbered(0)
    served, updated = served_by(net), served_by(other)
    queue = RequestQueue(100, 100, 0.0)
    for _ in range(2):
        queue.put(request_of(served, np.zeros((1, 2))))
        queue.put(request_of(served, np.zeros((1, 3))))
        queue.put(request_of(served, np.zeros((1, 2)), np.zeros((1, 1))))
        queue.put(request_of(updated, np.zeros((1, 2))))
    batches = [queue.take() for _ in range(4)]
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    assert len({batch[0].key for batch in batches}) == 4


def test_a_mask_that_does_not_fit_its_features_is_not_mixed_with_others():
    served = served_by(lstm())
    keys = {request_of(served, np.zeros((2, 10, 3)), np.ones((1, 3))).key for _ in range(2)}
    assert len(keys) == 2


def test_a_graph_that_changes_the_number_of_rows_is_asked_one_by_one():
    net = stacking()
    assert not served_by(net).merges
    with serving(net) as inference:
        futures = [inference.submit([np.full((1, 2), -1.0), np.full((1, 2), float(i))]) for i in range(8)]
        for i, future in enumerate(futures):
            (out,) = future.result(PATIENCE)
            assert out.tolist() == [[i, i]]


class Summed(nn.Layer):
    """Gives one row for all."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        return workspace_mgr.dup(ndarena.ArrayType.ACTIVATIONS, x.sum(axis=0, keepdims=True))


def test_a_layer_that_changes_the_number_of_rows_is_asked_one_by_one():
    conf = nn.MultiLayerConfiguration(layers=[Summed(), nn.LossLayer(loss="mse")], dtype="float64", seed=1)
    served = served_by(nn.MultiLayerNetwork(conf))
    batch = [request_of(served, np.full((2, 2), float(i))) for i in range(3)]
    assert [out.tolist() for out in answered(batch)] == [[[2.0 * i] * 2] for i in range(3)]


def taking(queue, *before):
    """Take from a queue in another thread; return the thread, and where the batch will be."""
    taken = []
    thread = threading.Thread(target=lambda: taken.append(queue.take(*before)))
    thread.start()
    return thread, taken


def test_a_worker_waits_for_the_rows_that_it_expects():
    queue, served = RequestQueue(100, 100, PATIENCE), served_by(numbered(0))
    requests = [request_of(served, np.zeros((1, 2))) for _ in range(5)]
    for request in requests[:2]:
        queue.put(request)
    thread, taken = taking(queue, requests[0].key, 5)
    thread.join(0.05)
    for request in requests[2:4]:
        assert taken == []
        queue.put(request)
    thread.join(0.05)
    assert taken == []
    queue.put(requests[4])
    thread.join(PATIENCE)
    assert taken == [requests]


def test_a_worker_does_not_wait_for_what_it_has_not_answered_before():
    queue, served = RequestQueue(100, 100, PATIENCE), served_by(numbered(0))
    requests = [request_of(served, np.zeros((1, n))) for n in (2, 3, 2)]
    queue.put(requests[0])
    assert queue.take() == requests[:1]
    queue.put(requests[1])
    assert queue.take(requests[0].key, 8) == requests[1:2]
    queue.put(requests[2])
    assert queue.rows_of(requests[0].key) == 1
    assert queue.take(requests[0].key, 1) == requests[2:]


def test_a_lonely_client_never_waits():
    x = np.zeros((3, 2))
    with serving(numbered(1), max_wait=PATIENCE) as inference:
        for _ in range(200):
            inference.output(x)


@pytest.mark.parametrize("end", ["another shape", "full", "closed", "the time is up"])
def test_a_worker_stops_waiting_for_rows_when_there_is_something_else_to_do(end):
    queue = RequestQueue(2, 100, 0.0 if end == "the time is up" else PATIENCE)
    served = served_by(numbered(0))
    request, other = (request_of(served, np.zeros((1, n))) for n in (2, 3 if end == "another shape" else 2))
    queue.put(request)
    thread, taken = taking(queue, request.key, 50)
    if end == "closed":
        queue.close(cancel_pending=False)
    elif end != "the time is up":
        queue.put(other)
    thread.join(PATIENCE)
    assert taken == [[request, other] if end == "full" else [request]]


def test_two_workers_do_not_wait_for_the_same_rows():
    queue, served = RequestQueue(100, 100, PATIENCE), served_by(numbered(0))
    requests = [request_of(served, np.zeros((1, 2))) for _ in range(3)]
    queue.put(requests[0])
    workers = [taking(queue, requests[0].key, 2) for _ in range(2)]
    queue.put(requests[1])
    queue.put(requests[2])
    queue.close(cancel_pending=False)
    for thread, _ in workers:
        thread.join(PATIENCE)
    batches = [batch for _, taken in workers for batch in taken]
    assert sorted((request for batch in batches for request in batch), key=requests.index) == requests


class Clock:
    """Tells the time at which the last answer was finished."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def expectations(batches, seconds, key=lambda turn: "one kind"):
    """Return what was waited for after each batch of 16 rows or of 8, which take these seconds for a row."""
    clock = Clock()
    batching, expected, found = Batching(clock), 16, []
    for turn in range(batches):
        clock.now += expected * seconds[expected]
        expected = batching.expected(key(turn), expected, 16 - expected)
        found.append(expected)
    return found


TRIES = [16 // parts for parts in TRIALS for _ in range(TRIED)]


@pytest.mark.parametrize(("whole", "half", "better"), [(1.0, 0.9, 8), (1.0, 1.1, 16)])
def test_batches_are_halved_where_that_takes_less_time_for_a_row(whole, half, better):
    found = expectations(2 * (len(TRIES) + KEPT), {16: whole, 8: half})
    again = found[len(TRIES) + KEPT :]
    assert found[: len(TRIES)] == TRIES
    assert found[len(TRIES) :][:KEPT] == [better] * KEPT
    assert again[: len(TRIES)] == TRIES, "both are tried again"


def test_a_slow_moment_decides_nothing():
    def slow_moment(turn):
        return 3.0 if turn <= TRIED else 1.0

    clock, expected, found = Clock(), 16, []
    batching = Batching(clock)
    for turn in range(len(TRIES) + 1):
        clock.now += expected * {16: 0.9, 8: 1.0}[expected] * slow_moment(turn)
        expected = batching.expected("one kind", expected, 16 - expected)
        found.append(expected)
    assert found[-1] == 16


def test_another_kind_of_requests_is_tried_anew():
    found = expectations(3 * TRIED, {16: 1.0, 8: 0.5}, key=lambda turn: turn > TRIED + 1)
    assert found[TRIED : TRIED + 2] == [8, 8]
    assert found[TRIED + 2 :][:TRIED] == [16] * TRIED


def test_one_row_is_never_halved():
    batching = Batching()
    assert {batching.expected("kind", 1, 0) for _ in range(100)} == {1}
