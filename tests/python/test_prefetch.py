"""Reading ahead: every batch in its order and whole, errors in their place, no thread left behind."""

import gc
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from nn_support import chain, examples
from support import eventually

import ndarena
from ndarena import OverwrittenArrayError, WorkspaceArray, get_all_workspaces_for_current_thread, nn
from ndarena.data import (
    ArrayDataSetIterator,
    AsyncDataSetIterator,
    AsyncMultiDataSetIterator,
    DataSet,
    DefaultCallback,
    MultiDataSet,
    handover,
)

X = np.arange(400.0).reshape(200, 2)
Y = np.eye(2)[np.arange(200) % 2]
ROWS = ArrayDataSetIterator(X, Y, batch_size=3)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    gc.collect()
    assert eventually(lambda: threading.active_count() == before)


def joined(iterator):
    return np.concatenate([np.array(batch.features.numpy()) for batch in iterator])


@pytest.mark.parametrize("size", [1, 2, 8, 100])
def test_batches_come_in_order_epoch_after_epoch(size):
    iterator = AsyncDataSetIterator(ROWS, size)
    for _ in range(3):
        np.testing.assert_array_equal(joined(iterator), X)
    assert (iterator.batch_size, iterator.reset_supported, iterator.async_supported) == (3, True, False)


def series(lengths):
    for i, t in enumerate(lengths):
        yield DataSet(
            np.full((8, 2, t), float(i)),
            np.full((8, 1, t), i + 0.25),
            *(np.full((8, t), i + k) for k in (0.5, 0.75)),
        )


@pytest.mark.parametrize("slow", ["nobody", "source", "consumer"])
def test_batches_of_any_length_stay_whole(slow):
    lengths = [10, *np.random.default_rng(0).integers(10, 100, 99)]

    def source():
        for data in series(lengths):
            time.sleep(0.001 * (slow == "source"))
            yield data

    parts = ("features", "labels", "features_mask", "labels_mask")
    for i, data in enumerate(AsyncDataSetIterator(source(), 4)):
        time.sleep(0.001 * (slow == "consumer"))
        assert data.features.shape[2] == lengths[i]
        for k, part in enumerate(parts):
            assert (getattr(data, part).numpy() == i + k / 4).all()
    assert i == 99


def test_batches_lie_in_a_ring_that_is_the_threads_own():
    names = set()
    for data in AsyncDataSetIterator(ROWS, 2):
        assert isinstance(data.features, WorkspaceArray)
        names.add(data.features.workspace.id.partition("-")[0])
    assert names == {"ADSI_ITER"}
    assert not get_all_workspaces_for_current_thread()
    plain = next(iter(AsyncDataSetIterator(ROWS, 2, use_workspace=False)))
    assert isinstance(plain.features, np.ndarray)


def test_a_queue_for_more_batches_than_there_ever_will_be_costs_nothing():
    assert len(list(AsyncDataSetIterator(ROWS, 10**10, use_workspace=False))) == len(list(ROWS))


def test_what_is_kept_too_long_says_so_and_a_view_keeps_its_bytes():
    kept, views, copies = [], [], []
    for data in AsyncDataSetIterator(ROWS, 2):
        views.append(data.features.numpy()) if len(views) < 3 else kept.append(data)
        copies.append(DataSet(data.features).detach())
    with pytest.raises(OverwrittenArrayError):
        kept[0].features.sum()
    np.testing.assert_array_equal(np.concatenate(views), X[:9])
    np.testing.assert_array_equal(np.concatenate([data.features for data in copies]), X)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError, StopIteration, GeneratorExit])
@pytest.mark.parametrize("place", [0, 1, 5])
def test_an_error_comes_in_its_place(error, place):
    class Source:
        def __iter__(self):
            return self

        def __init__(self):
            self.count = -1

        def __next__(self):
            self.count += 1
            if self.count == place and error is not StopIteration:
                raise error("here")
            if self.count == place:
                raise RuntimeError("here") from error()
            return DataSet(np.full((2, 2), float(self.count)))

    seen = []
    with pytest.raises(RuntimeError if error is StopIteration else error, match="here"):
        seen.extend(float(data.features.numpy()[0, 0]) for data in AsyncDataSetIterator(Source(), 2))
    assert seen == list(range(place))


def endless():
    while True:
        yield DataSet(X[:4])


def test_every_way_out_ends_the_thread():
    for _ in AsyncDataSetIterator(endless(), 2):
        break
    with pytest.raises(ZeroDivisionError):
        for _ in AsyncDataSetIterator(endless(), 2):
            raise ZeroDivisionError
    abandoned = iter(AsyncDataSetIterator(endless(), 2))
    next(abandoned)
    del abandoned
    with AsyncDataSetIterator(endless(), 2) as iterator:
        begun = iter(iterator)
        next(begun)
    assert list(begun) == []
    iterator.close()


class Reading(ArrayDataSetIterator):
    """Notes who reads."""

    def batches(self):
        self.readers.append(threading.current_thread())
        return super().batches()


def reading():
    source = Reading(X, Y, batch_size=20)
    source.readers = []
    return source


def test_in_a_block_thread_and_ring_stay_for_the_next_epoch():
    source = reading()
    held, rings = [], set()
    with AsyncDataSetIterator(source, 2) as iterator:
        for _ in range(30):
            for i, data in enumerate(iterator):
                assert (data.features == X[20 * i : 20 * i + 20]).all()
                rings.add(data.features.workspace.id)
                held.append(ndarena.allocated_bytes())
            assert i == 9
        (reader,) = set(source.readers)
        assert reader.is_alive()
    assert not reader.is_alive()
    assert len(rings) == len(set(held[3:])) == 1
    assert len(joined(iterator)) == 200  # and afterwards as before
    assert not source.readers[-1].is_alive()


@pytest.mark.parametrize("way", ["break", "error of the loop", "error of the source", "close"])
def test_in_a_block_an_epoch_follows_on_one_that_was_given_up(way):
    source, broken = reading(), [way == "error of the source"]

    class Breaking:
        def pre_process(self, data):
            if broken[0] and data.features[0, 0] == X[60, 0]:
                raise LookupError("here")

    with AsyncDataSetIterator(source, 2) as iterator:
        iterator.pre_processor = Breaking()
        for _ in range(5):
            with suppress(LookupError):
                for i, _data in enumerate(iterator):
                    if i == 2 and way == "break":
                        break
                    if i == 2 and way == "error of the loop":
                        raise LookupError("there")
                    if i == 2 and way == "close":
                        iterator.close()
            assert i == 2
            broken[0] = False
            np.testing.assert_array_equal(joined(iterator), X)
            broken[0] = way == "error of the source"
        assert len(set(source.readers)) == (5 + 1 if way == "close" else 1)
    assert not any(reader.is_alive() for reader in source.readers)


def test_in_a_block_epochs_may_be_under_way_at_the_same_time():
    source = reading()
    with AsyncDataSetIterator(source, 2) as iterator:
        pairs = list(zip(iterator, iterator, iterator, strict=True))
        assert len(pairs) == 10
        assert len(set(source.readers)) == 3
        assert len(joined(iterator)) == 200
    assert not any(reader.is_alive() for reader in source.readers)


def test_a_block_that_nobody_leaves_is_ended_by_the_collector():
    source = reading()

    def suspended():
        with AsyncDataSetIterator(source, 2) as iterator:
            yield from iterator

    begun = suspended()
    next(begun)
    iterator = AsyncDataSetIterator(source, 2)
    iterator.__enter__()
    joined(iterator)
    del begun, iterator
    gc.collect()
    assert eventually(lambda: not any(reader.is_alive() for reader in source.readers))


def test_a_source_that_does_not_come_back_is_left_alone(monkeypatch):
    monkeypatch.setattr(handover, "PATIENCE", 0.05)
    back = threading.Event()

    def source():
        yield DataSet(X[:4])
        back.wait()

    begun = iter(AsyncDataSetIterator(source(), 2))
    next(begun)
    with pytest.warns(ResourceWarning, match="has not come back"):
        begun.close()
    back.set()


def test_several_consumers_share_what_there_is():
    iterator, seen = iter(AsyncDataSetIterator(ROWS, 4)), []
    lock = threading.Lock()

    def consume():
        while True:
            with lock:
                data = next(iterator, None)
                if data is None:
                    return
                seen.extend(np.array(data.features.numpy())[:, 0])

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == X[:, 0].tolist()


def test_a_callback_sees_every_batch_in_the_thread():
    class Callback:
        def __init__(self):
            self.seen = []

        def call(self, data):
            self.seen.append((threading.current_thread().name, len(data)))

    callback = Callback()
    assert len(joined(AsyncDataSetIterator(ROWS, 2, callback=callback))) == 200
    assert len(callback.seen) == 67
    assert callback.seen[0] == ("ADSI prefetch thread", 3)


def test_several_arrays_of_a_kind_are_read_ahead_too():
    sets = [MultiDataSet([X[i : i + 5], Y[i : i + 5]], [Y[i : i + 5]]) for i in range(0, 200, 5)]
    iterator = AsyncMultiDataSetIterator(sets, 2)
    got = [np.array(data.features[1].numpy()) for data in iterator]
    np.testing.assert_array_equal(np.concatenate(got), Y)
    data = next(iter(iterator))
    assert data.labels[0].workspace.id.startswith("AMDSI_ITER-")
    del data


def test_a_network_learns_the_same_bits():
    x, y = examples(40, 4, 3)
    nets = [chain(4, 5, 3), chain(4, 5, 3)]
    rows = [ArrayDataSetIterator(x, y, batch_size=8, shuffle=True, seed=1) for _ in nets]
    nets[0].fit(rows[0], epochs=3)
    nets[1].fit(AsyncDataSetIterator(rows[1], 2), epochs=3)  # no epoch more is begun, which has its order
    assert nets[0].params().tobytes() == nets[1].params().tobytes()
    assert isinstance(nets[0], nn.MultiLayerNetwork)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: AsyncDataSetIterator(ROWS, 0), ValueError, "queue_size"),
        (lambda: AsyncDataSetIterator(ROWS, True), ValueError, "queue_size"),
        (lambda: AsyncDataSetIterator(3), TypeError, "iterable"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("callback", [5, DefaultCallback, lambda data: None])
def test_a_callback_that_cannot_be_called_is_refused_at_once(callback):
    with pytest.raises(TypeError, match=r"callback must be an object with call\(dataset\)"):
        AsyncDataSetIterator([], callback=callback)
