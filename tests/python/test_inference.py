"""ParallelInference: every request is answered once; errors, and what is refused."""

import gc
import os
import threading
import traceback
import weakref
from functools import partial

import numpy as np
import pytest
from inference_support import (
    MODES,
    PATIENCE,
    inference_threads,
    lstm,
    numbered,
    refuse,
    request_of,
    result_of,
    served_by,
    serving,
    stacking,
    together,
)
from support import eventually

from ndarena import ConfigurationError
from ndarena.parallel import InferenceMode, ParallelInference, blas
from ndarena.parallel.inference_requests import settle
from ndarena.parallel.inference_workers import answered as answered_by

REQUESTS = int(os.environ.get("INFERENCE_REQUESTS", "250"))  # of each of 8 clients; 10000 is the long form
LONG = PATIENCE + 0.1 * REQUESTS  # seconds


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


# Errors.


def test_of_requests_together_only_the_one_to_blame_fails():
    served = served_by(numbered(0, refuse))
    batch = [request_of(served, np.full((1, 2), float(i))) for i in (1, -2, 3, -4)]
    settle(batch, answered_by(batch, 0))
    for call, text in zip(batch, (None, "-2.0 is below 0", None, "-4.0 is below 0"), strict=True):
        if text is None:
            assert result_of(call).tolist() in ([[1.0, 1.0]], [[3.0, 3.0]])
        else:
            with pytest.raises(ArithmeticError, match=text):
                result_of(call)


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
        (np.ones(()), None, ValueError, "features must be an array of examples"),
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
        {"max_wait": 10**400},
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


def test_modes_are_found_by_name():
    assert InferenceMode("in_place") is InferenceMode.INPLACE
