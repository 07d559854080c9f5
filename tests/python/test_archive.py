"""DL4J's files: recorded ones come back to the byte, damaged ones are refused, ours are whole or absent."""

import json
import struct
import zipfile

import numpy as np
import pytest
from nn_support import RECORDINGS, chain, examples

from ndarena import ConfigurationError, nn
from ndarena.binary import BinaryReader, array_bytes, text_bytes
from ndarena.data import DataSet, Normalizer, NormalizerStandardize

MODEL = RECORDINGS / "models" / "mln-cnn.zip"
GRAPH = RECORDINGS / "models" / "cg-images.zip"
NORMALIZED = RECORDINGS / "models" / "mln-mlp-regression-l2.zip"
X, Y = examples(6, 4, 3)


def content(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def trained(**fields):
    net = chain(4, 5, 3, **fields)
    for _ in range(3):
        net.fit(DataSet(X, Y))
    return net


def test_a_recorded_network_is_saved_as_it_was(tmp_path):
    net = nn.MultiLayerNetwork.load(MODEL)
    assert (net.iteration_count, net.epoch_count) == (3, 0)
    net.save(tmp_path / "model.zip")
    before, after = content(MODEL), content(tmp_path / "model.zip")
    assert list(after) == list(before)
    for name in before:
        if name.endswith(".bin"):
            assert after[name] == before[name]
    assert json.loads(after["configuration.json"]) == json.loads(before["configuration.json"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_goes_on_where_it_was(dtype, tmp_path):
    net = trained(dtype=dtype)
    path = tmp_path / "model.zip"
    net.epoch_count = 2
    net.save(path)
    again = nn.MultiLayerNetwork.load(path)
    assert (again.iteration_count, again.epoch_count, again.dtype) == (3, 2, np.dtype(dtype))
    for both in (net, again):
        both.fit(DataSet(X, Y))
    np.testing.assert_array_equal(again.params(), net.params())
    np.testing.assert_array_equal(again.updater_state(), net.updater_state())
    np.testing.assert_array_equal(again.output(X), net.output(X))


def test_the_state_of_updaters_may_stay_behind(tmp_path):
    net, path = trained(), tmp_path / "model.zip"
    net.save(path)
    fresh = nn.MultiLayerNetwork.load(path, load_updater=False)
    assert not fresh.updater_state().any()
    net.save(path, save_updater=False)
    assert list(content(path)) == ["configuration.json", "coefficients.bin"]
    assert not nn.MultiLayerNetwork.load(path).updater_state().any()
    plain = trained(updater=nn.Sgd(0.1))
    plain.save(str(path))
    assert list(content(path)) == ["configuration.json", "coefficients.bin"]


def test_a_normaliser_lies_beside_the_network(tmp_path):
    path = tmp_path / "model.zip"
    trained().save(path)
    assert nn.load_normalizer(path) is None
    fitted = NormalizerStandardize().fit(DataSet(X))
    trained().save(path, normalizer=fitted)
    np.testing.assert_array_equal(nn.load_normalizer(path).mean, fitted.mean)
    recorded = nn.load_normalizer(NORMALIZED)
    trained().save(path, normalizer=recorded)
    assert content(path)["normalizer.bin"] == content(NORMALIZED)["normalizer.bin"]
    damaged = rewritten(path, normalizer__bin=b"\0\3abc")
    with pytest.raises(ConfigurationError, match=r"normalizer\.bin is damaged"):
        nn.load_normalizer(damaged)


def test_the_kind_of_a_network_is_told_by_its_file(tmp_path):
    net = nn.load_model(MODEL)
    assert type(net) is nn.MultiLayerNetwork
    assert net.updater_state().any()
    assert not nn.load_model(MODEL, load_updater=False).updater_state().any()
    graph = nn.load_model(GRAPH)
    assert type(graph) is nn.ComputationGraph
    graph.save(tmp_path / "graph.zip")
    assert content(tmp_path / "graph.zip") == {
        **content(GRAPH),
        "configuration.json": content(tmp_path / "graph.zip")["configuration.json"],
    }
    with pytest.raises(ConfigurationError, match="this is a ComputationGraph"):
        nn.MultiLayerNetwork.load(GRAPH)
    with pytest.raises(ConfigurationError, match="this is a MultiLayerNetwork"):
        nn.ComputationGraph.load(MODEL)
    for text, words in ((b"{", "configuration.json is damaged"), (b"{}", "describes no network")):
        with pytest.raises(ConfigurationError, match=words):
            nn.load_model(rewritten(tmp_path / "model.zip", configuration__json=text))


def test_equal_networks_give_equal_files(tmp_path):
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    trained().save(one)
    trained().save(two)
    assert one.read_bytes() == two.read_bytes()


class Unwritable(nn.ActivationTanH):
    """A function that DL4J has not."""


def test_a_file_stays_as_it_was_if_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "model.zip"
    trained().save(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="Unwritable"):
        trained(activation=Unwritable()).save(path)
    with pytest.raises(TypeError, match="Normalizer, not int"):
        trained().save(path, normalizer=3)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.zip"]
    with pytest.raises(FileNotFoundError):
        trained().save(tmp_path / "nowhere" / "model.zip")


def rewritten(path, **entries):
    """Write the recorded model with other entries; ``None`` leaves one out."""
    whole = {**content(MODEL), **{name.replace("__", "."): value for name, value in entries.items()}}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in whole.items():
            if value is not None:
                archive.writestr(name, value)
    return path


PARAMS = content(MODEL)["coefficients.bin"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"configuration__json": None}, "no configuration.json"),
        ({"coefficients__bin": None}, "no coefficients.bin"),
        ({"configuration__json": b"{"}, "no JSON"),
        ({"configuration__json": b"\xff\xfe"}, "no JSON"),
        ({"configuration__json": b"{}"}, "no network"),
        ({"coefficients__bin": b""}, "coefficients.bin is damaged"),
        ({"coefficients__bin": PARAMS[:-1]}, "coefficients.bin is damaged: .* bytes end"),
        ({"coefficients__bin": PARAMS[:40]}, "coefficients.bin is damaged"),
        ({"coefficients__bin": PARAMS.replace(b"DOUBLE", b"DUOBLE")}, "DUOBLE"),
        ({"coefficients__bin": array_bytes(np.zeros(3))}, "3 numbers, the network 219"),
        ({"updaterState__bin": array_bytes(np.zeros(3))}, "updaterState.bin has 3 numbers, the network 438"),
    ],
)
def test_what_is_damaged_is_named(entries, words, tmp_path):
    path = rewritten(tmp_path / "model.zip", **entries)
    with pytest.raises(ConfigurationError, match=words):
        nn.MultiLayerNetwork.load(path)


def test_no_zip_and_no_file_are_told_apart(tmp_path):
    path = tmp_path / "model.zip"
    for bytes_ in (b"", b"PK", MODEL.read_bytes()[:500]):
        path.write_bytes(bytes_)
        with pytest.raises(ConfigurationError, match="no whole zip"):
            nn.MultiLayerNetwork.load(path)
    flipped = bytearray(MODEL.read_bytes())
    flipped[1000:1100] = bytes(100)
    path.write_bytes(flipped)
    with pytest.raises(ConfigurationError):
        nn.MultiLayerNetwork.load(path)
    with pytest.raises(FileNotFoundError):
        nn.MultiLayerNetwork.load(tmp_path / "nowhere.zip")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        nn.MultiLayerNetwork.load(tmp_path)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1), (2, 3), (2, 3, 4), (0,)])
def test_arrays_come_back(shape, dtype):
    array = (9 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    reader = BinaryReader(array_bytes(array) + text_bytes("end"))
    np.testing.assert_array_equal(reader.array(), array)
    assert not reader.at_end
    assert reader.text() == "end"
    assert reader.at_end
    with pytest.raises(TypeError, match="int32"):
        array_bytes(np.arange(3, dtype=np.int32))


def test_arrays_of_older_files_come_back():
    head = struct.pack(">i", 8) + text_bytes("INT") + struct.pack(">8i", 2, 2, 2, 1, 2, 0, 1, ord("f"))
    tail = struct.pack(">i", 4) + text_bytes("FLOAT") + struct.pack(">4f", 1, 2, 3, 4)
    array = BinaryReader(text_bytes("DIRECT") + head + text_bytes("HEAP") + tail).array()
    assert array.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert array.dtype == np.float32
    with pytest.raises(ValueError, match="no information on a shape"):
        BinaryReader(text_bytes("DIRECT") + head.replace(b"\0\0\0\2", b"\0\0\0\3", 1)).array()


def test_a_network_without_parameters_has_a_marker(tmp_path):
    conf = nn.MultiLayerConfiguration(layers=[nn.ActivationLayer("tanh"), nn.LossLayer(loss="mse")], seed=1)
    net = nn.MultiLayerNetwork(conf)
    net.save(tmp_path / "model.zip")
    assert list(content(tmp_path / "model.zip")) == [
        "configuration.json",
        "coefficients.bin",
        "noParams.marker",
    ]
    assert content(tmp_path / "model.zip")["coefficients.bin"] == b""
    again = nn.load_model(tmp_path / "model.zip")
    assert again.num_params() == 0
    np.testing.assert_array_equal(again.output(X), np.tanh(X))


def test_a_file_written_in_one_go_is_read(tmp_path):
    """Java's streams put sizes behind the entries; entries may be stored, and others may lie beside them."""
    entries = content(MODEL)

    class Stream:
        def __init__(self, file):
            self.write, self.flush = file.write, file.flush

    with (tmp_path / "model.zip").open("wb") as file, zipfile.ZipFile(Stream(file), "w") as archive:
        for i, (name, data) in enumerate({"preprocessor.bin": b"of old", **entries}.items()):
            archive.writestr(name, data, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[i % 2])
    net, again = nn.load_model(MODEL), nn.load_model(tmp_path / "model.zip")
    np.testing.assert_array_equal(again.params(), net.params())
    np.testing.assert_array_equal(again.updater_state(), net.updater_state())


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_are_written_in_the_shape_that_was_read(shape, dtype):
    first, second = (np.arange(i, i + 3, dtype=dtype).reshape(shape) for i in (0, 10))
    head = text_bytes("NORMALIZER") + struct.pack(">i", 1) + text_bytes("MIN_MAX")
    data = head + struct.pack(">?2d", False, -1.0, 1.0) + array_bytes(first) + array_bytes(second)
    normalizer = Normalizer.from_bytes(data)
    assert normalizer.to_bytes() == data
    np.testing.assert_array_equal(normalizer.max, [10, 11, 12])


def test_elements_that_there_are_not_here_are_no_damage(tmp_path):
    params = PARAMS.replace(b"\0\6DOUBLE", b"\0\4HALF").replace(b"\0\5FLOAT", b"\0\4HALF")
    assert params != PARAMS
    with pytest.raises(ConfigurationError, match=r"coefficients\.bin cannot be represented: .*'HALF'"):
        nn.load_model(rewritten(tmp_path / "half.zip", coefficients__bin=params))


@pytest.mark.parametrize("count", ["iteration_count", "epoch_count"])
def test_counts_are_whole_numbers(count, tmp_path):
    net = chain(4, 5, 3)
    setattr(net, count, np.int64(4))
    net.save(tmp_path / "net.zip")
    assert getattr(nn.load_model(tmp_path / "net.zip"), count) == 4
    for wrong in (1.5, -3, "a", True, None):
        with pytest.raises(ConfigurationError, match=f"{count}=.* whole number from 0 on"):
            setattr(net, count, wrong)
    assert getattr(net, count) == 4
