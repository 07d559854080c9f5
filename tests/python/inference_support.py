"""What the tests of ParallelInference share: layers that tell, small networks, clients."""

import threading
from contextlib import contextmanager
from typing import Any

import numpy as np
from support import eventually

from ndarena import ArrayType, nn
from ndarena.parallel import ParallelInference
from ndarena.parallel.inference_models import Served
from ndarena.parallel.inference_requests import Call, settle
from ndarena.parallel.inference_workers import answered as answered_by

MODES = ("SEQUENTIAL", "BATCHED", "INPLACE")
PATIENCE = 60  # seconds, against hangs


class Watched(nn.Layer):
    """Hands on what it is given, and shows it to somebody first."""

    show: Any = None

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        if self.show is not None:
            self.show(np.array(x))
        return workspace_mgr.dup(ArrayType.ACTIVATIONS, x)


class Numbered(nn.Layer):
    """Adds its only parameter, the number of the model."""

    def param_shapes(self):
        return {"W": (1, 1)}

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        return workspace_mgr.leverage_to(ArrayType.ACTIVATIONS, x + self.param_table["W"][0, 0])


def numbered(number, show=None, columns=2, cls=nn.MultiLayerNetwork):
    """Make a network whose outputs are what goes in, plus a number."""
    layers = [Watched(show=show), Numbered(), nn.LossLayer(loss="mse")]
    fields = {"dtype": "float64", "seed": 1}
    if cls is nn.MultiLayerNetwork:
        conf = nn.MultiLayerConfiguration(layers=layers, **fields)
    else:
        vertices = {
            "watched": (layers[0], "in"),
            "numbered": (layers[1], "watched"),
            "out": (layers[2], "numbered"),
        }
        kind = nn.InputType.feed_forward(columns)
        conf = nn.ComputationGraphConfiguration(
            inputs=["in"], input_types=[kind], vertices=vertices, outputs=["out"], **fields
        )
    net = cls(conf)
    net.params()[:] = number
    return net


def lstm(n_in=10, n_out=5, **fields):
    """Make a network of an LSTM and a softmax."""
    conf = nn.MultiLayerConfiguration(
        layers=[nn.LSTM(n_in=n_in, n_out=5), nn.RnnOutputLayer(n_out=n_out)],
        **{"dtype": "float64", "seed": 4, **fields},
    )
    return nn.MultiLayerNetwork(conf)


def request_of(served, x, mask=None):
    """Make a request for which nobody waits."""
    return served.request(x, mask, Call)


def served_by(net, *, merges=True):
    """Return a network as a ParallelInference with one worker has it."""
    return Served(net, 1, merges=merges)


def inference_threads():
    """Return the threads of workers."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("InferenceThread")]


@contextmanager
def serving(net, **options):
    """Give a ParallelInference, and see that its threads are gone afterwards."""
    with ParallelInference(net, **options) as inference:
        yield inference
    assert eventually(lambda: inference_threads() == [])


def together(*calls, patience=PATIENCE):
    """Make each call in a thread of its own, beginning at the same time; return the results."""
    results, errors = [None] * len(calls), []
    begin = threading.Barrier(len(calls))

    def body(i, call):
        try:
            begin.wait(PATIENCE)
            results[i] = call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=item, daemon=True) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


def refuse(x):
    """Refuse numbers below 0."""
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
    settle(batch, answered_by(batch, 0))
    return [result_of(call) for call in batch]


def result_of(call):
    """Wait for an answer as a client does."""
    try:
        return call.result()
    finally:
        call.leave()


def stacking():
    """Make a graph with two inputs that stacks rows and takes the second half."""
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
