"""The LeNet of the examples learns, and says by its exit code whether it learned enough."""

import re
import subprocess
import sys
from pathlib import Path

LENET = Path(__file__).parents[2] / "examples" / "lenet.py"


def run(*arguments):
    command = [sys.executable, str(LENET), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_it_learns_in_workspaces():
    done = run()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    scores = [float(score) for score in re.findall(r"score (\S+),", done.stdout)]
    assert scores[-1] < scores[0] / 5
    assert "WS_ALL_LAYERS_ACT" in done.stdout


def test_it_fails_where_it_did_not_learn_enough():
    failed = run("--epochs", "1")
    assert failed.returncode == 1
    assert "an accuracy of 0.98" in failed.stderr
