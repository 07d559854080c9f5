"""Try the wheel and the sdist as users get them; `make wheel` calls it with the folder they lie in.

The newest Python with the newest NumPy runs every test but those of what no interpreter changes. The oldest
Python with the oldest NumPy, and those in between with the newest, run the tests of what an interpreter or a
NumPy can break: dispatch, buffers, lifetimes, threads, the interpreter's end; the other pairs a beginner's
first steps; two pairs at once. All of it on all of them would take half an hour, and the core does not know
which Python loaded it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "target" / "sdist"
LARGEST = 2_000_000
OLDEST_NUMPY = "numpy==2.0.*"
NEWEST_NUMPY = "numpy"
FIRST_STEPS = ["test_readme.py", "test_beginner.py"]
TOUCHED_BY_PYTHON_AND_NUMPY = [
    *FIRST_STEPS,
    *sorted(path.name for path in ROOT.glob("tests/python/test_array_*.py")),
    *sorted(path.name for path in ROOT.glob("tests/python/test_capture*.py")),
    "test_errors_pickle.py",
    "test_exit.py",
    "test_fork.py",
    *sorted(path.name for path in ROOT.glob("tests/python/test_leases*.py")),
    "test_run.py",
    "test_scopes.py",
    "test_threads.py",
]
TESTS_OF_PAIRS = {  # with the newest NumPy the whole run compares
    NEWEST_NUMPY: TOUCHED_BY_PYTHON_AND_NUMPY,
    OLDEST_NUMPY: [*TOUCHED_BY_PYTHON_AND_NUMPY, "test_numpy_compared.py"],
}
THE_SAME_EVERYWHERE = [
    "test_benches.py",
    "test_configuration.py",
    "test_configuration_copies.py",
    "test_conformance.py",
    "test_evaluating.py",
    "test_evaluations.py",
    "test_evaluations_drawn.py",
    "test_faults.py",
    "test_json.py",
    "test_layer_contract.py",
    "test_layering.py",
    "test_lenet.py",
    "test_nd4j_arithmetic.py",
    "test_nd4j_programs.py",
    "test_network_conformance.py",
    "test_network_table.py",
    "test_nn_dropout.py",
    "test_nn_graph_vertices.py",
    "test_nn_modes.py",
    "test_nn_network.py",
    "test_nn_series.py",
    "test_nonsense.py",
    "test_refusals.py",
    "test_stale.py",
    "test_zen.py",
]
VERSION = "import platform; print(platform.python_version())"
FITS = (
    "import sys, sysconfig, venv, ensurepip; "
    "fits = sys.version_info >= (3, 11) and sys.implementation.name == 'cpython' "
    "and sys.version_info.releaselevel == 'final' and not sysconfig.get_config_var('Py_GIL_DISABLED'); "
    "print(*sys.version_info[:3] if fits else '')"
)


def main(folder: Path) -> None:
    """Check what lies in `folder`; the first thing that is wrong ends the program."""
    wheel, sdist = the_only(folder, "*.whl"), the_only(folder, "*.tar.gz")
    check_contents(wheel)
    pythons = interpreters()
    *others, newest = sorted(pythons)
    with ThreadPoolExecutor(max_workers=2) as two:
        tries = [two.submit(check_tests, pythons[newest], sdist, NEWEST_NUMPY, FIRST_STEPS)]
        for version, numpy in product(others, (NEWEST_NUMPY, OLDEST_NUMPY)):
            is_oldest = version == others[0]
            tests = TESTS_OF_PAIRS[numpy] if is_oldest == (numpy == OLDEST_NUMPY) else FIRST_STEPS
            tries.append(two.submit(check_tests, pythons[version], wheel, numpy, tests))
        tries.append(two.submit(check_tests, pythons[newest], wheel, OLDEST_NUMPY, FIRST_STEPS))
        for done in as_completed(tries):
            say(done.result())
    say(check_tests(pythons[newest], wheel, NEWEST_NUMPY, []))


def the_only(folder: Path, pattern: str) -> Path:
    """Return the one file of that kind."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{folder} should hold one {pattern}, and holds {[path.name for path in found]}")
    return found[0]


def check_contents(wheel: Path) -> None:
    """One wheel for all Pythons, small, with its types."""
    size = wheel.stat().st_size
    names = zipfile.ZipFile(wheel).namelist()
    typed = {"ndarena/py.typed", "ndarena/_core.pyi"}
    if "-cp311-abi3-" not in wheel.name:
        sys.exit(f"{wheel.name} is not for the stable ABI from Python 3.11 on")
    if size >= LARGEST:
        sys.exit(f"{wheel.name} has {size} bytes, and {LARGEST} are too many")
    if not typed <= set(names):
        sys.exit(f"{wheel.name} lacks {typed - set(names)}")
    say(f"{wheel.name}: {size} bytes, {len(names)} files")


def interpreters() -> dict[tuple[int, int], str]:
    """Find the newest CPython of every minor version from 3.11 on that can make virtual environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names = [sys.executable, *(f"python3.{minor}" for minor in range(11, 30))]
    found: dict[tuple[int, int], tuple[int, str]] = {}
    for name in [*names, *map(str, pyenv.glob("versions/3.*/bin/python3"))]:
        path = shutil.which(name)
        version = version_of(path) if path else None
        if path and version:
            major, minor, micro = version
            found[major, minor] = max(found.get((major, minor), (-1, "")), (micro, path))
    return {version: path for version, (_, path) in found.items()}


def version_of(python: str) -> tuple[int, int, int] | None:
    """Return an interpreter's version if it fits; a shim of pyenv may start nothing at all."""
    answer = answer_of(python, FITS).split()
    return (int(answer[0]), int(answer[1]), int(answer[2])) if answer else None


def check_tests(python: str, package: Path, numpy: str, tests: list[str]) -> str:
    """Install into a new environment, run tests there (none named: nearly all), and tell how it went."""
    began = time.monotonic()
    with TemporaryDirectory() as venv:
        subprocess.run([python, "-m", "venv", venv], check=True)
        own = str(Path(venv, "bin", "python"))
        label = f"{package.name} under Python {answer_of(own, VERSION)}"
        if not has_binaries(own, numpy):
            return f"{label}: {numpy} has no binaries for it"
        install(
            own, f"{package}[test]", numpy, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(BUILT)}
        )
        label += f", NumPy {answer_of(own, 'import numpy; print(numpy.__version__)')}"
        rest = ["-n", "auto", *(f"--ignore=tests/python/{name}" for name in THE_SAME_EVERYWHERE)]
        what = [f"tests/python/{name}" for name in tests] or rest
        command = [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT
        )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{label}: failed")
    return f"{label}: {done.stdout.splitlines()[-1]}; all of it took {time.monotonic() - began:.0f} s"


def has_binaries(python: str, numpy: str) -> bool:
    """Install a NumPy if there is a wheel of it for this Python; what else may go wrong ends the program."""
    done = install(python, "--only-binary=:all:", numpy, check=False, stderr=subprocess.PIPE)
    if done.returncode and "No matching distribution" not in done.stderr:
        sys.exit(done.stderr)
    return not done.returncode


def install(python: str, *what: str, check: bool, **how: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    """Run pip in an environment."""
    quietly = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    return subprocess.run([python, "-m", "pip", "install", *quietly, *what], check=check, text=True, **how)


def answer_of(python: str, code: str) -> str:
    """Run a line of Python and return what it prints; nothing if it fails."""
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def say(text: str) -> None:
    """Print a line before what comes next."""
    print(f"-- {text}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
