"""A layer of one's own, as the page for layer authors has it, and what is said of one written wrongly."""

import re

import numpy as np
import pytest
from nn_support import differences, examples

import ndarena
from ndarena import (
    ArrayLocationError,
    ArrayType,
    ConfigurationError,
    LayerWorkspaceMgr,
    ScopeError,
    StaleArrayError,
    nn,
)
from ndarena.data import DataSet

# The page shows these two classes.


class Scaled(nn.Layer):
    """Every feature times a factor that is learned; results are written in their place."""

    n_in: int
    start: float = 1.0

    def param_shapes(self):
        return {"W": (self.n_in,)}

    def init_params(self, table, rng):
        table["W"][...] = self.start

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        self._x = x if training else None
        z = workspace_mgr.create_uninitialized(ArrayType.ACTIVATIONS, x.shape, x.dtype)
        return np.multiply(x, self.param_table["W"], out=z)

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        np.add.reduce(self._x * epsilon, axis=0, out=self.gradient_table["W"])
        below = workspace_mgr.create_uninitialized(ArrayType.ACTIVATION_GRAD, epsilon.shape, epsilon.dtype)
        return np.multiply(epsilon, self.param_table["W"], out=below)

    def clear(self):
        self._x = None


class ScaledShortly(Scaled):
    """The same in fewer words, one copy dearer."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        self._x = x if training else None
        return workspace_mgr.leverage_to(ArrayType.ACTIVATIONS, x * self.param_table["W"])

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        np.add.reduce(self._x * epsilon, axis=0, out=self.gradient_table["W"])
        return workspace_mgr.leverage_to(ArrayType.ACTIVATION_GRAD, epsilon * self.param_table["W"])


# So far the page.

MODES = ["NONE", "ENABLED"]
FORMS = [Scaled, ScaledShortly]
X, Y = examples(6, 4, 3, "float64")


def network(*layers, mode="ENABLED", **fields):
    conf = nn.MultiLayerConfiguration(
        layers=[*layers, nn.OutputLayer(n_in=4, n_out=3)],
        **{"updater": nn.Sgd(0.1), "dtype": "float64", "seed": 5, **fields},
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
    )
    return nn.MultiLayerNetwork(conf)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_alone(form):
    twin = form(n_in=4, start=2.0).instantiate()
    mgr = LayerWorkspaceMgr.no_workspaces()
    assert (twin.activate(X, training=True, workspace_mgr=mgr) == 2.0 * X).all()
    assert (twin.backprop_gradient(np.ones_like(X), workspace_mgr=mgr) == 2.0).all()
    np.testing.assert_allclose(twin.gradient_table["W"], X.sum(axis=0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_the_score(form, mode):
    net = network(form(n_in=4), nn.DenseLayer(n_in=4, n_out=4, activation="tanh"), form(n_in=4), mode=mode)
    data = DataSet(X, Y)
    _, gradient = net.compute_gradient_and_score(data)
    wanted = differences(lambda: net.score(data), net.params())
    np.testing.assert_allclose(gradient / len(X), wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_both_modes_give_the_same_bits(form):
    bits = set()
    for mode in MODES:
        net = network(form(n_in=4), form(n_in=4, start=0.5), mode=mode)
        net.fit(X, Y, epochs=5)
        bits.add(net.params().tobytes() + net.output(X).tobytes())
    assert len(bits) == 1


def test_a_layer_is_a_dataclass_by_itself():
    layer = Scaled(n_in=4)
    assert layer == Scaled(n_in=4, start=1.0)
    assert hash(layer) == hash(Scaled(n_in=4))
    assert layer != ScaledShortly(n_in=4)
    with pytest.raises(TypeError, match="positional"):
        Scaled(4)
    with pytest.raises(TypeError, match="unexpected"):
        Scaled(n_in=4, n_out=4)


# Mistakes, in a layer that is told which one to make.


class RaisedError(Exception):
    """RaisedError by the layer on purpose."""


class Mistaken(nn.Layer):
    """A layer of 4 units that makes a mistake."""

    mistake: str

    def param_shapes(self):
        return {"W": (4, 4)}

    def init_params(self, table, rng):
        table["W"][...] = np.eye(4)

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        self._x = x
        if self.mistake == "raises":
            raise RaisedError
        if self.mistake == "keeps" and hasattr(self, "kept"):
            self.kept + 1.0
        if self.mistake == "unknown":
            workspace_mgr.create(ArrayType.FF_CACHE, (2, 2))
        if self.mistake == "open":
            self.scope = workspace_mgr.notify_scope_entered(ArrayType.RNN_FF_LOOP_WORKING_MEM)
        wrong = {
            "plain": lambda: x @ self.param_table["W"],
            "scratch": lambda: workspace_mgr.dup(ArrayType.FF_WORKING_MEM, x),
            "detached": lambda: ndarena.detach(x @ self.param_table["W"]),
            "none": lambda: None,
            "list": lambda: [1.0, 2.0],
            "input": lambda: x,
            "view": lambda: x[::-1],
        }
        if self.mistake in wrong:
            return wrong[self.mistake]()
        self.kept = workspace_mgr.leverage_to(ArrayType.ACTIVATIONS, x @ self.param_table["W"])
        return self.kept

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        np.matmul(self._x.T, epsilon, out=self.gradient_table["W"])
        wrong = {
            "epsilon plain": lambda: epsilon @ self.param_table["W"].T,
            "epsilon scratch": lambda: workspace_mgr.dup(ArrayType.BP_WORKING_MEM, epsilon),
            "epsilon detached": lambda: ndarena.detach(epsilon),
            "epsilon given": lambda: epsilon,
        }
        if self.mistake in wrong:
            return wrong[self.mistake]()
        return workspace_mgr.leverage_to(ArrayType.ACTIVATION_GRAD, epsilon @ self.param_table["W"].T)


def mistaken(mistake, index, mode="ENABLED"):
    layers = [Mistaken(name=f"l{i}", mistake=mistake if i == index else "") for i in range(3)]
    return network(*layers, mode=mode)


USES = {
    "fit": lambda net: net.fit(X, Y),
    "output": lambda net: net.output(X),
    "training output": lambda net: net.output(X, training=True),
    "feed_forward": lambda net: net.feed_forward(X),
    "score": lambda net: net.score(DataSet(X, Y)),
}


def settled():
    """Nothing is open or current, and the next network works."""
    ndarena.assert_no_workspaces_open("after a layer's mistake")
    assert ndarena.get_current_workspace() is None
    healthy = mistaken("", 0)
    healthy.fit(X, Y)
    healthy.output(X)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("mistake", ["plain", "scratch", "detached"])
def test_an_activation_in_the_wrong_place_is_refused(mistake, use, index):
    net = mistaken(mistake, index)
    if mistake == "detached" and use == "feed_forward":
        return settled_feed_forward(net)
    with pytest.raises(ArrayLocationError) as caught:
        USES[use](net)
    message = str(caught.value)
    assert message.startswith(f"layer {index} (l{index}, Mistaken): an array of ACTIVATIONS should be ")
    assert re.search(r"call mgr\.(dup|leverage_to)\(ArrayType\.ACTIVATIONS, a\)$", message)
    assert caught.value.argument == "ACTIVATIONS"
    settled()
    return None


def settled_feed_forward(net):
    """Where every activation is to be plain, a plain one is right."""
    assert all(isinstance(a, np.ndarray) for a in net.feed_forward(X))
    settled()


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("mistake", ["epsilon plain", "epsilon scratch", "epsilon detached"])
def test_an_epsilon_in_the_wrong_place_is_refused(mistake, index):
    net = mistaken(mistake, index)
    with pytest.raises(
        ArrayLocationError, match=rf"^layer {index} \(l{index}, Mistaken\): .*ACTIVATION_GRAD"
    ):
        net.fit(X, Y)
    net.output(X)
    settled()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("mistake", ["none", "list"])
def test_what_is_no_array_is_refused_in_every_mode(mistake, use, mode):
    kind = "None" if mistake == "none" else "list"
    with pytest.raises(TypeError, match=rf"^layer 1 \(l1, Mistaken\) must return an array .*, not {kind}"):
        USES[use](mistaken(mistake, 1, mode))
    settled()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("mistake", ["input", "view", "epsilon given"])
def test_a_result_made_of_what_was_given_is_put_in_its_place(mistake, index, mode):
    net = mistaken(mistake, index, mode)
    reference = mistaken("", index, mode)
    if mistake != "view":
        net.fit(X, Y)
        reference.fit(X, Y)
        others = [i for i in range(net.num_params()) if i // 16 != index or mistake == "epsilon given"]
        np.testing.assert_array_equal(net.params()[others], reference.params()[others])
    kept = X.copy()
    entries = net.feed_forward(X)
    out = net.output(X)
    for i, entry in enumerate([*entries, out]):
        assert not np.shares_memory(entry, X)
        assert not any(np.shares_memory(entry, other) for other in entries[:i])
    assert X.tobytes() == kept.tobytes()
    settled()


@pytest.mark.parametrize("use", USES)
def test_a_scope_left_open_is_closed_and_told(use):
    net = mistaken("open", 1)
    with pytest.raises(ScopeError, match=r"^layer 1 \(l1, Mistaken\) left a scope open"):
        USES[use](net)
    settled()


@pytest.mark.parametrize("use", USES)
def test_without_workspaces_there_is_no_scope_to_leave_open(use):
    USES[use](mistaken("open", 1, "NONE"))
    settled()


@pytest.mark.parametrize("use", USES)
def test_a_role_that_the_way_does_not_have_is_refused(use):
    with pytest.raises(ConfigurationError, match="FF_CACHE"):
        USES[use](mistaken("unknown", 1))
    settled()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("use", USES)
def test_what_a_layer_raises_comes_out(use, mode):
    with pytest.raises(RaisedError):
        USES[use](mistaken("raises", 1, mode))
    settled()


def test_an_array_kept_between_iterations_is_stale():
    net = mistaken("keeps", 1)
    net.fit(X, Y)
    with pytest.raises(StaleArrayError):
        net.fit(X, Y)
    settled()


class Embedding(nn.Layer):
    """Hands nothing down."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        return workspace_mgr.dup(ArrayType.ACTIVATIONS, x)

    def backprop_gradient(self, epsilon, *, workspace_mgr):
        return None


@pytest.mark.parametrize("mode", MODES)
def test_the_lowest_layer_may_hand_nothing_down(mode):
    net = network(Embedding(), Scaled(n_in=4), mode=mode)
    net.fit(X, Y)
    _, epsilon = net.calculate_gradients(X, Y)
    assert epsilon is None
    with pytest.raises(TypeError, match=r"layer 1 .* not None: layers below it learn"):
        network(Scaled(n_in=4), Embedding(), mode=mode).fit(X, Y)
    settled()


@pytest.mark.parametrize("name", ["index", "rng", "params", "gradient", "param_table", "gradient_table"])
def test_what_a_twin_is_given_cannot_be_taken_for_something_else(name):
    class Careless(nn.Layer):
        def activate(self, x, *, training=False, workspace_mgr, mask=None):
            setattr(self, name, x)
            return x

    twin = Careless().instantiate()
    for _ in range(2):
        with pytest.raises(AttributeError, match=f"Careless.{name} is given to the layer and read-only"):
            twin.activate(X, workspace_mgr=LayerWorkspaceMgr.no_workspaces())
        getattr(twin, name)
