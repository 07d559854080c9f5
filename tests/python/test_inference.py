"""ParallelInference: who is answered with whom, errors, cancelling, closing, memory, threads that go away."""

import gc
import os
import threading
import traceback
import weakref
from collections import deque
from concurrent.futures import CancelledError, Future
from functools import partial

import numpy as np
import pytest
from inference_support import (
    MODES,
    PATIENCE,
    inference_threads,
    lstm,
    numbered,
    request_of,
    served_by,
    serving,
    together,
)
from nn_support import assert_steady, chain, examples
from support import eventually, held_bytes, output_of

import ndarena
from ndarena import ConfigurationError, nn
from ndarena.parallel import InferenceMode, ParallelInference, blas, inference_workers
from ndarena.parallel.inference_requests import Answer, Reply, RequestQueue, settle, wake_next
from ndarena.parallel.inference_workers import answered as answered_by

REQUESTS = int(os.environ.get("INFERENCE_REQUESTS", "250"))  # of each of 8 clients; 10000 is the long form
LONG = PATIENCE + 0.1 * REQUESTS  # seconds


def refuse(x):
    if (x < 0).any():
        raise ArithmeticError(f"{x.min()} is below 0")


class Gate:
    """Holds whoever comes through a layer until it is opened."""

    def __init__(self):
        self.begun, self.open, self.seen = threading.Event(), threading.Event(), []

    def __call__(self, x):
        self.seen.append(len(x))
        self.begun.set()
        assert self.open.wait(PATIENCE)


def answered(batch):
    """Answer requests in this thread; return the results."""
    replies = [request.reply for request in batch]
    settle(batch, answered_by(batch, 0))
    return [result_of(reply) for reply in replies]


def result_of(reply):
    try:
        return reply.result()
    finally:
        reply.leave()


# Everything at once.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [1, 3])
def test_every_request_is_answered_once_by_the_right_model_or_fails_with_its_own_error(mode, workers):
    known, done, stop = [0], [0] * 8, threading.Event()
    random = [np.random.default_rng(i) for i in range(8)]

    def ask(i, number, least):
        rows, columns, fails = random[i].integers(1, 4), random[i].integers(2, 4), random[i].random() < 0.05
        x = np.full((rows, columns), float(-number if fails else number))
        if random[i].random() < 0.5:
            return x, least, inference.submit(x).result
        return x, least, partial(lambda x, _: inference.output(x), x)

    def client(i):
        for turn in range(REQUESTS):
            x, least, result = ask(i, 1 + 1000 * (i * REQUESTS + turn), known[0])
            try:
                out = result(PATIENCE)
            except ArithmeticError as error:
                assert str(error) == f"{x[0, 0]} is below 0"
            else:
                assert (x > 0).all()
                assert out.shape == x.shape
                assert len(set((out - x).ravel())) == 1
                assert least <= out[0, 0] - x[0, 0] <= known[0] + 1
            done[i] += 1

    def updates():
        while not stop.is_set():
            inference.update_model(numbered(known[0] + 1, refuse))
            known[0] += 1
            stop.wait(0.002)

    def clients():
        try:
            together(*(partial(client, i) for i in range(8)), patience=LONG)
        finally:
            stop.set()

    with serving(numbered(0, refuse), inference_mode=mode, workers=workers, batch_limit=8) as inference:
        together(clients, updates, patience=LONG)
    assert done == [REQUESTS] * 8
    assert known[0] > 0


# Who is answered with whom.


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


def stacking():
    vertices = {
        "both": (nn.StackVertex(), "a", "b"),
        "one": (nn.UnstackVertex(1, 2), "both"),
        "out": (nn.LossLayer(loss="mse"), "one"),
    }
    return nn.ComputationGraph(
        nn.ComputationGraphConfiguration(
            inputs=["a", "b"], vertices=vertices, outputs=["out"], dtype="float64", seed=1
        )
    )


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


# Errors.


def test_of_requests_together_only_the_one_to_blame_fails():
    served = served_by(numbered(0, refuse))
    batch = [request_of(served, np.full((1, 2), float(i))) for i in (1, -2, 3, -4)]
    replies = [request.reply for request in batch]
    settle(batch, answered_by(batch, 0))
    for reply, text in zip(replies, (None, "-2.0 is below 0", None, "-4.0 is below 0"), strict=True):
        if text is None:
            assert result_of(reply).tolist() in ([[1.0, 1.0]], [[3.0, 3.0]])
        else:
            with pytest.raises(ArithmeticError, match=text):
                result_of(reply)


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize("mode", MODES)
def test_whatever_is_raised_reaches_the_client_and_the_worker_lives_on(kind, mode):
    def show(x):
        if x[0, 0] == 1:
            raise kind("one")

    with serving(numbered(0, show), inference_mode=mode) as inference:
        with pytest.raises(kind, match="one"):
            inference.output(np.ones((1, 2)))
        assert isinstance(inference.submit(np.ones((1, 2))).exception(PATIENCE), kind)
        assert inference.output(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]


class Kept(np.ndarray):
    """An array that tells when it is gone."""


@pytest.mark.parametrize("number", [1.0, -1.0])
def test_what_is_answered_is_held_by_nobody(number):
    x = np.full((1, 2), number).view(Kept)
    gone = weakref.ref(x)
    with serving(numbered(0, refuse)) as inference:
        future = inference.submit(x)
        error = future.exception(PATIENCE)
        if error is not None:
            assert traceback.extract_tb(error.__traceback__)[-1].name == "refuse"
        told = weakref.ref(future)
        gc.disable()
        try:
            del x, future, error
            assert eventually(lambda: gone() is told() is None)
        finally:
            gc.enable()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("x", "mask", "kind", "message"),
    [
        (np.ones(()), None, ValueError, "features and masks have rows"),
        (np.array(["a"]), None, TypeError, "features must be real numbers"),
        (np.ones((2, 10, 3)), np.ones(()), ValueError, "features and masks have rows"),
        (None, None, TypeError, "features must be real numbers"),
    ],
)
def test_what_no_network_can_take_is_refused_at_once(mode, x, mask, kind, message):
    with serving(lstm(), inference_mode=mode) as inference:
        with pytest.raises(kind, match=message):
            inference.submit(x, mask)
        with pytest.raises(kind, match=message):
            inference.output(x, mask)


def test_a_graph_is_given_an_array_for_each_input():
    with serving(stacking()) as inference:
        with pytest.raises(ValueError, match="expected 2 arrays of features, not 1"):
            inference.submit(np.ones((1, 2)))
        with pytest.raises(ValueError, match="expected 2 arrays of features_masks, not 1"):
            inference.submit([np.ones((1, 2))] * 2, [None])


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 1.5},
        {"workers": True},
        {"batch_limit": 0},
        {"queue_limit": -1},
        {"max_wait": -1.0},
        {"max_wait": float("nan")},
        {"inference_mode": "PARALLEL"},
        {"load_balance_mode": "RANDOM"},
    ],
)
def test_an_option_that_is_wrong_is_named(options):
    ((name, _),) = options.items()
    with pytest.raises(ConfigurationError, match=f"ParallelInference: {name}="):
        ParallelInference(numbered(0), **options)
    assert inference_threads() == []


def test_something_else_than_a_network_is_no_model():
    with pytest.raises(TypeError, match="model must be a network, not str"):
        ParallelInference("net")
    with serving(numbered(1)) as inference:
        with pytest.raises(TypeError, match="model must be a network, not NoneType"):
            inference.update_model(None)
        assert inference.output(np.zeros((1, 2))).tolist() == [[1.0, 1.0]]


def test_workers_share_the_cores_until_they_end():
    pools = pytest.importorskip("threadpoolctl")

    def threads():
        return [pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas"]

    before, share = threads(), max(1, blas.cores() // 2)
    with serving(numbered(0), workers=2):
        assert threads() == [min(n, share) for n in before]
    assert threads() == before


# Models.


def test_a_model_may_go_on_learning_and_is_seen_when_it_is_handed_over():
    net = chain(4, 5, 3, dtype="float64")
    x, y = examples(8, 4, 3, "float64")
    before = net.output(x)
    with serving(net) as inference:
        net.fit(x, y, epochs=3)
        assert (inference.output(x) == before).all()
        inference.update_model(net)
        assert (inference.output(x) == net.output(x)).all()


def test_a_listener_may_hand_the_model_over():
    class Hand(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            inference.update_model(model)

    net = chain(4, 5, 3, dtype="float64")
    x, y = examples(8, 4, 3, "float64")
    with serving(net) as inference:
        net.set_listeners(Hand())
        net.fit(x, y)
        assert (inference.get_current_models_from_workers()[0].params() == net.params()).all()


def test_requests_are_answered_by_the_model_of_their_time():
    gate = Gate()
    with serving(numbered(1, gate)) as inference:
        old = [inference.submit(np.zeros((1, 2))) for _ in range(3)]
        assert gate.begun.wait(PATIENCE)
        inference.update_model(numbered(2))
        new = inference.submit(np.zeros((1, 2)))
        gate.open.set()
        assert [f.result(PATIENCE)[0, 0] for f in [*old, new]] == [1.0, 1.0, 1.0, 2.0]


def test_an_old_model_is_let_go():
    with serving(numbered(1)) as inference:
        old = weakref.ref(inference.get_current_models_from_workers()[0])
        inference.output(np.zeros((1, 2)))
        inference.update_model(numbered(2))
        inference.output(np.zeros((1, 2)))
        gc.collect()
        assert old() is None


@pytest.mark.parametrize("wanted", ["NONE", "ENABLED"])
def test_the_mode_of_the_model_is_kept(wanted):
    net = lstm()
    net.inference_workspace_mode = wanted
    served = served_by(net)
    x = np.random.default_rng(0).normal(size=(3, 10, 4))
    batch = [request_of(served, x[i : i + 1]) for i in range(3)]
    for i, out in enumerate(answered(batch)):
        assert np.allclose(out, net.output(x[i : i + 1]), rtol=1e-12)
    names = ndarena.get_all_workspaces_ids_for_current_thread()
    assert bool(names) == (wanted == "ENABLED")


# Memory.


def test_answering_takes_no_memory_when_it_has_been_learned():
    served = served_by(chain(20, 30, 5))
    x = examples(4, 20, 5)[0]

    def turn():
        answered([request_of(served, x[i : i + 1]) for i in range(4)])

    assert_steady(turn)


def test_batches_of_any_size_take_no_memory_when_the_largest_has_been_answered():
    served, random = served_by(chain(20, 30, 5)), np.random.default_rng(0)
    x = examples(32, 20, 5)[0]
    for _ in range(4):
        answered([request_of(served, x[:8]) for _ in range(4)])
    workspaces = ndarena.get_all_workspaces_for_current_thread()
    held = ndarena.allocated_bytes()
    for _ in range(200):
        answered([request_of(served, x[:n]) for n in random.integers(1, 5, random.integers(2, 9))])
        assert all(ws.spilled_size == ws.retired_size == ws.escaped_count == 0 for ws in workspaces)
    assert ndarena.allocated_bytes() == held > 0


def test_asking_inplace_takes_no_memory_when_it_has_been_learned():
    x = examples(4, 20, 5)[0]
    with serving(chain(20, 30, 5), inference_mode="INPLACE") as inference:
        assert_steady(lambda: inference.output(x))


def test_workers_give_their_memory_back_when_they_end():
    x = examples(4, 200, 5)[0]
    net = chain(200, 300, 5)
    before = held_bytes()
    with serving(net, workers=2) as inference:
        assert eventually(lambda: inference.output(x) is not None and held_bytes() > before)
    assert eventually(lambda: held_bytes() == before)


def test_an_array_of_a_workspace_is_read_although_its_scope_has_ended():
    gate = Gate()
    ws = ndarena.Workspace(id="CLIENT")
    with serving(numbered(1, gate)) as inference:
        inference.submit(np.zeros((1, 2)))
        assert gate.begun.wait(PATIENCE)
        with ws:
            future = inference.submit(ws.full((2, 2), 4.0))
        with ws:
            ws.full((2, 2), 9.0)
        gate.open.set()
        assert future.result(PATIENCE).tolist() == [[5.0, 5.0]] * 2
        with ws:
            x = ws.full((1, 2), 2.0)
            out = inference.output(x)
            assert type(out) is np.ndarray
            del x
        assert out.tolist() == [[3.0, 3.0]]
        escaped = ws.escaped_count
        for _ in range(3):
            with ws:
                inference.output(ws.ones((1, 2)))
        assert ws.escaped_count == escaped  # whoever waits leaves nothing behind


def test_numbers_of_other_kinds_are_taken_together_as_they_are_alone():
    net = numbered(1)
    served = served_by(net)
    inputs = [np.ones((1, 2), kind) for kind in ("float32", "int64", "bool", "float16")] + [[[1, 1]]]
    batch = [request_of(served, x) for x in inputs]
    assert len({request.key for request in batch}) == 1
    assert [out.tolist() for out in answered(batch)] == [[[2.0, 2.0]]] * 5


# Waiting, cancelling, closing.


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
            patch.setattr(inference_workers.Reply, "comes", interrupted)
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


# Calls from inside, futures in strange hands.


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
    replies = [Reply() for _ in range(4)]
    results, line = {}, deque()

    def client(i):
        results[i] = result_of(replies[i])

    threads = {i: threading.Thread(target=client, args=(i,)) for i in range(4) if i not in left}
    for thread in threads.values():
        thread.start()
    for i in left if when == "before" else ():
        replies[i].leave()
    for i, reply in enumerate(replies):
        reply.set_answer(Answer(i), line)
    for i in left if when == "meanwhile" else ():
        replies[i].leave()
    wake_next(line)
    for thread in threads.values():
        thread.join(PATIENCE)
    assert results == {i: i for i in threads}
    assert not line


def test_who_was_passed_over_by_a_signal_finds_its_answer():
    reply = Reply()
    reply.set_answer(Answer(7), deque())
    assert result_of(reply) == 7


def test_who_waits_does_not_wait_for_the_callbacks_of_others():
    served, came = served_by(numbered(0)), threading.Event()
    future, reply, waited = Future(), Reply(), []
    future.add_done_callback(lambda _: waited.append(came.wait(PATIENCE)))
    thread = threading.Thread(target=lambda: (result_of(reply), came.set()))
    thread.start()
    batch = [served.request(np.zeros((1, 2)), None, asked) for asked in (future, reply)]
    settle(batch, [Answer(1), Answer(2)])
    thread.join(PATIENCE)
    assert waited == [True]


def test_whoever_has_stopped_waiting_is_not_answered():
    reply = Reply()
    assert reply.set_running_or_notify_cancel()
    reply.set_answer(Answer(KeyboardInterrupt(), failed=True))
    with pytest.raises(KeyboardInterrupt):
        result_of(reply)
    assert not reply.set_running_or_notify_cancel()


# Threads that nobody closed.


def test_the_threads_of_a_forgotten_one_end():
    inference = ParallelInference(numbered(0), workers=2)
    future = inference.submit(np.zeros((1, 2)))
    assert isinstance(future, Future)
    del inference
    assert future.result(PATIENCE).tolist() == [[0.0, 0.0]]
    assert eventually(lambda: gc.collect() >= 0 and inference_threads() == [])


def test_a_forgotten_one_in_a_cycle_is_collected():
    inference = ParallelInference(numbered(0))
    inference.itself = inference
    inference.output(np.zeros((1, 2)))
    del inference
    gc.collect()
    assert eventually(lambda: inference_threads() == [])


EXIT = """
    import numpy as np, threading
    from ndarena import nn
    from ndarena.parallel import ParallelInference
    layers = [nn.DenseLayer(n_in=300, n_out=300), nn.OutputLayer(n_out=3)]
    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, seed=1))
    inference = ParallelInference(net, inference_mode="{mode}", workers=2, queue_limit=1000)
    futures = [inference.submit(np.ones((20, 300))) for _ in range(200)]
    def client():
        try:
            for _ in range(10000):
                inference.output(np.ones((1, 300)))
        except RuntimeError as error:
            assert "closed" in str(error)
    threads = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    print(futures[0].result().shape)
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_program_ends_with_requests_under_way(mode):
    assert output_of(EXIT.format(mode=mode)) == "(20, 3)\n"


SIGNALS = """
    import signal, threading
    import numpy as np
    from ndarena import nn
    from ndarena.parallel import ParallelInference

    class Interrupted(Exception):
        pass

    asking = [False]

    def interrupt(*_):
        if asking[0]:
            asking[0] = False
            raise Interrupted

    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=[nn.OutputLayer(n_in=2, n_out=3)], seed=1))
    x, stop = np.ones((1, 2), np.float32), threading.Event()

    def client():
        while not stop.is_set():
            inference.output(x)

    with ParallelInference(net, {options}) as inference:
        clients = [threading.Thread(target=client) for _ in range(3)]
        for thread in clients:
            thread.start()
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        hits = 0
        while hits < 200:
            try:
                asking[0] = True
                inference.output(x)
                asking[0] = False
            except Interrupted:
                hits += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        stop.set()
        for thread in clients:
            thread.join()
    print(hits)
"""


@pytest.mark.parametrize(
    "options",
    [
        "inference_mode='BATCHED', workers=2",
        "inference_mode='INPLACE'",
        "inference_mode='INPLACE', load_balance_mode='ROUND_ROBIN', workers=2",
    ],
)
def test_signals_at_any_moment_keep_nobody_waiting(options):
    assert output_of(SIGNALS.format(options=options)) == "200\n"


FORK = """
    import numpy as np, os
    from ndarena import nn
    from ndarena.parallel import ParallelInference
    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=[nn.OutputLayer(n_in=2, n_out=3)], seed=1))
    inference = ParallelInference(net, inference_mode="{mode}")
    x = np.ones((1, 2))
    wanted = inference.output(x)
    child = os.fork()
    if child == 0:
        try:
            assert (inference.output(x) == wanted).all()
            said = "answered"
        except RuntimeError as error:
            said = str(error)
        inference.close()
        print(said, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (inference.output(x) == wanted).all()
    inference.close()
"""


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("BATCHED", "a forked process has no workers: make another ParallelInference there"),
        ("INPLACE", "answered"),
    ],
)
def test_a_forked_process_is_told_that_there_are_no_workers(mode, said):
    assert output_of(FORK.format(mode=mode)) == f"{said}\n"


def test_modes_are_found_by_name():
    assert InferenceMode("in_place") is InferenceMode.INPLACE
