"""How much memory training needs above its data: the most that was resident, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

from ndarena import nn
from ndarena.data import ArrayDataSetIterator

from .model import Figures, Result, Row

BATCH, BATCHES, EPOCHS = 128, 12, 2


def measured(row: Row, processes: int) -> Result:
    """Return kilobytes of both modes where other rows have nanoseconds: those of `row.path` and of none."""
    mode = row.path.rpartition(" ")[2]
    try:
        ours, peer = ([above_data(m) for _ in range(processes)] for m in (mode, "NONE"))
    except subprocess.CalledProcessError as error:
        return Result(row.key, failed=f"its process ended with status {error.returncode}")
    taken, theirs = (Figures(min(kilobytes), median(kilobytes), 0.0) for kilobytes in (ours, peer))
    ratio = taken.median / theirs.median
    return Result(row.key, ratio=ratio, median_ratio=ratio, ours=taken, peer=theirs)


def above_data(mode: str) -> int:
    """Return what a fresh process needed, in kilobytes."""
    command = [sys.executable, "-m", "benches.python.resident", mode]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
    return int(ran.stdout)


def train(mode: str) -> int:
    """Train in that mode, and return how far the resident memory rose above that of the data."""
    random = np.random.default_rng(3)
    n = BATCH * BATCHES
    x = random.random((n, 784), np.float32)
    y = np.eye(10, dtype=np.float32)[random.integers(0, 10, n)]
    layers = [nn.DenseLayer(n_out=1000, activation="relu") for _ in range(3)]
    before = resident("VmRSS")
    net = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[*layers, nn.OutputLayer(n_out=10)],
            input_type=nn.InputType.feed_forward(784),
            updater=nn.Adam(),
            training_workspace_mode=mode,
        )
    )
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    net.fit(ArrayDataSetIterator(x, y, batch_size=BATCH), epochs=EPOCHS)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Return a line of the process's status, in kilobytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    sys.stdout.write(str(train(sys.argv[1])))
