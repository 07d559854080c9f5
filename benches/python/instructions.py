"""Instructions of our own code per turn, counted by callgrind and compared with those that are kept.

`python -m benches.python.instructions` compares, with `--update` it keeps what it counts. Instructions do not
depend on what else the machine does. Counted are those inside the extension alone: not CPython's, NumPy's or
the C library's, which other versions and processors have others of. They do depend on the compiler.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import ndarena

from .measure import compiled
from .model import Side
from .rows.stage import Stage, np, operands

KEPT = Path(__file__).parents[1] / "instructions.toml"
TOLERANCE = 0.10
WARM, BLOCKS, TURNS = 4, 2, 1000
EXTENSION = Path(ndarena._core.__file__).name  # noqa: SLF001 - its file


def scope(stage: Stage) -> Side:
    """Return an empty scope."""
    with stage.turn as ws:
        ws.empty((16,))
    return Side("with ws:\n    pass", {"ws": stage.turn})


def empty(stage: Stage) -> Side:
    """Return a new array."""
    names = {"ws": stage.turn, "shape": (32, 128), "dtype": np.float32}
    return Side("ws.empty(shape, dtype)", names, stage.scope)


def add(stage: Stage) -> Side:
    """Return a sum of two arrays."""
    return Side("a + b", stage.keep_all(operands(16, "float32")), stage.scope)


def check(stage: Stage) -> Side:
    """Return a look at whether an array is still what it was."""
    return Side("a.is_in_scope", stage.keep_all(operands(16, "float32")))


OPERATIONS: dict[str, Callable[[Stage], Side]] = {"scope": scope, "empty": empty, "add": add, "check": check}


def run(name: str, blocks: int) -> None:
    """Do an operation in this process: to warm up, and then the turns that count."""
    with ExitStack() as stack:
        turn = compiled(OPERATIONS[name](Stage(stack)))
        for _ in range(WARM):
            turn(1, TURNS)
        turn(blocks, TURNS)


def counted(name: str) -> float:
    """Return the instructions of a turn: what a process with turns has beyond one without."""
    with ThreadPoolExecutor(2) as pool:
        without, with_turns = pool.map(instructions, [name, name], [0, BLOCKS])
    return (with_turns - without) / (BLOCKS * TURNS)


def instructions(name: str, blocks: int) -> int:
    """Count the instructions inside the extension, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            "valgrind",
            "--tool=callgrind",
            "--compress-strings=no",
            "--compress-pos=no",
            f"--callgrind-out-file={out}",
            *(sys.executable, "-m", __spec__.name, "--run", name, str(blocks)),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
        return inside(out.read_text(encoding="utf-8", errors="replace").splitlines())


def inside(lines: list[str]) -> int:
    """Sum the extension's own costs: lines of a position and a cost; one after `calls=` is the callee's."""
    total, is_ours, is_callee = 0, False, False
    for line in lines:
        if line.startswith("ob="):
            is_ours = line.endswith(EXTENSION)
        elif line[:1].isdigit():
            if is_ours and not is_callee:
                total += int(line.split()[1])
            is_callee = False
        elif line.startswith("calls="):
            is_callee = True
    return total


def compiler() -> str:
    """Return what the extension was most likely built with."""
    done = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip() or "unknown"


def keep(counts: dict[str, float]) -> None:
    """Write the counts down."""
    rows = "\n".join(f"{name} = {count:.1f}" for name, count in counts.items())
    text = (
        "# Instructions of the extension per turn. `make instructions` compares them, and\n"
        "# `make instructions-update` writes them: look at what changed before you commit it.\n"
        f'compiler = "{compiler()}"\n\n[counts]\n{rows}\n'
    )
    KEPT.write_text(text, encoding="utf-8")


def compare(counts: dict[str, float]) -> int:
    """Say how the counts differ from those kept; 1 if one of them is too high."""
    kept = tomllib.loads(KEPT.read_text(encoding="utf-8"))
    if kept["compiler"] != compiler():
        say(f"kept with {kept['compiler']}, compared with {compiler()}")
    worse = 0
    for name, count in counts.items():
        before = kept["counts"][name]
        change = count / before - 1
        words = "as before"
        if change > TOLERANCE:
            words, worse = f"MORE than {TOLERANCE:.0%} above", 1
        elif change < -TOLERANCE:
            words = "fewer: keep it with `make instructions-update`"
        say(f"{name:8} {count:10.1f}, kept {before:10.1f}, {change:+.1%}: {words}")
    return worse


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("--update", action="store_true", help="keep the counts instead of comparing them")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run[0], int(options.run[1]))
        return 0
    counts = {}
    for name in OPERATIONS:
        sys.stderr.write(f"counting {name}\n")
        counts[name] = counted(name)
    if options.update:
        keep(counts)
        say(KEPT.read_text(encoding="utf-8"))
        return 0
    return compare(counts)


if __name__ == "__main__":
    sys.exit(main())
