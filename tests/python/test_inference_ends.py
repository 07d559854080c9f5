"""ParallelInference: threads that nobody closed, the end of a program, signals, forks."""

import gc
import threading
from concurrent.futures import Future
from functools import partial

import numpy as np
import pytest
from inference_support import (
    MODES,
    PATIENCE,
    Gate,
    inference_threads,
    numbered,
    together,
)
from support import eventually, output_of

from ndarena.parallel import ParallelInference


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


# ---------------------------------------------------------------- who answers closes


@pytest.mark.parametrize("pools", [1, 2])
def test_callbacks_that_close_at_the_same_time_do_not_wait_for_each_other(pools):
    both, gate = threading.Barrier(2), Gate()
    served = [ParallelInference(numbered(0, gate), workers=2) for _ in range(pools)]

    def closes(pool):
        both.wait(PATIENCE)
        pool.close()

    futures = [served[i % pools].submit(np.zeros((1, 2 + i))) for i in range(2)]
    for i, future in enumerate(futures):
        future.add_done_callback(lambda _, i=i: closes(served[(i + 1) % pools]))
    assert eventually(lambda: len(gate.seen) == 2)
    gate.open.set()
    together(*(pool.close for pool in served))
    assert eventually(lambda: inference_threads() == [])


@pytest.mark.parametrize("workers", [1, 2])
def test_inplace_layers_that_close_at_the_same_time_do_not_wait_for_each_other(workers):
    both, pools = threading.Barrier(2), []

    def show(x):
        both.wait(PATIENCE)
        pools[int(x[0, 0]) - 1].close()

    def ask(i):
        return pools[i].output(np.full((1, 2), 2.0 - i))

    options = {"inference_mode": "INPLACE", "workers": workers}
    pools += [ParallelInference(numbered(0, show), **options) for _ in range(3 - workers)] * workers
    results = together(partial(ask, 0), partial(ask, 1))
    assert [out[0, 0] for out in results] == [2.0, 1.0]


def test_a_thread_that_cannot_be_started_ends_the_others(monkeypatch):
    start, begun = threading.Thread.start, []

    def limited(thread):
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    def none(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr("ndarena.parallel.inference_workers._thread.start_new_thread", none)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        ParallelInference(numbered(0), workers=3)
    gc.collect()
    monkeypatch.undo()
    assert eventually(lambda: inference_threads() == [])


# ---------------------------------------------------------------- the end of a program, signals, forks


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
