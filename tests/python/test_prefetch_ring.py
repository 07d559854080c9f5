"""The ring under consumers of every kind: no foreign byte, no hang, memory that stays flat.

``RING_BATCHES`` says how many batches; the short form is the gate's.
"""

import gc
import os
import threading
import weakref
from collections import deque
from queue import Queue

import numpy as np
import pytest
from iterator_support import Numbered, is_whole, number_of, parts_of, random_lengths, threads_are_gone
from support import MIB, eventually, held_bytes, output_of

import ndarena
from ndarena import DebugMode, OverwrittenArrayError
from ndarena.data import (
    AsyncDataSetIterator,
    AsyncMultiDataSetIterator,
    DataSet,
    DataSetIterator,
    MultiDataSet,
    prefetch,
)
from ndarena.data.ring import Ring

BATCHES = int(os.environ.get("RING_BATCHES", "2000"))
KINDS = pytest.mark.parametrize(
    ("kind", "several"), [(AsyncDataSetIterator, False), (AsyncMultiDataSetIterator, True)]
)
pytestmark = pytest.mark.timeout(max(120, BATCHES // 20))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threads_are_gone(before)


def guarded(work, failures):
    """Make a thread that notes what it raises."""

    def run():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    return threading.Thread(target=run)


def run_all(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Reader:
    """One that drops, slices, keeps and passes on the batches it takes, and looks at all of them."""

    def __init__(self, passed, window):
        self.kept, self.views, self.passed = deque(maxlen=window), deque(maxlen=window), passed
        self.refused = 0

    def take(self, data):
        i = number_of(data)
        assert is_whole(data, i)
        match i % 4:
            case 1:
                self.views.append((i, parts_of(data)[i % 3].numpy()[1:, ..., ::2], (0, 0.25, 0.5)[i % 3]))
            case 2:
                self.kept.append((i, data))
            case 3:
                self.passed.put((i, data.shallow().detach() if i % 8 == 3 else data, data.leases()))
        del data
        self.look()

    def look(self):
        for i, view, shift in self.views:
            assert (view == i + shift).all()
        for i, data in self.kept:
            for part, shift in zip(parts_of(data), (0, 0.25, 0.5, 0.75), strict=True):
                try:
                    assert (part == i + shift).all()
                except OverwrittenArrayError:
                    self.refused += 1


@pytest.mark.parametrize("in_use", [0, 1, 2])
def test_batches_lie_in_as_few_blocks_as_are_in_use_besides_the_one_that_is_filled(in_use):
    ring, data = Ring("R"), DataSet(np.ones((4, 3)), np.ones((4, 2)))
    leases, places = deque(maxlen=in_use), set()
    for _ in range(20):
        batch = ring.fill(data, 8, data.copy_to)
        places.add(batch.features.numpy().__array_interface__["data"][0])
        leases.append(batch.leases())
        del batch
    assert len(places) == in_use + 1


@pytest.mark.parametrize("in_use", [1, 2, 5])
def test_a_thread_may_use_as_many_batches_at_once_as_there_are_consumers(in_use):
    batches = AsyncDataSetIterator(Numbered([3] * 60), 2, consumers=in_use)
    kept = deque(maxlen=in_use)
    for data in batches:
        kept.append(data)
        for one in kept:
            assert is_whole(one, number_of(one))
    assert len(kept) == in_use


@pytest.mark.parametrize("size", [prefetch.AHEAD, prefetch.AHEAD + 2])
def test_who_is_ahead_lets_others_have_the_interpreter(monkeypatch, size):
    times = []
    monkeypatch.setattr(prefetch, "_give_way", lambda: times.append(None))
    batches = AsyncDataSetIterator(Numbered([3] * 10), size)
    epoch = iter(batches)
    handover = epoch._handover  # noqa: SLF001 - whose queue fills
    assert eventually(lambda: handover.ready.qsize() == size)
    assert eventually(lambda: len(times) == size - prefetch.AHEAD)
    batches.close()


@KINDS
@pytest.mark.parametrize("consumers", [1, 3])
def test_consumers_that_keep_drop_slice_and_pass_on_see_no_foreign_byte(kind, several, consumers):
    source = Numbered(random_lengths(BATCHES // (2 * consumers), 1, 60), several=several, batch_size=4)
    epoch, passed = iter(kind(source, 3)), Queue(4)
    readers = [Reader(passed, 5) for _ in range(consumers)]
    failures, held, seen = [], [], []

    def consume(reader):
        for data in epoch:
            seen.append(number_of(data))
            held.append(ndarena.allocated_bytes())
            reader.take(data)
            del data

    def receive():
        while (item := passed.get()) is not None:
            i, data, leases = item
            if not is_whole(data, i):
                failures.append(i)
            del item, data, leases

    receiver = guarded(receive, failures)
    receiver.start()
    run_all([guarded(lambda reader=reader: consume(reader), failures) for reader in readers])
    passed.put(None)
    receiver.join()
    assert failures == []
    assert sorted(seen) == list(range(len(source.lengths)))
    assert sum(reader.refused for reader in readers) > 0
    half = len(held) // 2
    assert max(held[half:]) <= max(held[:half]) + MIB


def test_once_the_longest_batch_was_seen_nothing_more_is_taken():
    held = []
    lengths = [60, *random_lengths(BATCHES // 4, 1, 60)]
    for i, data in enumerate(AsyncDataSetIterator(Numbered(lengths), 4)):
        assert is_whole(data, i)
        held.append((ndarena.allocated_bytes(), data.features.workspace.number_of_external_allocations))
    assert set(held[10:]) == {(held[-1][0], 0)}


def test_views_that_are_all_kept_are_all_whole():
    views = [data.features.numpy() for data in AsyncDataSetIterator(Numbered([9] * 300), 2)]
    assert all((view == i).all() for i, view in enumerate(views))


@pytest.mark.parametrize("mode", [DebugMode.SPILL_EVERYTHING, DebugMode.BYPASS_EVERYTHING])
def test_batches_are_whole_in_every_debug_mode(mode):
    ndarena.set_debug_mode(mode)
    before = held_bytes()
    count = 0
    for data in AsyncDataSetIterator(Numbered([9] * 200), 2):
        assert is_whole(data, count)
        assert ndarena.allocated_bytes() - before < MIB
        count += 1
    assert count == 200


class Odd(BaseException):
    """No `Exception`."""


@KINDS
@pytest.mark.parametrize("error", [ArithmeticError, MemoryError, KeyboardInterrupt, GeneratorExit, Odd])
@pytest.mark.parametrize("consumers", [1, 3])
def test_an_error_at_any_position_arrives_exactly_there(kind, several, error, consumers):
    for place in range(13):

        def before(i, place=place):
            if i == place:
                raise error(place)

        epoch = iter(kind(Numbered([3] * 20, several=several, before=before), 4))
        seen, caught = [], []

        def consume(epoch=epoch, seen=seen):
            seen.extend(map(number_of, epoch))

        run_all([guarded(consume, caught) for _ in range(consumers)])
        assert sorted(seen) == list(range(place))
        assert [(type(raised), raised.args) for raised in caught] == [(error, (place,))]


@pytest.mark.parametrize("where", ["pre-processor", "callback", "iter", "arrays that cannot be copied"])
def test_errors_beside_the_source_arrive_in_their_place_too(where):
    class Failing:
        calls = 0

        def call(self, _):
            self.calls += 1
            if self.calls == 3:
                raise LookupError("third")

        pre_process = call

    class Beginning(DataSetIterator):
        def __iter__(self):
            raise LookupError("first")

    numbers = Numbered([3] * 9)
    if where == "callback":
        iterator = AsyncDataSetIterator(numbers, callback=Failing())
    elif where == "iter":
        iterator = AsyncDataSetIterator(Beginning())
    elif where == "pre-processor":
        iterator = AsyncDataSetIterator(numbers)
        iterator.pre_processor = Failing()
    else:
        good = DataSet(np.zeros((2, 2)))
        iterator = AsyncDataSetIterator([good, good, DataSet(np.array([[object()]]))])
    seen = []
    with pytest.raises(TypeError if "arrays" in where else LookupError):
        seen.extend(iterator)
    assert len(seen) == (0 if where == "iter" else 2)


def test_a_source_may_use_its_arrays_again():
    class Reusing(DataSetIterator):
        def batches(self):
            x, y = np.empty((4, 3)), np.empty((4, 1))
            for i in range(50):
                x[...], y[...] = i, i + 0.25
                yield DataSet(x, y)

    for i, data in enumerate(AsyncDataSetIterator(Reusing(), 8)):
        assert (data.features == i).all()
        assert (data.labels == i + 0.25).all()
    assert i == 49


def test_a_pre_processor_works_in_the_thread_on_arrays_of_its_own():
    class Doubler:
        def __init__(self):
            self.threads = set()

        def pre_process(self, data):
            self.threads.add(threading.current_thread().name)
            data.features = data.features * 2

    batch = DataSet(np.ones((2, 2)))
    iterator = AsyncDataSetIterator([batch] * 3)
    iterator.pre_processor = Doubler()
    assert [float(data.features.max()) for data in iterator] == [2, 2, 2]
    assert iterator.pre_processor.threads == {"ADSI prefetch thread"}
    assert batch.features.max() == 1


# Ends.


def test_whoever_waits_wakes_when_the_iterator_is_closed():
    waits, never = threading.Event(), threading.Event()

    def source():
        yield DataSet(np.zeros((1, 1)))
        never.wait()

    iterator = AsyncDataSetIterator(source())
    epoch = iter(iterator)
    next(epoch)
    got = []

    def consume():
        waits.set()
        got.extend(epoch)

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    waits.wait()
    closer = threading.Thread(target=iterator.close)
    closer.start()
    for consumer in consumers:
        consumer.join()
    assert got == []
    never.set()
    closer.join()


def test_an_epoch_in_a_cycle_is_ended_by_the_collector():
    class Holder:
        pass

    holder, before = Holder(), threading.active_count()
    holder.epoch, holder.itself = iter(AsyncDataSetIterator(Numbered([3] * 99), 2)), holder
    next(holder.epoch)
    assert threading.active_count() == before + 1
    del holder
    gc.collect()
    assert threading.active_count() == before


def test_a_generator_is_closed_in_the_thread_that_ran_it():
    closed = []

    def source():
        try:
            while True:
                yield DataSet(np.zeros((1, 1)))
        finally:
            closed.append(threading.current_thread().name)

    endless = source()
    for _ in AsyncDataSetIterator(endless):
        break
    assert closed == ["ADSI prefetch thread"]


def test_a_source_of_one_epoch_says_so():
    iterator = AsyncDataSetIterator(data for data in [DataSet(np.zeros((1, 1)))])
    assert not iterator.reset_supported
    assert len(list(iterator)) == 1
    with pytest.raises(ValueError, match="generator gives one epoch, and that has begun"):
        iter(iterator)


@pytest.mark.parametrize("blocked", [False, True])
def test_a_program_ends_while_batches_are_read_ahead(blocked):
    source = f"""
        import threading, numpy as np
        from ndarena.data import AsyncDataSetIterator, DataSet

        def source():
            yield DataSet(np.zeros((4, 4)))
            if {blocked}:
                threading.Event().wait()
            while True:
                yield DataSet(np.zeros((4, 4)))

        epoch = iter(AsyncDataSetIterator(source()))
        print(len(next(epoch)))
    """
    assert output_of(source, timeout=60) == "4\n"


def test_a_forked_child_is_told_that_the_thread_is_elsewhere():
    source = """
        import os, warnings, numpy as np
        from ndarena.data import AsyncDataSetIterator, DataSet
        warnings.simplefilter("ignore", DeprecationWarning)
        epoch = iter(AsyncDataSetIterator([DataSet(np.full((2, 2), i)) for i in range(50)], 2))
        first = next(epoch)
        pid = os.fork()
        if not pid:
            try:
                next(epoch)
            except RuntimeError as error:
                print(error, flush=True)
            print(float(first.features.sum()), flush=True)
            epoch.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(sum(1 for _ in epoch))
    """
    told = "the thread that reads ahead is in the process that this one was forked from"
    assert output_of(source) == f"{told}\n0.0\n49\n"


def test_a_signal_reaches_a_program_that_waits_for_a_batch():
    source = """
        import os, signal, threading, numpy as np
        from ndarena.data import AsyncDataSetIterator, DataSet

        def source():
            yield DataSet(np.zeros((4, 4)))
            taken.wait()
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait()

        taken = threading.Event()
        try:
            for batch in AsyncDataSetIterator(source()):
                print(len(batch))
                taken.set()
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert output_of(source, timeout=60) == "4\ninterrupted\n"


def test_an_error_goes_with_its_last_name():
    def failing():
        yield DataSet(np.zeros((4, 4)))
        raise Odd("here")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Odd) as caught:
            list(AsyncDataSetIterator(failing()))
        error = weakref.ref(caught.value)
        del caught
        assert error() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", [DataSet, MultiDataSet])
def test_data_sets_of_a_class_of_ones_own_are_copied_whole(kind):
    class Named(kind):
        def __init__(self, name):
            x = np.arange(6.0).reshape(3, 2)
            super().__init__(*([[x], [x]] if kind is MultiDataSet else [x, x]))
            self.name = name

    given = Named("a")
    (copy,) = AsyncDataSetIterator([given])
    assert (type(copy), copy.name, copy.is_attached, given.is_attached) == (Named, "a", True, False)
    assert all((np.asarray(a) == b).all() for a, b in zip(copy.arrays(), given.arrays(), strict=True))


def test_threads_that_come_and_go_share_an_epoch():
    before, seen = held_bytes(), []
    epoch = iter(AsyncDataSetIterator(Numbered([4] * 60), 2))
    for _ in range(20):
        run_all([threading.Thread(target=lambda: seen.append(number_of(next(epoch)))) for _ in range(3)])
    assert sorted(seen) == list(range(60))
    assert next(epoch, None) is None
    assert eventually(lambda: held_bytes() == before)


def test_signals_that_raise_keep_nobody_waiting():
    program = """
        import signal
        import numpy as np
        from ndarena.data import AsyncDataSetIterator, DataSet

        waits = [False]

        def interrupt(*_):
            if waits[0]:
                waits[0] = False
                raise TimeoutError

        signal.signal(signal.SIGALRM, interrupt)
        batches = [DataSet(np.full((2, 3), float(i)), np.ones((2, 1))) for i in range(3000)]
        epoch, numbers, hits = iter(AsyncDataSetIterator(batches, 1)), [], 0
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        while True:
            try:
                waits[0] = True
                data = next(epoch)
                waits[0] = False
            except StopIteration:
                break
            except TimeoutError:
                hits += 1
            else:
                numbers.append(int(data.features[0, 0]))
        waits[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert hits > 20, hits
        assert numbers == sorted(set(numbers))
        print(len(numbers) > 2500 or (len(numbers), hits))
    """
    assert output_of(program) == "True\n"
