"""NumPy's own suites twice: inside captures that poison freed memory, and plain, compared."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

SUITES = ["numpy._core", "numpy.lib", "numpy.ma", "numpy.linalg", "numpy.fft", "numpy.random"]
ROOT = Path(__file__).parents[1]
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
COUNTS = re.compile(r"^(?=.*\d+ passed).*$", re.MULTILINE)


def run(suites: list[str], out: Path, *options: str) -> tuple[set[str], str]:
    """Run the suites; the tests that failed, and the last line. The output is kept."""
    command = [sys.executable, "-m", "pytest", "-c", "tests/numpy_suite/pytest.ini", "-rfE"]
    paths = os.pathsep.join(["tests/numpy_suite", os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "NDARENA_CAPTURE_FLOOR": "64"}
    done = subprocess.run(
        [*command, *options, "--pyargs", *suites],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    out.write_text(done.stdout + done.stderr, encoding="utf-8")
    counts = COUNTS.findall(done.stdout)
    return set(FAILED.findall(done.stdout)), counts[-1] if counts else f"no test ran: see {out}"


def main() -> int:
    """Compare; tell whether the capture is to blame for anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES)
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "numpy")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    captured, told = run(options.suites, options.out / "captured.txt")
    print(f"captured: {told}")
    plain, told_plain = run(options.suites, options.out / "plain.txt", "--capture-nothing")
    print(f"plain:    {told_plain}")
    for test in sorted(captured - plain):
        print(f"fails inside a capture only: {test}")
    holds = captured <= plain and "passed" in told and "passed" in told_plain
    verdict = "held" if holds else "VIOLATED"
    print(f"NumPy's suites: {verdict}, {len(captured)} failures captured, {len(plain)} plain")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
