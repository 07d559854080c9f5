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


def test_the_arenas_are_no_larger_than_their_cycles_need(table):
    rows = ("peak of bytes alive", "size of the arenas", "sum of bytes requested")
    peak, arenas, requested = (int(table[row][1].replace(",", "")) for row in rows)
    assert 0 < peak <= arenas <= 1.1 * requested


def test_it_reports_a_speed_for_both(table):
    assert all(float(column.replace(",", "")) > 0 for column in table["samples/s"])


def test_it_fails_if_the_network_learns_nothing():
    numb = """
from ndarena import nn
nn.Adam.apply = lambda self, gradient, state, *, iteration, epoch, out: out.fill(0) or out
"""
    failed = run_demo("--epochs", "28", prelude=numb)
    assert failed.returncode == 1
    assert "the accuracy is at least 0.97" in failed.stderr


def test_it_fails_if_a_steady_step_takes_memory():
    pages = """
import mmap
from ndarena import nn
fit = nn.MultiLayerNetwork.fit
def greedy(*arguments):
    mmap.mmap(-1, mmap.PAGESIZE)[0] = 1
    return fit(*arguments)
nn.MultiLayerNetwork.fit = greedy
"""
    failed = run_demo("--epochs", "28", prelude=pages)
    assert failed.returncode == 1
    assert "fault on no page" in failed.stderr
    assert "take no bytes from the system" in failed.stderr


def test_it_asks_for_enough_steps_to_be_steady():
    refused = run_demo("--epochs", "1")
    assert refused.returncode == 2
    assert "more epochs" in refused.stderr
