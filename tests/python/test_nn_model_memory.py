"""What a network has learned lies in a workspace of its own, which nothing but its end ends."""

import asyncio
import copy
import pickle

import numpy as np
import pytest
from nn_support import chain, examples
from support import fixed, held_bytes, in_thread, learning, output_of

import ndarena
from ndarena import DebugMode, Workspace, nn

X, Y = examples(16, 20, 10)
SIZES = 20, 30, 10


def vectors(net):
    return {"params": net.params(), "gradient": net.gradient(), "state": net.updater_state()}


def address(array):
    return array.__array_interface__["data"][0]


def trained(**fields):
    net = chain(*SIZES, **fields)
    net.fit(X, Y, epochs=3)
    return net


def expected():
    """Return the vectors after three steps and after four."""
    net = trained()
    after_three = {name: vector.copy() for name, vector in vectors(net).items()}
    net.fit(X, Y)
    return after_three, vectors(net)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["NONE", "ENABLED"])
def test_parameters_gradient_and_state_fill_one_workspace_in_every_mode(dtype, mode):
    net = chain(*SIZES, dtype=dtype, training_workspace_mode=mode, inference_workspace_mode=mode)
    ws, item, count = net.model_memory.workspace, np.dtype(dtype).itemsize, 21 * 30 + 31 * 10
    assert {name: vector.shape for name, vector in vectors(net).items()} == {
        "params": (count,),
        "gradient": (count,),
        "state": (2 * count,),
    }
    places = [address(vector) for vector in vectors(net).values()]
    assert not any(place % 64 for place in places)
    assert ws.current_size == ws.this_cycle_allocations == 4 * count * item + 64 * (count * item % 64 > 0)
    assert places[-1] + 2 * count * item <= places[0] + ws.current_size
    assert (ws.spilled_size, ws.pinned_size, ws.retired_size, ws.generation_id) == (0, 0, 0, 0)


def test_steps_change_it_in_place():
    net = trained()
    ws, places = net.model_memory.workspace, [address(vector) for vector in vectors(net).values()]
    before = ws.stats()
    kept = {name: vector.copy() for name, vector in vectors(net).items()}
    net.fit(X, Y, epochs=5)
    assert ws.stats() == before
    assert [address(vector) for vector in vectors(net).values()] == places
    assert not any(np.array_equal(vector, kept[name]) for name, vector in vectors(net).items())
    assert all(np.shares_memory(layer.params, net.params()) for layer in net.layers)


def test_destroying_every_workspace_of_the_thread_leaves_it():
    after_three, after_four = expected()
    net = trained()
    ndarena.destroy_all_workspaces_for_current_thread()
    net.close()
    assert not net.model_memory.workspace.is_destroyed
    assert all(np.array_equal(vector, after_three[name]) for name, vector in vectors(net).items())
    net.fit(X, Y)
    assert all(np.array_equal(vector, after_four[name]) for name, vector in vectors(net).items())


def test_it_outlives_the_thread_that_made_it():
    after_three, after_four = expected()
    net = in_thread(trained)
    assert (
        net.model_memory.workspace.is_destroyed
    )  # threads take their workspaces along, but for what is leased
    assert all(np.array_equal(vector, after_three[name]) for name, vector in vectors(net).items())
    net.fit(X, Y)
    assert all(np.array_equal(vector, after_four[name]) for name, vector in vectors(net).items())


KINDS = {
    "dense": lambda: chain(*SIZES),
    "dropped out": lambda: chain(*SIZES, dropout=0.5),
    "noisy": lambda: chain(*SIZES, weight_noise=nn.DropConnect(0.5)),
    "constrained": lambda: chain(*SIZES, constraints=[nn.MaxNormConstraint(1.0)]),
    "graph": lambda: nn.ComputationGraph(
        nn.ComputationGraphConfiguration(
            inputs=["in"],
            vertices={
                "dense": (nn.DenseLayer(n_in=20, n_out=30), "in"),
                "sum": (nn.ElementWiseVertex("add"), "dense", "dense"),
                "out": (nn.OutputLayer(n_in=30, n_out=10), "sum"),
            },
            outputs=["out"],
        )
    ),
}


@pytest.mark.parametrize("kind", ["dense", "constrained", "graph"])
def test_it_is_given_back_with_the_network_or_its_last_view_without_the_collector(kind):
    ndarena.destroy_all_workspaces_for_current_thread()
    held = held_bytes()
    ndarena.toggle_periodic_gc(False)
    net = KINDS[kind]()
    assert ndarena.allocated_bytes() == held + net.model_memory.workspace.current_size
    net.fit(X, Y, epochs=2)
    net.output(X)
    ndarena.destroy_all_workspaces_for_current_thread()
    view, kept = net.params()[3:7], net.params()[3:7].copy()
    del net
    assert ndarena.allocated_bytes() > held
    assert np.array_equal(view, kept)
    del view
    assert ndarena.allocated_bytes() == held


def test_an_updater_without_its_network_works_outside_of_workspaces():
    net = trained()
    memory, updater = net.model_memory, net.updater
    gradient = np.ones_like(memory.params)
    wanted = net.clone().updater.update(gradient.copy(), iteration=3, epoch=0, batch_size=16)
    del net
    assert np.array_equal(updater.update(gradient, iteration=3, epoch=0, batch_size=16), wanted)


@pytest.mark.parametrize("kind", ["dropped out", "noisy"])
def test_disturbed_layers_are_given_back_by_the_collector(kind):
    held = held_bytes()
    net = KINDS[kind]()
    net.fit(X, Y)
    ndarena.destroy_all_workspaces_for_current_thread()
    del net
    assert held_bytes() == held


def test_a_disturbed_layer_lives_as_long_as_its_method():
    layer, mgr = nn.DenseLayer(n_in=20, n_out=2, dropout=0.5), ndarena.LayerWorkspaceMgr.no_workspaces()
    activate = layer.instantiate().activate
    assert activate(X, workspace_mgr=mgr).shape == (16, 2)
    made = layer.instantiate()
    twin = copy.deepcopy(made)
    twin.activate(X, training=True, workspace_mgr=mgr)
    assert np.shares_memory(made.param_table["W"], made.params)
    assert pickle.loads(pickle.dumps(twin)).activate(X, workspace_mgr=mgr).shape == (16, 2)


class Undecided(nn.DenseLayer):
    """Says of its twin another thing than of its configuration."""

    twin_learns: bool

    def param_kind(self, name):
        learns = ("_memory" in self.__dict__) is self.twin_learns
        return nn.ParamKind.WEIGHT if learns else nn.ParamKind.STATISTIC


@pytest.mark.parametrize("twin_learns", [False, True])
def test_a_layer_whose_twin_learns_otherwise_is_refused(twin_learns):
    layers = [Undecided(n_in=20, n_out=3, twin_learns=twin_learns), nn.OutputLayer(n_out=10)]
    with pytest.raises(ValueError, match=r"working layers need \d+ numbers .* must say the same of both"):
        nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, updater=nn.Adam(0.1)))


def test_to_begin_anew_takes_other_memory():
    net, held = chain(*SIZES), held_bytes()
    old = net.params()
    net.init()
    assert not np.shares_memory(net.params(), old)
    assert np.array_equal(net.params(), old)
    assert held_bytes() == held + net.model_memory.workspace.current_size
    del old
    assert held_bytes() == held


@pytest.mark.parametrize(
    "copied",
    [nn.MultiLayerNetwork.clone, copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
)
def test_copies_have_their_own(copied):
    net = trained()
    twin = copied(net)
    assert twin.model_memory.workspace is not net.model_memory.workspace
    for name in ("params", "state"):
        assert np.array_equal(vectors(twin)[name], vectors(net)[name])
        assert not np.shares_memory(vectors(twin)[name], vectors(net)[name])


def test_a_network_that_begins_inside_scopes_leaves_them_alone():
    with Workspace(learning(), "OUTER").notify_scope_entered() as outer:
        with Workspace(learning(), "INNER").notify_scope_entered(capture_numpy=True) as inner:
            before = inner.stats(), outer.stats()
            net = chain(20, 3000, 10)
            assert ndarena.get_current_workspace() is inner
            assert [ws.retired_size for ws in (inner, outer)] == [0, 0]
            assert inner.stats().escaped_count == before[0].escaped_count
        assert ndarena.get_current_workspace() is outer
        assert outer.stats() == before[1]
    assert net.params().any()


def test_a_network_that_begins_in_a_task_leaves_the_others_alone():
    async def begin(ws):
        async with ws.notify_scope_entered():
            await asyncio.sleep(0)
            net = chain(*SIZES)
            assert ndarena.get_current_workspace() is ws
            await asyncio.sleep(0)
        return net

    async def both():
        return await asyncio.gather(*(begin(Workspace(learning(), f"TASK{i}")) for i in range(2)))

    first, second = asyncio.run(both())
    assert np.array_equal(first.params(), second.params())
    assert ndarena.get_current_workspace() is None


@pytest.mark.parametrize("mode", [DebugMode.SPILL_EVERYTHING, DebugMode.BYPASS_EVERYTHING])
def test_debug_modes_change_no_number(mode):
    _, after_four = expected()
    ndarena.set_debug_mode(mode)
    net = trained()
    net.fit(X, Y)
    assert ndarena.get_current_workspace() is None
    assert all(np.array_equal(vector, after_four[name]) for name, vector in vectors(net).items())


def test_statistics_of_all_threads_tell_it():
    net = chain(*SIZES)
    sizes = [stats.current_size for stats in ndarena.allocation_statistics() if stats.id == "WS_MODEL"]
    assert net.model_memory.workspace.current_size in sizes
    assert not ndarena.check_if_workspace_exists("WS_MODEL")


def test_a_network_without_parameters_has_empty_vectors():
    layers = [nn.ActivationLayer(activation="tanh"), nn.LossLayer()]
    net = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(layers=layers, input_type=nn.InputType.feed_forward(3))
    )
    assert [vector.shape for vector in vectors(net).values()] == [(0,)] * 3
    assert net.output(X[:, :3]).shape == (16, 3)


def test_memory_that_is_not_there_is_told_and_nothing_stays_current():
    with Workspace(fixed(64), "HERE").notify_scope_entered() as ws:
        with pytest.raises(MemoryError, match="WS_MODEL"):
            chain(1 << 24, 1 << 24, 10)
        assert ndarena.get_current_workspace() is ws


class Forgetful(nn.Sgd):
    """A rule whose first state is longer than it says."""

    def init_state(self, n, dtype="float64"):
        return np.zeros(n + 1, dtype)


def test_a_rule_that_begins_with_another_state_than_it_says_is_refused():
    with pytest.raises(ValueError, match=r"Forgetful: init_state must have shape \(0,\).*not \(941,\)"):
        chain(*SIZES, updater=Forgetful(0.1))


def test_a_forked_process_goes_on_learning_with_its_own():
    program = """
    import os, sys
    import numpy as np
    from ndarena import nn

    layers = [nn.DenseLayer(n_in=4, n_out=5), nn.OutputLayer(n_out=2)]
    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, updater=nn.Adam(0.1), seed=1))
    x, y = np.ones((3, 4), "f4"), np.eye(2, dtype="f4")[[0, 1, 0]]
    net.fit(x, y)
    before = net.params().copy()
    child = os.fork()
    if not child:
        net.fit(x, y)
        twin = net.clone()
        ok = not np.array_equal(net.params(), before) and np.array_equal(twin.params(), net.params())
        del net, twin
        os._exit(0 if ok else 3)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), np.array_equal(net.params(), before))
    """
    assert output_of(program, env={"PYTHONWARNINGS": "ignore::DeprecationWarning"}).split() == ["0", "True"]
