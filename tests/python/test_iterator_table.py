"""The ancestor's tests of asynchronous iterators and of the rings they stand on, by their ids."""

import threading
import time
from itertools import islice

import numpy as np
import pytest
from iterator_support import Numbered, is_whole, number_of, parts_of, random_lengths, threads_are_gone

from ndarena import ConfigurationError, Workspace, WorkspaceConfiguration
from ndarena.data import (
    ArrayDataSetIterator,
    AsyncDataSetIterator,
    AsyncMultiDataSetIterator,
    EarlyTerminationDataSetIterator,
    InterleavedDataSetCallback,
    JointParallelDataSetIterator,
    ListDataSetIterator,
    MultipleEpochsIterator,
)

DOUBLE = 8  # bytes


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threads_are_gone(before)


@pytest.mark.parametrize("size", range(2, 9))
def test_A01_every_batch_arrives_whatever_the_queue(size):  # noqa: N802 - an id
    for _ in range(10):
        assert sum(1 for _ in AsyncDataSetIterator(Numbered([2] * 100), size)) == 100


@pytest.mark.parametrize("size", range(2, 9))
def test_A02_an_epoch_that_is_begun_again_is_whole(size):  # noqa: N802 - an id
    iterator = AsyncDataSetIterator(Numbered([2] * 100), size)
    first = [number_of(data) for data in islice(iterator, 50)]
    second = [number_of(data) for data in iterator]
    assert len(first + second) == 150
    assert (first, second) == (list(range(50)), list(range(100)))


def test_A03_a_slow_consumer_gets_every_batch():  # noqa: N802 - an id
    count = 0
    for data in AsyncDataSetIterator(Numbered([2] * 100), 8):
        time.sleep(0.005)
        assert is_whole(data, count)
        count += 1
    assert count == 100


def test_A04_an_exception_of_the_source_keeps_its_type():  # noqa: N802 - an id
    def before(i):
        if i == 99:
            raise IndexError("the 100th")

    count = 0
    with pytest.raises(IndexError, match="the 100th"):
        for _ in AsyncDataSetIterator(Numbered([2] * 100, before=before)):
            count += 1
    assert count == 99


@pytest.mark.parametrize(
    ("kind", "several"), [(AsyncDataSetIterator, False), (AsyncMultiDataSetIterator, True)]
)
def test_A05_A07_series_of_any_length_are_whole_in_every_epoch(kind, several):  # noqa: N802 - ids
    source = Numbered(random_lengths(100), several=several)
    iterator = kind(source, 4)
    for _ in range(10):
        for i, data in enumerate(iterator):
            for part, shift in zip(parts_of(data), (0, 0.25, 0.5, 0.75), strict=True):
                assert abs(float(part.mean()) - (i + shift)) < 1e-10
                assert part.shape[-1] == source.lengths[i]
        assert i == 99
        if several:
            iterator = kind(source, 4)  # a new one each epoch, and nobody shuts the old one down


@pytest.mark.parametrize(
    ("kind", "several"), [(AsyncDataSetIterator, False), (AsyncMultiDataSetIterator, True)]
)
def test_A06_A08_interleaved_batches_may_be_detached(kind, several):  # noqa: N802 - ids
    iterator = kind(Numbered([100] * 100, several=several), callback=InterleavedDataSetCallback(4))
    for _ in range(5):
        for i, data in enumerate(iterator):
            assert all(part.workspace.id == "IDSC-0" for part in parts_of(data))
            assert not data.detach().is_attached
            means = [float(part.mean()) for part in parts_of(data)]
            np.testing.assert_allclose(means, np.add(i, [0, 0.25, 0.5, 0.75]), rtol=0, atol=1e-10)
        assert i == 99


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_A09_a_source_that_has_begun_gives_the_rest(taken):  # noqa: N802 - an id
    epochs = [iter(Numbered([3] * 10, several=True)) for _ in range(2)]
    for epoch in epochs:
        assert len(list(islice(epoch, taken))) == taken
    plain = [[np.array(part) for part in parts_of(data)] for data in epochs[0]]
    ahead = [[np.array(part) for part in parts_of(data)] for data in AsyncMultiDataSetIterator(epochs[1])]
    assert len(plain) == len(ahead) == 10 - taken
    for ours, theirs in zip(ahead, plain, strict=True):
        assert [part.tobytes() for part in ours] == [part.tobytes() for part in theirs]


def test_A10_anything_comes_in_order():  # noqa: N802 - an id
    assert list(AsyncDataSetIterator(range(100_000), 512)) == list(range(100_000))


@pytest.mark.parametrize(
    ("lengths", "handling", "calls", "nothing", "of_the_long_one"),
    [
        pytest.param((100, 100), "STOP_EVERYONE", 200, 0, 100, id="A11"),
        pytest.param((200, 100), "PASS_NULL", 400, 100, 200, id="A12"),
        pytest.param((200, 100), "RELOCATE", 300, 0, 200, id="A13"),
        pytest.param((200, 100), "RESET", 400, 0, 200, id="A13-reset"),
    ],
)
def test_A11_A12_A13_joint_sources(lengths, handling, calls, nothing, of_the_long_one):  # noqa: N802 - ids
    sources = [Numbered([2] * count, batch_size=i + 1) for i, count in enumerate(lengths)]
    given = list(JointParallelDataSetIterator(*sources, inequality_handling=handling))
    assert len(given) == calls
    assert given.count(None) == nothing
    assert sum(1 for data in given if data is not None and len(data) == 1) == of_the_long_one


def test_A14_an_epoch_is_taken_in_blocks():  # noqa: N802 - an id
    epoch = iter(AsyncDataSetIterator(Numbered([2] * 8)))
    assert [len(list(islice(epoch, 3))) for _ in range(3)] == [3, 3, 2]


@pytest.mark.parametrize("supported", [True, False])
def test_A15_wrappers_count_and_ask_the_iterator_inside(supported):  # noqa: N802 - an id
    base = Numbered([2] * 10)
    base.async_supported = supported
    repeated, cut = MultipleEpochsIterator(3, base), EarlyTerminationDataSetIterator(base, 4)
    assert [len(list(iterator)) for iterator in (repeated, cut, cut)] == [30, 4, 4]
    assert repeated.async_supported is cut.async_supported is supported
    train, test = next(iter(ArrayDataSetIterator(np.zeros((10, 2)), batch_size=10))).split_test_and_train(7)
    assert [len(list(ListDataSetIterator(part.batch_by(2)))) for part in (train, test)] == [4, 2]


# The rings, with the ancestor's arithmetic.


def ring_of(limit, **fields):
    return Workspace(
        WorkspaceConfiguration.nd4j(policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=limit, **fields),
        "RING",
    )


def cycle(ws, *shapes):
    with ws:
        for shape in shapes:
            ws.zeros(shape)


def block_of(size):
    """Return the block that is learned from a cycle of so many bytes."""
    grown = int(1.3 * size)
    return grown + 8 - grown % 8


def test_A16_A17_A18_A19_A20_a_ring_is_rebuilt_for_larger_batches():  # noqa: N802 - ids
    ws = ring_of(3, policy_spill="REALLOCATE")
    small, large = (8, 128, 100), (8, 128, 200)
    cycle(ws, small)
    block = ws.initial_block_size
    assert (block, ws.current_size) == (block_of(819_200), 4_259_872) == (1_064_968, 4 * block)
    assert (ws.current_offset, ws.cycles_count, ws.step_number) == (0, 1, 0)
    cycle(ws, small)
    assert (ws.current_offset, ws.cycles_count, ws.step_number) == (block, 2, 0)
    cycle(ws, large)
    assert (ws.current_offset, ws.number_of_pinned_allocations, ws.cycles_count) == (block, 1, 3)
    assert ws.step_number == 0
    seen = []
    for _ in range(2):
        cycle(ws, small)
        seen.append((ws.number_of_pinned_allocations, ws.step_number))
    assert seen == [(2, 0), (3, 1)]
    for _ in range(12):
        cycle(ws, small)
    assert (ws.step_number, ws.current_offset, ws.current_size) == (4, 8_519_712, 8_519_712)
    assert ws.initial_block_size == 2_129_928


def test_A21_A22_A23_A24_A25_a_ring_that_does_not_grow():  # noqa: N802 - ids
    ws = ring_of(3, policy_spill="EXTERNAL")
    normal = (500, 500)
    with ws:
        for count in normal:
            ws.zeros(count)
        assert ws.spilled_size >= 1000 * DOUBLE
        assert ws.spilled_size == ws.this_cycle_allocations
        learned = ws.this_cycle_allocations
    block = ws.initial_block_size
    assert (block, ws.current_size) == (block_of(learned), 4 * block)
    cycle(ws, 2000)
    assert (ws.number_of_pinned_allocations, ws.pinned_size) == (1, 2000 * DOUBLE)
    assert ws.current_offset == 0
    for turn in range(4):
        for i in range(4):
            cycle(ws, *normal)
            assert ws.current_offset == (i + 1) * block
        assert ws.number_of_pinned_allocations == (turn < 2), turn
    for _ in range(100):
        cycle(ws, 750, 750)
    assert ws.number_of_pinned_allocations > 0
    assert ws.number_of_external_allocations == 0
    for _ in range(100):
        cycle(ws, *normal)
    assert (ws.number_of_pinned_allocations, ws.spilled_size) == (0, 0)


def test_A26_a_ring_that_grows_pins_nothing_in_the_end():  # noqa: N802 - an id
    ws = ring_of(3, policy_spill="REALLOCATE")
    cycle(ws, 500, 500)
    small = ws.initial_block_size
    for _ in range(100):
        cycle(ws, 750, 750)
    assert (ws.number_of_pinned_allocations, ws.number_of_external_allocations) == (0, 0)
    assert ws.current_size == 4 * ws.initial_block_size
    assert ws.initial_block_size > small


def strict(**fields):
    return ring_of(1, policy_allocation="STRICT", **fields)


def test_A27_a_strict_ring_learns_blocks_in_a_fixed_size():  # noqa: N802 - an id
    ws = strict(min_size="10 MiB")
    offsets = []
    for _ in range(2):
        cycle(ws, 10)
        assert ws.current_size == 10 * 1024**2
        offsets.append(ws.current_offset)
    assert offsets == [0, ws.initial_block_size]


def test_A28_what_was_outside_goes_after_the_first_turn():  # noqa: N802 - an id
    ws = strict(min_size="10 MiB")
    cycle(ws, 10_000)
    assert ws.number_of_external_allocations == 1
    passed = 0
    while passed <= 11 * 1024**2:
        cycle(ws, 10_000)
        passed += 10_000 * DOUBLE
    assert ws.number_of_external_allocations == 0


def test_A29_a_ring_may_learn_over_time():  # noqa: N802 - an id
    ws = ring_of(4, policy_learning="OVER_TIME", cycles_before_initialization=5)
    for i in range(100):
        with ws:
            ws.zeros(100)
            if i < 4:
                assert ws.current_size == 0
        if i > 4:
            assert ws.current_size == 5 * ws.initial_block_size > 0


def test_A30_without_blocks_a_ring_fills_up_and_begins_again():  # noqa: N802 - an id
    ws = strict(initial_size=100 * 100 * DOUBLE)
    size = None
    for k in range(1, 101):
        with ws:
            before = ws.current_offset
            ws.zeros(100)
            size = size or ws.current_offset - before
        assert ws.current_offset == k * size or k * size > ws.current_size
    while ws.current_offset + size <= ws.current_size:
        cycle(ws, 100)
    cycle(ws, 100)
    assert ws.current_offset == size


def test_A31_arrays_of_many_blocks_are_written_without_error():  # noqa: N802 - an id
    ws = ring_of(25, policy_spill="REALLOCATE", min_size="10 MiB")
    for e in range(100):
        with ws:
            features, labels = ws.full((128, 784), float(e)), ws.full((128, 10), float(e))
        assert float(features.max()) == float(labels.min()) == e
    assert ws.number_of_pinned_allocations == ws.number_of_external_allocations == 0


def test_A32_a_ring_of_less_than_two_blocks_is_refused():  # noqa: N802 - an id
    with pytest.raises(ConfigurationError) as caught:
        ring_of(0.5, policy_allocation="OVERALLOCATE")
    assert caught.value.field == "overallocation_limit"
