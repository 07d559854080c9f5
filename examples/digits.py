"""Handwritten digits, learned twice: with ordinary arrays and in workspaces.

A network of 64, 64 and 10 units learns scikit-learn's bundled images. Both runs are the same program; only
the network's workspace mode differs. Under ENABLED activations, gradients and scratch lie in workspaces that
every step uses again.

The table at the end compares the runs. The program fails if the network learned too little, if the runs
differ in a single bit, or if a steady step in the workspaces took memory from the system.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import ndarena
from ndarena.data import ArrayDataSetIterator, DataSet
from ndarena.nn import (
    Adam,
    DenseLayer,
    InputType,
    MultiLayerConfiguration,
    MultiLayerNetwork,
    OutputLayer,
    WorkspaceMode,
)

SEED = 7
HIDDEN = 64
CLASSES = 10
BATCH = 32
RATE = 0.003
WARM_UP = 100
STEADY = 1000
LEAST_ACCURACY = 0.97
PAGE = resource.getpagesize()
NAMES = {WorkspaceMode.NONE: "ordinary arrays", WorkspaceMode.ENABLED: "workspaces"}


@dataclass
class Digits:
    """Images are rows of 64 values from 0 to 1; a label is 1 at the digit shown."""

    train: DataSet
    test: DataSet

    @classmethod
    def load(cls) -> Digits:
        """Hold back a fifth of the images for the test."""
        images, labels = load_digits(return_X_y=True)
        train_images, test_images, train_labels, test_labels = train_test_split(
            (images / 16).astype(np.float32), labels, test_size=0.2, random_state=SEED, stratify=labels
        )
        targets = np.eye(CLASSES, dtype=np.float32)
        return cls(DataSet(train_images, targets[train_labels]), DataSet(test_images, targets[test_labels]))

    def batches(self) -> ArrayDataSetIterator:
        """Return whole batches in a new order for every epoch, the same orders for every run."""
        whole = len(self.train) // BATCH * BATCH
        images, targets = self.train.features[:whole], self.train.labels[:whole]
        return ArrayDataSetIterator(images, targets, batch_size=BATCH, shuffle=True, seed=SEED)


@dataclass
class Result:
    """What one run is judged by."""

    parameters: np.ndarray
    accuracy: float
    samples_per_second: float
    faults: int
    new_bytes: int
    arenas: int
    peak: int
    requested: int


def make_network(mode: WorkspaceMode) -> MultiLayerNetwork:
    """Describe the network and make it; equal seeds give equal parameters."""
    return MultiLayerNetwork(
        MultiLayerConfiguration(
            layers=[
                DenseLayer(n_out=HIDDEN, activation="relu", weight_init="relu"),
                OutputLayer(n_out=CLASSES, loss="mcxent", activation="softmax"),
            ],
            input_type=InputType.feed_forward(64),
            updater=Adam(RATE),
            seed=SEED,
            training_workspace_mode=mode,
            inference_workspace_mode=mode,
        )
    )


def page_faults() -> int:
    """Return the page faults of this thread so far."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def quietest(faults: list[int]) -> slice:
    """Return the steady steps that faulted least, as many as are asked for and one after the other.

    What a step causes is in every stretch of them; but the system may take a page of the interpreter's code
    away at any time.
    """
    starts = range(WARM_UP, len(faults) - STEADY + 1, STEADY // 10)
    start = min(starts, key=lambda start: sum(faults[start : start + STEADY]))
    return slice(start, start + STEADY)


def spilled() -> int:
    """Return the bytes for which the workspaces of this thread had no room in their last cycle."""
    return sum(ws.spilled_size for ws in ndarena.get_all_workspaces_for_current_thread())


def train(mode: WorkspaceMode, digits: Digits, epochs: int) -> Result:
    """Learn the training images, count what the steady steps take, and try the test images."""
    network, batches = make_network(mode), digits.batches()
    allocated_bytes = ndarena.get_memory_manager().allocated_bytes
    faults: list[int] = []
    new_bytes: list[int] = []
    seconds = 0.0
    for epoch in range(epochs):
        for batch in batches:
            faults_before, bytes_before, began = page_faults(), allocated_bytes(), time.perf_counter()
            network.fit(batch)
            seconds += time.perf_counter() - began
            faults.append(page_faults() - faults_before)
            new_bytes.append(allocated_bytes() - bytes_before + spilled())
        show_progress(NAMES[mode], epoch + 1, epochs)

    steady = quietest(faults)
    workspaces = [ws.stats() for ws in ndarena.get_all_workspaces_for_current_thread()]
    return Result(
        parameters=network.params().copy(),
        accuracy=network.evaluate([digits.test]).accuracy(),
        samples_per_second=len(faults) * BATCH / seconds,
        faults=sum(faults[steady]),
        # A page that faults is a page newly taken, whoever took it.
        new_bytes=sum(new_bytes[steady]) + sum(faults[steady]) * PAGE,
        arenas=sum(ws.current_size for ws in workspaces),
        peak=sum(ws.peak_size for ws in workspaces),
        requested=sum(ws.max_cycle_allocations for ws in workspaces),
    )


def show_progress(name: str, epoch: int, epochs: int) -> None:
    """Update the line that tells how far a run is."""
    done = 30 * epoch // epochs
    if epoch == epochs or sys.stdout.isatty():
        end = "\n" if epoch == epochs else ""
        print(f"\r{name:>15} [{'#' * done:.<30}] epoch {epoch}/{epochs}", end=end, flush=True)


def show_table(ordinary: Result, arena: Result) -> None:
    """Compare the two runs."""
    rows = [
        ("test accuracy", f"{ordinary.accuracy:.4f}", f"{arena.accuracy:.4f}"),
        ("samples/s", f"{ordinary.samples_per_second:,.0f}", f"{arena.samples_per_second:,.0f}"),
        ("page faults per steady step", f"{ordinary.faults / STEADY:g}", f"{arena.faults / STEADY:g}"),
        ("new bytes per steady step", f"{ordinary.new_bytes / STEADY:g}", f"{arena.new_bytes / STEADY:g}"),
        ("size of the arenas", "-", f"{arena.arenas:,}"),
        ("peak of bytes alive", "-", f"{arena.peak:,}"),
        ("sum of bytes requested", "-", f"{arena.requested:,}"),
    ]
    left_name, right_name = NAMES.values()
    print(f"\n{'':32}{left_name:>18}{right_name:>18}")
    for label, left, right in rows:
        print(f"{label:32}{left:>18}{right:>18}")


def shortcomings(ordinary: Result, arena: Result) -> list[str]:
    """Name what was promised and not kept."""
    promises = [
        (f"the accuracy is at least {LEAST_ACCURACY}", ordinary.accuracy >= LEAST_ACCURACY),
        ("both runs learn the same bits", ordinary.parameters.tobytes() == arena.parameters.tobytes()),
        (f"{STEADY} steady steps in workspaces fault on no page", arena.faults == 0),
        (f"{STEADY} steady steps in workspaces take no bytes from the system", arena.new_bytes == 0),
    ]
    return [promise for promise, kept in promises if not kept]


def main() -> int:
    """Run both, compare, and judge."""
    parser = argparse.ArgumentParser(description="Learn handwritten digits with and without workspaces.")
    parser.add_argument("--epochs", type=int, default=60, help="turns through the training images")
    epochs = parser.parse_args().epochs
    digits = Digits.load()
    if epochs * len(digits.batches()) < WARM_UP + STEADY:
        parser.error(f"the comparison needs {WARM_UP + STEADY} steps; ask for more epochs")

    with threadpool_limits(1):  # one thread, so that its page faults are all there are
        ordinary = train(WorkspaceMode.NONE, digits, epochs)
        arena = train(WorkspaceMode.ENABLED, digits, epochs)

    show_table(ordinary, arena)
    broken = shortcomings(ordinary, arena)
    if broken:
        print("\nNot kept: " + "; ".join(broken), file=sys.stderr)
        return 1
    print(f"\nBoth runs learned the same bits; {STEADY} steady steps in workspaces took nothing.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
