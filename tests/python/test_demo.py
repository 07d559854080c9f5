"""The demo keeps what it promises, and says so by its exit code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "digits.py"


def run_demo(*arguments, prelude=""):
    """Run the demo as a program; `prelude` changes what it sees of the world."""
    source = f"import runpy\n{prelude}\nrunpy.run_path({str(DEMO)!r}, run_name='__main__')"
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def table_of(output):
    """Return the rows of the table, label to the two columns."""
    rows = re.findall(r"^(\w[\w /]*?) {2,}(\S+) +(\S+)$", output, re.MULTILINE)
    return {label: (ordinary, arena) for label, ordinary, arena in rows}


@pytest.fixture(scope="module")
def finished():
    return run_demo()


@pytest.fixture(scope="module")
def table(finished):
    return table_of(finished.stdout)


def test_it_ends_well(finished):
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "learned the same bits" in finished.stdout


def test_both_runs_reach_the_same_accuracy(table):
    ordinary, arena = table["test accuracy"]
    assert ordinary == arena
    assert float(arena) >= 0.97


def test_a_steady_step_in_workspaces_takes_nothing(table):
    assert table["page faults per steady step"][1] == "0"
    assert table["new bytes per steady step"][1] == "0"


def test_the_arena_is_nearer_to_what_is_alive_than_to_what_is_requested(table):
    arena, peak, requested = (
        int(table[row][1].replace(",", ""))
        for row in ("size of the arena", "peak of bytes alive", "sum of bytes requested")
    )
    assert peak <= arena <= 1.15 * peak
    assert requested > 2 * arena


def test_it_reports_a_speed_for_both(table):
    assert all(float(column.replace(",", "")) > 0 for column in table["samples/s"])


def test_it_fails_if_the_network_learns_nothing():
    failed = run_demo("--epochs", "28", prelude="import numpy as np\nnp.exp = lambda x: np.ones_like(x)")
    assert failed.returncode == 1
    assert "the accuracy is at least 0.97" in failed.stderr


def test_it_fails_if_a_steady_step_takes_memory():
    pages = """
import mmap, ndarena
array = ndarena.array
def greedy(values):
    mmap.mmap(-1, mmap.PAGESIZE)[0] = 1
    return array(values)
ndarena.array = greedy
"""
    failed = run_demo("--epochs", "28", prelude=pages)
    assert failed.returncode == 1
    assert "fault on no page" in failed.stderr
    assert "take no bytes from the system" in failed.stderr


def test_it_asks_for_enough_steps_to_be_steady():
    refused = run_demo("--epochs", "1")
    assert refused.returncode == 2
    assert "more epochs" in refused.stderr
