"""A fault at every point of everything: no scope left open, no memory lost, the next run gives the same."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from nn_support import chain, examples
from support import KIB, eventually, fixed, held_bytes, in_thread, learning, ring

import ndarena
from ndarena import ArrayType, data, nn, parallel
from ndarena.testing import faults, inject

X, Y = examples(24, 5, 3)
A, B = np.arange(1.0, 33), np.linspace(0.5, 3, 32)


def of(id, configuration):  # noqa: A002 - as everywhere
    return ndarena.get_workspace_for_current_thread(configuration, id=id)


# ---------------------------------------------------------------- what is run


def scopes():
    ws, inner = of("W", fixed(64 * KIB)), of("INNER", fixed(64 * KIB))
    with ws.notify_scope_entered():
        a = ws.array(A)
        with inner, ws.notify_scope_borrowed():
            b, _ = ws.array(B), inner.ones(1)
            with ndarena.scope_out_of_workspaces():
                plain = a * b
        with ws, ndarena.get_and_activate_workspace(id="INNER") as current:
            c = current.array(B) + a
            return plain, c.detach()


def arrays():
    with of("W", fixed(64 * KIB)) as ws:
        made = [ws.zeros(3), ws.ones((2, 3), "f4"), ws.full(4, 2.5), ws.array([1, 2]), ndarena.arange(5)]
        made += [ws.asarray(A), ndarena.linspace(0, 1, 7), ndarena.eye(3), ndarena.zeros_like(made[1])]
        return [a.detach() for a in made]


def operators():
    with of("W", fixed(64 * KIB)) as ws:
        a, b = ws.array(A), ws.array(B)
        c = 2.5 * a - b / (1 + a)
        c += a @ b
        c[3:7] = a[:4] * -1
        return (c.reshape(4, 8) @ c.reshape(8, 4)).detach(), (c > 3).detach(), float(c.sum()), (a**2).detach()


def ufuncs():
    with of("W", fixed(64 * KIB)) as ws, np.errstate(all="ignore"):
        a, b = ws.array(A), ws.array(B)
        parts = [np.hypot(a, b), np.add.reduce(a.reshape(4, 8)), np.multiply.accumulate(b), np.frexp(a)[0]]
        parts += [np.add.outer(a[:3], b), np.log(a - 1), np.add(a, b, where=A > 3, out=ws.zeros(32))]
        return [p.detach() for p in parts], np.divmod(a, b)[1].detach()


def functions():
    with of("W", fixed(64 * KIB)) as ws:
        a, b = ws.array(A), ws.array(B)
        parts = [np.concatenate([a, b]), np.stack([a, b]), np.sort(-a), np.where(a > 3, a, b), np.cumsum(b)]
        parts += [
            np.einsum("i,j->ij", a, b),
            np.median(a.reshape(4, 8), axis=0),
            np.linalg.inv(np.eye(3) + a[0]),
        ]
        parts += [np.split(a, 4)[1], np.unique(a), a.astype("f4"), np.fft.rfft(a), a[[1, 2]], a[a > 4]]
        return [p.detach() if isinstance(p, ndarena.WorkspaceArray) else p for p in parts]


def moves():
    outer, inner = of("OUTER", fixed(64 * KIB)), of("INNER", fixed(64 * KIB))
    with outer:
        with inner:
            a = inner.array(A)
            kept = [
                a.leverage_to("OUTER"),
                a.leverage(),
                a.cast_to("f4").leverage_to("OUTER"),
                a.dup().detach(),
            ]
        return [ndarena.detach(k) for k in kept]


def roles():
    conf = fixed(64 * KIB)
    mgr = ndarena.LayerWorkspaceMgr(
        {ArrayType.ACTIVATIONS: ("ACT", conf), ArrayType.FF_WORKING_MEM: ("FF", conf)}
    )
    with mgr.notify_scope_entered(ArrayType.ACTIVATIONS, ArrayType.FF_WORKING_MEM):
        a = mgr.create(ArrayType.FF_WORKING_MEM, (4, 8), order="F")
        a += A.reshape(4, 8)
        b = mgr.dup(ArrayType.ACTIVATIONS, a)
        with mgr.notify_scope_borrowed(ArrayType.ACTIVATIONS):
            c = b * mgr.leverage_to(ArrayType.ACTIVATIONS, a)
        return c.detach(), mgr.cast_to(ArrayType.ACTIVATIONS, "f4", b).detach()


def learned():
    ws = of("LEARNED", learning())
    results = []
    for n in (3, 3, 5, 4):
        with ws:
            a = [ws.full(100 * i, float(i)) for i in range(1, n)]
            results.append((a[0].sum() + a[-1].sum(), (a[1] * 2).detach()))
    return results


def grown():
    ws = of(
        "GROWN",
        learning(policy_spill="REALLOCATE", policy_learning="OVER_TIME", cycles_before_initialization=2),
    )
    return [ws.run(lambda n=n: [ws.full(n, 2.0), ws.ones(2 * n).sum()]) for n in (100, 300, 50, 400)]


def spilled():
    ws = of("SPILLED", fixed(512))
    with ws:
        a = ws.array(A)
        b = [a * i for i in range(5)]
        view = b[-1].numpy()
    return view, view.sum()


def rings():
    batches, circle = [], of("RING", ring(3))
    for i in range(6):
        with circle:
            batches.append(circle.full(50, float(i)))
    return [b.detach() for b in batches[-2:]]


def captured():
    ws = of("CAPTURING", learning())
    results = []
    for _ in range(3):
        with ws.notify_scope_entered(capture_numpy=True):
            big = np.full(20_000, 1.5)
            ws.ones(1)
            results.append(float((big * big + 1).sum()))
        with ndarena.capture_numpy():
            results.append(float(np.arange(30_000.0).sum()))
    del big
    return results


def turns():
    ws = of("TURNS", fixed(64 * KIB))

    @ws.cycle
    def turn(x):
        return {"double": ws.asarray(x) * 2, "parts": (ws.ones(3), [ws.zeros(2)])}

    return turn(A), ws.run(np.add, A, 1.0)


def tasks():
    one, two = of("ONE", fixed(64 * KIB)), of("TWO", fixed(64 * KIB))

    async def task(ws, x):
        async with ws.notify_scope_entered():
            a = ws.array(x)
            await asyncio.sleep(0)
            async with two:
                b = a + 1
                await asyncio.sleep(0)
                return (b * 2).detach()

    async def main():
        return await task(one, A), await task(two, B)

    return asyncio.run(main())


def threads():
    def work():
        with ndarena.get_and_activate_workspace(fixed(64 * KIB), id="MINE") as mine:
            return (mine.array(A) * 3).detach()

    return in_thread(work)


def iterators():
    batches = data.AsyncShieldDataSetIterator(data.ArrayDataSetIterator(X, Y, batch_size=10))
    return [float(batch.features.sum()) for batch in batches]


def batches_of(net=None):
    return data.ArrayDataSetIterator(X, Y, batch_size=10)


def fitted(mode):
    def run():
        net = chain(5, 4, 3, training_workspace_mode=mode, inference_workspace_mode=mode)
        net.fit(batches_of(), epochs=2)
        return net.params(), net.output(X), net.score()

    return run


def read_ahead():
    with data.AsyncDataSetIterator(data.ArrayDataSetIterator(X, Y, batch_size=10), 2) as batches:
        return [(float(batch.features.sum()), batch.labels.detach()) for batch in batches]


def taught_together():
    net = chain(5, 4, 3)
    with parallel.ParallelWrapper(net, workers=2) as wrapper:
        wrapper.fit(data.ListDataSetIterator(list(data.DataSet(X, Y).batch_by(6))))
    return net.params().copy()


def asked_together():
    with parallel.ParallelInference(chain(5, 4, 3), workers=2) as inference:
        return inference.output(X), inference.submit(X[:3]).result()


def asked():
    net = chain(5, 4, 3)
    evaluation = net.evaluate(batches_of())
    with of("OWN", fixed(64 * KIB)) as ws:
        mine = net.output(X, workspace=ws).detach()
    batch = data.DataSet(X, Y)
    return evaluation.accuracy(), mine, net.feed_forward(X), net.score(batch), net.score_examples(batch)


def paced():
    """Every iteration, and the evaluation of every batch, is one scope for the collector."""
    net = chain(5, 4, 3)
    with ndarena.gc_policy(auto_gc_window=3_600_000):
        net.fit(batches_of())
        return net.params().copy(), net.evaluate(batches_of()).accuracy()


RUNS = [
    scopes, arrays, operators, ufuncs, functions, moves, roles, learned, grown, spilled, rings, captured,
    turns, tasks, threads, iterators, asked, read_ahead, taught_together, asked_together, paced,
]  # fmt: skip
RUNS = {run.__name__: run for run in RUNS}
RUNS |= {
    f"fitted, {mode.name.lower()}": fitted(mode) for mode in (nn.WorkspaceMode.ENABLED, nn.WorkspaceMode.NONE)
}


# ---------------------------------------------------------------- every fault


def clean():
    """Forget the workspaces of the thread; the bytes that are held then."""
    ndarena.destroy_all_workspaces_for_current_thread()
    return held_bytes()


def at_every_point(run, exception, point):
    """Run with a fault at each point in turn; how many were reached."""
    want = run()
    clean()
    run()
    held = clean()
    reached = 0
    for fault in faults(exception, point):
        try:
            with fault:
                got = run()
        except (exception, ndarena.WorkspaceFullError):  # of another thread, refused at the same moment
            got = None
        assert gc.isenabled(), fault.nth
        reached += fault.reached
        assert ndarena.get_current_workspace() is None, fault.nth
        assert not ndarena.any_workspace_active_for_current_thread(), fault.nth
        ndarena.assert_no_workspaces_open(f"fault {fault.nth}")
        if got is not None:
            np.testing.assert_equal(got, want)
        fault.exception.__traceback__ = None
        np.testing.assert_equal(run(), want)  # in the very workspaces in which it failed
        del got
        assert eventually(lambda: clean() == held), fault.nth
    return reached


@pytest.mark.parametrize("exception", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("point", ["allocation", "scope"])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_fault_at_every_point(run, point, exception, record_property):
    reached = at_every_point(run, exception, point)
    record_property("faults", reached)
    needs_none = run in {iterators, RUNS["fitted, none"]}
    assert reached >= (0 if needs_none else 2)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_system_refuses_each_request_in_turn(run, record_property):
    reached = at_every_point(run, MemoryError, "system")
    record_property("faults", reached)
    assert reached >= (0 if run is iterators or run is RUNS["fitted, none"] else 1)


@pytest.mark.parametrize("exception", [MemoryError, KeyboardInterrupt, StopAsyncIteration, GeneratorExit])
@pytest.mark.parametrize(
    "run",
    [iterators, asked, read_ahead, taught_together, *(run for name, run in RUNS.items() if "fitted" in name)],
)
def test_a_fault_at_every_batch(run, exception, record_property):
    reached = at_every_point(run, exception, "batch")
    record_property("faults", reached)
    assert reached >= 3


# ---------------------------------------------------------------- the tool itself


@pytest.mark.parametrize(
    "source", ["from ndarena import testing", "import ndarena; testing = ndarena.testing"]
)
def test_the_tool_is_found_and_not_the_one_of_numpy(source):
    program = f"{source}; testing.inject(MemoryError, batch=1)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_nth_allocation_raises_what_was_given():
    mine = KeyError("mine")
    with of("W", fixed(4 * KIB)) as ws:
        made = []
        fault = inject(mine, allocation=3)
        with pytest.raises(KeyError) as caught, fault:
            made.extend(ws.ones(2) for _ in range(9))
        assert caught.value is mine
        assert fault.reached
        assert ws.ones(2).tolist() == [1, 1]


def test_a_point_that_is_not_reached_is_said():
    with inject(MemoryError, scope=5) as fault, of("W", fixed(4 * KIB)) as ws:
        ws.ones(1)
    assert not fault.reached
    with of("W", fixed(4 * KIB)) as ws:
        ws.ones(1)


def test_a_boundary_keeps_the_exception_on_its_way():
    """The second boundary is the end of the scope."""
    with pytest.raises(KeyError) as caught, inject(MemoryError, scope=2), of("W", fixed(4 * KIB)):
        raise KeyError
    assert "MemoryError: injected at scope 2" in caught.value.__notes__


def test_a_fault_in_another_thread():
    with pytest.raises(MemoryError, match="injected"), inject(MemoryError, allocation=1):
        threads()


@pytest.fixture
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_are_refused_at_the_same_time_all_get_the_exception(switch_often):
    raised = []

    def work(start):
        ws = ndarena.Workspace(fixed(4 * KIB), "W")
        start.wait()
        try:
            for _ in range(10):
                with ws:
                    ws.ones(32) + 1.0
        except BaseException as error:
            raised.append(error)

    for nth in range(1, 61):
        start, fault = threading.Barrier(4), inject(KeyError, allocation=nth)
        workers = [threading.Thread(target=work, args=(start,)) for _ in range(4)]
        with fault:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(60)
        assert raised
        assert all(error is fault.exception for error in raised)
        raised.clear()


@pytest.mark.parametrize(
    ("error", "arguments", "points"),
    [
        (TypeError, (MemoryError,), {}),
        (TypeError, (MemoryError,), {"allocation": 1, "batch": 2}),
        (TypeError, (MemoryError,), {"allocation": "1"}),
        (TypeError, (MemoryError,), {"allocation": True}),
        (TypeError, ("MemoryError",), {"allocation": 1}),
        (TypeError, (int,), {"allocation": 1}),
        (ValueError, (MemoryError,), {"allocation": 0}),
        (ValueError, (KeyError,), {"system": 1}),
    ],
)
def test_faults_that_make_no_sense(error, arguments, points):
    with pytest.raises(error):
        inject(*arguments, **points)


def test_one_fault_at_a_time():
    fault = inject(MemoryError, batch=1)
    with fault, pytest.raises(RuntimeError, match="already"), inject(MemoryError, batch=1):
        pass
    with pytest.raises(RuntimeError, match="once"), fault:
        pass
    assert len(iterators()) == 3
