"""Hazards of the ancestor's networks, by their ids; those of evaluations are in `test_evaluation_table`."""

import gc
import re
import threading

import numpy as np
import pytest
from nn_support import examples
from support import in_thread, output_of

import ndarena
from ndarena import ArrayLocationError, ArrayType, ScopeError, StaleArrayError, Workspace, nn
from ndarena.data import ArrayDataSetIterator, DataSet
from ndarena.evaluation import Evaluation

MODES = ["NONE", "ENABLED"]
KINDS = ["chain", "graph"]
X, Y = examples(24, 4, 3)


def in_modes(training, inference=None):
    return {"training_workspace_mode": training, "inference_workspace_mode": inference or training}


def layers_of(*hidden):
    return [*hidden, nn.OutputLayer(n_out=3)]


def network(kind, layers, **fields):
    """Make a chain, or a graph that is one; its layers are named alike."""
    fields = {"updater": nn.Adam(0.01), "seed": 3, **fields}
    given = nn.InputType.feed_forward(4)
    if kind == "chain":
        return nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, input_type=given, **fields))
    names = ["in", *(f"layer{i}" for i in range(len(layers)))]
    vertices = {name: (layer, below) for name, below, layer in zip(names[1:], names, layers, strict=False)}
    conf = nn.ComputationGraphConfiguration(
        inputs=["in"], input_types=[given], vertices=vertices, outputs=names[-1:], **fields
    )
    return nn.ComputationGraph(conf)


def dense(kind, **fields):
    return network(kind, layers_of(*(nn.DenseLayer(n_out=n, activation="tanh") for n in (6, 5))), **fields)


def plain_output(net, x=X):
    out = net.output(x)
    return out[0] if isinstance(out, list) else out


def batches():
    return ArrayDataSetIterator(X, Y, batch_size=8)


def workspaces():
    return {ws.id: ws for ws in ndarena.get_all_workspaces_for_current_thread()}


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modes", [("ENABLED", "NONE"), ("NONE", "ENABLED"), ("ENABLED", "ENABLED")])
def test_D_11_an_evaluation_that_fails_leaves_modes_threads_and_scopes_as_they_were(kind, modes):  # noqa: N802 - an id
    class Broken(Evaluation):
        def eval(self, *_):
            raise OSError("broken")

    net, before = dense(kind, **in_modes(*modes)), threading.active_count()
    evaluations = ({0: [Broken()]},) if kind == "graph" else (Broken(),)
    with pytest.raises(OSError, match="broken"):
        net.do_evaluation(batches(), *evaluations)
    assert (net.training_workspace_mode.name, net.inference_workspace_mode.name) == modes
    ndarena.assert_no_workspaces_open("after the evaluation")
    assert ndarena.get_current_workspace() is None
    assert threading.active_count() == before
    assert net.evaluate(batches()).row_count == len(X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modes", [("ENABLED", "NONE"), ("NONE", "ENABLED")])
def test_D_12_the_backward_pass_goes_by_the_mode_of_training(kind, modes):  # noqa: N802 - an id
    def learned(*modes):
        net = dense(kind, **in_modes(*modes))
        for _ in range(3):
            net.fit(X, Y)
        return net.params().tobytes(), set(workspaces())

    both, names = in_thread(learned, "ENABLED", "ENABLED")
    mixed, mixed_names = in_thread(learned, *modes)
    assert mixed == both
    assert mixed_names == (names if modes[0] == "ENABLED" else set())


# ---------------------------------------------------------------- two networks, one thread

ALONE = """
    import sys
    import numpy as np
    sys.path.insert(0, {tests!r})
    from test_network_table import alternated
    print(alternated({kinds!r}).hex())
"""


def alternated(kinds, notes=None):
    """Let networks of these kinds and of different sizes learn and answer in turns."""
    sizes = {"chain": 40, "graph": 11}
    nets = [network(kind, layers_of(nn.DenseLayer(n_out=sizes[kind]))) for kind in kinds]
    results = []
    for _ in range(6):
        for net in nets:
            net.fit(X, Y)
            results.append(plain_output(net).tobytes())
        if notes is not None:
            notes.append({name: ws.current_size for name, ws in workspaces().items()})
    return b"".join(results) + b"".join(net.params().tobytes() for net in nets)


def test_D_13_networks_that_alternate_are_as_in_processes_of_their_own():  # noqa: N802 - an id
    tests = str(__file__).rpartition("/")[0]
    alone = {kind: output_of(ALONE.format(tests=tests, kinds=[kind])).strip() for kind in KINDS}
    together = alternated(KINDS).hex()
    size = len(plain_output(dense("chain")).tobytes().hex())
    turns = [together[i : i + size] for i in range(0, 12 * size, size)]
    for place, kind in enumerate(KINDS):
        assert "".join(turns[place::2]) == alone[kind][: 6 * size]
    assert together[12 * size :] == "".join(alone[kind][6 * size :] for kind in KINDS)


def test_D_13_networks_that_alternate_take_what_the_larger_takes():  # noqa: N802 - an id
    def sizes(kinds):
        notes = []
        alternated(kinds, notes)
        assert all(note == notes[1] for note in notes[2:])  # no leak
        return notes[-1]

    alone, together = [in_thread(sizes, [kind]) for kind in KINDS], in_thread(sizes, KINDS)
    for name in set().union(*alone):
        assert together[name] <= max(each.get(name, 0) for each in alone)
    assert together.keys() == set().union(*alone)


# ---------------------------------------------------------------- layers


class Leaky(nn.Layer):
    """A layer that puts its result in a wrong place."""

    mistake: str

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        if self.mistake == "scratch":
            return workspace_mgr.dup(ArrayType.FF_WORKING_MEM, x)
        return 1.0 * x if self.mistake == "plain" else ndarena.detach(x).copy()

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        return workspace_mgr.dup(ArrayType.ACTIVATION_GRAD, epsilon)


WAYS = {
    "training": lambda net: net.fit(X, Y),
    "inference": lambda net: net.output(X),
}
CURES = {"scratch": "leverage_to", "plain": "leverage_to", "detached": "dup"}


@pytest.mark.parametrize("mistake", CURES)
def test_D_22_a_result_in_a_wrong_place_has_one_text_everywhere(mistake):  # noqa: N802 - an id
    texts = set()
    for kind in KINDS:
        for way in WAYS.values():
            net = network(kind, layers_of(nn.DenseLayer(n_out=5), Leaky(mistake=mistake)))
            with pytest.raises(ArrayLocationError) as caught:
                way(net)
            text = re.sub(r"^layer \d", "layer", str(caught.value))
            texts.add(re.sub(r"should be in workspace \[\w+\]", "should be in its workspace", text))
            ndarena.assert_no_workspaces_open("after the mistake")
    found = "detached" if mistake == "detached" else "in workspace [WS_LAYER_WORKING_MEM]"
    cure = f"call mgr.{CURES[mistake]}(ArrayType.ACTIVATIONS, a)"
    what = "an array of ACTIVATIONS should be in its workspace"
    assert texts == {f"layer (layer1, Leaky): {what}, but is {found}; {cure}"}


class Failing(nn.Layer):
    """A layer that fails when it is told to."""

    where: str

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        if self.where == "forward" and Failing.armed:
            raise OSError("forward")
        return workspace_mgr.dup(ArrayType.ACTIVATIONS, x)

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        if self.where == "backward" and Failing.armed:
            raise OSError("backward")
        return workspace_mgr.dup(ArrayType.ACTIVATION_GRAD, epsilon)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_D_23_after_an_error_in_a_layer_everything_is_closed_and_the_next_fit_works(where, kind, mode):  # noqa: N802 - an id
    def made():
        hidden = [nn.DenseLayer(n_out=5) for _ in range(3)]
        return network(kind, layers_of(*hidden, Failing(where=where)), **in_modes(mode))

    net, untouched = made(), made()
    Failing.armed = True
    for _ in range(2):
        with pytest.raises(OSError, match=where):
            net.fit(X, Y)
        assert [ws.id for ws in workspaces().values() if ws.is_scope_active] == []
        assert ndarena.get_current_workspace() is None
    Failing.armed = False
    for each in (net, untouched):
        each.fit(X, Y, epochs=3)
    assert net.params().tobytes() == untouched.params().tobytes()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", [name for name in dir(nn.TrainingListener) if not name.startswith("_")])
def test_D_24_a_callback_may_ask_and_evaluate(event, kind, mode):  # noqa: N802 - an id
    net, untouched = (dense(kind, **in_modes(mode)) for _ in range(2))
    seen = []

    def act(*_):
        assert ndarena.get_current_workspace() is None
        seen.append((plain_output(net), net.evaluate(batches()).accuracy()))
        with pytest.raises(RuntimeError, match="learning already"):
            net.fit(X, Y)

    listener = nn.TrainingListener()
    setattr(listener, event, act)
    net.set_listeners(listener)
    for each in (net, untouched):
        each.fit(batches(), epochs=2)
    assert len(seen) == (2 if "epoch" in event else 6)
    for out, accuracy in seen:
        assert accuracy == np.mean(out.argmax(axis=1) == Y.argmax(axis=1))
    assert net.params().tobytes() == untouched.params().tobytes()


# ---------------------------------------------------------------- memory and bits


@pytest.mark.parametrize("kind", KINDS)
def test_D_27_a_hundred_equal_batches_change_no_size(kind):  # noqa: N802 - an id
    net, sizes, spilled = dense(kind), [], []

    class Sizes(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            those = workspaces().values()
            sizes.append({ws.id: ws.current_size for ws in those})
            spilled.append(sum(ws.spilled_size + ws.number_of_external_allocations for ws in those))

    net.set_listeners(Sizes())
    net.fit([DataSet(X, Y)] * 100)
    assert len(sizes) == 100
    assert all(each == sizes[2] for each in sizes[2:])
    assert set(spilled[2:]) == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_D_28_modes_give_the_same_bits_after_twenty_iterations(kind):  # noqa: N802 - an id
    trained = []
    for mode in MODES:
        net = dense(kind, **in_modes(mode))
        net.fit([DataSet(X, Y)] * 20)
        assert net.iteration_count == 20
        trained.append((net.params().tobytes(), net.updater_state().tobytes(), net.score()))
    assert trained[0] == trained[1]


@pytest.mark.parametrize("kind", KINDS)
def test_D_29_the_score_of_a_deep_network_takes_as_much_as_its_output(kind):  # noqa: N802 - an id
    """The ancestor keeps all activations of a graph until they are scored."""
    net = network(kind, layers_of(*(nn.DenseLayer(n_out=64) for _ in range(50))))
    x, y = examples(256, 4, 3)

    def peak(use):
        def body():
            before = ndarena.allocated_bytes()
            for _ in range(3):
                use()
            return ndarena.allocated_bytes() - before

        gc.collect()
        return in_thread(body)

    predicted, scored = peak(lambda: net.output(x)), peak(lambda: net.score(DataSet(x, y)))
    assert scored <= 1.05 * predicted
    assert predicted <= 4 * 256 * 64 * 4  # two activations of fifty, and scratch


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_D_30_an_output_goes_where_it_is_told_or_says_why_not(kind, mode):  # noqa: N802 - an id
    """Of the ancestor's three errors one is left: the others work, and leave no array behind."""
    net = dense(kind, **in_modes(mode))
    wanted = plain_output(net)
    with Workspace(id="CALLER") as ws:
        kept = net.output(X, workspace=ws)
        kept = kept[0] if kind == "graph" else kept
        assert (kept.workspace, kept.tobytes()) == (ws, wanted.tobytes())
        foreign = plain_output(net)
        assert type(foreign) is np.ndarray
        assert ndarena.get_current_workspace() is ws
    assert foreign.tobytes() == wanted.tobytes()
    with pytest.raises(StaleArrayError):
        kept.tobytes()
    with pytest.raises(ScopeError, match=r"\[CALLER\] is closed: enter it before output\(\)"):
        net.output(X, workspace=ws)
    out = np.empty_like(wanted)
    with Workspace(id="CALLER") as ws, pytest.raises(ValueError, match=r"workspace= or to out=, not to both"):
        net.output(X, workspace=ws, out=[out] if kind == "graph" else out)
