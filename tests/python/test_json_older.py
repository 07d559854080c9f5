"""JSON of DL4J that no recording has: after training, with arrays, and that of 1.0.0-beta3 and older."""

import copy
import json

import pytest
from nn_support import recorded

from ndarena import ConfigurationError, nn

CHAIN = {case["id"]: case["dl4j_json"] for case in recorded("networks") if "dl4j_json" in case}
GRAPH = {case["id"]: case["dl4j_json"] for case in recorded("graphs") if "dl4j_json" in case}
TREES = [
    (nn.MultiLayerConfiguration, nn.MultiLayerNetwork, CHAIN["mlp-classifier-adam"]),
    (nn.ComputationGraphConfiguration, nn.ComputationGraph, GRAPH["merge-adam"]),
]
of_both = pytest.mark.parametrize(("configuration", "network", "tree"), TREES, ids=["chain", "graph"])


@of_both
def test_counts_that_were_read_are_written_again(configuration, network, tree, tmp_path):
    trained = {**tree, "iterationCount": 7, "epochCount": 3}
    conf = configuration.from_json(json.dumps(trained))
    assert json.loads(conf.to_json()) == trained
    net = network(conf)
    net.iteration_count = 9
    net.save(tmp_path / "net.zip")
    loaded = network.load(tmp_path / "net.zip")
    assert (loaded.iteration_count, loaded.epoch_count) == (9, 0)
    changed = json.loads(loaded.configuration.to_json())
    assert (changed["iterationCount"], changed["epochCount"]) == (9, 0)


def of_beta3(tree, **numbers):
    """Return a tree whose layers have numbers in the place of lists, and weights by name."""
    tree = copy.deepcopy(tree)
    for conf in tree["confs"]:
        layer = conf["layer"]
        for key in ("regularization", "regularizationBias", "weightInitFn", "gainInit"):
            del layer[key]
        layer.update({"l1": 0.0, "l2": 0.0, "l1Bias": 0.0, "l2Bias": 0.0, "weightInit": "RELU", **numbers})
    return tree


def test_numbers_of_older_releases_act_as_dl4j_lets_them():
    """What was called L2 has been a weight decay without the learning rate since."""
    numbers = {"l1": 0.5, "l2": 0.25, "l1Bias": "NaN", "l2Bias": 0.125}
    tree = of_beta3(CHAIN["mlp-classifier-adam"], **numbers)
    conf = nn.MultiLayerConfiguration.from_json(json.dumps(tree))
    assert json.loads(conf.to_json()) == tree
    for layer in conf.layers:
        assert (layer.l1, layer.weight_decay, layer.weight_decay_bias) == (0.5, 0.25, 0.125)
        assert layer.l2 == layer.l2_bias == layer.l1_bias == 0.0
        assert layer.weight_decay_apply_lr is False
        assert layer.weight_init is nn.WeightInit.RELU


def test_weights_of_older_releases_may_be_drawn_from_a_distribution():
    name = "org.deeplearning4j.nn.conf.distribution.NormalDistribution"
    dist = {"type": name, "mean": 0.5, "std": 2.0}
    tree = of_beta3(CHAIN["mlp-classifier-adam"], weightInit="DISTRIBUTION", dist=dist)
    conf = nn.MultiLayerConfiguration.from_json(json.dumps(tree))
    assert conf.layers[0].weight_init == nn.WeightInitDistribution(nn.NormalDistribution(0.5, 2.0))


def test_layers_that_are_named_in_the_way_of_old_are_refused():
    tree = copy.deepcopy(CHAIN["mlp-classifier-adam"])
    tree["confs"][0]["layer"] = {"dense": {"nin": 4, "nout": 6}}
    with pytest.raises(ConfigurationError, match=r"there is none in \['dense'\]: DL4J 1.0.0-beta2 and older"):
        nn.MultiLayerConfiguration.from_json(json.dumps(tree))


@pytest.mark.parametrize("kind", [nn.LossMCXENT, nn.LossBinaryXENT, nn.LossMSE, nn.LossMAPE])
def test_weights_of_losses_are_arrays_and_have_been_lists(kind):
    layers = [nn.OutputLayer(n_in=2, n_out=3, loss=kind(weights=(1.0, 2.0, 0.5)), activation="softmax")]
    tree = json.loads(nn.MultiLayerConfiguration(layers=layers, seed=1).to_json())
    loss = tree["confs"][0]["layer"]["lossFn"]
    assert loss["weights"] == {"dataType": "DOUBLE", "shape": [3], "data": [1.0, 2.0, 0.5]}
    for weights in (
        loss["weights"],
        {**loss["weights"], "dataType": "FLOAT", "shape": [1, 3]},
        [1.0, 2.0, 0.5],
    ):
        loss["weights"] = weights
        conf = nn.MultiLayerConfiguration.from_json(json.dumps(tree))
        assert conf.layers[0].loss == kind(weights=(1.0, 2.0, 0.5))
        assert json.loads(conf.to_json()) == tree


def test_a_graph_of_an_older_release_is_told_so():
    tree = copy.deepcopy(GRAPH["merge-adam"])
    tree["vertices"] = {"0": {"LayerVertex": {"layerConf": {}}}}
    with pytest.raises(ConfigurationError, match=r"none in \['LayerVertex'\]: DL4J 1\.0\.0-beta2 and older"):
        nn.ComputationGraphConfiguration.from_json(json.dumps(tree))
