"""Nonsense of every type for every public callable: an exception or a result, never a crash."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("nonsense_calls.py")


PARTS = 4
"""So many programs make a part of the calls each, where there are cores for them at the same time."""


@pytest.mark.parametrize("part", range(PARTS))
def test_nonsense_is_refused_and_changes_nothing(tmp_path, part):
    """`NONSENSE_CALLS` and `NONSENSE_SEED` in the environment say how many and which; names become files."""
    calls = -(-int(os.environ.get("NONSENSE_CALLS", "5000")) // PARTS)
    seed = PARTS * int(os.environ.get("NONSENSE_SEED", "1")) + part
    done = subprocess.run(
        [sys.executable, PROGRAM, "--calls", str(calls), "--seed", str(seed)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100 + calls // 100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made, found = map(int, re.match(r"nonsense calls: (\d+) of (\d+) ", done.stdout).groups())
    assert made >= calls
    assert found > min(calls // 10, 3000)
    assert done.stdout.endswith("0 violations\n")
