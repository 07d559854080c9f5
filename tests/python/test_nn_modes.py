"""The four workspace modes of networks: the same numbers, other memory."""

import itertools

import numpy as np
import pytest
from nn_support import RECORDINGS, assert_steady, chain, examples, replayer
from support import in_thread

import ndarena
from ndarena import nn
from ndarena.data import DataSet

pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")

MODES = ["ENABLED", "SINGLE", "SEPARATE"]
WAYS = ["fit", "output"]
SIZES = {2: (20, 30, 10), 3: (20, 30, 25, 10), 5: (20, 30, 25, 30, 25, 10), "wide": (20, 3300, 10)}
COMBINATIONS = list(itertools.product([*SIZES, "graph"], WAYS, MODES))
X, Y = examples(16, 20, 10)


def in_mode(mode):
    return {"training_workspace_mode": mode, "inference_workspace_mode": mode}


def graph_of_twenty(mode):
    """Make a graph in which every second vertex adds what went around a layer."""
    vertices = {"v0": (nn.DenseLayer(n_in=20, n_out=24), "in")}
    for i in range(1, 19, 2):
        vertices[f"v{i}"] = (nn.DenseLayer(n_in=24, n_out=24, activation="tanh"), f"v{i - 1}")
        vertices[f"v{i + 1}"] = (nn.ElementWiseVertex("add"), f"v{i}", f"v{i - 1}")
    vertices["out"] = (nn.OutputLayer(n_in=24, n_out=10), "v18")
    assert len(vertices) == 20
    conf = nn.ComputationGraphConfiguration(
        inputs=["in"], vertices=vertices, outputs=["out"], updater=nn.Adam(0.01), seed=3, **in_mode(mode)
    )
    return nn.ComputationGraph(conf)


def network(kind, mode):
    return graph_of_twenty(mode) if kind == "graph" else chain(*SIZES[kind], **in_mode(mode))


def used(net, way):
    """Return what uses a network once, and takes nothing for its result."""
    batch, out = DataSet(X, Y), np.empty((16, 10), "f4")
    if way == "fit":
        return lambda: net.fit(batch)
    target = [out] if isinstance(net, nn.ComputationGraph) else out
    return lambda: net.output(X, out=target)


def workspaces():
    return ndarena.get_all_workspaces_for_current_thread()


def sizes_here():
    return {ws.id: ws.current_size for ws in workspaces()}


def sizes_after(use):
    """Return the sizes of the workspaces of a new thread that did something three times."""

    def body():
        for _ in range(3):
            use()
        return sizes_here()

    return in_thread(body)


@pytest.mark.parametrize(("kind", "way", "mode"), COMBINATIONS)
def test_a_steady_loop_takes_nothing(kind, way, mode):
    assert_steady(used(network(kind, mode), way))


@pytest.mark.parametrize(("kind", "way", "mode"), COMBINATIONS)
def test_from_the_third_turn_on_nothing_grows(kind, way, mode):
    use = used(network(kind, mode), way)
    use()
    use()
    sizes, held = sizes_here(), ndarena.allocated_bytes()
    for _ in range(3):
        use()
        assert [ws.spilled_size for ws in workspaces()] == [0] * len(sizes)
    assert (sizes_here(), ndarena.allocated_bytes()) == (sizes, held)


@pytest.mark.parametrize("mode", [*MODES, "NONE"])
@pytest.mark.parametrize("rows", [1, 2, 16, 64, 65])
def test_few_rows_by_many_weights(rows, mode):
    net = chain(*SIZES["wide"], **in_mode(mode))
    x, _ = examples(rows, 20, 10)
    table = net.param_table()
    hidden = np.tanh(x @ np.array(table["0_W"], order="C") + table["0_b"])
    np.testing.assert_allclose(np.asarray(net.feed_forward(x)[1]), hidden, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_mode_is_made_of(mode):
    names = {
        "ENABLED": {"WS_ALL_LAYERS_ACT", "WS_LAYER_WORKING_MEM", "WS_LAYER_ACT_1", "WS_LAYER_ACT_2"},
        "SINGLE": {"WS_SINGLE"},
        "SEPARATE": {"WS_EXTERNAL", "WS_FORWARD", "WS_BACKWARD", "WS_LAYER_WORKING_MEM"},
    }
    net = chain(20, 30, 25, 10, **in_mode(mode))
    assert sizes_after(lambda: (net.fit(X, Y), net.output(X))).keys() == names[mode]


def recorded_networks():
    cases = [*replayer.load(RECORDINGS, "networks"), *replayer.load(RECORDINGS, "graphs")]
    return [case for case in cases if len(case.get("nodes") or case["layers"]) >= 4]


@pytest.mark.parametrize("case", recorded_networks(), ids=lambda case: case["id"])
def test_separate_is_the_smallest_and_single_the_largest(case):
    nd = replayer.api()

    def whole(mode):
        if "nodes" in case:
            net = nn.ComputationGraph(replayer.graph(nn, case, **in_mode(mode)))
            data = replayer.GraphSide(nd, case).data_set(0)
        else:
            net = nn.MultiLayerNetwork(replayer.multi_layer(nn, case, workspace_mode=mode))
            data = replayer.ChainSide(nd, case).data_set(0)
        return sum(sizes_after(lambda: net.fit(data)).values())

    assert whole("SEPARATE") <= whole("ENABLED") < whole("SINGLE")


class Peaks(nn.TrainingListener):
    """Notes the most that was alive; where nothing is used again in a cycle, all that was made in one."""

    def __init__(self):
        self.most = {}

    def on_forward_pass(self, model, activations):
        self.look()

    def on_backward_pass(self, model):
        self.look()

    def iteration_done(self, model, iteration, epoch):
        self.look()

    def look(self):
        for ws in workspaces():
            single = ws.id == "WS_SINGLE" or ws.id.startswith("WS_LAYER_ACT_")
            alive = ws.max_cycle_allocations if single else ws.peak_size
            self.most[ws.id] = max(self.most.get(ws.id, 0), alive)

    def watch(self, net):
        """Look at the scratch of every call of a layer, too, before it ends."""
        for layer in net.layers:
            for name in ("activate", "backprop_gradient", "compute_score"):
                if hasattr(layer, name):
                    setattr(layer, name, self.watched(getattr(layer, name)))

    def watched(self, method):
        def call(*args, **kwargs):
            result = method(*args, **kwargs)
            self.look()
            return result

        return call


@pytest.mark.parametrize("mode", MODES)
def test_no_workspace_is_much_larger_than_what_was_alive(mode):
    net, peaks = chain(*[256] * 6, 10, **in_mode(mode)), Peaks()
    net.set_listeners(peaks)
    peaks.watch(net)
    batch = DataSet(*examples(128, 256, 10))
    sizes = sizes_after(lambda: net.fit(batch))
    for name, size in sizes.items():
        assert size <= 1.1 * peaks.most[name], name


@pytest.mark.parametrize("mode", ["ENABLED", "SEPARATE"])
def test_a_long_chain_needs_two_activations(mode):
    net = chain(*[64] * 50, 10, **in_mode(mode))
    x, y = examples(256, 64, 10)
    sizes = sizes_after(lambda: net.output(x))
    held = sum(size for name, size in sizes.items() if name != "WS_LAYER_WORKING_MEM")
    assert 2 * x.nbytes <= held <= 2.1 * x.nbytes
    scoring = sizes_after(lambda: net.score(DataSet(x, y)))
    assert sum(scoring.values()) <= sum(sizes.values())


@pytest.mark.parametrize("mode", MODES)
def test_two_networks_in_one_thread_are_as_if_alone(mode):
    def learned(*others):
        net = network(3, mode)
        for _ in range(4):
            net.fit(X, Y)
            out = net.output(X)
            for other in others:
                other.fit(*examples(8, 20, 10, seed=1))
                other.output(X[:3])
        return net.params().tobytes(), out.tobytes()

    alone, other = in_thread(learned), network(5, mode)
    assert learned(other) == alone
    sizes = sizes_here()
    assert learned(other) == alone
    assert sizes_here() == sizes
