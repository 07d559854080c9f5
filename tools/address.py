"""Tests of the bindings with an extension compiled with AddressSanitizer; `make test-address` calls it.

NumPy and the interpreter take their memory from the sanitizer too, so that it knows whose every byte is. It
finds what the extension reads or writes outside memory or after its end, and functions of C for everybody. At
last every public callable is called well and badly: no memory of ours may be left that nobody refers to.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "target" / "address"
TESTS = [
    "array_exchange", "array_indexing", "array_views", "capture_contexts", "contention", "escapes",
    "fast_creation", "fast_indexing", "fast_out", "fast_temporaries", "faults", "fork", "hostile",
    "inference*", "leases", "mapped", "parallel_ends", "prefetch", "reentry", "reuse", "rings",
    "scopes_apart", "spills", "stale", "threads",
]  # fmt: skip
"""What touches memory in every way."""
LEFT_OUT = [
    "hook", "takes_no_memory", "takes_nothing", "take_nothing", "leave_nothing", "flat_memory",
    "it_ends_well", "one_more_arena", "used_again", "numpys_own_arrays", "tuned_malloc", "nonsense_is",
    "(test_docs and networks)",
]  # fmt: skip
"""Hooks at every line of an operation take as long as the rest; the others count what the process takes of
the system, or where memory comes again, or leave it little room: that is the sanitizer's own doing."""
NETWORKS = ["fitted", "paced", "taught_together"]
"""Faults at every point of a network's fit: memory is touched as elsewhere, and Python takes the time."""
GIVEN_BACK = "every_public_callable_gives_back"
LOST = "import ctypes as c; c.CDLL(None).malloc(100)"
USE_AFTER_FREE = (
    "import ctypes as c; l = c.CDLL(None); l.malloc.restype = c.c_void_p; p = c.c_void_p(l.malloc(64));"
    "l.free(p); c.string_at(p, 64)"
)


def run(command: list[str], **environment: str) -> None:
    """Run a command; if it fails, that is the end."""
    if code := subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode:
        sys.exit(code)


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


def lost(command: list[str], checked: dict[str, str]) -> list[str]:
    """Run a command; the traces of the memory that nobody refers to at its end."""
    reports = TARGET / "lost"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    options = checked["ASAN_OPTIONS"].replace("detect_leaks=0", "detect_leaks=1")
    run(command, **checked | {"ASAN_OPTIONS": f"{options}:exitcode=0:log_path={reports}/of"})
    texts = [report.read_text(encoding="utf-8") for report in reports.iterdir()]
    return [trace for text in texts for trace in text.split("\n\n") if "leak of" in trace]


def ours(trace: str) -> bool:
    """Whether the extension asked for it; the types that PyO3 makes once stay for good."""
    return "7ndarena" in trace and "create_type_object" not in trace


def main() -> int:
    """Build, see that the sanitizer sees, and test."""
    asking = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asking.add_argument("--nightly", default="nightly", help="the toolchain")
    asking.add_argument("--whole", action="store_true", help="every test of the package")
    asking.add_argument("--build", action="store_true", help="compile the extension, and nothing else")
    asked = asking.parse_args()
    package = build(asked.nightly)
    if asked.build:
        return 0
    checked = {
        "PYTHONPATH": str(package),
        # The sanitizer looks for C++'s throw when it begins: Matplotlib's extensions need it.
        "LD_PRELOAD": " ".join(
            told_by(["cc", f"-print-file-name={name}"]) for name in ("libasan.so", "libstdc++.so.6")
        ),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=64",
    }
    known = f"import ndarena; assert ndarena.__file__.startswith({str(TARGET)!r})"
    run([sys.executable, "-c", known], **checked)
    blind = subprocess.run(
        [sys.executable, "-c", USE_AFTER_FREE], env=os.environ | checked, capture_output=True, check=False
    )
    found = "".join(lost([sys.executable, "-c", LOST], checked))
    if b"heap-use-after-free" not in blind.stderr or "leak of 100 byte" not in found:
        print("the sanitizer sees nothing: is libasan of the C compiler there?")
        return 1
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=900"]
    files = [
        str(file)
        for name in (["*"] if asked.whole else TESTS)
        for file in ROOT.glob(f"tests/python/test_{name}.py")
    ]
    left_out = LEFT_OUT if asked.whole else [*LEFT_OUT, *NETWORKS]
    balance = [*pytest, "-p", "no:xdist", "-k", GIVEN_BACK, "tests/python/test_balance.py"]
    with ThreadPoolExecutor(1) as beside:
        traces = beside.submit(lost, balance, checked)
        run([*pytest, "-n", "auto", "-k", f"not ({' or '.join(left_out)})", *files], **checked)
    left = [trace for trace in traces.result() if ours(trace)]
    print("\n\n".join(left) or "no memory of ours is left that nobody refers to")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
