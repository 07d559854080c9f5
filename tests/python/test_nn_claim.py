"""Who works with the layers of a network, when several threads want to."""

import threading

import numpy as np
import pytest

from ndarena import ArrayType, nn
from ndarena.nn.claim import Claim

X, Y = np.ones((2, 3)), np.eye(2)


class Remembering(nn.Layer):
    """A layer that keeps its input on every way forward, and says what it does meanwhile."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        self._x = x
        during = self.__dict__.get("during", {}).get(training)
        if during is not None:
            during()
        assert self._x is x, "somebody else worked with this layer"
        return workspace_mgr.dup(ArrayType.ACTIVATIONS, x)

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        return workspace_mgr.dup(ArrayType.ACTIVATION_GRAD, epsilon)


@pytest.fixture
def net():
    layers = [nn.DenseLayer(n_in=3, n_out=3), Remembering(), nn.OutputLayer(n_in=3, n_out=2)]
    with nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, dtype="float64")) as net:
        yield net


def in_thread(work, *args):
    failures = []

    def run():
        try:
            work(*args)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failures


def test_who_learns_waits_for_who_asks(net):
    inside, go_on = threading.Event(), threading.Event()

    def stay():
        inside.set()
        assert go_on.wait(60)

    net.layers[1].during = {False: stay, True: go_on.set}
    asking, failed_asking = in_thread(net.output, X)
    assert inside.wait(60)
    learning, failed_learning = in_thread(net.fit, X, Y)
    learning.join(0.2)  # if it does not wait it has learned by then
    go_on.set()
    for thread in (asking, learning):
        thread.join(60)
        assert not thread.is_alive()
    assert failed_asking == failed_learning == []
    assert net.iteration_count == 1


@pytest.mark.parametrize("busy", ["asks", "learns"])
def test_who_asks_does_not_wait(net, busy):
    want = net.output(X)
    inside, go_on = threading.Event(), threading.Event()

    def stay():
        inside.set()
        assert go_on.wait(60)

    net.layers[1].during = {busy == "learns": stay}
    thread, failures = in_thread(*((net.fit, X, Y) if busy == "learns" else (net.output, X)))
    assert inside.wait(60)
    net.layers[1].during = {}
    np.testing.assert_array_equal(net.output(X), want)
    go_on.set()
    thread.join(60)
    assert failures == []


def test_who_asks_cannot_learn_in_the_middle_of_it(net):
    net.layers[1].during = {False: lambda: net.fit(X, Y)}
    with pytest.raises(RuntimeError, match="at work in this thread"):
        net.output(X)
    net.layers[1].during = {}
    net.fit(X, Y)
    assert net.iteration_count == 1


def test_a_claim_of_a_thread_that_is_gone_is_nobodys(monkeypatch):
    monkeypatch.setattr("ndarena.nn.claim.LONG", 0.01)
    claim = Claim()
    thread, failures = in_thread(claim.get)
    thread.join(60)
    assert failures == []
    assert not claim.get()
    claim.wait()
    claim.leave()
    assert claim.get()
