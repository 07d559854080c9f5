"""Recurrent layers, alone: gradients, masks, states, layers around them, what is refused."""

import copy

import numpy as np
import pytest
from nn_support import differences

import ndarena
from ndarena import ArrayType, ConfigurationError, LayerWorkspaceMgr, WorkspaceConfiguration, nn
from ndarena.nn import LSTM, Bidirectional, GravesLSTM, LastTimeStep, SimpleRnn
from ndarena.parallel import ParallelInference

MGR = LayerWorkspaceMgr.no_workspaces()
SIZES = {"n_in": 3, "n_out": 2}
MASK = np.array([[1, 1, 1, 1, 1.0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]])
LSTM_TANH = LSTM(**SIZES, activation="tanh")

LAYERS = {
    "simple": SimpleRnn(**SIZES, activation="tanh"),
    "simple, softsign": SimpleRnn(**SIZES, activation="softsign"),
    "simple, normed": SimpleRnn(**SIZES, activation="tanh", has_layer_norm=True, gain_init=0.7),
    "simple, normed, softsign": SimpleRnn(**SIZES, activation="softsign", has_layer_norm=True),
    "lstm": LSTM_TANH,
    "lstm, softsign": LSTM(**SIZES, activation="softsign", gate_activation="hardsigmoid"),
    "graves": GravesLSTM(**SIZES, activation="tanh"),
    "graves, softsign": GravesLSTM(**SIZES, activation="softsign", gate_activation="swish"),
    "concat": Bidirectional(LSTM_TANH),
    "add": Bidirectional(LSTM_TANH, mode="add"),
    "mul": Bidirectional(LSTM_TANH, mode="mul"),
    "average": Bidirectional(SimpleRnn(**SIZES, activation="tanh"), mode="average"),
    "last": LastTimeStep(LSTM_TANH),
    "last of both": LastTimeStep(Bidirectional(LSTM_TANH)),
    "both of last": Bidirectional(LastTimeStep(LSTM_TANH)),
    "embedded": nn.EmbeddingSequenceLayer(n_in=3, n_out=2, activation="tanh", has_bias=True),
}
ONWARD = ["simple", "simple, normed", "lstm", "graves", "last"]
WITH_INPUT_GRADIENT = [name for name in LAYERS if name != "embedded"]


def made(name, seed=1):
    twin = LAYERS[name].instantiate(rng=np.random.default_rng(seed))
    twin.params[...] = np.random.default_rng(seed).normal(size=twin.params.shape)
    return twin


def series(n=4, steps=5, columns=3, seed=2):
    return np.random.default_rng(seed).normal(size=(n, columns, steps))


def given(name):
    return np.random.default_rng(3).integers(0, 3, (4, 5)).astype(float) if name == "embedded" else series()


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_knows_of_examples_that_are_masked_as_a_whole(name):
    twin, x = made(name), given(name)
    out = twin.activate(x, training=True, workspace_mgr=MGR, mask=MASK)
    epsilon = np.random.default_rng(4).normal(size=out.shape)

    def total():
        return float((twin.activate(x, workspace_mgr=MGR, mask=MASK) * epsilon).sum())

    assert np.isclose((out * epsilon).sum(), total(), rtol=1e-12)
    below = twin.backprop_gradient(epsilon, workspace_mgr=MGR)
    assert np.allclose(twin.gradient, differences(total, twin.params), atol=2e-8)
    if name in WITH_INPUT_GRADIENT:
        assert below.shape == x.shape and np.allclose(below, differences(total, x), atol=2e-8)
    else:
        assert below is None


@pytest.mark.parametrize("name", WITH_INPUT_GRADIENT)
def test_where_a_series_lies_in_memory_does_not_matter(name):
    x, results = series(), []
    for place in (x, np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)):
        twin = made(name)
        out = twin.activate(place, training=True, workspace_mgr=MGR)
        epsilon = np.cos(np.arange(out.size)).reshape(out.shape)
        below = twin.backprop_gradient(epsilon, workspace_mgr=MGR)
        results.append([np.array(out), np.array(below), np.array(twin.gradient)])
    assert all(np.allclose(a, b, rtol=1e-13) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", ["simple", "lstm", "graves", "simple, normed"])
def test_masked_steps_are_zeros_and_begin_anew(name):
    twin, x = made(name), series()
    out = np.array(twin.activate(x, workspace_mgr=MGR, mask=MASK))
    assert not out[np.broadcast_to(MASK[:, None] == 0, out.shape)].any()
    alone = twin.activate(x[2:3, :, 4:], workspace_mgr=MGR)
    assert np.allclose(out[2, :, 4], alone[0, :, 0])


@pytest.mark.parametrize("name", ["lstm", "last", "concat"])
def test_masked_steps_have_no_say(name):
    twin, x = made(name), series()
    changed = x + 9.0 * (MASK[:, None] == 0)
    results = []
    for series_given in (x, changed):
        out = np.array(twin.activate(series_given, training=True, workspace_mgr=MGR, mask=MASK))
        below = np.array(twin.backprop_gradient(np.ones(out.shape), workspace_mgr=MGR))
        assert not below[np.broadcast_to(MASK[:, None] == 0, below.shape)].any()
        results.append((out, twin.gradient.copy()))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_the_last_step_that_is_kept_is_taken():
    twin = made("last")
    inner = LSTM_TANH.instantiate(params=twin.params)
    out, steps = twin.activate(series(), workspace_mgr=MGR, mask=MASK), [4, 1, 4]
    whole = inner.activate(series(), workspace_mgr=MGR, mask=MASK)
    assert all(np.array_equal(out[i], whole[i, :, step]) for i, step in enumerate(steps))
    assert not out[3].any()
    assert twin.feed_forward_mask(MASK) is None


# States.


@pytest.mark.parametrize("name", ONWARD)
def test_a_series_in_pieces_is_the_series(name):
    twin, x = made(name), series(steps=6)
    whole = np.array(twin.activate(x, workspace_mgr=MGR))
    pieces = [
        np.array(twin.rnn_time_step(x[:, :, a:b], workspace_mgr=MGR)) for a, b in ((0, 1), (1, 4), (4, 6))
    ]
    if name == "last":
        assert np.allclose(pieces[-1], whole)
    else:
        assert np.allclose(np.concatenate(pieces, axis=2), whole)
    state = twin.rnn_get_previous_state()
    assert set(state) == ({"prev_act"} if name.startswith("simple") else {"prev_act", "prev_mem"})
    assert all(value.shape == (4, 2) and type(value) is np.ndarray for value in state.values())


@pytest.mark.parametrize("name", ONWARD)
def test_a_state_can_be_taken_away_and_brought_back(name):
    twin, x = made(name), series()
    twin.rnn_time_step(x, workspace_mgr=MGR)
    state = twin.rnn_get_previous_state()
    expected = np.array(twin.rnn_time_step(x, workspace_mgr=MGR))
    twin.rnn_clear_previous_state()
    assert twin.rnn_get_previous_state() == {}
    beginning = np.array(twin.rnn_time_step(x, workspace_mgr=MGR))
    assert not np.allclose(beginning, expected)
    twin.rnn_set_previous_state(state)
    assert np.array_equal(twin.rnn_time_step(x, workspace_mgr=MGR), expected)
    other = made(name)
    other.rnn_set_previous_state(state)
    assert np.array_equal(other.rnn_time_step(x, workspace_mgr=MGR), expected)


def test_neither_activation_nor_clearing_touches_a_state():
    twin, x = made("lstm"), series()
    twin.rnn_time_step(x, workspace_mgr=MGR)
    before = twin.rnn_get_previous_state()
    twin.activate(x, training=True, workspace_mgr=MGR)
    twin.rnn_activate_using_stored_state(x, workspace_mgr=MGR)
    twin.clear()
    after = twin.rnn_get_previous_state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["simple", "simple, normed", "lstm", "graves"])
def test_pieces_that_are_learned_begin_with_the_carried_state(name):
    twin, x = made(name), series(steps=6)
    first, second = x[:, :, :3].copy(), x[:, :, 3:].copy()
    epsilon = np.random.default_rng(4).normal(size=(4, 2, 3))
    whole = np.array(twin.activate(x, workspace_mgr=MGR))
    twin.rnn_activate_using_stored_state(first, workspace_mgr=MGR)

    def total():
        """Go on from the carried state, which is a constant here, and leave it as it is."""
        out = twin.rnn_activate_using_stored_state(second, store_last_for_tbptt=False, workspace_mgr=MGR)
        return float((out * epsilon).sum())

    to_input, to_params = differences(total, second), differences(total, twin.params)
    out = twin.rnn_activate_using_stored_state(second, training=True, workspace_mgr=MGR)
    assert np.allclose(out, whole[:, :, 3:])
    assert np.allclose(twin.backprop_gradient(epsilon, workspace_mgr=MGR), to_input, atol=2e-8)
    assert np.allclose(twin.gradient, to_params, atol=2e-8)
    twin.rnn_clear_previous_state()
    again = twin.rnn_activate_using_stored_state(first, workspace_mgr=MGR)
    assert np.allclose(again, whole[:, :, :3])


def test_a_copy_has_a_forward_pass_of_its_own():
    for name in ("lstm", "concat", "last"):
        twin, x = made(name), series()
        out = twin.activate(x, training=True, workspace_mgr=MGR)
        expected = np.array(made_gradient(twin, out.shape))
        twin.activate(x, training=True, workspace_mgr=MGR)
        copy.copy(twin).activate(series(seed=9), training=True, workspace_mgr=MGR)
        assert np.array_equal(made_gradient(twin, out.shape), expected)


def made_gradient(twin, shape):
    twin.backprop_gradient(np.ones(shape), workspace_mgr=MGR)
    return twin.gradient.copy()


# In workspaces.

T = ArrayType
SCRATCH = (T.FF_WORKING_MEM, T.BP_WORKING_MEM, T.RNN_FF_LOOP_WORKING_MEM, T.RNN_BP_LOOP_WORKING_MEM)
ROLES = (T.ACTIVATIONS, T.ACTIVATION_GRAD, *SCRATCH)


@pytest.mark.parametrize(("name", "turns"), [("lstm", 5), ("graves", 5), ("simple", 0)])
def test_a_step_of_an_lstm_is_a_turn_of_the_loop_memory(name, turns):
    twin, x = made(name), series()
    mgr = LayerWorkspaceMgr({role: (f"WS_{role.name}", WorkspaceConfiguration()) for role in ROLES})
    with mgr.notify_scope_entered(ArrayType.ACTIVATIONS, ArrayType.FF_WORKING_MEM):
        twin.activate(x, workspace_mgr=mgr)
    name_of_loop = mgr.get_workspace_name(ArrayType.RNN_FF_LOOP_WORKING_MEM)
    if not turns:
        assert not ndarena.check_if_workspace_exists(name_of_loop)
    else:
        assert ndarena.get_workspace_for_current_thread(id=name_of_loop).cycles_count == turns


# Configuration.


@pytest.mark.parametrize(
    ("thing", "shapes"),
    [
        (LSTM_TANH, {"W": (3, 8), "RW": (2, 8), "b": (8,)}),
        (GravesLSTM(**SIZES), {"W": (3, 8), "RW": (2, 11), "b": (8,)}),
        (SimpleRnn(**SIZES, has_layer_norm=True), {"W": (3, 2), "RW": (2, 2), "b": (2,), "g": (4,)}),
        (LastTimeStep(SimpleRnn(**SIZES)), {"W": (3, 2), "RW": (2, 2), "b": (2,)}),
    ],
)
def test_parameters_have_the_shapes_of_the_ancestor(thing, shapes):
    assert thing.param_shapes() == shapes


def test_the_forget_gate_begins_open():
    bias = LSTM(**SIZES, bias_init=0.25, forget_gate_bias_init=5.0).instantiate().param_table["b"]
    assert np.array_equal(bias, [0.25] * 2 + [5.0] * 2 + [0.25] * 4)


def test_recurrent_weights_may_begin_in_their_own_way():
    table = SimpleRnn(**SIZES, weight_init="ones", weight_init_recurrent="zero").instantiate().param_table
    assert (table["W"] == 1.0).all() and (table["RW"] == 0.0).all()


def test_what_comes_out_follows_from_what_goes_in():
    series_of_3 = nn.InputType.recurrent(3, 7)
    for thing, expected in (
        (LSTM(n_out=4), nn.InputType.recurrent(4, 7)),
        (Bidirectional(LSTM(n_out=4)), nn.InputType.recurrent(8, 7)),
        (Bidirectional(LSTM(n_out=4), mode="add"), nn.InputType.recurrent(4, 7)),
        (LastTimeStep(LSTM(n_out=4)), nn.InputType.feed_forward(4)),
        (nn.RnnOutputLayer(n_out=4), nn.InputType.recurrent(4, 7)),
        (nn.EmbeddingSequenceLayer(n_in=9, n_out=4), nn.InputType.recurrent(4, 7)),
    ):
        assert thing.with_input_type(series_of_3).get_output_type(series_of_3) == expected
    assert Bidirectional(LSTM(n_out=4)).with_input_type(series_of_3).layer.n_in == 3


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LSTM(n_out=2, gate_activation="gate"), "gate_activation"),
        (lambda: LSTM(n_out=2, forget_gate_bias_init="open"), "forget_gate_bias_init"),
        (lambda: SimpleRnn(n_out=2, has_layer_norm=1), "has_layer_norm"),
        (lambda: SimpleRnn(n_out=0), "n_out"),
        (lambda: SimpleRnn(n_out=2, weight_init_recurrent="some"), "weight_init_recurrent"),
        (lambda: Bidirectional(nn.DenseLayer(n_out=2)), "layer"),
        (lambda: Bidirectional(Bidirectional(LSTM(n_out=2))), "layer"),
        (lambda: Bidirectional("LSTM"), "layer"),
        (lambda: Bidirectional(LSTM(n_out=2), mode="both"), "mode"),
        (lambda: LastTimeStep(3), "layer"),
        (lambda: nn.EmbeddingLayer(n_in=0, n_out=2), "n_in"),
        (lambda: nn.EmbeddingSequenceLayer(n_in=2, n_out=2, input_length=0), "input_length"),
        (lambda: nn.ActivationLayer("round"), "activation"),
        (lambda: LSTM(n_out=2).param_shapes(), "n_in"),
        (
            lambda: LastTimeStep(LastTimeStep(LSTM(n_out=2))).get_output_type(nn.InputType.recurrent(3)),
            "layer",
        ),
    ],
)
def test_a_wrong_field_is_refused_by_name(make, field):
    with pytest.raises(ConfigurationError) as info:
        make()
    assert info.value.field == field


@pytest.mark.parametrize(
    "layer",
    [Bidirectional(LSTM_TANH), LastTimeStep(LSTM_TANH), nn.GlobalPoolingLayer()],
    ids=["both ways", "last", "pooled"],
)
def test_what_needs_whole_series_is_not_learned_in_pieces(layer):
    with pytest.raises(ConfigurationError, match="needs whole series") as info:
        nn.MultiLayerConfiguration(
            layers=[layer, nn.LossLayer()],
            input_type=nn.InputType.recurrent(3),
            backprop_type="truncated_bptt",
        )
    assert info.value.field == "backprop_type" and type(layer).__name__ in str(info.value)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            lambda t: t.activate(series(), workspace_mgr=MGR, mask=np.ones((4, 1))),
            "expected mask of shape [4, 5]",
        ),
        (lambda t: t.rnn_set_previous_state({"prev_act": np.ones((4, 2))}), "made of prev_act, prev_mem"),
        (
            lambda t: t.rnn_set_previous_state({"prev_act": np.ones((4, 2)), "prev_mem": np.ones((4, 3))}),
            "prev_mem has shape [4, 3] where [4, 2] is expected",
        ),
    ],
)
def test_masks_and_states_of_a_wrong_shape_are_refused(use, words):
    with pytest.raises(ValueError) as info:
        use(made("lstm"))
    assert words in str(info.value)


def test_a_state_of_other_examples_is_refused():
    twin = made("lstm")
    twin.rnn_time_step(series(), workspace_mgr=MGR)
    with pytest.raises(ValueError, match="rnn_clear_previous_state"):
        twin.rnn_time_step(series(n=2), workspace_mgr=MGR)


@pytest.mark.parametrize(
    "use",
    [
        lambda: made("concat").rnn_time_step(series(), workspace_mgr=MGR),
        lambda: made("concat").rnn_activate_using_stored_state(series(), workspace_mgr=MGR),
        lambda: made("concat").rnn_set_previous_state({}),
        lambda: made("last").rnn_activate_using_stored_state(series(), workspace_mgr=MGR),
    ],
)
def test_what_needs_whole_series_refuses_pieces(use):
    with pytest.raises(RuntimeError, match="whole series"):
        use()


def test_no_last_step_is_refused():
    with pytest.raises(ValueError, match="with a last step"):
        made("last").activate(series(steps=0), workspace_mgr=MGR)


# Embeddings, activations.


@pytest.mark.parametrize("wrong", [-1.0, 3.0, 0.5, np.nan, np.inf])
def test_what_is_no_index_is_refused(wrong):
    twin = nn.EmbeddingLayer(n_in=3, n_out=2).instantiate()
    with pytest.raises(ValueError, match="whole numbers from 0 to 2, not"):
        twin.activate(np.array([[1.0], [wrong]]), workspace_mgr=MGR)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 1, 1)])
def test_an_embedding_takes_one_index_per_example(shape):
    with pytest.raises(ValueError, match=r"expected input of shape \[batch, 1\]"):
        nn.EmbeddingLayer(n_in=3, n_out=2).instantiate().activate(np.ones(shape), workspace_mgr=MGR)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_indices_may_be_numbers_of_any_kind(dtype):
    twin = nn.EmbeddingLayer(n_in=3, n_out=2, activation="identity").instantiate()
    out = twin.activate(np.array([[2], [0], [2]], dtype), workspace_mgr=MGR)
    assert np.array_equal(out, twin.param_table["W"][[2, 0, 2]])


def test_indices_that_repeat_add_up():
    twin = nn.EmbeddingLayer(n_in=3, n_out=2, has_bias=True).instantiate()
    twin.activate(np.array([[2.0], [0.0], [2.0]]), training=True, workspace_mgr=MGR)
    assert twin.backprop_gradient(np.array([[1.0, 2], [3, 4], [5, 6]]), workspace_mgr=MGR) is None
    assert np.array_equal(twin.gradient_table["W"], [[3, 4], [0, 0], [6, 8]])
    assert np.array_equal(twin.gradient_table["b"], [9, 12])


def test_sequences_may_have_one_channel_and_a_fixed_length():
    twin = nn.EmbeddingSequenceLayer(n_in=3, n_out=2, input_length=2).instantiate()
    flat = np.array([[0.0, 1.0], [2.0, 2.0], [1.0, 0.0]])
    out = np.array(twin.activate(flat, workspace_mgr=MGR))
    assert np.array_equal(out, twin.param_table["W"][flat.astype(int)].transpose(0, 2, 1))
    assert np.array_equal(twin.activate(flat[:, None], workspace_mgr=MGR), out)
    with pytest.raises(ValueError, match=r"expected input of shape \[batch, 2\]"):
        twin.activate(flat[:, :1], workspace_mgr=MGR)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("function", ["tanh", "softmax", "relu"])
def test_an_activation_layer_keeps_shape_and_order(function, axes):
    x = np.random.default_rng(1).normal(size=(2, 3, 4))
    x = np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))
    twin = nn.ActivationLayer(function).instantiate()
    out = twin.activate(x, training=True, workspace_mgr=MGR)
    assert out.shape == x.shape and out.strides == x.strides
    epsilon = np.cos(np.arange(x.size)).reshape(x.shape)
    below = np.array(twin.backprop_gradient(epsilon, workspace_mgr=MGR))

    def total():
        return float((twin.activate(x, workspace_mgr=MGR) * epsilon).sum())

    assert np.allclose(below, differences(total, x), atol=1e-8)


def test_a_dropout_layer_is_its_dropout_only():
    assert nn.DropoutLayer(0.5) == nn.DropoutLayer(dropout=nn.Dropout(0.5))
    x = series()
    assert nn.DropoutLayer(0.5).instantiate().activate(x, workspace_mgr=MGR) is x
    with pytest.raises(TypeError, match="dropout"):
        nn.DropoutLayer()
    with pytest.raises(ConfigurationError, match="dropout"):
        nn.DropoutLayer(1.5)


MANY = (1 << 24) + 4


def with_many_words(*, is_graph):
    """Return a network that gives 7, 5, 3 and 2 for the last four of more indices than floats tell apart."""
    embedding = nn.EmbeddingLayer(n_in=MANY, n_out=1, weight_init="zero")
    output = nn.OutputLayer(n_in=1, n_out=1, loss="mse", activation="identity", has_bias=False)
    if is_graph:
        vertices = {"embedding": (embedding, "in"), "out": (output, "embedding")}
        conf = nn.ComputationGraphConfiguration(inputs=["in"], vertices=vertices, outputs=["out"], seed=1)
        net = nn.ComputationGraph(conf)
    else:
        net = nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=[embedding, output], seed=1))
    params = np.zeros(net.num_params(), np.float32)
    params[MANY - 4 : MANY], params[-1] = [7.0, 5.0, 3.0, 2.0], 1.0
    net.set_params(params)
    return net


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("is_graph", [False, True])
def test_indices_beyond_what_floats_tell_apart(is_graph, kind):
    net, x = with_many_words(is_graph=is_graph), np.arange(MANY - 4, MANY, dtype=kind)[:, None]
    output = net.output(x)[0] if is_graph else net.output(x)
    assert output.ravel().tolist() == [7.0, 5.0, 3.0, 2.0]
    all_of_it = net.feed_forward(x)
    *_, last = all_of_it.values() if is_graph else all_of_it
    assert last.ravel().tolist() == [7.0, 5.0, 3.0, 2.0]
    assert {a.dtype for a in (all_of_it.values() if is_graph else all_of_it)} == {np.dtype("f4")}


def test_requests_with_indices_of_several_kinds_keep_all_bits():
    net, x = with_many_words(is_graph=False), np.arange(MANY - 4, MANY)[:, None]
    kinds = [np.int32, np.int64, np.uint32, np.uint64] * 4
    with ParallelInference(net) as inference:
        futures = [inference.submit(x[1:2].astype(kind)) for kind in kinds]
        assert {future.result().item() for future in futures} == {5.0}


def test_a_layer_is_named_by_a_number_of_numpy_too():
    net = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[nn.LSTM(n_in=2, n_out=3), nn.RnnOutputLayer(n_in=3, n_out=2)], seed=1
        )
    )
    net.rnn_time_step(np.ones((1, 2)))
    assert net.rnn_get_previous_state(np.int64(0)).keys() == net.rnn_get_previous_state(0).keys()
    with pytest.raises(ValueError, match="no layer True"):
        net.rnn_get_previous_state(True)
