"""Threads of linear algebra libraries: workers times their threads stay within the cores."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cores", "limited"]

SETTINGS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limited(workers: int) -> Iterator[None]:
    """Give every worker its part of the cores; the limits before come back afterwards.

    They are the process's: other threads have them too meanwhile. It needs ``threadpoolctl``; without it
    there is one `RuntimeWarning`, unless the environment has said it already.
    """
    share = max(1, cores() // workers)
    try:
        pools = import_module("threadpoolctl")
    except ImportError:
        if workers > 1 and not _is_limited_by_environment(share):
            text = (
                f"{workers} workers with as many BLAS threads as there are cores slow each other down: "
                f"pip install ndarena[parallel], or set {SETTINGS[0]}={share} before NumPy is imported"
            )
            warnings.warn(text, RuntimeWarning, stacklevel=4)  # who called fit
        yield
        return
    found = {
        pool["prefix"]: pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas"
    }
    with pools.threadpool_limits({prefix: min(threads, share) for prefix, threads in found.items()}):
        yield


def _is_limited_by_environment(share: int) -> bool:
    return any(os.environ.get(name, "").isdigit() and int(os.environ[name]) <= share for name in SETTINGS)
