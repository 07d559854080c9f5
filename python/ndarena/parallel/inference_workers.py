"""Who answers the requests of a `ParallelInference`: threads of its own, or the threads that ask."""

from __future__ import annotations

import _thread
import atexit
import os
import threading
import time
import weakref
from collections import deque
from itertools import accumulate, cycle
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ndarena._core import (
    WorkspaceConfiguration,
    _concatenate_here,
    check_if_workspace_exists,
    get_workspace_for_current_thread,
)
from ndarena.data.handover import snapshot
from ndarena.nn import WorkspaceMode
from ndarena.parallel.batching import Batching
from ndarena.parallel.inference_requests import CLOSED, LONG, Answer, Request, RequestQueue, Wait, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ndarena._core import Workspace
    from ndarena.nn.words import Array

__all__ = ["BATCH_MEM", "Borrowers", "Workers", "answered", "divided", "merged"]

BATCH_MEM = "WS_INFERENCE_BATCH"
"""The workspace of a worker's thread in which batches and their outputs lie."""
CONFIGURATION = WorkspaceConfiguration(policy_spill="REALLOCATE", overallocation_limit=0.05)

PATIENCE = 10.0  # seconds

rows_of, features_of, masks_of = map(attrgetter, ("rows", "features", "masks"))


class Workers:
    """Threads that answer what is in a queue (SEQUENTIAL, BATCHED)."""

    def __init__(self, workers: int, queue: RequestQueue) -> None:
        self._queue = queue
        self.counts = [0] * workers
        self._idents = set[int]()
        """Of the threads that are at work."""
        self._threads = [
            threading.Thread(
                target=_work,
                args=(queue, i, self.counts, self._idents),
                name=f"InferenceThread-{i}",
                daemon=True,
            )
            for i in range(workers)
        ]
        # In a thread of its own: whoever collects this object may be holding the lock of the queue.
        self._finalizer = weakref.finalize(self, _thread.start_new_thread, _abandon, (queue,))
        self._finalizer.atexit = False
        at_work.add(self)
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # those that were started end
            self._finalizer.detach()
            at_work.discard(self)
            queue.close()
            raise

    def put(self, request: Request) -> None:
        """Have a request answered, by one of the workers themselves at once: nobody else might be free."""
        if self.is_mine():
            request.settle(_alone(request, request.served.replicas[0]))
        else:
            self._queue.put(request)

    def close(self, *, cancel_pending: bool = True, limit: float | None = None) -> None:
        """End all threads, and wait for them, up to a time, unless this one answers requests."""
        self._finalizer.detach()
        self._queue.close(cancel_pending=cancel_pending)
        if not is_answering():
            for thread in self._threads:
                thread.join(None if limit is None else max(0.0, limit - time.monotonic()))

    def is_mine(self) -> bool:
        """Tell whether this is the thread of a worker."""
        return _thread.get_ident() in self._idents

    def forked(self) -> None:
        """Forget the threads that are not in this process."""
        self._idents.intersection_update([_thread.get_ident()])


at_work: weakref.WeakSet[Workers] = weakref.WeakSet()


def is_answering() -> bool:
    """Tell whether this thread answers requests, of anybody: two might wait for each other for ever."""
    everybody: list[Workers | Borrowers] = [*snapshot(at_work), *snapshot(lenders)]
    return any(each.is_mine() for each in everybody)


@atexit.register
def _end_of_interpreter() -> None:
    """Let no worker be at work when the interpreter goes; those that do not come back are left behind."""
    limit = time.monotonic() + PATIENCE
    for workers in snapshot(at_work):
        workers.close(limit=limit)


def _abandon(queue: RequestQueue) -> None:
    """Let the workers of a queue that nobody puts anything into any more come to an end."""
    queue.close(cancel_pending=False)


def _work(queue: RequestQueue, index: int, counts: list[int], idents: set[int]) -> None:
    """Answer until there is nothing more to come; the work of a thread.

    If it fails, which no request can bring about, nobody is left to wait for it.
    """
    key, expected, batch, batching = None, 0, list[Request](), Batching()
    idents.add(me := _thread.get_ident())
    try:
        while batch := queue.take(key, expected):
            key = batch[0].key
            counts[index] += len(batch)
            awaited = [request for request in batch if request.is_awaited()]
            answers = answered(awaited, index)
            rows = sum(map(rows_of, awaited))
            expected = batching.expected(key, rows, queue.rows_of(key))
            settle(awaited, answers)
            batch, awaited, answers = [], [], []  # nothing is held while there is nothing to do
    except BaseException as error:
        queue.close()
        for request in batch:
            request.settle((error, True))
        raise
    else:
        queue.tell_cancelled()
    finally:
        idents.discard(me)  # another thread may be given it


def answered(batch: Sequence[Request], index: int) -> list[Answer]:
    """Return answers to requests of one kind; if they fail together, each is asked for alone."""
    if not batch:
        return []
    net = batch[0].served.replicas[index]
    answers = _together(batch, net) if len(batch) > 1 else None
    return answers or [_alone(request, net) for request in batch]


def _alone(request: Request, net: Any) -> Answer:
    served = request.served
    try:
        return served.result(served.ask(net, request.features, request.masks)), False
    except BaseException as error:  # noqa: BLE001 - it goes on at whoever waits for the answer
        return error, True


def _together(batch: Sequence[Request], net: Any) -> list[Answer] | None:
    """Ask once for all requests; ``None``: it failed, and who is to blame is to be found out."""
    try:
        if net.inference_workspace_mode is WorkspaceMode.NONE:
            shares = _shares(batch, net, None)
        else:
            configuration = None if check_if_workspace_exists(BATCH_MEM) else CONFIGURATION
            with get_workspace_for_current_thread(configuration, id=BATCH_MEM) as workspace:
                shares = _shares(batch, net, workspace)
    except BaseException:  # noqa: BLE001 - it is raised again by whom it concerns
        return None
    return [(share, False) for share in shares]


def _shares(batch: Sequence[Request], net: Any, workspace: Workspace | None) -> Sequence[Any]:
    """Ask for all requests at once, and return what each is given, plain."""
    make: Callable[..., Array] = np.empty if workspace is None else workspace.empty
    features, masks = merged(batch, net.dtype, make)
    served = batch[0].served
    shares = divided(batch, served.ask(net, features, masks, workspace))
    return [list(each) for each in zip(*shares, strict=True)] if served.is_graph else shares[0]


def merged(
    batch: Sequence[Request], dtype: np.dtype[Any], make: Callable[..., Array]
) -> tuple[list[Array], list[Array]]:
    """Return features and masks of all requests, one below the other, in arrays that ``make`` makes."""
    rows = sum(map(rows_of, batch))

    def together(parts: tuple[Array, ...]) -> Array:
        if parts[0] is None:
            return None
        kind = dtype
        if parts[0].dtype.kind in "iu" and (common := np.result_type(*parts)).kind in "iu":
            kind = common  # they may be indices
        if make is not np.empty and parts[0].dtype == kind and (made := _concatenate_here(parts)) is not None:
            return made
        return np.concatenate(parts, out=make((rows, *parts[0].shape[1:]), kind), casting="unsafe")

    # Lists: of an iterator CPython makes longer tuples, and keeps two thousand of those it has shortened.
    features = zip(*list(map(features_of, batch)), strict=True)
    masks = zip(*list(map(masks_of, batch)), strict=True)
    return list(map(together, features)), list(map(together, masks))


def divided(batch: Sequence[Request], outputs: Sequence[Array]) -> list[list[Array]]:
    """Return for every output copies of the rows of each request.

    Raises
    ------
    ValueError
        There is not a row for every row.
    """
    *ends, rows = accumulate(map(rows_of, batch))
    if any(len(output) != rows for output in outputs):
        raise ValueError(f"{rows} rows went in, {list(map(len, outputs))} came out")
    shares = list(map(slice, (0, *ends), (*ends, rows)))
    return [[view[share].copy() for share in shares] for view in map(np.asarray, outputs)]


class _Turn(Wait):
    """What a thread waits for that is to be given a replica."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self.thread = thread


class Borrowers:
    """The threads that ask, as many at a time as there are replicas of the model, first come first (INPLACE).

    Parameters
    ----------
    replicas : int
        Their number.
    in_turn : bool
        Whether each has its turn, even if another one is free.
    """

    def __init__(self, replicas: int, *, in_turn: bool) -> None:
        self.counts = [0] * replicas
        self._turns = cycle(range(replicas)) if in_turn else None
        self._lines = [deque[_Turn]() for _ in range(replicas if in_turn else 1)]
        """Who waits, for each replica or for any."""
        self._owners: dict[int, int] = {}
        """By replica that is borrowed the thread that has it."""
        self._closed = False
        self._use(threading.Lock())
        lenders.add(self)

    def _use(self, lock: threading.Lock) -> None:
        """Change things under a lock: under itself, since a signal may come inside a condition's `with`."""
        self._lock, self._changed = lock, threading.Condition(lock)

    def put(self, request: Request) -> None:
        """Answer a request in this thread, as soon as a replica is free; a second one goes without."""
        replicas = request.served.replicas
        if self.is_mine():
            request.settle(_alone(request, replicas[0]))
            return
        try:
            request.settle(_alone(request, replicas[self._borrow()]))
        finally:
            try:
                self._give_back()
            except BaseException:  # a signal: once more, from the beginning
                self._give_back()
                raise

    def _borrow(self) -> int:
        """Wait for a replica; `_give_back` must follow, also if this is interrupted."""
        me = threading.get_ident()
        with self._lock:
            if self._closed:
                raise RuntimeError(CLOSED)
            index = self._choose()
            if index not in self._owners:
                return self._lend(index, me)
            turn = _Turn(me)
            self._line(index).append(turn)
        try:
            while not turn.comes():
                if (mine := self._mine()) is not None:  # a signal came where it was handed over
                    return mine
            return cast("int", turn.outcome())
        finally:
            self._step_out(turn)

    def _choose(self) -> int:
        """Return the replica whose turn it is, or else one that is free, if there is one."""
        if self._turns is not None:
            return next(self._turns)
        return next((i for i in range(len(self.counts)) if i not in self._owners), 0)

    def _line(self, index: int) -> deque[_Turn]:
        return self._lines[index % len(self._lines)]

    def _lend(self, index: int, owner: int) -> int:
        self._owners[index] = owner
        self.counts[index] += 1
        return index

    def _give_back(self) -> None:
        """Hand this thread's replica, if it has one, to who has waited longest, or put it aside."""
        with self._lock:
            index = self._mine()
            if index is None:
                return
            line = self._line(index)
            if line:
                self._lend(index, line[0].thread)
                line.popleft().set_answer((index, False))
            else:
                del self._owners[index]
            self._changed.notify_all()

    def is_mine(self) -> bool:
        """Tell whether this thread has a replica."""
        return self._mine() is not None

    def _mine(self) -> int | None:
        """Return the replica that this thread has."""
        me = threading.get_ident()
        return next((index for index, owner in list(self._owners.items()) if owner == me), None)

    def _step_out(self, turn: _Turn) -> None:
        """Wait no longer."""
        # CPython 3.13 leaves a lock held if a signal comes where a loop right inside its `with` goes on.
        with self._lock:
            self._remove(turn)

    def _remove(self, turn: _Turn) -> None:
        for line in self._lines:
            if turn in line:
                line.remove(turn)

    def close(self, *, cancel_pending: bool = True) -> None:
        """Lend nothing any more; wait until everything is back, unless this thread answers requests."""
        waits = not is_answering()
        with self._lock:
            self._close(cancel_pending=cancel_pending, waits=waits)

    def _close(self, *, cancel_pending: bool, waits: bool) -> None:
        self._closed = True
        for line in self._lines if cancel_pending else ():
            while line:
                line.popleft().cancel()
        while waits and self._owners:
            self._changed.wait(LONG)  # a signal may keep another thread from telling

    def forked(self) -> None:
        """Forget the threads that are not in this process."""
        me = threading.get_ident()
        self._use(threading.Lock())
        self._owners = {index: owner for index, owner in self._owners.items() if owner == me}
        for line in self._lines:
            line.clear()


lenders: weakref.WeakSet[Borrowers] = weakref.WeakSet()


def _forked() -> None:
    everybody: list[Workers | Borrowers] = [*snapshot(at_work), *snapshot(lenders)]
    for each in everybody:
        each.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
