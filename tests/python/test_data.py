"""DataSet and its iterators."""

import os
from itertools import chain

import numpy as np
import pytest

import ndarena
from ndarena import StaleArrayError, Workspace, WorkspaceArray
from ndarena.data import (
    ArrayDataSetIterator,
    AsyncShieldDataSetIterator,
    DataSet,
    DataSetIterator,
    ListDataSetIterator,
    MultiDataSet,
)

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10.0).reshape(10, 1)


def full():
    return DataSet(X.copy(), Y.copy(), Y.copy() + 1, Y.copy() + 2, list("abcdefghij"))


def test_it_holds_what_is_given():
    data = DataSet(X, Y)
    assert data.features is X
    assert data.labels is Y
    assert data.features_mask is None
    assert len(data) == data.num_examples() == 10
    assert data.nbytes == X.nbytes + Y.nbytes
    assert repr(data) == "DataSet(features=[10, 2], labels=[10, 1])"
    assert DataSet([[1, 2]]).features.shape == (1, 2)


@pytest.mark.parametrize("part", ["labels", "features_mask", "labels_mask", "metadata"])
def test_all_parts_have_the_same_number_of_examples(part):
    with pytest.raises(ValueError, match=f"10 examples in features, 9 in {part}"):
        DataSet(X, **{part: Y[:9]})


@pytest.mark.parametrize("features", [None, 3.0])
def test_features_are_examples(features):
    with pytest.raises(ValueError, match="features"):
        DataSet(features)


def test_it_moves_in_and_out_of_workspaces():
    with Workspace(id="A") as a:
        attached = DataSet(a.array(X), a.array(Y))
        assert attached.is_attached
        copy = attached.copy()
        assert copy.is_attached
        copy.features[0, 0] = -1.0
        assert attached.features[0, 0] == 0.0
        with Workspace(id="B") as b:
            moved = DataSet(attached.features, attached.labels).migrate()
            assert moved.features.workspace is b
        kept = DataSet(attached.features, attached.labels)
        assert kept.detach() is kept
        assert not kept.is_attached
    assert (kept.features == X).all()
    with pytest.raises(StaleArrayError):
        attached.features.sum()
    plain = DataSet(X, Y)
    assert plain.detach().features is X
    assert isinstance(plain.copy().features, np.ndarray)
    assert plain.copy().features is not X


@pytest.mark.parametrize("n", [7, 0.7])
def test_a_split_is_views_of_both_sides(n):
    data = full()
    train, test = data.split_test_and_train(n)
    assert (len(train), len(test)) == (7, 3)
    assert np.shares_memory(train.features, data.features)
    assert test.features.tolist() == X[7:].tolist()
    assert (test.labels_mask - 2).tolist() == Y[7:].tolist()
    assert test.metadata == ["h", "i", "j"]


@pytest.mark.parametrize("n", [0, 10, -3, 0.0, 1.0, 0.01])
def test_no_side_of_a_split_is_empty(n):
    with pytest.raises(ValueError, match="splits 10 examples"):
        full().split_test_and_train(n)


def test_shuffling_keeps_examples_together():
    data, again = full(), full()
    given = data.features
    data.shuffle(3)
    again.shuffle(3)
    assert data.features.tolist() == again.features.tolist() != X.tolist()
    assert given.tolist() == X.tolist()
    assert sorted(data.labels.ravel()) == Y.ravel().tolist()
    assert (data.features[:, :1] == 2 * data.labels).all()
    assert (data.features_mask == data.labels + 1).all()
    assert data.metadata == ["abcdefghij"[int(i)] for i in data.labels[:, 0]]


def test_batches():
    parts = full().batch_by(4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert np.concatenate([part.features for part in parts]).tolist() == X.tolist()
    with pytest.raises(ValueError, match="batches of 0"):
        full().batch_by(0)


def test_it_is_written_and_read(tmp_path):
    path = tmp_path / "data"
    full().save(path)
    again = DataSet.load(path)
    for name in ("features", "labels", "features_mask", "labels_mask"):
        assert getattr(again, name).tolist() == getattr(full(), name).tolist()
    with Workspace(id="A") as ws:
        DataSet(ws.array(X)).save(path)
    again = DataSet.load(path)
    assert again.labels is None
    assert (again.features == X).all()


def test_a_file_descriptor_is_no_name():
    """The file that has the number would be written over and closed."""
    reading, writing = os.pipe()
    with pytest.raises(TypeError, match="PathLike"):
        full().save(writing)
    os.write(writing, b"open")
    assert os.read(reading, 9) == b"open"
    os.close(reading)
    os.close(writing)


def test_arrays_in_order():
    source = ArrayDataSetIterator(X, Y, batch_size=4)
    assert (len(source), source.batch_size) == (3, 4)
    for _ in range(2):
        batches = list(source)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert np.shares_memory(batches[0].features, X)
        assert np.concatenate([batch.labels for batch in batches]).tolist() == Y.tolist()
    assert next(iter(ArrayDataSetIterator(X, batch_size=4))).labels is None


def test_arrays_shuffled():
    first, second = (ArrayDataSetIterator(X, Y, batch_size=4, shuffle=True, seed=1) for _ in range(2))
    epochs = [[batch.labels.ravel().tolist() for batch in source] for source in (first, first, second)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(chain(*epochs[0])) == sorted(chain(*epochs[1])) == Y.ravel().tolist()
    for batch in first:
        assert (batch.features[:, :1] == 2 * batch.labels).all()


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "4"])
def test_a_batch_size_is_a_whole_number(size):
    with pytest.raises(ValueError, match="batch_size"):
        ArrayDataSetIterator(X, Y, batch_size=size)


def test_there_must_be_examples():
    with pytest.raises(ValueError, match="no examples"):
        ArrayDataSetIterator(X[:0], Y[:0], batch_size=2)
    with pytest.raises(ValueError, match="10 examples in features, 3 in labels"):
        ArrayDataSetIterator(X, Y[:3], batch_size=2)


def test_a_pre_processor_works_on_every_batch():
    class Doubler:
        def pre_process(self, data):
            data.features = data.features * 2

    source = ArrayDataSetIterator(X, Y, batch_size=5)
    source.pre_processor = Doubler()
    assert np.concatenate([batch.features for batch in source]).tolist() == (2 * X).tolist()


def test_lists_and_shields():
    parts = full().batch_by(4)
    source = ListDataSetIterator(parts)
    assert list(source) == parts == list(source)
    assert (len(source), source.batch_size, source.async_supported) == (3, 4, False)
    shield = AsyncShieldDataSetIterator(source)
    assert list(shield) == parts == list(shield)
    assert (shield.batch_size, shield.async_supported, shield.reset_supported) == (4, False, True)
    assert ListDataSetIterator([]).batch_size is None
    with pytest.raises(NotImplementedError, match="batches"):
        list(DataSetIterator())


def test_batches_of_a_workspace_die_with_its_scope():
    with Workspace(id="A") as ws:
        batch = next(iter(ArrayDataSetIterator(ws.array(X), ws.array(Y), batch_size=4)))
        assert isinstance(batch.features, WorkspaceArray)
        assert batch.features.tolist() == X[:4].tolist()
    with pytest.raises(StaleArrayError):
        batch.features.sum()
    assert ndarena.get_current_workspace() is None


@pytest.mark.parametrize("wanted", [True, float("nan"), 1.5, "3", None])
def test_a_split_that_is_no_number_is_refused(wanted):
    with pytest.raises(ValueError, match="n_or_fraction must be"):
        full().split_test_and_train(wanted)


def test_a_split_may_be_a_number_of_numpy():
    data = full()
    for wanted in (np.float32(0.5), np.int64(len(data) // 2)):
        assert len(data.split_test_and_train(wanted).train) == len(data) // 2


def test_only_what_can_be_read_again_is_saved(tmp_path):
    path = tmp_path / "data.npz"
    with pytest.raises(TypeError, match="features of dtype object cannot be saved"):
        DataSet(np.array([[None], [1]])).save(path)
    assert not path.exists()
    MultiDataSet([X], [Y]).save(path)
    with pytest.raises(ValueError, match=r"no file of a DataSet: it holds features\[0\], labels\[0\]"):
        DataSet.load(path)
