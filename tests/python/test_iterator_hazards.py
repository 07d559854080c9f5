"""What goes wrong with asynchronous iterators elsewhere, by the ids of the hazards."""

import gc
import threading
import time
from collections import deque

import numpy as np
import pytest
from iterator_support import Numbered, is_whole, number_of, numbered, parts_of, threads_are_gone
from support import eventually, held_bytes

from ndarena import WorkspaceError
from ndarena.data import AsyncDataSetIterator, DataSet

MIB = 1024**2


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threads_are_gone(before)


class Failing:
    """What a source calls before each batch; it raises before one of them while it is broken."""

    def __init__(self, place, error):
        self.place, self.error, self.is_broken = place, error, True

    def __call__(self, i):
        if self.is_broken and i == self.place:
            raise self.error


def test_D_01_D_03_good_batches_come_first_and_a_repaired_source_has_no_stale_failure():  # noqa: N802 - ids
    error = LookupError("the sixth")
    failing = Failing(5, error)
    iterator = AsyncDataSetIterator(Numbered([4] * 9, before=failing), 4)
    seen = []
    with pytest.raises(LookupError) as caught:
        for data in iterator:
            time.sleep(0.002)
            seen.append(is_whole(data, len(seen)))
    assert seen == [True] * 5
    assert caught.value is error
    failing.is_broken = False
    assert [number_of(data) for data in iterator] == list(range(9))


class Interrupted(BaseException):
    """Like `KeyboardInterrupt`."""


@pytest.mark.parametrize("error", [MemoryError, Interrupted, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_D_02_a_waiting_consumer_wakes_with_the_error(error):  # noqa: N802 - an id
    waits, may_fail = threading.Event(), threading.Event()

    class Source:
        def __iter__(self):
            return self

        def __next__(self):
            may_fail.wait()
            raise error("here")

    caught = []

    def consume():
        epoch = iter(AsyncDataSetIterator(Source()))
        waits.set()
        try:
            next(epoch)
        except BaseException as raised:
            caught.append((raised, time.monotonic()))

    consumer = threading.Thread(target=consume)
    consumer.start()
    waits.wait()
    failed = time.monotonic()
    may_fail.set()
    consumer.join(20)
    [(raised, woken)] = caught
    assert type(raised) is error
    assert woken - failed < 1


@pytest.mark.parametrize("way", ["break", "exception"])
def test_D_04_an_early_exit_leaves_nothing(way):  # noqa: N802 - an id
    source = Numbered([50] * 100)
    iterator = AsyncDataSetIterator(source, 2)

    def leave():
        for i, data in enumerate(iterator):
            if i == 2 and way == "break":
                break
            if i == 2:
                raise ZeroDivisionError(str(number_of(data)))
        return i

    threads = threading.active_count()
    held = held_bytes()
    for _ in range(100):
        if way == "break":
            assert leave() == 2
        else:
            with pytest.raises(ZeroDivisionError, match="2"):
                leave()
        assert threading.active_count() == threads
        assert source.is_closed
    assert eventually(lambda: held_bytes() == held)


@pytest.mark.parametrize("lengths", [[], [4, 4]])
def test_D_05_after_the_end_is_the_end(lengths):  # noqa: N802 - an id
    epoch = iter(AsyncDataSetIterator(Numbered(lengths)))
    assert len(list(epoch)) == len(lengths)
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(epoch)


def test_D_06_a_source_that_has_begun_gives_exactly_the_rest():  # noqa: N802 - an id
    begun = iter(Numbered([4] * 10))
    assert number_of(next(begun)) == 0
    assert [number_of(data) for data in AsyncDataSetIterator(begun)] == list(range(1, 10))


def test_D_07_every_consumer_keeps_its_batch_whole():  # noqa: N802 - an id
    consumers, ahead = 4, 2
    length = 10 * MIB // (ahead + 3) // (2 * 7 * 8) + 1  # a batch is larger than a block of the ancestor's
    count, asked = 40, []
    source = Numbered([length] * count, batch_size=2, before=asked.append)
    epoch = iter(AsyncDataSetIterator(source, ahead))
    meeting = threading.Barrier(consumers)
    bad = []

    def consume():
        taken = 0
        while True:
            data = next(epoch, None)
            taken += consumers
            meeting.wait(60)  # all hold a batch
            others = min(count, taken + ahead + 1)
            assert eventually(lambda others=others: len(asked) >= others)
            if data is not None and not is_whole(data, number_of(data)):
                bad.append(number_of(data))
            meeting.wait(60)
            if data is None:
                return

    threads = [threading.Thread(target=consume) for _ in range(consumers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbered(0, length, 2).nbytes > 10 * MIB // (ahead + 3)
    assert bad == []


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_D_08_a_batch_that_is_kept_too_long_is_refused(ahead):  # noqa: N802 - an id
    kept = deque(maxlen=ahead + 5)
    for data in AsyncDataSetIterator(Numbered([20] * 50), ahead):
        kept.append(data)
        if len(kept) == kept.maxlen:
            for part in parts_of(kept[0]):
                with pytest.raises(WorkspaceError, match="overwritten workspace pointer"):
                    part.sum()


def test_D_09_what_a_source_needs_meanwhile_does_not_count():  # noqa: N802 - an id
    class Source(Numbered):
        def batches(self):
            first, *others = super().batches()
            scratch = [np.array(part) for part in parts_of(first) for _ in range(100)]
            yield first
            del scratch
            yield from others

    for data in AsyncDataSetIterator(Source([20] * 9), 2):
        assert data.features.workspace.current_size <= 6 * data.nbytes  # 2 wait, 1 is here, and 2 to spare


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 13)])
def test_D_10_every_array_is_aligned(shape):  # noqa: N802 - an id
    parts = np.zeros(shape, np.float32), np.zeros((shape[0], 3), np.uint8)
    for _, data in zip(range(20), AsyncDataSetIterator([DataSet(*parts)] * 20, 2), strict=True):
        for part in (data.features, data.labels):
            assert part.numpy().ctypes.data % 64 == 0


def test_D_26_a_view_of_a_batch_keeps_its_bytes():  # noqa: N802 - an id
    rows, handles = [], []
    for data in AsyncDataSetIterator(Numbered([20] * 60), 2):
        rows.append(data.features.numpy()[0])
        handles.append(data.labels[0])
    gc.collect()
    assert all((row == i).all() for i, row in enumerate(rows))
    for i, handle in enumerate(handles):
        if handle.is_in_scope:
            assert (handle == i + 0.25).all()
        else:
            with pytest.raises(WorkspaceError):
                handle.sum()
