"""What the tests of networks share: recordings, small networks, data."""

import gc
import importlib.util
import json
from pathlib import Path

import numpy as np
from support import measure

import ndarena
from ndarena import nn

RECORDINGS = Path(__file__).parents[1] / "conformance" / "networks"


def load_replayer():
    spec = importlib.util.spec_from_file_location("replay_networks", RECORDINGS / "replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replayer = load_replayer()


def recorded(section):
    """Return the cases of a section, with their arrays under ``a``."""
    tree = json.loads((RECORDINGS / f"{section}.json").read_text(encoding="utf-8"))
    if not tree["arrays"]:
        return tree["cases"]
    with np.load(RECORDINGS / tree["arrays"]) as arrays:
        for case in tree["cases"]:
            case["a"] = {name: arrays[f"{case['id']}/{name}"] for name in case["arrays"]}
    return tree["cases"]


def case_id(case):
    return case["id"]


def described(case, **fields):
    """Make the configuration of a network that a recording describes."""
    settings = dict(case.get("configuration") or {})
    dtype = {"FLOAT": "float32"}.get(settings.pop("data_type", None), "float64")
    for name in ("updater", "bias_updater"):
        if name in settings:
            settings[name] = updater(settings[name])
    layers = [layer(d) for d in case["layers"]]
    return nn.MultiLayerConfiguration(layers=layers, **{"dtype": dtype, "seed": 1, **settings, **fields})


def layer(description):
    fields = {k: v for k, v in description.items() if k not in {"type", "loss_weights"}}
    if "loss_weights" in description:
        plain = nn.LossFunction(fields["loss"]).get_loss_function()
        fields["loss"] = type(plain)(weights=tuple(description["loss_weights"]))
    return getattr(nn, description["type"])(**fields)


def updater(description):
    fields = {k: v for k, v in description.items() if k != "type"}
    return getattr(nn, description["type"])(**fields)


def chain(*sizes, **fields):
    """Make a network of dense layers of these sizes and a softmax output."""
    layers = [nn.DenseLayer(n_out=n, activation="tanh") for n in sizes[1:-1]]
    conf = nn.MultiLayerConfiguration(
        layers=[*layers, nn.OutputLayer(n_out=sizes[-1])],
        input_type=nn.InputType.feed_forward(sizes[0]),
        **{"updater": nn.Adam(0.01), "seed": 3, **fields},
    )
    return nn.MultiLayerNetwork(conf)


def examples(n, inputs, classes, dtype="float32", seed=0):
    """Draw features, and labels of which one per row is 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, inputs)).astype(dtype)
    return x, np.eye(classes, dtype=dtype)[rng.integers(0, classes, n)]


def differences(function, x, step=1e-6):
    """Return the central differences of a number that depends on an array."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + step
        above = function()
        x[i] = kept - step
        gradient[i] = (above - function()) / (2 * step)
        x[i] = kept
    return gradient


def assert_steady(use):
    """See that a call takes nothing after the first ones: no fault, byte or spill, and no arena grows."""
    for _ in range(10):
        use()
    workspaces = ndarena.get_all_workspaces_for_current_thread()
    assert workspaces
    sizes = [ws.current_size for ws in workspaces]
    spilled = 0

    def turn():
        nonlocal spilled
        use()
        spilled += sum(ws.spilled_size for ws in workspaces)

    gc.collect()
    gc.disable()
    try:
        taken = measure(turn, warm=150, turns=150)
        assert taken == (0, 0), f"page faults and bytes: {taken}"
    finally:
        gc.enable()
    assert spilled == 0
    assert [ws.current_size for ws in workspaces] == sizes
    assert all(ws.escaped_count == ws.retired_size == 0 for ws in workspaces)
