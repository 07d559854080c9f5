"""Requests on their way to a worker of a `ParallelInference`, and which of them are answered together."""

from __future__ import annotations

import _thread
import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndarena.nn.words import Array
    from ndarena.parallel.inference_models import Served

__all__ = ["CLOSED", "LONG", "Answer", "Call", "Promise", "Request", "RequestQueue", "Wait", "settle"]

log = logging.getLogger(__name__)
LONG = 0.5
"""Seconds after which one who waits looks whether it was forgotten."""
CLOSED = "this ParallelInference is closed: make another one"


Answer = tuple[Any, bool]
"""What came of a request: the outputs and ``False``, or what was raised and ``True``."""
NONE: Answer = (None, False)


class Wait:
    """A thread that does nothing else until there is an answer for it; a base of what it waits for."""

    def __init__(self) -> None:
        self._answer = NONE
        self._lock = lock = _thread.allocate_lock()
        lock.acquire()  # until the thread is woken

    def comes(self) -> bool:
        """Wait, but not for ever: a signal may keep another thread from waking this one."""
        return self._lock.acquire(timeout=LONG)

    def outcome(self) -> Any:
        """Return the answer that came, or raise the error."""
        outcome, failed = self._answer
        if failed:
            raise outcome
        return outcome

    def set_answer(self, answer: Answer) -> None:
        """Give the answer, and wake the thread."""
        self._answer = answer
        self._lock.release()

    def cancel(self) -> None:
        """Say that there will be no answer; more than once does no harm."""
        if self._answer is NONE:
            with suppress(RuntimeError):  # it has left, and is awake already
                self.set_answer((RuntimeError(CLOSED), True))


class Request:
    """What one call asks for: arrays and masks, in the order of the model's inputs.

    Requests with the same key may be answered together.
    """

    __slots__ = ("features", "key", "masks", "rows", "served")

    def __init__(
        self, served: Served, features: Sequence[Array], masks: Sequence[Array], key: object, rows: int
    ) -> None:
        self.served, self.features, self.masks, self.key, self.rows = served, features, masks, key, rows

    def is_awaited(self) -> bool:
        """Tell whether somebody waits for the answer, who cannot cancel it from now on."""
        raise NotImplementedError

    def settle(self, answer: Answer) -> None:
        """Give the answer to whoever waits, and let go of the arrays; the first one counts."""
        if self.features:
            self.features = self.masks = ()
            self.set_answer(answer)

    def set_answer(self, answer: Answer) -> None:
        """Give the answer to whoever waits."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Say that there will be no answer; more than once does no harm."""
        raise NotImplementedError


class Call(Wait, Request):
    """A request of a thread that waits for the answer.

    Threads that were answered together wake one another, in a line. Woken all at once they would only wait
    again, for the interpreter's lock.
    """

    def __init__(
        self, served: Served, features: Sequence[Array], masks: Sequence[Array], key: object, rows: int
    ) -> None:
        Request.__init__(self, served, features, masks, key, rows)
        Wait.__init__(self)
        self._line: deque[Call] | None = None
        self._over = False

    def result(self) -> Any:
        """Wait, and return the answer or raise the error; `leave` must follow."""
        while not self._lock.acquire(timeout=LONG) and self._answer is NONE:  # as `comes`
            pass
        return self.outcome()

    def leave(self) -> None:
        """Wake the next one in line; whoever waits leaves, whatever happens meanwhile, and only once."""
        self._over, self._answer = True, NONE
        if self._line is not None:
            wake_next(self._line)

    def is_awaited(self) -> bool:
        """Tell whether the thread still waits."""
        return not self._over

    def stand_in(self, line: deque[Call], answer: Answer) -> None:
        """Give the answer to a thread that is woken when its turn in the line comes."""
        self.features = self.masks = ()
        self._answer, self._line = answer, line
        if not self._over:  # who leaves now finds the line
            line.append(self)


def wake_next(line: deque[Call]) -> None:
    """Wake the first in a line, if there is one, who will wake the next."""
    try:  # noqa: SIM105 - in a fraction of the time
        line.popleft()._lock.release()  # noqa: SLF001 - of this module's, without a call more
    except IndexError:  # another one has woken the last
        pass


class Promise(Request):
    """A request whose answer is a future's, until that has it."""

    __slots__ = ("future",)

    def __init__(
        self, served: Served, features: Sequence[Array], masks: Sequence[Array], key: object, rows: int
    ) -> None:
        super().__init__(served, features, masks, key, rows)
        self.future = Future[Any]()

    def is_awaited(self) -> bool:
        """Tell whether it was not cancelled; it cannot be from now on."""
        try:
            return self.future.set_running_or_notify_cancel()
        except RuntimeError:  # somebody else has settled the future, and was told so
            return False

    def set_answer(self, answer: Answer) -> None:
        """Give the answer to the future, whose callbacks run; what was raised would hold both otherwise."""
        (outcome, failed), future = answer, self.future
        del self.future
        try:
            (future.set_exception if failed else future.set_result)(outcome)
        except BaseException:  # somebody else has settled the future, or a callback went too far
            log.exception("the answer to a request could not be handed over")

    def cancel(self) -> None:
        """Cancel the future."""
        if self.features:
            self.future.cancel()


def settle(batch: Sequence[Request], answers: Sequence[Answer]) -> None:
    """Give answers to requests: to threads that wait for them first, then to futures, whose callbacks run."""
    line, others = deque[Call](), []
    for request, answer in zip(batch, answers, strict=True):
        if type(request) is Call:
            request.stand_in(line, answer)
        else:
            others.append((request, answer))
    wake_next(line)
    for request, answer in others:
        request.settle(answer)


class _Lane:
    """Requests that may be answered together, the oldest first."""

    __slots__ = ("awaited", "requests", "rows")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.rows = 0
        self.awaited: int | None = None
        """The rows for which a worker waits; no other one takes from this lane meanwhile."""

    def pop(self, limit: int) -> list[Request]:
        """Take requests of at most so many rows from the front, and at least one."""
        if self.rows <= limit:
            taken, self.rows = list(self.requests), 0
            self.requests.clear()
            return taken
        taken = [self.requests.popleft()]
        rows = taken[0].rows
        while self.requests and rows + self.requests[0].rows <= limit:
            taken.append(self.requests.popleft())
            rows += taken[-1].rows
        self.rows -= rows
        return taken


class RequestQueue:
    """Requests that wait, for the clients at one end and the workers at the other.

    A free worker takes what is there. It waits for more only if the requests it answered last were of the
    same kind: until as many rows have come again, besides those that waited meanwhile, or half of them, and
    for `max_wait` at most. So a lonely client never waits, and some that ask again and again are answered
    together.

    Parameters
    ----------
    limit : int
        How many requests wait at most; further clients wait outside.
    batch_limit : int
        How many rows are answered together at most; a request that has more is answered alone.
    max_wait : float
        Seconds.
    """

    def __init__(self, limit: int, batch_limit: int, max_wait: float) -> None:
        self._limit, self._batch_limit, self._max_wait = limit, batch_limit, max_wait
        self._lanes: dict[object, _Lane] = {}
        self._count = 0
        self._cancelled: deque[Request] = deque()
        """Who waits for these is still to be told."""
        lock = threading.Lock()
        self._room, self._idle, self._filled = (threading.Condition(lock) for _ in range(3))
        self._lock, self._closed, self._process = lock, False, os.getpid()
        self._waiting = 0
        """How many workers wait, for a request or for more."""

    def put(self, request: Request) -> None:
        """Add a request, as soon as there is room.

        Raises
        ------
        RuntimeError
            The queue is closed, or the process is a fork, in which there are no workers.
        """
        if self._process != os.getpid():
            raise RuntimeError("a forked process has no workers: make another ParallelInference there")
        key = request.key
        with self._lock:
            if self._closed or self._count >= self._limit:
                self._wait_for_room()
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane()
            lane.requests.append(request)
            lane.rows += request.rows
            self._count += 1
            if self._waiting:
                self._tell_of(lane)

    def _tell_of(self, lane: _Lane) -> None:
        """Wake workers for which there is something to do, now that there is another request."""
        if lane.awaited is None:
            self._idle.notify_all()  # all: a signal inside may leave one behind that was woken already
            self._filled.notify_all()
        elif self._is_enough(lane, lane.awaited):
            self._filled.notify_all()

    def _wait(self, condition: threading.Condition, seconds: float | None = None) -> None:
        """Wait as a worker."""
        self._waiting += 1
        try:
            condition.wait(seconds)
        finally:
            self._waiting -= 1

    def _wait_for_room(self) -> None:
        try:
            while self._count >= self._limit and not self._closed:
                self._room.wait()
        except BaseException:
            self._room.notify()  # the room, if it was for this client
            raise
        if self._closed:
            raise RuntimeError(CLOSED)

    def take(self, key: object = None, rows: int = 0) -> list[Request]:
        """Return requests to be answered together; none: there will be no more.

        ``key`` is that of the batch before, and ``rows`` are expected to come, those that wait included.
        """
        with self._lock:
            while (found := self._next()) is None:
                if self._closed:
                    return []
                self._wait(self._idle)
            mine, lane = found
            if mine == key:
                self._wait_to_fill(lane, min(rows, self._batch_limit))
                if not lane.requests:  # they were cancelled
                    return []
            return self._pop(mine, lane)

    def rows_of(self, key: object) -> int:
        """Return how many rows of this kind wait."""
        lane = self._lanes.get(key)
        return 0 if lane is None else lane.rows

    def _next(self) -> tuple[object, _Lane] | None:
        """Return the lane that has waited longest, of those for which no worker waits."""
        return next((item for item in self._lanes.items() if item[1].awaited is None), None)

    def _is_enough(self, lane: _Lane, rows: int) -> bool:
        return lane.rows >= rows or len(self._lanes) > 1 or self._count >= self._limit or self._closed

    def _wait_to_fill(self, lane: _Lane, rows: int) -> None:
        lane.awaited = rows
        deadline = time.monotonic() + self._max_wait
        try:
            while not self._is_enough(lane, rows) and (left := deadline - time.monotonic()) > 0:
                self._wait(self._filled, min(left, threading.TIMEOUT_MAX))
        finally:
            lane.awaited = None

    def _pop(self, key: object, lane: _Lane) -> list[Request]:
        taken = lane.pop(self._batch_limit)
        self._count -= len(taken)
        del self._lanes[key]
        if lane.requests:
            self._lanes[key] = lane  # behind the others
            self._idle.notify()
        self._room.notify(len(taken))
        return taken

    def close(self, *, cancel_pending: bool = True) -> None:
        """Take no more requests; those that wait are cancelled, or else still answered."""
        if self._process != os.getpid():
            return  # whoever held the lock is not here
        with self._lock:
            self._closed = True
            if cancel_pending:
                for lane in self._lanes.values():
                    self._cancelled.extend(lane.requests)
                    lane.requests.clear()
                self._lanes.clear()
                self._count = 0
            for condition in (self._room, self._idle, self._filled):
                condition.notify_all()
        self.tell_cancelled()

    def tell_cancelled(self) -> None:
        """Tell all whose requests were cancelled, whatever a callback of one of them raises."""
        raised: BaseException | None = None
        for request in tuple(self._cancelled):
            try:
                request.cancel()
            except BaseException as error:  # noqa: BLE001 - it is raised when all have been told
                raised = raised or error
            with suppress(ValueError):  # another thread has told it too
                self._cancelled.remove(request)
        if raised is not None:
            raise raised
