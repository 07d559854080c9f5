"""Networks of series: the same bits in every mode, masks, flat memory, what a graph of layers hands on."""

import numpy as np
import pytest
from nn_support import differences
from support import faults

import ndarena
from ndarena import nn
from ndarena.data import DataSet

pytestmark = pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")

STEPS, FEATURES, CLASSES = 7, 3, 4
MODES = ["NONE", "ENABLED", "SINGLE", "SEPARATE"]
WAYS = {"whole": {}, "pieces": {"backprop_type": "truncated_bptt", "tbptt_fwd_length": 3}}
MASK = np.array([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6, [0, 1, 1, 0, 1, 1, 0]], float)
KINDS = {
    "simple": lambda: [nn.SimpleRnn(n_out=3, activation="tanh", has_layer_norm=True)],
    "lstm": lambda: [nn.LSTM(n_out=3, activation="tanh")],
    "two": lambda: [nn.LSTM(n_out=3, activation="tanh"), nn.GravesLSTM(n_out=2, activation="softsign")],
    "both ways": lambda: [nn.Bidirectional(nn.LSTM(n_out=2, activation="tanh"), mode="mul")],
    "activation": lambda: [nn.SimpleRnn(n_out=3, activation="identity"), nn.ActivationLayer("tanh")],
}


def network(kind, *, mode="ENABLED", series=True, **fields):
    """Make a network that says something of every step, or of the last one."""
    layers = KINDS[kind]()
    if series:
        layers.append(nn.RnnOutputLayer(n_out=CLASSES))
    else:
        layers[-1] = nn.LastTimeStep(layers[-1])
        layers.append(nn.OutputLayer(n_out=CLASSES))
    settings = {"updater": nn.Adam(0.01), "seed": 5, "dtype": "float64", **fields}
    conf = nn.MultiLayerConfiguration(
        layers=layers,
        input_type=nn.InputType.recurrent(FEATURES),
        training_workspace_mode=mode,
        inference_workspace_mode=mode,
        **settings,
    )
    return nn.MultiLayerNetwork(conf)


def batch(*, series=True, mask=None, dtype="float64"):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, FEATURES, STEPS)).astype(dtype)
    shape = (4, STEPS) if series else (4,)
    labels = np.eye(CLASSES, dtype=dtype)[rng.integers(0, CLASSES, shape)]
    labels = labels.transpose(0, 2, 1).copy() if series else labels
    return DataSet(x, labels, mask, mask if series else None)


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("series", [True, False], ids=["every step", "last step"])
@pytest.mark.parametrize("kind", ["simple", "lstm", "two", "both ways"])
def test_the_gradient_of_a_network_is_that_of_its_score(kind, series, mask):
    net, data = network(kind, series=series), batch(series=series, mask=mask)
    _, gradient = net.compute_gradient_and_score(data)
    gradient = np.array(gradient) / len(data)
    assert np.allclose(gradient, differences(lambda: net.score(data), net.params()), atol=2e-8)


def in_ways(*kinds):
    """Give kinds and ways of learning; what needs whole series is not learned in pieces."""
    return pytest.mark.parametrize(
        ("kind", "way"),
        [(kind, way) for kind in kinds for way in WAYS if (kind, way) != ("both ways", "pieces")],
    )


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@in_ways(*KINDS)
def test_workspaces_do_not_change_a_bit(kind, way, mask):
    data, results = batch(mask=mask), []
    for mode in MODES:
        net = network(kind, mode=mode, **WAYS[way])
        for _ in range(3):
            net.fit(data)
        out = net.output(data.features, features_mask=mask)
        entries = net.feed_forward(data.features, features_mask=mask)
        results.append([net.params().copy(), out, *entries])
    for others in zip(*results, strict=True):
        assert all(np.array_equal(others[0], other) for other in others[1:])


@pytest.mark.parametrize("mode", MODES[1:])
@in_ways(*KINDS)
def test_a_steady_loop_of_series_takes_no_memory(kind, way, mode):
    net = network(kind, mode=mode, dtype="float32", **WAYS[way])
    data, step = batch(dtype="float32", mask=MASK), np.ones((4, FEATURES), np.float32)

    def turn():
        net.fit(data)
        net.output(data.features, features_mask=MASK)
        if kind != "both ways":
            net.rnn_time_step(step)

    for _ in range(20):
        turn()
    workspaces = ndarena.get_all_workspaces_for_current_thread()
    sizes, held = [ws.current_size for ws in workspaces], ndarena.allocated_bytes()
    quietest = None
    for _ in range(5):
        before = faults()
        for _ in range(10):
            turn()
            assert [ws.current_size for ws in workspaces] == sizes
            assert not any(ws.spilled_size or ws.number_of_external_allocations for ws in workspaces)
        taken = faults() - before
        quietest = taken if quietest is None else min(quietest, taken)
    assert ndarena.allocated_bytes() == held
    assert quietest == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["simple", "lstm", "two", "activation"])
def test_steps_one_by_one_are_the_series(kind, mode):
    net, x = network(kind, mode=mode), batch().features
    whole = net.output(x)
    steps = [net.rnn_time_step(x[:, :, t]) for t in range(STEPS)]
    assert np.allclose(np.stack(steps, axis=2), whole, rtol=1e-12)
    net.rnn_clear_previous_state()
    assert np.array_equal(net.rnn_time_step(x[:, :, 0]), steps[0])


@pytest.mark.parametrize("kind", ["simple", "lstm", "two"])
def test_a_state_of_steps_can_be_kept_over_learning(kind):
    net, x = network(kind, **WAYS["pieces"], updater=nn.Sgd(0.0)), batch().features
    first, second = (net.rnn_time_step(x[:, :, t]) for t in range(2))
    net.rnn_clear_previous_state()
    assert np.array_equal(net.rnn_time_step(x[:, :, 0]), first)
    states = {i: net.rnn_get_previous_state(i) for i in range(len(KINDS[kind]()))}
    net.fit(batch())
    for index, kept in states.items():
        net.rnn_set_previous_state(index, kept)
    assert np.array_equal(net.rnn_time_step(x[:, :, 1]), second)


def test_labels_of_masked_steps_do_not_count():
    net, data = network("lstm"), batch(mask=MASK)
    other = batch(mask=MASK)
    other.labels[np.broadcast_to(MASK[:, None] == 0, other.labels.shape)] = 7.0
    assert net.score(data) == net.score(other)
    assert net.score_examples(data).sum() / 4 == pytest.approx(net.score(data))


def test_a_network_of_words_learns_the_last_but_one():
    """Embedded words, of which the one before the last decides: what only a state can tell."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 6, (64, 5)).astype(float)
    labels = np.eye(6)[words[:, -2].astype(int)]
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.EmbeddingSequenceLayer(n_in=6, n_out=6),
            nn.LastTimeStep(nn.LSTM(n_in=6, n_out=16, activation="tanh")),
            nn.OutputLayer(n_in=16, n_out=6),
        ],
        updater=nn.Adam(0.02),
        seed=1,
    )
    net = nn.MultiLayerNetwork(conf)
    net.fit(words, labels, epochs=150)
    assert (net.output(words).argmax(axis=1) == labels.argmax(axis=1)).mean() > 0.95
