"""Files of the IDX format, whole and damaged, and the sets that come with scikit-learn."""

import gzip
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from ndarena.data import DigitsDataSetIterator, IrisDataSetIterator, MnistDataSetIterator
from ndarena.data.idx import read_idx

FASHION = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))  # Debian's package
KINDS = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx_bytes(array, kind="u1"):
    head = struct.pack(f">HBB{array.ndim}I", 0, KINDS[kind], array.ndim, *array.shape)
    return head + array.astype(kind).tobytes()


def images(count=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 4, 5)), np.arange(count) % 10


def written(folder, part="train", *, packed=False, dot="-", count=7):
    pixels, classes = images(count, seed=len(part))
    for kind, array in ((f"images{dot}idx3", pixels), (f"labels{dot}idx1", classes)):
        data = idx_bytes(array)
        name = f"{part}-{kind}-ubyte{'.gz' * packed}"
        (folder / name).write_bytes(gzip.compress(data) if packed else data)
    return pixels, classes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 4), (0, 3)])
def test_arrays_of_every_type_and_shape_are_read(tmp_path, kind, shape):
    values = np.random.default_rng(0).integers(0, 100, shape)
    (tmp_path / "a").write_bytes(idx_bytes(values, kind))
    found = read_idx(tmp_path / "a")
    assert found.dtype == np.dtype(kind).newbyteorder("=")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("train", [True, False])
def test_batches_of_mnist_files(tmp_path, packed, dot, train):
    written(tmp_path, "t10k" if train else "train", count=3)
    pixels, classes = written(tmp_path, "train" if train else "t10k", packed=packed, dot=dot)
    iterator = MnistDataSetIterator(tmp_path, 3, train=train)
    assert (len(iterator), iterator.batch_size, iterator.num_classes) == (3, 3, 10)
    for _ in range(2):
        batches = list(iterator)
        assert [len(data) for data in batches] == [3, 3, 1]
        features = np.concatenate([data.features for data in batches])
        labels = np.concatenate([data.labels for data in batches])
        assert features.dtype == labels.dtype == np.float32
        np.testing.assert_allclose(features, pixels.reshape(7, 20) / 255, rtol=1e-6)
        np.testing.assert_array_equal(labels, np.eye(10)[classes])


def test_some_examples_in_an_order_of_their_own(tmp_path):
    _, classes = written(tmp_path)
    iterator = MnistDataSetIterator(str(tmp_path), 2, num_examples=5, shuffle=True, seed=3)
    epochs = [np.concatenate([d.labels for d in iterator]).argmax(axis=1).tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == classes[:5].tolist()
    with pytest.raises(ValueError, match="num_examples=8, but there are 7"):
        MnistDataSetIterator(tmp_path, num_examples=8)


HEAD = idx_bytes(np.zeros((7, 4, 5)))
DAMAGE = {
    "empty": (b"", "ends after 0 of the 4 bytes of the head"),
    "half a head": (HEAD[:3], "ends after 3 of the 4 bytes of the head"),
    "no shape": (HEAD[:9], "ends after 5 of the 12 bytes of the shape"),
    "cut off": (HEAD[:-1], r"ends after 139 of the 140 bytes of the elements of shape \[7, 4, 5\]"),
    "too long": (HEAD + b"\0", r"more than the elements of shape \[7, 4, 5\]"),
    "another file": (b"PNG\r" + HEAD, "begins with 504e 47 0d"),
    "unknown type": (b"\0\0\x0a\x01" + HEAD[4:], "begins with 0000 0a 01"),
    "no rank": (b"\0\0\x08\0" + HEAD[4:], "begins with 0000 08 00"),
    "enormous": (b"\0\0\x0e\x03" + b"\xff" * 12, "ends after 0 of the"),
}


@pytest.mark.parametrize(("content", "words"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_refused_with_its_name(tmp_path, content, words, packed):
    written(tmp_path)
    name = f"train-images-idx3-ubyte{'.gz' * packed}"
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=f"{name} is no whole IDX file: .*{words}"):
        MnistDataSetIterator(tmp_path)


@pytest.mark.parametrize("place", [0, 5, 15, -1, -6])
def test_a_damaged_packed_file_is_refused_with_its_name(tmp_path, place):
    written(tmp_path, packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    if place == 5:
        del content[len(content) // 2 :]
    else:
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels-idx1-ubyte\.gz is no whole IDX file"):
        MnistDataSetIterator(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz, train-images\.idx3-ubyte"):
        MnistDataSetIterator(tmp_path)
    written(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.arange(6)))
    with pytest.raises(ValueError, match="7 images and 6 labels in train-"):
        MnistDataSetIterator(tmp_path)
    labels.write_bytes(idx_bytes(np.arange(7) + 4))
    with pytest.raises(ValueError, match=r"a label 10 in train-\.\.\., where classes go from 0 to 9"):
        MnistDataSetIterator(tmp_path)
    labels.write_bytes(idx_bytes(np.arange(7), ">i4"))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte has int32 of rank 1, not uint8 of rank 1"):
        MnistDataSetIterator(tmp_path)
    labels.write_bytes(idx_bytes(np.zeros((7, 1))))
    with pytest.raises(ValueError, match="uint8 of rank 2, not uint8 of rank 1"):
        MnistDataSetIterator(tmp_path)
    written(tmp_path, count=0)
    with pytest.raises(ValueError, match="no examples"):
        MnistDataSetIterator(tmp_path)


@pytest.mark.parametrize(("train", "count"), [(True, 60_000), (False, 10_000)])
def test_fashion_mnist_where_it_is_installed_and_its_like_elsewhere(tmp_path, train, count):
    folder = FASHION
    if not FASHION.is_dir():
        folder, count = tmp_path, 50
        written(tmp_path, "train" if train else "t10k", packed=True, count=count)
    iterator = MnistDataSetIterator(folder, 1000, train=train)
    assert sum(len(data) for data in iterator) == count
    labels = np.concatenate([data.labels for data in iterator])
    assert labels.sum(axis=0).tolist() == [count // 10] * 10


@pytest.mark.parametrize(
    ("make", "shape", "classes", "largest"),
    [(IrisDataSetIterator, (150, 4), 3, 7.9), (DigitsDataSetIterator, (1797, 64), 10, 1.0)],
)
def test_sets_that_come_with_scikit_learn(make, shape, classes, largest):
    pytest.importorskip("sklearn")
    batches = list(make(50, shuffle=True, seed=0))
    features = np.concatenate([data.features for data in batches])
    labels = np.concatenate([data.labels for data in batches])
    assert features.shape == shape
    assert labels.shape == (len(features), classes)
    assert features.dtype == labels.dtype == np.float32
    assert (features.min() >= 0, features.max()) == (True, np.float32(largest))
    assert (labels.sum(axis=1) == 1).all()
    assert {len(data) for data in make(50, 100)} == {50}


@pytest.mark.parametrize("make", [IrisDataSetIterator, DigitsDataSetIterator])
def test_without_scikit_learn_the_error_says_what_to_install(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=rf"{make.__name__} reads data .* install ndarena\[demo\]"):
        make()
