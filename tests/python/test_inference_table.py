"""The ancestor's tests of ParallelInference, by their ids, and of what it did wrong."""

# ruff: noqa: N802 - ids

import os
import threading
from concurrent.futures import CancelledError
from functools import partial

import numpy as np
import pytest
from inference_support import (
    MODES,
    PATIENCE,
    Watched,
    inference_threads,
    lstm,
    numbered,
    request_of,
    served_by,
    serving,
    together,
)
from nn_support import chain, examples
from support import eventually

from ndarena import nn
from ndarena.evaluation import Evaluation
from ndarena.parallel import ParallelInference
from ndarena.parallel.inference_requests import RequestQueue
from ndarena.parallel.inference_workers import divided, merged

REQUESTS = int(os.environ.get("INFERENCE_SERIES", "30"))  # 500 is the ancestor's long form
F8 = np.dtype("float64")
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


def rng(seed=0):
    return np.random.default_rng(seed)


def queued(served, *arrays, limit=100):
    """Return a queue with requests in it."""
    queue = RequestQueue(64, limit, 0.0)
    for x in arrays:
        queue.put(request_of(served, x))
    return queue


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_P07_closing_ends_every_thread(mode, workers):
    inference = ParallelInference(numbered(0), workers=workers, inference_mode=mode)
    assert len(inference_threads()) == (0 if mode == "INPLACE" else workers)
    inference.output(np.ones((1, 2)))
    inference.close()
    assert inference_threads() == []


@pytest.mark.parametrize(
    ("mode", "options", "clients"),
    [("SEQUENTIAL", {}, 1), ("SEQUENTIAL", {}, 10), ("BATCHED", {"batch_limit": 8}, 10)],
)
def test_P08_P09_both_workers_answer_with_plain_arrays(mode, options, clients):
    net = chain(64, 20, 10, dtype="float64")
    x, y = examples(200, 64, 10, "float64")
    wanted = net.output(x)
    with serving(net, inference_mode=mode, workers=2, **options) as inference:

        def evaluated(rows):
            evaluation = Evaluation()
            for i in rows:
                out = inference.output(x[i : i + 1])
                assert type(out) is np.ndarray
                assert out.base is None
                assert np.allclose(out, wanted[i : i + 1], **CLOSE)
                evaluation.eval(y[i : i + 1], out)
            return evaluation

        for _ in range(20):
            parts = together(*(partial(evaluated, range(i, 200, clients)) for i in range(clients)))
            if inference.get_worker_counter(0) and inference.get_worker_counter(1):
                break
        assert inference.get_worker_counter(0) > 0
        assert inference.get_worker_counter(1) > 0
    whole = Evaluation()
    for part in parts:
        whole.merge(part)
    assert whole.accuracy() == (wanted.argmax(1) == y.argmax(1)).mean()


def test_P10_two_requests_are_answered_together():
    queue = queued(served_by(numbered(0)), np.zeros((1, 100)), np.zeros((1, 100)))
    assert len(queue.take()) == 2


def test_P11_their_features_are_one_batch():
    queue = queued(served_by(numbered(0)), np.full((1, 100), 1.0), np.full((1, 100), 2.0))
    (batch,), (mask,) = merged(queue.take(), F8, np.empty)
    assert batch.shape == (2, 100)
    assert batch.mean(axis=1).tolist() == [1.0, 2.0]
    assert mask is None


def test_P12_what_is_beyond_the_limit_is_the_next_batch():
    queue = queued(served_by(numbered(0)), *(np.full((1, 100), float(i)) for i in (1, 2, 3)), limit=2)
    first, second = queue.take(), queue.take()
    assert [float(request.features[0].mean()) for request in first] == [1.0, 2.0]
    assert [float(request.features[0].mean()) for request in second] == [3.0]


def test_P13_every_client_receives_its_row():
    batch = queued(served_by(numbered(0)), *np.zeros((3, 1, 100))).take()
    rows = np.arange(3.0)[:, None] * np.ones(10)
    (shares,) = divided(batch, [rows])
    for i, own in enumerate(shares):
        assert own.tolist() == [[float(i)] * 10]
        assert own.base is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [1, 2])
def test_P14_series_of_any_length(mode, workers):
    net = lstm()
    series = [rng(t).normal(size=(1, 10, t)) for t in (3, 5, 7, 10, 50, 100)]
    with serving(net, inference_mode=mode, workers=workers, batch_limit=20, queue_limit=64) as inference:
        futures = [inference.submit(x) for x in series]
        for x, future in zip(series, futures, strict=True):
            assert np.allclose(future.result(PATIENCE), net.output(x), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [2, 3])
def test_P15_only_equal_shapes_are_merged(mode, workers):
    net, random = lstm(), rng(5)
    series = [
        random.normal(size=(random.integers(1, 6), 10, random.integers(1, 11)))
        if random.random() < 0.4
        else random.normal(size=(1, 10, 5))
        for _ in range(REQUESTS)
    ]
    with serving(net, inference_mode=mode, workers=workers, batch_limit=20, queue_limit=64) as inference:
        futures = [inference.submit(x) for x in series]
        for x, future in zip(series, futures, strict=True):
            assert np.allclose(future.result(PATIENCE), net.output(x), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_P16_images_of_any_size(mode):
    layers = [
        nn.ConvolutionLayer(n_in=3, n_out=4, kernel_size=(3, 3), convolution_mode="same", activation="tanh"),
        nn.ConvolutionLayer(n_out=3, n_in=4, kernel_size=(3, 3), convolution_mode="same"),
        nn.CnnLossLayer(loss="mse", activation="softmax"),
    ]
    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, dtype="float64", seed=1))
    shapes = [(8, 8), (8, 9), (10, 8), (12, 12), (5, 5), (16, 7), (9, 9)]
    images = [rng(i).normal(size=(1 + i % 2, 3, *shape)) for i, shape in enumerate(shapes)]
    with serving(net, inference_mode=mode, workers=2) as inference:
        futures = [inference.submit(x) for x in images * 2]
        for x, future in zip(images * 2, futures, strict=True):
            assert np.allclose(future.result(PATIENCE), net.output(x), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_P17_an_error_reaches_its_client_and_the_next_request_is_answered(mode):
    net = chain(10, 5, 3, dtype="float64")
    with serving(net, inference_mode=mode, workers=1) as inference:
        for _ in range(3):
            with pytest.raises(
                ValueError, match=r"layer0.*expected input of shape \[batch, 10\], not \[1, 5\]"
            ):
                inference.output(np.ones((1, 5)))
            x = rng().normal(size=(2, 10))
            assert np.allclose(inference.output(x), net.output(x), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("lengths", [(5,), (3, 5), (2, 4, 6)])
def test_P18_masks_go_with_their_features(mode, workers, lengths):
    net, random = lstm(), rng(8)
    requests = []
    for i in range(24):
        n, t = 1 + i % 3, lengths[i % len(lengths)]
        mask = (np.arange(t) < random.integers(1, t + 1, (n, 1))).astype(float) if i % 4 else None
        requests.append((random.normal(size=(n, 10, t)), mask))
    with serving(net, inference_mode=mode, workers=workers) as inference:
        futures = [inference.submit(x, mask) for x, mask in requests]
        for (x, mask), future in zip(requests, futures, strict=True):
            assert np.allclose(future.result(PATIENCE), net.output(x, features_mask=mask), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_P19_all_workers_have_the_new_model(mode):
    with serving(numbered(1), inference_mode=mode, workers=4) as inference:
        assert [m.params().tolist() for m in inference.get_current_models_from_workers()] == [[1.0]] * 4
        inference.update_model(numbered(2))
        assert [m.params().tolist() for m in inference.get_current_models_from_workers()] == [[2.0]] * 4
        assert inference.output(np.zeros((1, 2))).tolist() == [[2.0, 2.0]]


def branching(outputs):
    """Make a graph of two inputs and several outputs of different sizes."""
    vertices = {"h": (nn.DenseLayer(n_out=6, activation="tanh"), "a", "b")}
    vertices |= {f"out{i}": (nn.OutputLayer(n_out=2 + i), "h") for i in range(outputs)}
    kinds = [nn.InputType.feed_forward(4), nn.InputType.feed_forward(3)]
    conf = nn.ComputationGraphConfiguration(
        inputs=["a", "b"], input_types=kinds, vertices=vertices, outputs=[f"out{i}" for i in range(outputs)],
        dtype="float64", seed=3,
    )  # fmt: skip
    return nn.ComputationGraph(conf)


@pytest.mark.parametrize("mode", MODES)
def test_P20_a_graph_with_two_outputs(mode):
    net, random = branching(2), rng(2)
    requests = [[random.normal(size=(1 + i % 2, n)) for n in (4, 3)] for i in range(100)]
    with serving(net, inference_mode=mode, workers=2, queue_limit=100) as inference:
        futures = [inference.submit(x) for x in requests]
        for x, future in zip(requests, futures, strict=True):
            outputs, wanted = future.result(PATIENCE), net.output(*x)
            assert [out.shape for out in outputs] == [(len(x[0]), 2), (len(x[0]), 3)]
            assert all(np.allclose(a, b, **CLOSE) for a, b in zip(outputs, wanted, strict=True))


def test_P21_inplace_takes_a_graph_with_more_outputs():
    first, second = branching(2), branching(3)
    x = [np.ones((1, 4)), np.ones((1, 3))]
    with serving(first, inference_mode="INPLACE", workers=2) as inference:
        assert len(inference.output(x)) == 2
        inference.update_model(second)
        models = inference.get_current_models_from_workers()
        assert len(models) == 2
        assert all((model.params() == second.params()).all() for model in models)
        assert len(inference.output(x)) == 3


@pytest.mark.parametrize(("balance", "counts"), [("ROUND_ROBIN", [1, 1]), ("FIFO", [2, 0])])
def test_P22_P23_replicas_agree(balance, counts):
    net, x = chain(5, 4, 3), examples(1, 5, 3)[0]
    with serving(net, inference_mode="INPLACE", workers=2, load_balance_mode=balance) as inference:
        first, second = inference.output(x), inference.output(x)
        assert (first == second).all()
        assert (first == net.output(x)).all()
        assert [inference.get_worker_counter(i) for i in range(2)] == counts


@pytest.mark.parametrize("shape", [(100,), (3, 72, 72)])
def test_P24_P25_single_rows_are_one_batch(shape):
    rows = rng().normal(size=(32, 1, *shape))
    (batch,), _ = merged(queued(served_by(numbered(0)), *rows).take(), F8, np.empty)
    assert batch.shape == (32, *shape)
    assert (batch == rows[:, 0]).all()


def test_P26_several_inputs_are_a_batch_each():
    conf = nn.ComputationGraphConfiguration(
        inputs=["a", "b"],
        vertices={"x": (nn.LossLayer(), "a"), "y": (nn.LossLayer(), "b")},
        outputs=["x", "y"],
    )
    served = served_by(nn.ComputationGraph(conf))
    pairs = [[np.full((3, 72, 72), i), np.full((3, 100), 100 + i)] for i in range(32)]
    (a, b), masks = merged(queued(served, *pairs).take(), F8, np.empty)
    assert (a.shape, b.shape, masks) == ((96, 72, 72), (96, 100), [None, None])
    for i in range(32):
        assert (a[3 * i : 3 * i + 3] == i).all()
        assert (b[3 * i : 3 * i + 3] == 100 + i).all()


def test_P27_several_outputs_are_torn_apart():
    batch = queued(served_by(numbered(0)), *np.zeros((32, 1, 4))).take()
    outputs = [np.arange(32.0)[:, None] * np.ones(n) + n for n in (10, 15)]
    for i, own in enumerate(zip(*divided(batch, outputs), strict=True)):
        assert [part.tolist() for part in own] == [[[i + 10.0] * 10], [[i + 15.0] * 15]]


@pytest.mark.parametrize("mode", MODES)
def test_D_19_after_an_update_every_request_sees_the_new_model(mode):
    stop, seen = threading.Event(), [0] * 8
    known = [0]

    def client(i):
        while not stop.is_set():
            least = known[0]
            out = inference.output(np.full((1, 2), float(i)))
            assert least <= out[0, 0] - i <= known[0] + 1
            seen[i] += 1

    def updates():
        try:
            for number in range(1, 6):
                inference.update_model(numbered(number))
                known[0] = number
                before = list(seen)
                assert eventually(lambda before=before: all(a > b for a, b in zip(seen, before, strict=True)))
        finally:
            stop.set()

    with serving(numbered(0), inference_mode=mode, workers=2) as inference:
        together(updates, *(partial(client, i) for i in range(8)))
        assert inference.output(np.zeros((1, 2))).tolist() == [[5.0, 5.0]]


@pytest.mark.parametrize("mode", ["SEQUENTIAL", "BATCHED"])
def test_D_20_whoever_waits_is_told_at_once_when_it_closes(mode):
    begun, go = threading.Event(), threading.Event()

    def hold(_):
        begun.set()
        assert go.wait(PATIENCE)

    inference = ParallelInference(numbered(0, hold), inference_mode=mode)
    first = inference.submit(np.zeros((1, 2)))
    assert begun.wait(PATIENCE)
    pending = [inference.submit(np.zeros((1, 2))) for _ in range(10)]
    closing = threading.Thread(target=inference.close)
    closing.start()
    for future in pending:  # while the worker is still at the first one
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
    assert not first.done()
    go.set()
    closing.join(PATIENCE)
    assert first.result(0).tolist() == [[0.0, 0.0]]
    assert inference_threads() == []


def test_D_20_a_thread_that_waits_for_its_answer_is_told_so():
    queue, request = RequestQueue(64, 32, 0.0), request_of(served_by(numbered(0)), np.zeros((1, 2)))
    told = []

    def client():
        with pytest.raises(RuntimeError, match="this ParallelInference is closed"):
            request.result()
        told.append(True)

    queue.put(request)
    thread = threading.Thread(target=client)
    thread.start()
    queue.close()
    thread.join(PATIENCE)
    assert told == [True]
    assert queue.take() == []


def test_a_layer_that_watches_changes_nothing():
    assert Watched().num_params() == 0
    assert numbered(3).output(np.zeros((2, 2))).tolist() == [[3.0, 3.0]] * 2
