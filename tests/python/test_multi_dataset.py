"""MultiDataSet: the same as DataSet, with several arrays of a kind."""

import pickle

import numpy as np
import pytest

from ndarena import Workspace
from ndarena.data import DataSet, MultiDataSet

A = np.arange(20.0).reshape(10, 2)
B = np.arange(30.0).reshape(10, 1, 3)
Y = np.arange(10.0).reshape(10, 1)
MASK = np.ones((10, 3))


def full():
    return MultiDataSet([A.copy(), B.copy()], [Y.copy()], [None, MASK.copy()], [Y.copy()], list("abcdefghij"))


def arrays(data):
    return [*data.features, *data.labels, data.features_masks[1], data.labels_masks[0]]


def test_it_holds_what_is_given():
    data = MultiDataSet([A, B], (Y,), [None, MASK])
    assert all(x is y for x, y in zip(data.features, [A, B], strict=True))
    assert data.labels[0] is Y
    assert data.labels_masks is None
    assert len(data) == data.num_examples() == 10
    assert data.nbytes == A.nbytes + B.nbytes + Y.nbytes + MASK.nbytes
    shapes = "features[0]=[10, 2], features[1]=[10, 1, 3], labels[0]=[10, 1], features_masks[1]=[10, 3]"
    assert repr(data) == f"MultiDataSet({shapes})"
    assert MultiDataSet([[[1, 2]]]).labels is None


def test_one_of_each_is_a_data_set_too():
    data = MultiDataSet.of(DataSet(A, Y, labels_mask=Y))
    assert (data.features[0] is A, data.labels[0] is Y, data.labels_masks[0] is Y) == (True, True, True)
    assert data.features_masks is None
    assert MultiDataSet.of(DataSet(A)).labels is None


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (lambda: MultiDataSet(A), TypeError, "features must be a sequence"),
        (lambda: MultiDataSet([A], Y), TypeError, "labels must be a sequence"),
        (lambda: MultiDataSet([A], [Y], MASK), TypeError, "features_masks must be a sequence"),
        (lambda: MultiDataSet([]), ValueError, "one at least"),
        (lambda: MultiDataSet([A, None]), ValueError, "arrays of examples"),
        (lambda: MultiDataSet([A], [3.0]), ValueError, "labels"),
        (lambda: MultiDataSet([A, B[:9]]), ValueError, r"10 examples in features\[0\], 9 in features\[1\]"),
        (lambda: MultiDataSet([A], [Y[:9]]), ValueError, r"9 in labels\[0\]"),
        (lambda: MultiDataSet([A, B], [Y], [MASK]), ValueError, "1 features_masks for 2 arrays"),
        (lambda: MultiDataSet([A], labels_masks=[Y]), ValueError, "1 labels_masks for 0 arrays"),
        (lambda: MultiDataSet([A], metadata=[1]), ValueError, "1 in metadata"),
    ],
)
def test_what_does_not_fit_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        given()


def test_it_moves_in_and_out_of_workspaces():
    data = full()
    with Workspace(id="A") as a:
        attached = data.migrate()
        assert attached is data
        assert all(part.workspace is a for part in arrays(data))
        copy = data.copy()
        copy.features[0][0, 0] = -1.0
        assert data.features[0][0, 0] == 0.0
        data.detach()
        assert not data.is_attached
        assert copy.is_attached
        del copy
    for part, wanted in zip(arrays(data), arrays(full()), strict=True):
        np.testing.assert_array_equal(part, wanted)
    assert data.features_masks[0] is None


def test_rows_stay_together():
    data = full()
    train, test = data.split_test_and_train(0.7)
    assert (len(train), len(test), test.metadata) == (7, 3, ["h", "i", "j"])
    assert np.shares_memory(train.features[1], data.features[1])
    assert [len(part) for part in data.batch_by(4)] == [4, 4, 2]
    given = data.features[0]
    data.shuffle(3)
    assert given.tolist() == A.tolist() != data.features[0].tolist()
    assert (data.features[0][:, :1] == 2 * data.labels[0]).all()
    assert (data.features[1][:, 0, :1] == 3 * data.labels[0]).all()
    assert (data.labels_masks[0] == data.labels[0]).all()
    assert data.metadata == ["abcdefghij"[int(i)] for i in data.labels[0][:, 0]]


@pytest.mark.parametrize("data", [full(), MultiDataSet([A, B]), MultiDataSet([A], [Y, A], None, [None, Y])])
def test_it_is_written_and_read(data, tmp_path):
    data.save(tmp_path / "data")
    for again in (MultiDataSet.load(tmp_path / "data"), pickle.loads(pickle.dumps(data))):
        assert repr(again) == repr(data)
        for field in ("features", "labels", "features_masks", "labels_masks"):
            before, after = getattr(data, field) or [], getattr(again, field) or []
            for one, other in zip(before, after, strict=True):
                np.testing.assert_array_equal(one, other)


def test_the_file_of_something_else_is_told(tmp_path):
    path = tmp_path / "data.npz"
    DataSet(np.ones((2, 3))).save(path)
    with pytest.raises(ValueError, match="no file of a MultiDataSet: it holds features"):
        MultiDataSet.load(path)
    for write in (lambda: np.save(path.with_suffix(".npy"), np.ones(3)), path.with_suffix(".npy").touch):
        path.with_suffix(".npy").unlink(missing_ok=True)
        write()
        for kind in (DataSet, MultiDataSet):
            with pytest.raises(ValueError, match="no file of a data set"):
                kind.load(path.with_suffix(".npy"))
