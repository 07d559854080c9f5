"""Threads of linear algebra libraries: workers times their threads stay within the cores."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cores", "limited"]

SETTINGS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Limits:
    """The limits of the process while anybody wants some; those found before come back after the last one."""

    def __init__(self) -> None:
        self._changing = threading.RLock()  # a finaliser may come in between
        self._workers: list[int] = []
        self._found: list[tuple[Any, int]] = []

    def add(self, pools: Any, workers: int) -> None:
        """Give room to so many workers more."""
        with self._changing:
            if not self._workers:
                libraries = pools.ThreadpoolController().select(user_api="blas").lib_controllers
                self._found = [(library, library.num_threads) for library in libraries]
            self._workers.append(workers)
            self._set()

    def remove(self, workers: int) -> None:
        """Take the room back; at the end of the interpreter nobody needs it."""
        if sys.is_finalizing():
            return
        with self._changing:
            if workers in self._workers:  # they are not in a process that was forked meanwhile
                self._workers.remove(workers)
                self._set()

    def _set(self) -> None:
        everybody = sum(self._workers)
        for library, threads in self._found:
            library.set_num_threads(min(threads, max(1, cores() // everybody)) if everybody else threads)


_limits = _Limits()
if hasattr(os, "register_at_fork"):  # nobody works in the child, and nobody holds the lock
    os.register_at_fork(after_in_child=_limits.__init__)  # type: ignore[misc]


@contextmanager
def limited(workers: int) -> Iterator[None]:
    """Give every worker its part of the cores; the limits before come back afterwards.

    They are the process's: other threads have them too meanwhile. It needs ``threadpoolctl``; without it
    there is a `RuntimeWarning`, unless the environment has said it already.
    """
    try:
        pools = import_module("threadpoolctl")
    except ImportError:
        _warn(workers)
        yield
        return
    _limits.add(pools, workers)
    try:
        yield
    finally:
        _limits.remove(workers)


def _warn(workers: int) -> None:
    """Say what slows workers down, if there are several and nothing is done about it."""
    share = max(1, cores() // workers)
    settings = [os.environ.get(name, "") for name in SETTINGS]
    if workers == 1 or any(value.isdigit() and int(value) <= share for value in settings):
        return
    text = (
        f"{workers} workers with as many BLAS threads as there are cores slow each other down: "
        f"pip install ndarena[parallel], or set {SETTINGS[0]}={share} before NumPy is imported"
    )
    warnings.warn(text, RuntimeWarning, stacklevel=6)  # whoever called what enters the context
