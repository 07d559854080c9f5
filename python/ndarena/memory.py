"""Memory of the process beside the workspaces: the C library's heap, page faults, resident size.

NumPy's own temporaries, FFT and linear algebra scratch come from the C library's `malloc`. With glibc's usual
settings large blocks go back to the system when they are freed and fault in again at the next allocation;
`tune_malloc` keeps them. What cannot be had on a platform is `None` in a report, and said in words.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from ndarena._core import allocated_bytes, get_all_workspaces_for_current_thread

__all__ = ["HostReport", "MallocTuning", "host_report", "trim", "tune_malloc"]

# Of malloc.h: the numbers of two parameters.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
MMAP_THRESHOLD = 1 << 30
TRIM_THRESHOLD = (1 << 31) - 1  # the parameter is a C int


@dataclass(frozen=True)
class MallocTuning:
    """What `tune_malloc` did: the thresholds in bytes, `None` where one was not set."""

    mmap_threshold: int | None
    trim_threshold: int | None
    message: str

    @property
    def is_available(self) -> bool:
        """Whether both thresholds were set."""
        return self.mmap_threshold is not None and self.trim_threshold is not None


@dataclass(frozen=True)
class HostReport:
    """What the process tells about its memory; sizes in bytes, `None` where the system does not tell.

    It owns nothing: a picture of one moment.
    """

    minor_faults: int | None
    """Page faults of the process that the system served without reading a file."""
    major_faults: int | None
    """Page faults that read a file."""
    thread_minor_faults: int | None
    """Minor faults of the calling thread alone (Linux)."""
    resident_size: int | None
    """Bytes in memory now (Linux)."""
    peak_resident_size: int | None
    """Most bytes in memory so far."""
    huge_page_size: int | None
    """Bytes of anonymous memory that really lie in huge pages (Linux)."""
    huge_page_policy: str | None
    """What the system does about huge pages: `always`, `madvise`, `never` (Linux)."""
    allocated_bytes: int
    """Bytes held for all workspaces of all threads."""


def tune_malloc() -> MallocTuning:
    """Tell glibc to keep freed memory instead of giving it back: two thresholds, for the whole process.

    Raises the size from which a block is mapped by itself to 1 GiB, and what is kept free at the top of the
    heap to 2 GiB. The price is that memory once used stays resident until `trim`. Heaps of worker threads are
    at most 64 MiB each in glibc, so larger arrays still fault there; those of workspaces do not.

    Returns
    -------
    MallocTuning
        What was set; elsewhere than with glibc nothing is, and `message` says so.
    """
    libc = _glibc()
    if libc is None:
        name = f"{platform.libc_ver()[0] or 'the C library'} on {sys.platform}"
        return MallocTuning(None, None, f"not available: {name} has no such thresholds; it needs glibc")
    mmap = MMAP_THRESHOLD if libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD) else None
    trim_at = TRIM_THRESHOLD if libc.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD) else None
    if mmap is None or trim_at is None:
        return MallocTuning(mmap, trim_at, "glibc refused a threshold")
    return MallocTuning(mmap, trim_at, "freed memory is kept from now on; trim() gives it back")


def trim() -> int:
    """Give memory that is not in use back to the system.

    Trims every workspace of the calling thread (`Workspace.trim`), then glibc's heap where there is one.

    Returns
    -------
    int
        Bytes returned by the workspaces.
    """
    returned = sum(workspace.trim() for workspace in get_all_workspaces_for_current_thread())
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(ctypes.c_size_t(0))
    return returned


def host_report() -> HostReport:
    """Return page faults, resident size and huge pages of the process as the system tells them."""
    minor, major, peak, thread_minor = _usage()
    return HostReport(
        minor_faults=minor,
        major_faults=major,
        thread_minor_faults=thread_minor,
        resident_size=_status("/proc/self/smaps_rollup", "Rss:"),
        peak_resident_size=peak,
        huge_page_size=_status("/proc/self/smaps_rollup", "AnonHugePages:"),
        huge_page_policy=_huge_page_policy(),
        allocated_bytes=allocated_bytes(),
    )


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def _usage() -> tuple[int | None, int | None, int | None, int | None]:
    """Return minor and major faults and the peak of the process, and the minor faults of the thread."""
    try:
        import resource  # noqa: PLC0415 - Unix only
    except ImportError:
        return None, None, None, None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    thread = getattr(resource, "RUSAGE_THREAD", None)
    of_thread = None if thread is None else resource.getrusage(thread).ru_minflt
    return usage.ru_minflt, usage.ru_majflt, usage.ru_maxrss * unit, of_thread


def _status(path: str, field: str) -> int | None:
    """Return a field of a file of `field: n kB` lines, in bytes."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(field)]
    return int(found[0][1]) * 1024 if found else None


def _huge_page_policy() -> str | None:
    """Return the word in brackets: `always [madvise] never`."""
    try:
        words = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii").split()
    except OSError:
        return None
    return next((word.strip("[]") for word in words if word.startswith("[")), None)
