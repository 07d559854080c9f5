"""The numbers of DL4J: activations, losses, updaters, layers and whole networks compute what was recorded."""

import numpy as np
import pytest
from nn_support import case_id, described, layer, recorded, updater

import ndarena
from ndarena import LayerWorkspaceMgr, nn
from ndarena.data import AsyncShieldDataSetIterator, DataSet, ListDataSetIterator

EXACT = {"rtol": 1e-9, "atol": 1e-9}
SINGLE = {"rtol": 1e-5, "atol": 1e-5}
MGR = LayerWorkspaceMgr.no_workspaces()


def close(got, want, tolerance=EXACT):
    got = np.asarray(got)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, **tolerance)


@pytest.mark.parametrize("case", recorded("activations"), ids=case_id)
def test_activations(case):
    a = case["a"]
    function = nn.Activation(case["activation"]).get_activation_function()
    assert type(function).__name__ == case["class"]
    close(function(a["x"]), a["forward"])
    buffer = a["x"].copy()
    assert function.forward(buffer, out=buffer) is buffer
    close(buffer, a["forward"])
    close(function.backprop(a["x"], a["epsilon"]), a["gradient"])
    epsilon = a["epsilon"].copy()
    assert function.backprop(a["x"], epsilon, out=epsilon) is epsilon
    close(epsilon, a["gradient"])
    if "forward_f32" in a:
        x, epsilon = a["x"].astype("f4"), a["epsilon"].astype("f4")
        assert function(x).dtype == function.backprop(x, epsilon).dtype == np.float32
        close(function(x), a["forward_f32"], SINGLE)
        close(function.backprop(x, epsilon), a["gradient_f32"], SINGLE)


@pytest.mark.parametrize("case", recorded("losses"), ids=case_id)
def test_losses(case):
    a = case["a"]
    plain = nn.LossFunction(case["loss"]).get_loss_function()
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in (case["options"] or {}).items()}
    loss = type(plain)(**options)
    assert type(loss).__name__ == case["class"]
    activation = nn.Activation(case["activation"]).get_activation_function()
    for tag, scores in case["scores"].items():
        arguments = (a["labels"], a["pre_output"], activation, a.get(tag))
        if "error" in scores:
            with pytest.raises(ValueError, match="mask"):
                loss.compute_score(*arguments)
            continue
        close(loss.compute_score(*arguments), scores["average"])
        close(loss.compute_score(*arguments, average=False), scores["sum"])
        close(loss.compute_score_array(*arguments), a[f"per_example_{tag}"].ravel())
        close(loss.compute_gradient(*arguments), a[f"gradient_{tag}"])


@pytest.mark.parametrize("case", recorded("updaters"), ids=case_id)
def test_updaters(case):
    a = case["a"]
    rule = updater(case["configuration"])
    n = a["gradients"].shape[1]
    assert rule.state_size(n) == case["state_size"]
    state = rule.init_state(n)
    for i, gradient in enumerate(a["gradients"]):
        given = gradient.copy()
        close(rule.apply(given, state, iteration=i, epoch=i // 4), a["updates"][i])
        assert given.tobytes() == gradient.tobytes()
        if "states" in a:
            close(state, a["states"][i])
    first = a["gradients"][0].copy()
    assert rule.apply(first, rule.init_state(n), iteration=0, epoch=0, out=first) is first
    close(first, a["updates"][0])


@pytest.mark.parametrize("case", recorded("gradient_pipeline"), ids=case_id)
def test_gradient_pipeline(case):
    a = case["a"]
    net = nn.MultiLayerNetwork(described(case))
    net.set_params(a["params"])
    close(net.calc_regularization_score(), case["regularization_score"])
    for i, gradient in enumerate(a["gradients"]):
        step = net.updater.update(gradient.copy(), iteration=i, epoch=0, batch_size=case["batch_size"])
        close(step, a["updates"][i])
        net.set_params(a["params_after"][i])
    if "final_updater_state" in a:
        close(net.updater_state(), a["final_updater_state"])


@pytest.mark.parametrize("case", recorded("layers"), ids=case_id)
def test_layers(case):
    a = case["a"]
    twin = layer(case["configuration"]).instantiate(params=a["params"].ravel().copy())
    assert twin.num_params() == case["parameters"]
    check_layout(twin.param_layout, case["parameter_layout"])
    mask = a.get("label_mask")
    close(twin.activate(a["input"], workspace_mgr=MGR, mask=mask), a["output_inference"])
    if "output_training" not in a:
        return
    close(twin.activate(a["input"], training=True, workspace_mgr=MGR, mask=mask), a["output_training"])
    if "labels" in a:
        twin.labels = a["labels"]
        close(twin.compute_score(workspace_mgr=MGR), case["score"])
        close(twin.compute_score(0.5, workspace_mgr=MGR), case["score_with_regularization_0.5"])
        close(twin.compute_score_for_examples(workspace_mgr=MGR), a["per_example_score"].ravel())
    close(twin.backprop_gradient(a.get("epsilon"), workspace_mgr=MGR), a["input_epsilon"])
    close(twin.gradient, a["flat_gradient"].ravel())


def check_layout(got, wanted):
    """Compare where parameters lie; a row or column is the same in both orders."""
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert (g["name"], g["offset"], g["length"], list(g["shape"])) == tuple(
            w[k] for k in ("name", "offset", "length", "shape")
        )
        if sum(k > 1 for k in w["shape"]) > 1:
            assert g["order"] == w["order"]


def data_of(case, i):
    names = ("features", "labels", "features_mask", "labels_mask")
    return DataSet(*(case["a"].get(f"{name}_{i}") for name in names))


@pytest.mark.parametrize("mode", ["NONE", "ENABLED"])
@pytest.mark.parametrize("case", recorded("networks"), ids=case_id)
def test_networks(case, mode):
    a = case["a"]
    tolerance = SINGLE if case["configuration"].get("data_type") == "FLOAT" else EXACT
    net = nn.MultiLayerNetwork(described(case, training_workspace_mode=mode, inference_workspace_mode=mode))
    check_layout(net.param_layout, case["parameter_layout"])
    net.set_params(a["params_0"])
    data = data_of(case, 0)
    close(net.output(a["test_features"]), a["output_before"], tolerance)
    close(net.score(data), case["score_before"], tolerance)
    close(net.score(data, training=True), case["score_before_training"], tolerance)
    close(net.score_examples(data), a["score_examples_before"].ravel(), tolerance)
    close(
        net.score_examples(data, add_regularization=True),
        a["score_examples_before_with_regularization"].ravel(),
        tolerance,
    )
    for i, activation in enumerate(net.feed_forward(a["features_0"])):
        close(activation, a[f"activation_{i}"], tolerance)
    score, gradient = net.compute_gradient_and_score(data)
    close(score, case["gradient_score"], tolerance)
    close(gradient, a["flat_gradient"], tolerance)
    for k in range(case["fits"]):
        net.fit(data_of(case, k % case["data_sets"]))
        close(net.params(), a[f"params_{k + 1}"], tolerance)
        close(net.score(), case["fit_scores"][k], tolerance)
        assert net.iteration_count == case["iteration_count_after_fit"][k]
    if "updater_state" in a:
        close(net.updater_state(), a["updater_state"], tolerance)
    close(net.score(data), case["score_after"], tolerance)
    close(net.output(a["test_features"]), a["output_after"], tolerance)


class Recorder(nn.TrainingListener):
    """Writes down every callback with what is open and current."""

    def __init__(self):
        self.seen = []

    def note(self, event, **facts):
        workspaces = ndarena.get_all_workspaces_for_current_thread()
        opened = sorted(ws.id for ws in workspaces if ws.is_scope_active)
        assert ndarena.get_current_workspace() is None
        self.seen.append({"event": event, "open_workspaces": opened, **facts})

    def on_epoch_start(self, model):
        self.note("on_epoch_start", epoch=model.epoch_count)

    def on_epoch_end(self, model):
        self.note("on_epoch_end", epoch=model.epoch_count)

    def on_forward_pass(self, model, activations):
        where = [a.workspace.id if hasattr(a, "workspace") else "detached" for a in activations]
        shapes = [list(a.shape) for a in activations]
        described = [{"shape": s, "workspace": w} for s, w in zip(shapes, where, strict=True)]
        self.note("on_forward_pass", activations=described)

    def on_backward_pass(self, model):
        self.note("on_backward_pass")

    def on_gradient_calculation(self, model):
        self.note("on_gradient_calculation", gradient="detached")

    def iteration_done(self, model, iteration, epoch):
        counts = {"iteration": iteration, "epoch": epoch, "iteration_count_of_model": model.iteration_count}
        self.note("iteration_done", **counts)


@pytest.mark.parametrize("case", recorded("events"), ids=case_id)
def test_events(case):
    """Callbacks come in the ancestor's order, with the same workspaces open, and all of them scoped out."""
    mode = case["workspace_mode"]
    net = nn.MultiLayerNetwork(
        described(
            case,
            updater=updater(case["updater"]),
            training_workspace_mode=mode,
            inference_workspace_mode=mode,
        )
    )
    listener = Recorder()
    net.set_listeners(listener)
    rng = np.random.default_rng(0)
    x = rng.normal(size=case["features_shape"])
    y = np.eye(case["labels_shape"][1])[rng.integers(0, case["labels_shape"][1], len(x))]
    source = ListDataSetIterator([DataSet(x, y)] * case["batches_per_epoch"])
    net.fit(AsyncShieldDataSetIterator(source), epochs=case["epochs"])
    for got, want in zip(listener.seen, case["events"], strict=True):
        assert got == {key: want[key] for key in got}
    found = {ws.id: ws for ws in ndarena.get_all_workspaces_for_current_thread()}
    wanted = {w["id"]: w for w in case["workspaces_after_fit"]}
    assert found.keys() == wanted.keys()
    for name, ws in found.items():
        assert (ws.cycles_count, ws.generation_id) == (
            wanted[name]["cycles_count"],
            wanted[name]["generation_id"],
        )
    for description in case.get("workspace_configurations") or []:
        conf = found[description.pop("id")].configuration
        assert {k: getattr(getattr(conf, k), "name", getattr(conf, k)) for k in description} == description
