"""What every layer promises: shapes, gradients, places, equal bits, refusals; the layers: `layer_table`."""

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
from layer_table import IMAGES, LAYERS, ROWS, SERIES
from nn_support import differences

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, StaleArrayError, WorkspaceConfiguration, nn

PLAIN = LayerWorkspaceMgr.no_workspaces()
ACTIVATIONS, ACTIVATION_GRAD = ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD
SCRATCH = ArrayType.FF_WORKING_MEM
PLACES = {
    "INPUT": "ACTIVATIONS",
    "ACTIVATIONS": "ACTIVATIONS",
    "ACTIVATION_GRAD": "GRADIENTS",
    "FF_WORKING_MEM": "SCRATCH",
    "BP_WORKING_MEM": "SCRATCH",
    "RNN_FF_LOOP_WORKING_MEM": "LOOP",
    "RNN_BP_LOOP_WORKING_MEM": "LOOP",
}
every_layer = pytest.mark.parametrize("name", LAYERS)
KEEP_NOTHING = {"upsampling", "zero padding", "no padding"}
OF_ANY_RANK = {"activation", "activation of images"}


def manager():
    conf = WorkspaceConfiguration(policy_spill="REALLOCATE")
    return LayerWorkspaceMgr({ArrayType(role): (name, conf) for role, name in PLACES.items()})


@contextmanager
def scope(mgr, *roles):
    """Enter roles, unless nothing has a workspace."""
    if mgr is PLAIN:
        yield
    else:
        with mgr.notify_scope_entered(*roles):
            yield


def forward(sample, twin, x, mgr, *, training=True):
    if sample.has_loss:
        twin.labels = sample.above(len(x), x.dtype)
    with scope(mgr, SCRATCH):
        out = twin.activate(x, training=training, workspace_mgr=mgr, mask=sample.mask(len(x)))
        return mgr.validate_array_location(ACTIVATIONS, out, exception_if_detached=mgr is not PLAIN)


def backward(sample, twin, x, mgr):
    epsilon = None if sample.has_loss else sample.above(len(x), x.dtype)
    with scope(mgr, SCRATCH):
        if epsilon is not None and mgr is not PLAIN:
            epsilon = mgr.dup(ACTIVATIONS, epsilon)
        return twin.backprop_gradient(epsilon, workspace_mgr=mgr)


def turn(sample, twin, x, mgr):
    """Go forward and backward once; give all results detached."""
    with scope(mgr, ACTIVATIONS, ACTIVATION_GRAD):
        given = x if mgr is PLAIN else mgr.dup(ACTIVATIONS, x)
        out = forward(sample, twin, given, mgr)
        result = [np.array(out), *([score(sample, twin, mgr)] if sample.has_loss else [])]
        below = backward(sample, twin, given, mgr)
        if below is not None and mgr is not PLAIN and not np.shares_memory(below, given):
            mgr.validate_array_location(ACTIVATION_GRAD, below)
        twin.clear()
        return [*result, np.array(below), twin.gradient.copy()]


def score(sample, twin, mgr):
    with scope(mgr, SCRATCH):
        total = twin.compute_score(0.25, training=True, workspace_mgr=mgr)
        each = twin.compute_score_for_examples(0.25, workspace_mgr=mgr)
        assert np.isclose(np.asarray(each - 0.25).sum(), (total - 0.25) * len(each))
        return np.array(total)


@every_layer
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes_are_those_of_the_types(name, batch, dtype):
    sample = LAYERS[name]
    twin, x = sample.twin(dtype), sample.input(batch, dtype)
    for training in (False, True):
        out = forward(sample, twin, x, PLAIN, training=training)
        assert (out.shape, out.dtype) == ((batch, *sample.output_shape), dtype)
    below = backward(sample, twin, x, PLAIN)
    assert below is None if sample.indices else (below.shape, below.dtype) == (x.shape, dtype)
    assert np.isfinite(twin.gradient).all()


def numerical(sample, twin, x):
    """Return functions of the twin's state that give what the backward pass differentiates."""
    above = sample.above(len(x))

    def total():
        out = forward(sample, twin, x, PLAIN)
        if sample.has_loss:
            return twin.compute_score(training=True, workspace_mgr=PLAIN) * len(x)
        return float((out * above).sum())

    return total


@every_layer
def test_gradients_are_differences_of_the_forward_pass(name):
    sample = LAYERS[name]
    twin, x = sample.twin(), sample.input(3)
    forward(sample, twin, x, PLAIN)
    below = backward(sample, twin, x, PLAIN)
    gradient = {
        key: value.copy()
        for key, value in twin.gradient_table.items()
        if key in twin.param_table and twin.param_kind(key) is not nn.ParamKind.STATISTIC
    }
    total = numerical(sample, twin, x)
    for key, value in gradient.items():
        assert np.allclose(value, differences(total, twin.param_table[key]), rtol=1e-6, atol=1e-7), key
    if not sample.indices:
        assert np.allclose(below, differences(total, x), rtol=1e-6, atol=1e-7)


@every_layer
def test_results_are_in_their_places_and_have_the_bits_of_plain_arrays(name):
    sample = LAYERS[name]
    mgr, twins = manager(), (sample.twin("float32"), sample.twin("float32"))
    for seed in range(4):
        x = sample.input(3, "float32", seed)
        placed, plain = (turn(sample, twin, x, m) for twin, m in zip(twins, (mgr, PLAIN), strict=True))
        assert len(placed) == len(plain)
        assert all(np.array_equal(a, b) for a, b in zip(placed, plain, strict=True))


@every_layer
def test_inference_has_the_bits_of_plain_arrays(name):
    sample = LAYERS[name]
    mgr, twin, x = manager(), sample.twin("float32"), sample.input(3, "float32")
    plain = forward(sample, twin, x, PLAIN, training=False)
    with scope(mgr, ACTIVATIONS):
        placed = forward(sample, twin, mgr.dup(ACTIVATIONS, x), mgr, training=False)
        assert np.array_equal(placed, plain)


@every_layer
def test_results_are_refused_after_the_scope(name):
    sample = LAYERS[name]
    mgr, twin, x = manager(), sample.twin(), sample.input(2)
    with scope(mgr, ACTIVATIONS, ACTIVATION_GRAD):
        given = mgr.dup(ACTIVATIONS, x)
        results = [forward(sample, twin, given, mgr)]
        results += [] if sample.indices else [backward(sample, twin, given, mgr)]
    for result in results:
        with pytest.raises(StaleArrayError):
            result + 1.0


@every_layer
def test_neither_input_nor_epsilon_is_changed(name):
    sample = LAYERS[name]
    twin, x = sample.twin(), sample.input(3)
    above, before = sample.above(3), x.copy()
    kept = above.copy()
    if sample.has_loss:
        twin.labels = above
    twin.activate(x, training=True, workspace_mgr=PLAIN, mask=sample.mask(3))
    twin.backprop_gradient(None if sample.has_loss else above, workspace_mgr=PLAIN)
    assert np.array_equal(x, before) and np.array_equal(above, kept)


@every_layer
def test_a_steady_loop_takes_nothing_from_the_system(name):
    sample = LAYERS[name]
    mgr, twin, x = manager(), sample.twin("float32"), sample.input(3, "float32")
    for _ in range(4):
        turn(sample, twin, x, mgr)
    before = held()
    for _ in range(5):
        turn(sample, twin, x, mgr)
    assert held() == before


def held():
    workspaces = ndarena.get_all_workspaces_for_current_thread()
    spills = [(w.id, w.current_size, w.number_of_external_allocations) for w in workspaces]
    return ndarena.allocated_bytes(), spills


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in OF_ANY_RANK])
def test_input_of_another_rank_is_refused_by_name(name):
    sample = LAYERS[name]
    layer = sample.layer.with_input_type(sample.input_type)
    twin = layer.instantiate(index=3)
    with pytest.raises(ValueError, match=r"layer 3 \(layer3, \w+\): expected input of shape"):
        twin.activate(np.ones((2, 3, 3, 3, 3)), workspace_mgr=PLAIN)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in KEEP_NOTHING])
def test_without_a_forward_pass_there_is_no_backward_pass(name):
    sample = LAYERS[name]
    twin = sample.twin()
    epsilon = None if sample.has_loss else sample.above(2)
    with pytest.raises(RuntimeError, match="must come first"):
        twin.backprop_gradient(epsilon, workspace_mgr=PLAIN)


@every_layer
def test_inference_between_forward_and_backward_changes_nothing(name):
    sample, results = LAYERS[name], []
    for asked in (False, True):
        twin, x = sample.twin(), sample.input(3)
        forward(sample, twin, x, PLAIN)
        if asked and not sample.has_loss:
            twin.activate(sample.input(2, seed=9), workspace_mgr=PLAIN)
        results.append((np.array(backward(sample, twin, x, PLAIN)), twin.gradient))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@every_layer
def test_what_nobody_reads_need_not_be_computed(name):
    sample, gradients = LAYERS[name], []
    for read in (True, False):
        twin, x = sample.twin(), sample.input(3)
        twin.epsilon_is_read = read
        forward(sample, twin, x, PLAIN)
        backward(sample, twin, x, PLAIN)
        gradients.append(twin.gradient)
    assert np.array_equal(*gradients)


@every_layer
def test_layers_are_values(name):
    layer = LAYERS[name].layer
    again = dataclasses.replace(layer)
    assert (again, hash(again)) == (layer, hash(layer))


# In networks.


def network(sample, training="NONE", inference="NONE"):
    """Put a layer between others, so that its input and epsilon lie in workspaces."""
    layers = {
        ROWS: [nn.DenseLayer(n_out=4)],
        SERIES: [nn.SimpleRnn(n_out=3)],
        IMAGES: [nn.ConvolutionLayer(n_out=3, kernel_size=(3, 3), convolution_mode="same")],
    }.get(sample.input_type, [])
    layers.append(sample.layer)
    if not sample.has_loss:
        layers += [nn.GlobalPoolingLayer()] if len(sample.output_shape) > 1 else []
        layers.append(nn.OutputLayer(n_out=2))
    conf = nn.MultiLayerConfiguration(
        layers=layers,
        input_type=sample.input_type,
        seed=5,
        updater=nn.Sgd(0.05),
        training_workspace_mode=training,
        inference_workspace_mode=inference,
    )
    return nn.MultiLayerNetwork(conf)


def learned(sample, mode):
    """Fit and ask a network; give its parameters and its output."""
    net, x = network(sample, mode, mode), sample.input(3, "float32")
    steps = sample.mask(3)
    data = ndarena.data.DataSet(x, labels_of(net, x, steps), steps, steps if sample.has_loss else None)
    for _ in range(3):
        net.fit(data)
    return net.params().copy(), net.output(x, features_mask=steps)


def labels_of(net, x, mask):
    out = net.output(x, features_mask=mask)
    drawn = np.random.default_rng(6).uniform(0.1, 1.0, out.shape).astype(out.dtype)
    return drawn / drawn.sum(axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore:.*_workspace_mode=:DeprecationWarning")
@every_layer
def test_networks_learn_the_same_in_every_mode(name):
    sample = LAYERS[name]
    reference = learned(sample, "NONE")
    assert all(np.isfinite(values).all() for values in reference)
    for mode in nn.WorkspaceMode:
        results = learned(sample, mode)
        assert all(np.array_equal(a, b) for a, b in zip(results, reference, strict=True)), mode
