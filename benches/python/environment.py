"""What a report says about where it was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import numpy as np

import ndarena
from ndarena.nn.blas_kernels import core_name


def describe() -> dict[str, str]:
    """Return the facts by name."""
    return {
        "processor": f"{processor()}, {os.cpu_count()} logical",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver()) or 'no glibc'}",
        "huge pages": str(ndarena.memory.host_report().huge_page_policy),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "NumPy": f"{np.__version__}, one BLAS thread, {kernels()}",
        "ndarena": ndarena.__version__,
        "torch": version("torch"),
    }


def kernels() -> str:
    """Return for which processor the kernels of NumPy's OpenBLAS are, and whether they were asked for."""
    wish = os.environ.get("OPENBLAS_CORETYPE")
    return f"kernels for {core_name() or 'unknown'}" + (f" (OPENBLAS_CORETYPE={wish})" if wish else "")


def load() -> str:
    """Return how busy the machine is: processes that want to run, over a minute."""
    try:
        return f"{os.getloadavg()[0]:.2f}"
    except OSError:
        return "unknown"


def version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
