"""Sources made of other sources, and what shields keep away."""

import threading
from itertools import chain

import numpy as np
import pytest
from support import eventually, in_thread, ring

import ndarena
from ndarena import Workspace, WorkspaceArray
from ndarena.data import (
    ArrayDataSetIterator,
    AsyncShieldDataSetIterator,
    AsyncShieldMultiDataSetIterator,
    CachingDataSetIterator,
    DataSet,
    DataSetIterator,
    EarlyTerminationDataSetIterator,
    ExistingDataSetIterator,
    JointParallelDataSetIterator,
    KFoldIterator,
    ListDataSetIterator,
    MultiDataSet,
    MultipleEpochsIterator,
    WorkspacesShieldDataSetIterator,
    WorkspacesShieldMultiDataSetIterator,
)

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10.0).reshape(10, 1)
ROWS = ArrayDataSetIterator(X, Y, batch_size=4)


def sets(count):
    return [DataSet(np.full((2, 3), float(i))) for i in range(count)]


def firsts(source):
    return [float(data.features[0, 0]) for data in source]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert eventually(lambda: threading.active_count() == before)


WRAPPERS = {
    "existing": (ExistingDataSetIterator, 1),
    "several epochs": (lambda base: MultipleEpochsIterator(3, base), 3),
    "cut short": (lambda base: EarlyTerminationDataSetIterator(base, 100), 1),
    "kept": (CachingDataSetIterator, 1),
    "not ahead": (AsyncShieldDataSetIterator, 1),
    "not ahead, several arrays": (AsyncShieldMultiDataSetIterator, 1),
    "safe": (WorkspacesShieldDataSetIterator, 1),
    "safe, several arrays": (WorkspacesShieldMultiDataSetIterator, 1),
}
each_wrapper = pytest.mark.parametrize(("wrap", "times"), WRAPPERS.values(), ids=WRAPPERS)


@each_wrapper
def test_a_wrapper_gives_what_its_source_gives_in_every_epoch(wrap, times):
    iterator = wrap(ROWS)
    assert (iterator.batch_size, iterator.reset_supported) == (4, True)
    for _ in range(3):
        assert np.concatenate([data.labels for data in iterator]).tolist() == Y.tolist() * times


@each_wrapper
def test_a_wrapper_says_that_a_source_gives_one_epoch_only(wrap, times):
    if times > 1:
        with pytest.raises(ValueError, match=r"generator gives one epoch, not 3: it cannot begin again"):
            wrap(data for data in sets(3))
        return
    iterator = wrap(data for data in sets(3))
    assert not iterator.reset_supported
    assert firsts(iterator) == [0, 1, 2]
    if wrap is CachingDataSetIterator:  # it needs no second one
        assert firsts(iterator) == [0, 1, 2]
        return
    with pytest.raises(ValueError, match="generator gives one epoch, and that has begun"):
        list(iterator)


@each_wrapper
def test_a_wrapper_refuses_what_cannot_be_iterated(wrap, times):
    with pytest.raises(TypeError, match="takes an iterable of data sets, not int"):
        wrap(3)


@each_wrapper
def test_a_pre_processor_leaves_the_sets_of_the_source_alone(wrap, times):
    class Doubler:
        def pre_process(self, data):
            data.features = data.features * 2

    iterator = wrap(ListDataSetIterator(sets(3)))
    iterator.pre_processor = Doubler()
    for _ in range(2):
        assert firsts(iterator) == [0, 2, 4] * times


@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (ExistingDataSetIterator, "no"),
        (lambda base: MultipleEpochsIterator(2, base), "base"),
        (lambda base: EarlyTerminationDataSetIterator(base, 2), "base"),
        (CachingDataSetIterator, "no"),
        (lambda base: CachingDataSetIterator(base, allow_prefetching=True), "yes"),
        (AsyncShieldDataSetIterator, "no"),
        (WorkspacesShieldDataSetIterator, "base"),
    ],
)
def test_who_may_be_read_ahead(wrap, expected, supported):
    base = ArrayDataSetIterator(X, batch_size=2)
    base.async_supported = supported
    assert wrap(base).async_supported is {"no": False, "yes": True, "base": supported}[expected]
    assert wrap(sets(2)).async_supported is (expected == "yes")


def test_no_more_is_asked_for_than_the_first_sets():
    asked = []

    class Source(DataSetIterator):
        def batches(self):
            for i, data in enumerate(sets(5)):
                asked.append(i)
                yield data

    iterator = EarlyTerminationDataSetIterator(Source(), 2)
    assert firsts(iterator) == firsts(iterator) == [0, 1]
    assert asked == [0, 1, 0, 1]


def test_a_cache_keeps_copies_of_a_complete_epoch():
    epochs = []

    class Source(DataSetIterator):
        def batches(self):
            epochs.append(len(epochs))
            buffer = np.empty((2, 3))
            for i in range(3):
                buffer[...] = i + 10 * len(epochs)
                yield DataSet(buffer)

    iterator = CachingDataSetIterator(Source())
    assert next(iter(iterator)).features[0, 0] == 10
    assert firsts(iterator) == firsts(iterator) == [20, 21, 22]
    assert firsts(iterator) == [20, 21, 22]
    assert len(epochs) == 2


def test_a_cache_of_batches_in_a_workspace_outlives_it():
    with Workspace(id="A") as ws:
        iterator = CachingDataSetIterator([DataSet(ws.array(X))])
        assert [data.is_attached for data in iterator] == [True]
    (kept,) = iterator
    assert not kept.is_attached
    assert kept.features.tolist() == X.tolist()


@pytest.mark.parametrize("k", [2, 3, 4, 10])
def test_every_example_is_in_one_test_fold_and_in_all_other_training_sets(k):
    whole = DataSet(X, Y, metadata=list(range(10)))
    iterator = KFoldIterator(k, whole)
    tested = []
    for _ in range(2):
        tested.clear()
        for train in iterator:
            test = iterator.test_fold()
            assert sorted([*train.metadata, *test.metadata]) == list(range(10))
            assert train.labels.ravel().tolist() == train.metadata
            assert np.shares_memory(test.features, X)
            tested.append(test.metadata)
        assert list(chain(*tested)) == list(range(10))
    sizes = [len(fold) for fold in tested]
    assert len(iterator) == len(sizes) == k
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


def test_folds_of_several_arrays():
    whole = MultiDataSet([X, Y], [Y], [None, Y], None)
    iterator = KFoldIterator(5, whole)
    for train in iterator:
        assert [len(a) for a in train.features] == [8, 8]
        assert train.features_masks[0] is None
        assert train.labels[0].tolist() == train.features_masks[1].tolist()
        assert len(iterator.test_fold()) == 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: MultipleEpochsIterator(0, ROWS), ValueError, "num_epochs"),
        (lambda: EarlyTerminationDataSetIterator(ROWS, 0), ValueError, "termination_point"),
        (lambda: EarlyTerminationDataSetIterator(ROWS, 1.5), ValueError, "termination_point"),
        (lambda: KFoldIterator(1, DataSet(X)), ValueError, "k must be a whole number from 2 on"),
        (lambda: KFoldIterator(11, DataSet(X)), ValueError, "10 examples cannot be divided into k=11"),
        (lambda: KFoldIterator(2, ROWS), TypeError, "takes a data set, not ArrayDataSetIterator"),
        (lambda: KFoldIterator(2, DataSet(X)).test_fold(), ValueError, "once a training set was handed out"),
        (JointParallelDataSetIterator, ValueError, "there must be a source"),
        (lambda: JointParallelDataSetIterator(ROWS, buffer_size=0), ValueError, "buffer_size"),
        (lambda: JointParallelDataSetIterator(ROWS, inequality_handling="skip"), ValueError, "skip"),
        (
            lambda: JointParallelDataSetIterator(iter(ROWS), inequality_handling="RESET"),
            ValueError,
            "generator gives one epoch: it cannot be RESET",
        ),
        (lambda: JointParallelDataSetIterator(ROWS, 3), TypeError, "takes an iterable"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


# Several sources at once.


def joint(*lengths, handling):
    sources = [
        ListDataSetIterator([DataSet(np.full((1, 1), 10.0 * i + k)) for k in range(n)])
        for i, n in enumerate(lengths)
    ]
    return JointParallelDataSetIterator(*sources, inequality_handling=handling, buffer_size=2)


@pytest.mark.parametrize(
    ("handling", "expected"),
    [
        ("STOP_EVERYONE", [0, 10, 1, 11, 2]),
        ("pass_null", [0, 10, 1, 11, 2, None, 3, None, 4, None]),
        ("Relocate", [0, 10, 1, 11, 2, 3, 4]),
        ("RESET", [0, 10, 1, 11, 2, 10, 3, 11, 4, 10]),
    ],
)
def test_sources_take_turns_until_one_has_no_more(handling, expected):
    iterator = joint(5, 2, handling=handling)
    for _ in range(2):
        assert [data and float(data.features[0, 0]) for data in iterator] == expected


def test_an_error_of_one_source_ends_the_threads_of_all():
    def failing():
        yield from sets(2)
        raise KeyError("here")

    seen = []
    with pytest.raises(KeyError, match="here") as caught:
        seen.extend(firsts(JointParallelDataSetIterator(sets(9), failing())))
    assert threading.active_count() == 1
    del caught


def test_a_source_that_must_not_be_read_ahead_is_asked_in_its_turn():
    threads = set()

    class Source(DataSetIterator):
        async_supported = False

        def batches(self):
            for data in sets(3):
                threads.add(threading.current_thread())
                yield data

    assert len(firsts(JointParallelDataSetIterator(Source(), sets(3)))) == 6
    assert threads == {threading.current_thread()}


# Shields of workspaces.


def ring_batches(count):
    """Return batches in a ring of two blocks, which overwrite each other."""
    ws = Workspace(ring(2), "RING")

    class Source(DataSetIterator):
        def batches(self):
            for i in range(count):
                with ws:
                    data = DataSet(ws.full((4, 2), float(i)), ws.full((4, 1), i + 0.25))
                yield data

    return Source()


def test_batches_behind_a_shield_may_be_kept():
    kept = list(WorkspacesShieldDataSetIterator(ring_batches(9)))
    assert not any(data.is_attached for data in kept)
    assert [float(data.labels.mean()) for data in kept] == [i + 0.25 for i in range(9)]


def test_batches_behind_a_shield_come_to_the_current_workspace():
    with Workspace(id="HERE") as here:
        kept = list(WorkspacesShieldDataSetIterator(ring_batches(9)))
        assert all(data.features.workspace is here for data in kept)
        assert firsts(kept) == list(range(9))
        with ndarena.scope_out_of_workspaces():
            (plain,) = WorkspacesShieldDataSetIterator([kept[0]])
        assert isinstance(plain.features, np.ndarray)
        assert isinstance(kept[0].features, WorkspaceArray)


def test_a_shield_hands_on_what_is_no_data_set_or_lies_nowhere():
    plain = sets(2)
    assert list(WorkspacesShieldDataSetIterator([*plain, 3])) == [*plain, 3]


def test_a_shield_of_several_arrays():
    with Workspace(id="A") as ws:
        source = [MultiDataSet([ws.array(X), Y], [ws.array(Y)])]

        def kept():
            (data,) = WorkspacesShieldMultiDataSetIterator(source)
            return data

        data = in_thread(kept)
    assert data.features[0].tolist() == X.tolist()
    assert data.labels[0].tolist() == Y.tolist()
    assert not data.is_attached
