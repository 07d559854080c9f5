"""ParallelInference: models that change, and the memory in which they answer."""

import gc
import weakref

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
)
from nn_support import assert_steady, chain, examples
from support import eventually, held_bytes

import ndarena
from ndarena import nn


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

    def serve():  # whose copy of the model ends with it
        with serving(net, workers=2) as inference:
            assert eventually(lambda: inference.output(x) is not None and held_bytes() > before)

    serve()
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
