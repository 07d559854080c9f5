"""Tests of the bindings with an extension compiled with AddressSanitizer; `make test-address` calls it.

NumPy and the interpreter take their memory from the sanitizer too, so that it knows whose every byte is. It
finds what the extension reads or writes outside memory or after its end, and functions of C for everybody.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "target" / "address"
TESTS = [
    "array_exchange", "array_indexing", "array_views", "capture_contexts", "contention", "escapes",
    "fast_creation", "fast_indexing", "fast_out", "fast_temporaries", "faults", "fork", "hostile",
    "inference", "leases", "mapped", "parallel_ends", "prefetch", "reentry", "reuse", "rings",
    "scopes_apart", "spills", "stale", "threads",
]  # fmt: skip
"""What touches memory in every way."""
LEFT_OUT = "not hook and not takes_no_memory"
"""Hooks at every line of an operation take as long as the rest; the sanitizer takes memory of its own."""
USE_AFTER_FREE = (
    "import ctypes as c; l = c.CDLL(None); l.malloc.restype = c.c_void_p; p = c.c_void_p(l.malloc(64));"
    "l.free(p); c.string_at(p, 64)"
)


def run(command: list[str], **environment: str) -> None:
    """Run a command; if it fails, that is the end."""
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)


def told_by(command: list[str]) -> str:
    """Return what a command says."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def build(nightly: str) -> Path:
    """Compile the extension; the folder that has it beside the package."""
    host = re.findall(r"host: (\S+)", told_by(["rustc", "-vV"]))[0]
    flags = {"RUSTFLAGS": "-Zsanitizer=address -Cforce-frame-pointers=yes", "PYO3_PYTHON": sys.executable}
    kind = ["--lib", "--crate-type", "cdylib", "--features", "python", "--profile", "proof"]
    where = ["--target", host, "--target-dir", str(TARGET)]
    run(["cargo", f"+{nightly}", "rustc", "--locked", *kind, *where], **flags)
    package = TARGET / "python"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "python", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(TARGET / host / "proof" / "libndarena.so", package / "ndarena" / "_core.abi3.so")
    return package


def main() -> int:
    """Build, see that the sanitizer sees, and test."""
    asking = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asking.add_argument("--nightly", default="nightly", help="the toolchain")
    asked = asking.parse_args()
    checked = {
        "PYTHONPATH": str(build(asked.nightly)),
        "LD_PRELOAD": told_by(["cc", "-print-file-name=libasan.so"]),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=64",
    }
    known = f"import ndarena; assert ndarena.__file__.startswith({str(TARGET)!r})"
    run([sys.executable, "-c", known], **checked)
    blind = subprocess.run(
        [sys.executable, "-c", USE_AFTER_FREE], env=os.environ | checked, capture_output=True, check=False
    )
    if b"heap-use-after-free" not in blind.stderr:
        print("the sanitizer sees nothing: is libasan of the C compiler there?")
        return 1
    files = [f"tests/python/test_{name}.py" for name in TESTS]
    options = ["-q", "-n", "auto", "-p", "no:cacheprovider", "-o", "timeout=900", "-k", LEFT_OUT]
    command = [sys.executable, "-m", "pytest", *options, *files]
    return subprocess.run(command, cwd=ROOT, env=os.environ | checked, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
