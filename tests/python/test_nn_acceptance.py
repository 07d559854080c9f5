"""What people try first with networks, and what hidden corners of them answer."""

import zipfile

import numpy as np
import pytest
from nn_support import examples

import ndarena
from ndarena import nn
from ndarena.data import DataSet, MultiDataSet

INPUT = nn.InputType.feed_forward(4)
IMAGES = nn.InputType.convolutional(5, 5, 1)


def small(**fields):
    conf = nn.MultiLayerConfiguration(
        layers=[nn.DenseLayer(n_out=5), nn.OutputLayer(n_out=3)], input_type=INPUT, seed=1, **fields
    )
    return nn.MultiLayerNetwork(conf)


class Batches:
    """Is iterable, and nothing else."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


# Data.


@pytest.mark.parametrize("kind", [iter, lambda data: (each for each in [data]), Batches])
def test_outputs_of_any_iterable_are_joined(kind):
    net, (x, y) = small(), examples(6, 4, 3)
    data = DataSet(x, y)
    source = iter([data]) if kind is iter else kind(data)
    assert net.output(source).tobytes() == net.output(x).tobytes()


@pytest.mark.parametrize("source", [iter([]), Batches(), (each for each in [])])
def test_an_iterable_that_gives_nothing_is_told(source):
    with pytest.raises(ValueError, match="gave no batch"):
        small().output(source)


@pytest.mark.parametrize("source", ["features", {"x": 1}, iter([np.ones((2, 4))])])
def test_what_does_not_give_data_sets_is_told(source):
    with pytest.raises(TypeError, match="expected a DataSet, not "):
        small().output(source)


def test_a_chain_takes_a_multi_data_set_with_one_of_each():
    x, y = examples(6, 4, 3)
    one, other = small(), small()
    data, multi = DataSet(x, y), MultiDataSet([x], [y])
    one.fit(data)
    other.fit(multi)
    one.fit([data])
    other.fit([multi])
    assert one.params().tobytes() == other.params().tobytes()
    assert one.score(data) == other.score(multi)
    assert one.evaluate([data]).stats() == other.evaluate([multi]).stats()
    assert other.output([multi][:0] or iter([multi])).tobytes() == one.output(x).tobytes()


def test_a_chain_refuses_a_multi_data_set_with_several():
    x, y = examples(6, 4, 3)
    with pytest.raises(ValueError, match="takes one array of features and one of labels, not 2 and 1"):
        small().fit(MultiDataSet([x, x], [y]))
    with pytest.raises(ValueError, match="takes one array of features and one of labels, not 1 and 2"):
        small().score(MultiDataSet([x], [y, y]))


# Modes and errors.


def test_no_mode_means_none():
    net = small()
    net.training_workspace_mode = net.inference_workspace_mode = None
    assert net.training_workspace_mode is net.inference_workspace_mode is nn.WorkspaceMode.NONE
    with net.workspace_mode(training="ENABLED", inference=None):
        assert net.training_workspace_mode is nn.WorkspaceMode.ENABLED


class Greedy(nn.DenseLayer):
    """Asks for more memory than there is."""

    def activate(self, x, *, training=False, workspace_mgr, mask=None):
        raise MemoryError("no more")


@pytest.mark.parametrize("way", ["fit", "output", "feed_forward", "score", "evaluate"])
def test_whoever_runs_out_of_memory_is_told_of_the_workspaces(way):
    conf = nn.MultiLayerConfiguration(layers=[Greedy(n_out=5), nn.OutputLayer(n_out=3)], input_type=INPUT)
    net, (x, y) = nn.MultiLayerNetwork(conf), examples(6, 4, 3)
    given = (
        x if way in {"output", "feed_forward"} else [DataSet(x, y)] if way == "evaluate" else DataSet(x, y)
    )
    with pytest.raises(MemoryError) as caught:
        getattr(net, way)(given)
    (note,) = caught.value.__notes__
    assert note.startswith("workspaces of this thread:")


# Configurations.


def test_a_layer_in_which_shapes_do_not_chain_is_named():
    layers = [
        nn.ConvolutionLayer(kernel_size=(3, 3), n_out=2),
        nn.ConvolutionLayer(kernel_size=(9, 9), n_out=2),
    ]
    with pytest.raises(ndarena.ConfigurationError, match=r"^layer 1 .*: kernel_size=\(9, 9\)") as caught:
        nn.MultiLayerConfiguration(layers=[*layers, nn.OutputLayer(n_out=3)], input_type=IMAGES)
    assert caught.value.field == "kernel_size"


@pytest.mark.parametrize(
    ("thing", "inputs", "field"),
    [
        (nn.ConvolutionLayer(kernel_size=(9, 9), n_out=2), ["images"], "kernel_size"),
        (nn.ElementWiseVertex("add"), ["rows", "others"], "inputs"),
        (nn.SubsetVertex(2, 5), ["rows"], "to"),
        (nn.MergeVertex(), ["rows", "images"], "inputs"),
    ],
)
def test_a_vertex_in_which_shapes_do_not_chain_is_named(thing, inputs, field):
    kinds = {"rows": INPUT, "others": nn.InputType.feed_forward(3), "images": IMAGES}
    with pytest.raises(
        ndarena.ConfigurationError, match=rf"^vertex 'here' \({type(thing).__name__}\): "
    ) as caught:
        nn.ComputationGraphConfiguration(
            inputs=inputs,
            input_types=[kinds[name] for name in inputs],
            vertices={"here": (thing, *inputs), "out": (nn.OutputLayer(n_out=2), "here")},
            outputs=["out"],
        )
    assert caught.value.field == field


@pytest.mark.parametrize("kind", [nn.OutputLayer, nn.RnnOutputLayer])
@pytest.mark.parametrize("loss", [nn.LossMCXENT, nn.LossMSE])
def test_a_loss_that_weighs_other_columns_is_told_at_once(kind, loss):
    given = INPUT if kind is nn.OutputLayer else nn.InputType.recurrent(4)
    with pytest.raises(ndarena.ConfigurationError, match=r"^layer 0 .*: loss=.*has 2 weights for 3 columns"):
        nn.MultiLayerConfiguration(layers=[kind(n_out=3, loss=loss(weights=[1, 2]))], input_type=given)
    nn.MultiLayerConfiguration(layers=[kind(n_out=3, loss=loss(weights=[1, 2, 3]))], input_type=given)


def test_images_of_another_size_are_told_with_the_layer_that_cannot_take_them():
    conf = nn.MultiLayerConfiguration(
        layers=[nn.ConvolutionLayer(kernel_size=(3, 3), n_out=2), nn.OutputLayer(n_out=3)], input_type=IMAGES
    )
    with pytest.raises(ValueError, match="CnnToFeedForward") as caught:
        nn.MultiLayerNetwork(conf).output(np.ones((2, 1, 6, 6)))
    (note,) = caught.value.__notes__
    assert note == "what comes to layer1 has shape [2, 2, 4, 4], in front of its preprocessor"


# Files.


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "net.zip"
    small().save(path)
    return path


def test_whatever_byte_of_a_file_is_damaged_it_is_told_or_does_no_harm(saved, tmp_path):
    whole, damaged = saved.read_bytes(), tmp_path / "damaged.zip"
    told = 0
    for place in range(len(whole)):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            net = nn.load_model(damaged)
        except ndarena.ConfigurationError as error:
            assert str(damaged) in str(error) or error.field
            told += 1
        else:
            assert isinstance(net, nn.MultiLayerNetwork)
    assert told > len(whole) // 2


def test_what_follows_the_parameters_is_told(saved, tmp_path):
    other = tmp_path / "longer.zip"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name) + (b"junk" if name.endswith("coefficients.bin") else b""))
    with pytest.raises(ndarena.ConfigurationError, match="something follows the array"):
        nn.load_model(other)


@pytest.mark.parametrize("seed", ["1e400", '"many"', "[1]"])
def test_a_seed_that_is_none_is_told(seed):
    text = small().configuration.to_json().replace('"seed": 1,', f'"seed": {seed},')
    assert seed in text
    with pytest.raises(ndarena.ConfigurationError, match="seed="):
        nn.MultiLayerConfiguration.from_json(text)
