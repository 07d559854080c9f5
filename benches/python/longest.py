"""How long the longest step of a training loop is beside many objects, in processes of their own."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np

import ndarena
from ndarena import nn

from .model import Figures, Result, Row

OBJECTS, STEPS, KEPT = 1_000_000, 3000, 100
WINDOW = 5000


def measured(row: Row, processes: int) -> Result:
    """Compare the longest step with a window with that without one; none may have a collection inside."""
    try:
        ours, peer = ([in_process(window) for _ in range(processes)] for window in (WINDOW, 0))
    except subprocess.CalledProcessError as error:
        return Result(row.key, failed=f"its process ended with status {error.returncode}")
    inside = sum(found["inside"] for found in ours)
    if inside:
        return Result(row.key, failed=f"{inside} collections inside steps")
    longest = [[found["longest"] for found in side] for side in (ours, peer)]
    taken, theirs = (Figures(min(times), median(times), 0.0) for times in longest)
    ratio = taken.median / theirs.median
    return Result(row.key, ratio=ratio, median_ratio=ratio, ours=taken, peer=theirs)


def in_process(window: int) -> dict[str, int]:
    """Return what a fresh process found."""
    command = [sys.executable, "-m", "benches.python.longest", str(window)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
    found: dict[str, int] = json.loads(ran.stdout)
    return found


class Watch:
    """The longest step, in time of the processor, and the collections inside steps."""

    def __init__(self) -> None:
        self.longest, self.inside = 0, 0
        self._begin = 0

    def begin(self) -> None:
        """Note when a step begins."""
        self._begin = time.thread_time_ns()

    def end(self) -> None:
        """Note when it ends."""
        self.longest = max(self.longest, time.thread_time_ns() - self._begin)
        self._begin = 0

    def note(self, phase: str, _: Any) -> None:
        """Count a collection, as `gc.callbacks` tell it."""
        self.inside += phase == "start" and self._begin > 0


def train(window: int) -> dict[str, int]:
    """Train beside many objects, and keep small lists of every step; a step is what happens in a scope."""
    others: list[list[int]] = [[] for _ in range(OBJECTS)]
    history: list[list[float]] = []
    random = np.random.default_rng(3)
    x = random.random((32, 64), np.float32)
    y = np.eye(10, dtype=np.float32)[random.integers(0, 10, 32)]
    layers = [nn.DenseLayer(n_out=64, activation="relu"), nn.OutputLayer(n_out=10)]
    net = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(layers=layers, input_type=nn.InputType.feed_forward(64))
    )
    ws, watch = ndarena.Workspace(id="LOOP"), Watch()

    def step() -> None:
        with ws.notify_scope_entered():
            watch.begin()
            net.fit(ws.array(x), ws.array(y))
            history.extend([net.score()] for _ in range(KEPT))
            watch.end()

    for _ in range(20):
        step()
    gc.collect()
    watch.longest = 0
    gc.callbacks.append(watch.note)
    with ndarena.gc_policy(auto_gc_window=window):
        for _ in range(STEPS):
            step()
    gc.callbacks.remove(watch.note)
    return {"longest": watch.longest, "inside": watch.inside, "objects": len(others) + len(history)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(train(int(sys.argv[1]))))
