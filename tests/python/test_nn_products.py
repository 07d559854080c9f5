"""Products of dense and recurrent layers: the way that is taken depends on the shapes, the numbers do not."""

import numpy as np
import pytest

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, WorkspaceConfiguration, nn
from ndarena.nn.feed_forward import INPUTS_PER_ROW, MANY_WEIGHTS
from ndarena.nn.recurrent import OFTEN, by_rows

INPUTS = 384
MANY = MANY_WEIGHTS // INPUTS + 1  # units
FEW = INPUTS // INPUTS_PER_ROW
PLAIN = LayerWorkspaceMgr.no_workspaces()


def in_working_memory():
    """Return a manager with a workspace for what a layer needs only now."""
    conf = WorkspaceConfiguration(initial_size="8 MiB")
    builder = LayerWorkspaceMgr.builder().with_(ArrayType.FF_WORKING_MEM, "WORKING", conf)
    return builder.default_no_workspace().build()


def working_bytes(mgr, work):
    """Return what comes of some work, and how many bytes of working memory it took."""
    with mgr.notify_scope_entered(ArrayType.FF_WORKING_MEM):
        result = work()
        taken = ndarena.get_workspace_for_current_thread(None, id="WORKING").stats().this_cycle_allocations
        return np.array(result), taken


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "units", "is_turned"),
    [(1, MANY, False), (2, MANY, True), (FEW, MANY, True), (FEW + 1, MANY, False), (2, MANY - 2, False)],
)
def test_a_dense_layer_multiplies_few_rows_the_other_way_round(rows, units, is_turned, dtype):
    layer = nn.DenseLayer(n_in=INPUTS, n_out=units, activation="identity", bias_init=0.5)
    twin = layer.instantiate(rng=np.random.default_rng(1), dtype=dtype)
    x = np.random.default_rng(2).normal(size=(rows, INPUTS)).astype(dtype)
    mgr = in_working_memory()
    out, taken = working_bytes(mgr, lambda: twin.activate(x, workspace_mgr=mgr))
    expected = x.astype("f8") @ np.asarray(twin.param_table["W"], "f8") + 0.5
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4 if dtype == "float32" else 1e-10)
    assert out.dtype == dtype
    assert (taken >= out.nbytes) == is_turned


@pytest.mark.parametrize("times", [1, OFTEN - 1, OFTEN, 10 * OFTEN])
def test_recurrent_weights_are_laid_out_by_rows_if_they_are_used_often(times):
    weights = np.asfortranarray(np.random.default_rng(3).normal(size=(5, 20)))
    mgr = in_working_memory()
    laid, taken = working_bytes(mgr, lambda: by_rows(weights, times, mgr))
    np.testing.assert_array_equal(laid, weights)
    assert (taken >= weights.nbytes) == (times >= OFTEN)
    given = by_rows(weights, times, PLAIN)
    assert (given is weights) == (times < OFTEN)
    assert given.flags["C_CONTIGUOUS"] == (times >= OFTEN)


@pytest.mark.parametrize(
    "layer", [nn.LSTM(n_in=3, n_out=2), nn.SimpleRnn(n_in=3, n_out=2)], ids=["lstm", "simple"]
)
@pytest.mark.parametrize("steps", [OFTEN - 1, OFTEN, OFTEN + 1])
def test_a_series_gives_the_same_in_one_piece_and_step_by_step(layer, steps):
    twin = layer.instantiate(rng=np.random.default_rng(4))
    x = np.random.default_rng(5).normal(size=(6, 3, steps))
    whole = twin.activate(x, workspace_mgr=PLAIN)
    single = [np.array(twin.rnn_time_step(x[:, :, [t]], workspace_mgr=PLAIN)) for t in range(steps)]
    np.testing.assert_allclose(np.concatenate(single, axis=2), whole, rtol=1e-6, atol=1e-6)
