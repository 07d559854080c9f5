"""MultiLayerNetwork: modes, memory, what comes out, what is refused, and what is left behind."""

import gc
import itertools

import numpy as np
import pytest
from nn_support import assert_steady, chain, differences, examples
from support import in_thread

import ndarena
from ndarena import ConfigurationError, ScopeError, StaleArrayError, Workspace, nn
from ndarena.data import ArrayDataSetIterator, DataSet

MODES = ["NONE", "ENABLED", "SINGLE", "SEPARATE"]
pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")
PAIRS = list(itertools.product(MODES, MODES))
X, Y = examples(8, 5, 3)


def data(n=8, seed=0, dtype="float32"):
    return DataSet(*examples(n, 5, 3, dtype, seed))


def trained(training, inference, sizes=(5, 7, 6, 3), **fields):
    net = chain(*sizes, training_workspace_mode=training, inference_workspace_mode=inference, **fields)
    for i, n in enumerate((8, 8, 3, 8)):  # a smaller batch in between
        net.fit(data(n, seed=i))
    return net


# The same bits, everywhere.


@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 3), (5, 7, 6, 3), (5, 4, 4, 4, 4, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_modes_give_the_same_bits(sizes, dtype):
    bits = set()
    for training, inference in PAIRS:
        net = trained(training, inference, sizes, dtype=dtype, l1=0.01, l2=0.02)
        test = data(5, seed=9)
        parts = [net.params(), net.updater_state(), net.output(X), *net.feed_forward(X)]
        numbers = [net.score(), net.score(test), *net.score_examples(test)]
        bits.add(b"".join(p.tobytes() for p in parts) + np.array(numbers).tobytes())
        assert net.output(X).dtype == dtype
    assert len(bits) == 1


@pytest.mark.parametrize("order", ["strided", "fortran", "double", "list", "attached", "integers"])
def test_the_form_of_the_input_does_not_matter(order):
    values = np.round(X * 4)
    forms = {
        "strided": lambda: np.repeat(values, 2, axis=1)[:, ::2],
        "fortran": lambda: np.asfortranarray(values),
        "double": lambda: values.astype("f8"),
        "list": values.tolist,
        "integers": lambda: values.astype("i8"),
    }
    for training, inference in PAIRS:
        plain, other = (
            chain(5, 7, 3, training_workspace_mode=training, inference_workspace_mode=inference)
            for _ in range(2)
        )
        plain.fit(values, Y)
        if order == "attached":
            with Workspace(id="OWN") as ws:
                x, y = ws.array(values), ws.array(Y)
                other.fit(x, y)
                out = other.output(x)
                assert isinstance(out, np.ndarray)
                assert ndarena.get_current_workspace() is ws
        else:
            x = forms[order]()
            other.fit(x, Y.tolist())
            out = other.output(x)
        assert other.params().tobytes() == plain.params().tobytes()
        assert out.tobytes() == plain.output(values).tobytes()


def test_modes_change_at_run_time():
    net, reference = chain(5, 7, 3), chain(5, 7, 3)
    for training, inference in PAIRS * 2:
        with net.workspace_mode(training=training, inference=inference):
            assert net.training_workspace_mode.name == training
            assert net.inference_workspace_mode.name == inference
            net.fit(X, Y)
            out = net.output(X)
        reference.fit(X, Y)
        assert out.tobytes() == reference.output(X).tobytes()
    net.training_workspace_mode = "none"
    assert net.training_workspace_mode is nn.WorkspaceMode.NONE
    for wrong in ("SOMETIMES", 3):
        with pytest.raises(ConfigurationError, match="training_workspace_mode"):
            net.training_workspace_mode = wrong
    with pytest.raises(ConfigurationError), net.workspace_mode(training="SOMETIMES"):
        pass
    assert net.training_workspace_mode is nn.WorkspaceMode.NONE


def test_without_workspaces_there_are_none():
    net = trained("NONE", "NONE")
    net.output(X)
    net.evaluate([data()])
    assert ndarena.get_all_workspaces_ids_for_current_thread() == []


def test_networks_of_different_depth_share_a_thread():
    nets = [chain(5, *sizes, 3) for sizes in ((), (7,), (7, 6), (4, 4, 4, 4))]
    before = [net.params().copy() for net in nets]
    for _ in range(3):
        for net in nets:
            net.fit(X, Y)
            net.output(X)
    for net, old in zip(nets, before, strict=True):
        alone = in_thread(lambda n=net: fitted_anew(n, 3))
        assert net.params().tobytes() == alone
        assert net.params().tobytes() != old.tobytes()


def fitted_anew(net, times):
    again = nn.MultiLayerNetwork(net.configuration)
    again.fit(X, Y, epochs=times)
    return again.params().tobytes()


def test_destroyed_workspaces_are_made_again():
    net, reference = chain(5, 7, 3), chain(5, 7, 3, training_workspace_mode="NONE")
    for _ in range(3):
        net.fit(X, Y)
        net.output(X)
        ndarena.destroy_all_workspaces_for_current_thread()
        reference.fit(X, Y)
    assert net.params().tobytes() == reference.params().tobytes()
    with net:
        net.fit(X, Y)
    assert ndarena.get_all_workspaces_ids_for_current_thread() == []


@pytest.mark.parametrize("mode", ["SPILL_EVERYTHING", "BYPASS_EVERYTHING"])
def test_debug_modes_change_nothing(mode):
    net, reference = chain(5, 7, 3), chain(5, 7, 3)
    net.fit(X, Y)
    ndarena.set_debug_mode(mode)
    net.fit(X, Y)
    out = net.output(X)
    ndarena.set_debug_mode("DISABLED")
    net.fit(X, Y)
    reference.fit(X, Y, epochs=2)
    assert out.tobytes() == reference.output(X).tobytes()
    reference.fit(X, Y)
    assert net.params().tobytes() == reference.params().tobytes()


# Memory.


@pytest.mark.parametrize("use", ["fit", "output", "evaluate", "score"])
def test_a_steady_loop_takes_nothing(use):
    """After warming up: no page fault, no new byte, no spill in any workspace, and no arena grows."""
    net = chain(64, 100, 80, 10, l2=0.01)
    batch = DataSet(*examples(48, 64, 10))
    uses = {
        "fit": lambda: net.fit(batch),
        "output": lambda: net.output(batch.features, out=out),
        "evaluate": lambda: net.evaluate([batch]),
        "score": lambda: net.score(batch),
    }
    out = np.empty((48, 10), "f4")
    assert_steady(uses[use])


def test_the_first_turn_sizes_every_workspace():
    net = chain(5, 7, 6, 3)
    net.fit(X, Y)
    first = ndarena.get_all_workspaces_for_current_thread()
    assert {ws.id for ws in first} == {
        "WS_ALL_LAYERS_ACT",
        "WS_LAYER_ACT_1",
        "WS_LAYER_ACT_2",
        "WS_LAYER_WORKING_MEM",
    }
    assert all(ws.current_size > 0 for ws in first)
    sizes = in_thread(lambda: (net.output(X), sizes_here())[1])
    assert sizes.keys() == {"WS_LAYER_ACT_1", "WS_LAYER_ACT_2", "WS_LAYER_WORKING_MEM"}
    assert all(size > 0 for size in sizes.values())


def sizes_here():
    return {ws.id: ws.current_size for ws in ndarena.get_all_workspaces_for_current_thread()}


def test_closing_the_network_gives_everything_back_but_what_it_has_learned():
    gc.collect()
    start = ndarena.allocated_bytes()
    net = trained("ENABLED", "ENABLED")
    net.output(X)
    net.evaluate([data()])
    model = net.model_memory.workspace.current_size
    assert ndarena.allocated_bytes() > start + model
    net.close()
    assert ndarena.allocated_bytes() == start + model
    del net
    assert ndarena.allocated_bytes() == start


# What comes out.


@pytest.mark.parametrize("mode", MODES)
def test_an_output_may_be_put_somewhere(mode):
    net = chain(5, 7, 3, inference_workspace_mode=mode)
    want = net.output(X)
    assert isinstance(want, np.ndarray)
    out = np.empty((8, 3), "f4")
    assert net.output(X, out=out) is out
    assert out.tobytes() == want.tobytes()
    with Workspace(id="CALLER") as ws:
        kept = net.output(X, workspace=ws)
        assert (kept.workspace.id, ndarena.get_current_workspace()) == ("CALLER", ws)
        assert kept.tobytes() == want.tobytes()
        assert isinstance(net.output(X), np.ndarray)
        with pytest.raises(ValueError, match="not to both"):
            net.output(X, workspace=ws, out=out)
        with pytest.raises(ValueError, match="out must have shape"):
            net.output(X, out=np.empty((8, 4)))
    with pytest.raises(StaleArrayError):
        kept.sum()
    with pytest.raises(ScopeError, match="CALLER"):
        net.output(X, workspace=ws)


def test_outputs_of_an_iterator_are_joined():
    net = chain(5, 7, 3)
    x, y = examples(10, 5, 3)
    np.testing.assert_allclose(net.output(ArrayDataSetIterator(x, y, batch_size=4)), net.output(x), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_comes_out_empty(mode):
    net = chain(5, 7, 3, inference_workspace_mode=mode)
    assert net.output(np.zeros((0, 5))).shape == (0, 3)
    assert net.output(np.zeros((1, 5))).shape == (1, 3)


def test_a_single_row_has_the_bits_of_its_mode():
    out = {chain(5, 7, 3, inference_workspace_mode=m).output(X[:1]).tobytes() for m in MODES}
    assert len(out) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", ["mcxent", "mse"])
@pytest.mark.parametrize("activation", ["identity", "relu", "sigmoid", "softmax", "tanh"])
def test_gradients_are_those_of_the_score(activation, loss, mode):
    last = "softmax" if loss == "mcxent" else activation
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.DenseLayer(n_out=6, activation=activation),
            nn.DenseLayer(n_out=4, activation=activation, has_bias=False),
            nn.OutputLayer(n_out=3, loss=loss, activation=last),
        ],
        input_type=nn.InputType.feed_forward(5),
        dtype="float64",
        seed=2,
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
    )
    net = nn.MultiLayerNetwork(conf)
    batch = data(dtype="float64")
    score, gradient = net.compute_gradient_and_score(batch)
    assert score == net.score(batch) == net.score()
    wanted = differences(lambda: net.score(batch), net.params())
    np.testing.assert_allclose(gradient / 8, wanted, rtol=1e-5, atol=1e-8)
    table, epsilon = net.calculate_gradients(batch.features, batch.labels)
    assert list(table) == ["0_W", "0_b", "1_W", "2_W", "2_b"] == list(net.gradient_table())
    assert table["0_W"].shape == (5, 6)
    wanted = differences(lambda: net.score(batch), batch.features)
    np.testing.assert_allclose(epsilon / 8, wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
def test_rows_that_are_masked_among_the_features_are_0_in_dense_layers(mode, activation):
    modes = {"training_workspace_mode": mode, "inference_workspace_mode": mode}
    layers = [nn.DenseLayer(n_in=5, n_out=4, activation=activation), nn.OutputLayer(n_out=3)]
    net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, dtype="float64", seed=3, **modes))
    batch, mask, whole = data(dtype="float64"), np.array([[1.0], [0.0]] * 4), np.ones((8, 1))
    for training in (False, True):
        hidden = net.feed_forward(batch.features, training=training, features_mask=mask)[1]
        assert (hidden[1::2] == 0.0).all()
        assert (hidden[::2] != 0.0).all()
    # The labels of all rows count; a masked row teaches the biases of the output alone.
    _, gradient = net.compute_gradient_and_score(DataSet(batch.features, batch.labels, mask, whole))
    _, kept = net.compute_gradient_and_score(DataSet(batch.features[::2], batch.labels[::2]))
    np.testing.assert_allclose(gradient[:-3], kept[:-3], atol=1e-12)
    assert not np.allclose(gradient[-3:], kept[-3:])


@pytest.mark.parametrize("mode", MODES)
def test_masked_rows_count_nothing(mode):
    net = chain(5, 7, 3, dtype="float64", training_workspace_mode=mode, inference_workspace_mode=mode)
    batch = data(dtype="float64")
    mask = np.array([[1.0], [0.0]] * 4)
    masked = DataSet(batch.features, batch.labels, None, mask)
    kept = DataSet(batch.features[::2], batch.labels[::2])
    assert net.score(masked) == pytest.approx(net.score(kept) / 2)
    gradient = net.compute_gradient_and_score(masked)[1]
    np.testing.assert_allclose(gradient, net.compute_gradient_and_score(kept)[1], atol=1e-12)
    for form in (mask, mask.tolist(), mask.astype("i4")):
        assert (net.output(batch.features, labels_mask=form)[1::2] == 0.0).all()
        assert (net.feed_forward(batch.features, labels_mask=form)[-1][1::2] == 0.0).all()
    assert net.evaluate([masked]).row_count == 4


def test_parameters_live_and_are_set_by_copy():
    net = chain(5, 7, 3)
    flat = np.arange(net.num_params(), dtype="f4")
    net.set_params(flat)
    flat[:] = 0.0
    table = net.param_table()
    assert list(table) == ["0_W", "0_b", "1_W", "1_b"]
    assert table["0_W"][1, 0] == 1.0  # Fortran order
    table["0_b"][:] = -1.0
    assert (net.params()[35:42] == -1.0).all()
    assert net.layers[0].param_table["b"].base is not None
    assert np.shares_memory(net.layers[0].params, net.params())
    for wrong in (np.zeros(3), np.zeros((1, net.num_params()))):
        with pytest.raises(ValueError, match="parameters must have shape"):
            net.set_params(wrong)
    with pytest.raises(ValueError, match="updater state must have shape"):
        net.set_updater_state(np.zeros(1))
    net.init(params=np.ones(net.num_params()))
    assert (net.params() == 1.0).all()


def test_equal_seeds_give_equal_parameters():
    assert chain(5, 7, 3).params().tobytes() == chain(5, 7, 3).params().tobytes()
    assert chain(5, 7, 3).params().tobytes() != chain(5, 7, 3, seed=4).params().tobytes()
    fresh = chain(5, 7, 3, seed=None)
    again = nn.MultiLayerNetwork(fresh.configuration)
    assert fresh.params().tobytes() == again.params().tobytes()


# What is refused.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X[:, :4], Y, ValueError, r"layer 0 \(layer0, DenseLayer\): expected .*\[batch, 5\], not \[8, 4\]"),
        (X[:, 0], Y, ValueError, r"layer 0 .* not \[8\]"),
        (
            X,
            Y[:, :2],
            ValueError,
            r"layer 1 \(layer1, OutputLayer\): expected labels .*\[8, 3\], not \[8, 2\]",
        ),
        (X, Y[:3], ValueError, "8 examples in features, 3 in labels"),
        (X[:0], Y[:0], ValueError, "no examples"),
        (X.astype("c8"), Y, TypeError, "features must be real numbers"),
        (X, Y.astype("U"), TypeError, "labels must be real numbers"),
    ],
)
def test_data_that_do_not_fit_are_refused(x, y, error, message, mode):
    net = chain(5, 7, 3, training_workspace_mode=mode)
    before = net.params().copy()
    with pytest.raises(error, match=message):
        net.fit(x, y)
    assert net.params().tobytes() == before.tobytes()
    assert net.iteration_count == 0
    ndarena.assert_no_workspaces_open("after the refusal")
    net.fit(X, Y)


@pytest.mark.parametrize(
    ("data", "labels", "error", "message"),
    [
        (X, None, TypeError, "fit takes"),
        (3, None, TypeError, "fit takes"),
        (DataSet(X), None, ValueError, "no labels"),
        ([X], None, TypeError, "expected a DataSet"),
        (DataSet(X, Y, None, np.ones((8, 2))), None, ValueError, "labels_mask must have shape"),
        (DataSet(X, Y, np.ones((8, 2))), None, ValueError, r"features_mask must have shape \[8, 1\]"),
    ],
)
def test_what_is_no_data_is_refused(data, labels, error, message):
    with pytest.raises(error, match=message):
        chain(5, 7, 3).fit(data, labels)


@pytest.mark.parametrize("epochs", [-1, 1.5, True, "2"])
def test_epochs_are_a_whole_number(epochs):
    with pytest.raises(ValueError, match="epochs"):
        chain(5, 7, 3).fit(X, Y, epochs=epochs)


def test_a_network_is_made_of_a_configuration():
    with pytest.raises(TypeError, match="MultiLayerConfiguration"):
        nn.MultiLayerNetwork([nn.OutputLayer(n_in=2, n_out=2)])
