"""What a workspace learns: when, how much, within which limits, and how it grows."""

import itertools

import numpy as np
import pytest
from support import KIB, fixed, learning

import ndarena as nd
from ndarena import Workspace, WorkspaceConfiguration

BLOCK = 64 * KIB


def use(ws, *sizes):
    """One cycle in which arrays of these sizes in bytes are alive together."""
    with ws:
        arrays = [ws.empty(size, dtype="u1") for size in sizes]
        spilled = ws.spilled_size
        del arrays
    return spilled


# ---------------------------------------------------------------- when


def test_first_loop_learns_at_the_first_close():
    """FIRST_LOOP: the first cycle is served from outside, its close makes the arena, the second fits."""
    ws = Workspace(learning(), "W")
    assert ws.current_size == 0
    assert use(ws, BLOCK) == BLOCK
    assert ws.current_size == BLOCK
    assert use(ws, BLOCK) == 0


def test_first_loop_passes_over_empty_cycles():
    """The first loop is the first cycle that allocated."""
    ws = Workspace(learning(), "W")
    use(ws)
    use(ws)
    assert ws.current_size == 0
    use(ws, BLOCK)
    assert ws.current_size == BLOCK


def test_first_loop_learns_once():
    """A later, larger cycle spills and changes nothing under EXTERNAL."""
    ws = Workspace(learning(), "W")
    use(ws, BLOCK)
    assert use(ws, 4 * BLOCK) == 4 * BLOCK
    use(ws, BLOCK)
    assert ws.current_size == BLOCK


def test_over_time_learns_at_its_cycle_from_the_largest():
    """OVER_TIME waits for its number of cycles and takes the largest of them, not the last."""
    ws = Workspace(learning(policy_learning="OVER_TIME", cycles_before_initialization=3), "W")
    use(ws, BLOCK)
    use(ws, 3 * BLOCK)
    assert ws.current_size == 0
    use(ws, BLOCK)
    assert ws.current_size == 3 * BLOCK


def test_over_time_learns_after_its_cycle_if_that_was_empty():
    """At or after cycle N: a workspace that missed it learns at the next chance."""
    ws = Workspace(learning(policy_learning="OVER_TIME", cycles_before_initialization=2), "W")
    use(ws)
    use(ws)
    assert ws.current_size == 0
    use(ws, BLOCK)
    assert ws.current_size == BLOCK


def test_over_time_with_zero_cycles_is_manual():
    """With 0 cycles only initialize_workspace makes the arena."""
    ws = Workspace(learning(policy_learning="OVER_TIME", cycles_before_initialization=0), "W")
    for _ in range(5):
        use(ws, BLOCK)
    assert ws.current_size == 0
    ws.initialize_workspace()
    assert ws.current_size == BLOCK
    assert use(ws, BLOCK) == 0


def test_none_never_learns():
    """NONE: the arena is what was asked for, for ever."""
    ws = Workspace(fixed(BLOCK), "W")
    for _ in range(3):
        assert use(ws, BLOCK, BLOCK) == BLOCK
    assert ws.current_size == BLOCK
    nothing = Workspace(WorkspaceConfiguration(policy_learning="NONE"), "N")
    assert use(nothing, BLOCK) == BLOCK
    assert nothing.current_size == 0


NOTHING_TO_INITIALISE = [
    (WorkspaceConfiguration, "EXTERNAL"),
    (WorkspaceConfiguration, "REALLOCATE"),
    (WorkspaceConfiguration.nd4j, "EXTERNAL"),
]


@pytest.mark.parametrize(("make", "spill"), NOTHING_TO_INITIALISE)
def test_none_learns_nothing_by_hand_either(make, spill):
    """Not even the counters move: there is nothing to initialise."""
    ws = Workspace(make(initial_size=BLOCK, policy_learning="NONE", policy_spill=spill), "W")
    use(ws, BLOCK, BLOCK)
    before = ws.stats()
    ws.initialize_workspace()
    assert ws.stats() == before


@pytest.mark.parametrize(("limit", "size"), [(0, 0), (4 * BLOCK, 0), (2 * BLOCK, BLOCK)])
def test_nd4j_drops_an_arena_that_was_too_small_and_learns_no_other(limit, size):
    """Unless ``max_size`` keeps it from growing: all the same as in ND4J, where it spills from then on."""
    settings = {"initial_size": BLOCK, "max_size": limit, "policy_allocation": "STRICT"}
    conf = WorkspaceConfiguration.nd4j(policy_learning="NONE", policy_spill="REALLOCATE", **settings)
    ws = Workspace(conf, "W")
    ws.initialize_workspace()
    assert ws.current_size == BLOCK
    use(ws, BLOCK, BLOCK)
    ws.initialize_workspace()
    assert (ws.current_size, ws.initial_block_size, ws.spilled_size) == (size, 0, 0 if size == 0 else BLOCK)
    assert use(ws, BLOCK) == BLOCK - size
    assert ws.current_size == size


def test_an_initial_size_is_not_learned_over():
    """FIRST_LOOP needs an arena of size 0; one that came from initial_size stays."""
    ws = Workspace(learning(initial_size=BLOCK), "W")
    use(ws, 2 * BLOCK)
    assert ws.current_size == BLOCK


def test_spill_everything_learns_nothing():
    """While everything is spilled on purpose, no close learns."""
    ws = Workspace(learning(), "W")
    nd.set_debug_mode("SPILL_EVERYTHING")
    use(ws, BLOCK)
    assert ws.current_size == 0
    nd.set_debug_mode("DISABLED")
    use(ws, BLOCK)
    assert ws.current_size == BLOCK


# ---------------------------------------------------------------- how much


def test_a_chain_of_temporaries_needs_two_places():
    """A thousand arrays of which two are alive at once need the memory of two, not of a thousand."""
    ws = Workspace(learning(), "W")
    with ws:
        x = ws.empty(BLOCK, dtype="u1")
        for _ in range(1000):
            y = ws.empty(BLOCK, dtype="u1")
            x = y
        del x, y
    assert ws.max_cycle_allocations == 1001 * BLOCK
    assert ws.peak_size == 2 * BLOCK
    assert ws.current_size == 2 * BLOCK


def random_cycle(seed, steps=300):
    """Make a list of requests and deaths: ("new", key, bytes) and ("drop", key)."""
    random = np.random.default_rng(seed)
    program, alive = [], []
    for key in range(steps):
        program.append(("new", key, int(random.integers(1, 8 * KIB))))
        alive.append(key)
        while len(alive) > 6 or (alive and random.random() < 0.4):
            program.append(("drop", alive.pop(int(random.integers(len(alive))))))
    return program


def play(ws, program):
    """Play the program in one cycle; whether anything spilled."""
    with ws:
        arrays, spilled = {}, False
        for step in program:
            if step[0] == "new":
                arrays[step[1]] = ws.empty(step[2], dtype="u1")
                spilled |= ws.number_of_external_allocations > 0
            else:
                del arrays[step[1]]
        arrays.clear()
    return spilled


@pytest.mark.parametrize("seed", range(8))
def test_the_learned_size(seed):
    """It lies between the peak and the sum of requests; the same cycle again never spills."""
    ws = Workspace(learning(), "W")
    program = random_cycle(seed)
    assert play(ws, program)
    peak, size = ws.peak_size, ws.current_size
    assert 0 < peak <= size <= ws.max_cycle_allocations
    for _ in range(3):
        assert not play(ws, program)
        assert ws.peak_size == peak
        assert ws.current_size == size


def training_cycle(widths, batch):
    """Make the requests and deaths of a step of a fully connected network: forward keeps, backward frees."""
    program, activations = [], []
    keys = itertools.count()

    def new(size):
        key = next(keys)
        program.append(("new", key, 4 * size))
        return key

    for inputs, outputs in itertools.pairwise(widths):
        product, biased = new(batch * outputs), new(batch * outputs)
        program.append(("drop", product))
        activations.append((new(batch * outputs), biased, inputs, outputs))
    epsilon = new(batch * widths[-1])
    for activation, biased, inputs, outputs in reversed(activations):
        gradient, masked = new(inputs * outputs), new(batch * outputs)
        program.extend([("drop", epsilon), ("drop", activation), ("drop", biased)])
        epsilon = new(batch * inputs)
        program.extend([("drop", gradient), ("drop", masked)])
    program.append(("drop", epsilon))
    return program


@pytest.mark.parametrize(
    "widths", [(64, 64, 10), (784, 1000, 10), (256, 128, 64, 32, 10), (100, 300, 100, 300, 100)]
)
@pytest.mark.parametrize("batch", [32, 128])
def test_a_training_step_needs_hardly_more_than_its_peak(widths, batch):
    """The arena learned from a training step is at most 15 % larger than what is alive at once."""
    ws = Workspace(learning(), "W")
    program = training_cycle(widths, batch)
    play(ws, program)
    assert ws.peak_size <= ws.current_size <= 1.15 * ws.peak_size
    assert not play(ws, program)


@pytest.mark.parametrize("seed", range(4))
def test_a_cycle_that_leaves_the_plan_is_served(seed):
    """Another cycle is served in what is free, or spills; the learned one fits again after it."""
    ws = Workspace(learning(), "W")
    program = random_cycle(seed)
    play(ws, program)
    play(ws, random_cycle(seed + 100))
    assert not play(ws, program)


def test_at_reset_learns_the_sum():
    """Where memory is not reused within the cycle, the learned size is the sum of requests."""
    ws = Workspace(learning(policy_reuse="AT_RESET"), "W")
    with ws:
        for _ in range(10):
            ws.empty(BLOCK, dtype="u1")
    assert ws.current_size == 10 * BLOCK


# ---------------------------------------------------------------- limits and head-room


def test_overallocation_adds_head_room():
    """OVERALLOCATE multiplies what was learned by 1 + limit; STRICT takes it as it is."""
    ws = Workspace(WorkspaceConfiguration(overallocation_limit=0.5), "W")
    use(ws, BLOCK)
    assert ws.initial_block_size == BLOCK
    assert ws.current_size == BLOCK * 3 // 2
    assert use(ws, BLOCK, BLOCK // 2) == 0


def test_an_initial_size_gets_head_room_too():
    """Over-allocation applies to initial_size at once."""
    ws = Workspace(WorkspaceConfiguration(initial_size=BLOCK, overallocation_limit=1.0), "W")
    assert ws.current_size == 2 * BLOCK
    assert Workspace(WorkspaceConfiguration(initial_size="10 MiB"), "D").current_size == 13_631_488


def test_min_size_raises_what_is_learned():
    """An arena is never learned smaller than min_size."""
    ws = Workspace(learning(min_size=4 * BLOCK), "W")
    use(ws, BLOCK)
    assert ws.current_size == 4 * BLOCK


def test_max_size_caps_what_is_learned():
    """An arena is never learned larger than max_size, head-room included; the rest spills."""
    ws = Workspace(WorkspaceConfiguration(max_size=2 * BLOCK, overallocation_limit=1.0), "W")
    use(ws, BLOCK, BLOCK, BLOCK)
    assert ws.current_size == 2 * BLOCK
    assert use(ws, BLOCK, BLOCK, BLOCK) == BLOCK


# ---------------------------------------------------------------- growth


def test_reallocate_grows_with_head_room():
    """A larger cycle under REALLOCATE makes a larger arena at its close, with its head-room."""
    conf = WorkspaceConfiguration(policy_spill="REALLOCATE", overallocation_limit=0.5)
    ws = Workspace(conf, "W")
    use(ws, BLOCK)
    assert use(ws, 4 * BLOCK) == 4 * BLOCK
    assert ws.current_size == 6 * BLOCK
    assert use(ws, 4 * BLOCK) == 0


def test_growth_is_clamped_to_max_size():
    """max_size limits growth but does not forbid it."""
    conf = learning(policy_spill="REALLOCATE", max_size=3 * BLOCK)
    ws = Workspace(conf, "W")
    use(ws, BLOCK)
    use(ws, 2 * BLOCK, 2 * BLOCK)
    assert ws.current_size == 3 * BLOCK


def test_reallocate_does_not_shrink_by_itself():
    """Smaller cycles leave the arena as large as it is."""
    ws = Workspace(learning(policy_spill="REALLOCATE"), "W")
    use(ws, 4 * BLOCK)
    for _ in range(5):
        use(ws, BLOCK)
    assert ws.current_size == 4 * BLOCK


def test_reallocate_grows_without_learning():
    """With an initial size, growth starts from there."""
    ws = Workspace(learning(initial_size=BLOCK, policy_spill="REALLOCATE"), "W")
    use(ws, BLOCK, BLOCK)
    assert ws.current_size == 2 * BLOCK


def test_nd4j_grows_without_head_room():
    """The ancestor's arithmetic: head-room once, growth to exactly the largest cycle."""
    conf = WorkspaceConfiguration.nd4j(policy_spill="REALLOCATE", overallocation_limit=0.5)
    ws = Workspace(conf, "W")
    for size, arena in ((1600, 2400), (4800, 4800), (8000, 8000)):
        use(ws, size)
        assert ws.current_size == arena


# ---------------------------------------------------------------- the log


def log_of(ws):
    return ws._cycle_log()  # noqa: SLF001 - for benchmarks, and for this test


def test_the_log_of_a_cycle_tells_births_and_deaths_in_their_order():
    """`_cycle_log()`: what the benchmarks' traces are recorded with."""
    ws = Workspace(learning(), "W")
    with ws:
        first = ws.empty(100, dtype="u1")
        second = ws.empty(200, dtype="u1")
        del first
        assert log_of(ws) == [("birth", 128), ("birth", 256), ("death", 0)]
        del second
        assert log_of(ws)[3:] == [("death", 1)]
    assert log_of(ws) == []


def test_memory_that_is_not_used_again_has_no_log():
    ws = Workspace(learning(policy_reuse="AT_RESET"), "W")
    with ws:
        ws.empty(100, dtype="u1")
        assert log_of(ws) == []
