"""The LSTM of the examples recites what it learned, and says by its exit code whether it did."""

import subprocess
import sys
from pathlib import Path

import pytest

ZEN = Path(__file__).parents[2] / "examples" / "zen.py"


def run(*arguments):
    command = [sys.executable, str(ZEN), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.timeout(300)
def test_it_recites_the_text():
    done = run()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "Namespaces are one honking great idea -- let's do more of those!" in done.stdout
    assert " 0 bytes were taken" in done.stdout


def test_it_fails_where_it_did_not_learn_enough():
    failed = run("--epochs", "2")
    assert failed.returncode == 1
    assert "99% of the letters" in failed.stderr
