"""Record the traces beside this file again: `python -m benches.traces.record`, from the repository's folder.

A trace is what one cycle asks of its workspace: a line `+ bytes` for a request, a line `- i` where the i-th
request died. They come from the workspace's own log, of ordinary code with CPython's lifetimes; only where a
cycle is longer than the log, the program that makes it writes down what it does.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import ndarena
from benches.traces import workloads

FOLDER = Path(__file__).parent
GRANULE = 64


def recorded(step: Callable[[ndarena.Workspace], object]) -> list[str]:
    """Return the events of a cycle; one goes before it, so that nothing is done for the first time."""
    ws = ndarena.Workspace(id="TURN")
    for _ in range(2):
        with ws, np.errstate(over="raise", invalid="raise"):
            step(ws)
            events = ws._cycle_log()  # noqa: SLF001 - made for this
    ws.destroy_workspace()
    return [f"{'+' if what == 'birth' else '-'} {number}" for what, number in events]


def random_lives(alive: int, count: int, seed: int) -> Iterator[str]:
    """Yield births of many lengths, and deaths of any that lives: about so many are alive at a time."""
    random_numbers = random.Random(seed)  # noqa: S311 - no secret
    living: list[int] = []
    for birth in range(count):
        while len(living) >= alive or (living and random_numbers.random() < len(living) / alive / 2):
            yield f"- {living.pop(random_numbers.randrange(len(living)))}"
        length = int(GRANULE * 2 ** random_numbers.uniform(0, 12))
        yield f"+ {-(-length // GRANULE) * GRANULE}"
        living.append(birth)


def traces() -> dict[str, list[str]]:
    """Return the events of every trace."""
    made = {name: recorded(step) for name, step in workloads.steps().items()}
    made["random_40_alive"] = list(random_lives(40, 2011, 1))
    made["random_200_alive"] = list(random_lives(200, 10024, 2))
    return made


def main() -> None:
    """Write every trace."""
    for name, events in traces().items():
        text = "\n".join(events) + "\n"
        (FOLDER / f"{name}.txt").write_text(text, encoding="ascii")
        births = sum(event.startswith("+") for event in events)
        sys.stdout.write(f"{name}: {births} requests\n")


if __name__ == "__main__":
    main()
