"""Training in several threads: what workers hold, and how many there are."""

import gc
import sys
import threading
from contextlib import ExitStack

import pytest
from nn_support import chain, examples
from parallel_support import (
    CLASSES,
    INPUTS,
    NETWORKS,
    batches,
    dense,
    threads,
)
from support import faults

import ndarena
from ndarena import nn
from ndarena.data import ArrayDataSetIterator
from ndarena.parallel import ParallelWrapper, TrainingMode
from ndarena.parallel.blas import limited

MODES = ["AVERAGING", "SHARED_GRADIENTS"]


# ---------------------------------------------------------------- threads and memory


class Memory(nn.TrainingListener):
    """Looks at the faults of each worker after every iteration, and at all workspaces after every epoch."""

    def __init__(self):
        self.faults, self.epochs = {}, []

    def iteration_done(self, model, iteration, epoch):
        self.faults.setdefault(threading.current_thread().name, []).append(faults())

    def on_epoch_end(self, model):
        stats = ndarena.allocation_statistics()
        sizes = sorted((each.id.partition("-")[0], each.current_size) for each in stats)
        external = sum(each.spilled_size + each.pinned_size for each in stats)
        self.epochs.append((sizes, external, ndarena.allocated_bytes()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prefetch", [0, 4])
def test_every_worker_has_its_own_workspaces_and_takes_nothing_once_it_is_warm(mode, prefetch):
    seen = Memory()
    net = chain(INPUTS, 100, CLASSES, updater=nn.Adam(1e-3))
    net.set_listeners(seen)
    x, y = examples(640, INPUTS, CLASSES)
    gc.collect()
    gc.disable()
    try:
        wrapper = ParallelWrapper(net, workers=2, training_mode=mode, prefetch_buffer=prefetch)
        wrapper.fit(ArrayDataSetIterator(x, y, batch_size=32), epochs=40)
    finally:
        gc.enable()
    sizes, external, _ = seen.epochs[-1]
    names = [name for name, _ in sizes]
    assert names.count("WS_ALL_LAYERS_ACT") == names.count("WS_LAYER_WORKING_MEM") == 2
    assert external == 0
    assert seen.epochs[20:] == [seen.epochs[-1]] * 20
    for counts in seen.faults.values():
        assert len(counts) == 400
        assert min(counts[i + 50] - counts[i] for i in range(200, 350, 50)) == 0


class Sizes(nn.TrainingListener):
    """Keeps how large the first worker's workspaces are in every forward pass, and after the iteration."""

    def __init__(self):
        self.inside, self.after = [], []

    def on_forward_pass(self, model, activations):
        self.add(self.inside)

    def iteration_done(self, model, iteration, epoch):
        self.add(self.after)

    def add(self, sizes):
        if threading.current_thread().name.endswith(" 0"):
            found = ndarena.get_all_workspaces_for_current_thread()
            sizes.append({ws.id: ws.current_size for ws in found})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["ENABLED", "SINGLE", "SEPARATE"])
@pytest.mark.parametrize("make", NETWORKS.values())
def test_workspaces_are_in_the_next_fit_at_once_what_they_were_at_the_end_of_the_last(make, mode):
    wrapper = ParallelWrapper(make(), workers=2, workspace_mode=mode)
    first, *others = fits = [Sizes() for _ in range(4)]
    for sizes in fits:
        wrapper.set_listeners(sizes)
        wrapper.fit(batches())
    learned = first.after[-1]
    assert first.inside[0] != learned
    assert all(sizes.inside[0] == learned == sizes.after[-1] for sizes in others)


def test_workspaces_of_workers_end_with_them():
    gc.collect()
    before = ndarena.allocated_bytes()
    ParallelWrapper(dense(), workers=3).fit(batches())
    gc.collect()
    assert ndarena.allocated_bytes() == before
    assert threads() == []


def test_the_collector_keeps_out_while_it_is_paced():
    collections = []

    class Look(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            [[] for _ in range(3000)]  # enough for CPython to collect by its own rules

    def note(phase, info):
        if phase == "start":
            collections.append(threading.current_thread().name)

    wrapper = ParallelWrapper(dense(), workers=2)
    wrapper.set_listeners(Look())
    keep = [[] for _ in range(10_000)]
    gc.callbacks.append(note)
    try:
        with ndarena.gc_policy(auto_gc_window=10**6):
            wrapper.fit(batches(100, size=5))
            wrapper.fit(batches(100, size=5))
        paced = [name for name in collections if "training thread" in name]
    finally:
        gc.callbacks.remove(note)
    assert len(paced) <= 1  # the first window has passed when it begins
    assert len(keep) == 10_000


def test_blas_threads_times_workers_stay_within_the_cores(monkeypatch):
    pools = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr("ndarena.parallel.blas.cores", lambda: 6)
    seen = set()

    class Look(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            seen.update(pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas")

    with pools.threadpool_limits(4, user_api="blas"):
        for workers, expected in ((2, {3}), (3, {2}), (1, {4}), (12, {1})):
            wrapper = ParallelWrapper(dense(), workers=workers)
            wrapper.set_listeners(Look())
            seen.clear()
            wrapper.fit(batches())
            assert seen == expected
        assert {pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas"} == {4}


def test_limits_of_several_at_once_count_all_their_workers(monkeypatch):
    pools = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr("ndarena.parallel.blas.cores", lambda: 8)

    def threads_of_blas():
        return {pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas"}

    with pools.threadpool_limits(6, user_api="blas"):
        first, second = ExitStack(), ExitStack()
        first.enter_context(limited(2))
        assert threads_of_blas() == {4}
        second.enter_context(limited(2))
        assert threads_of_blas() == {2}
        first.close()
        assert threads_of_blas() == {4}
        second.close()
        assert threads_of_blas() == {6}


@pytest.mark.parametrize(
    ("variable", "workers", "told"), [(None, 2, True), ("1", 2, False), ("64", 2, True), (None, 1, False)]
)
def test_without_threadpoolctl_a_warning_says_what_to_do(monkeypatch, variable, workers, told):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", variable)
    wrapper = ParallelWrapper(dense(), workers=workers)
    if told:
        with pytest.warns(RuntimeWarning, match="threadpoolctl|OPENBLAS_NUM_THREADS") as caught:
            wrapper.fit(batches())
        assert [warning.filename for warning in caught] == [__file__]
    else:
        wrapper.fit(batches())


def test_there_is_a_worker_for_every_core_unless_it_is_said_otherwise(monkeypatch):
    monkeypatch.setattr("ndarena.parallel.blas.cores", lambda: 5)
    assert ParallelWrapper(dense()).workers == 5
    assert ParallelWrapper(dense()).training_mode is TrainingMode.AVERAGING


def test_the_model_must_be_a_network():
    with pytest.raises(TypeError, match="model must be a network, not dict"):
        ParallelWrapper({})
