"""Handwritten digits, learned twice: with ordinary arrays and in workspaces.

A network of 64, 64 and 10 units, written out in NumPy operations, learns scikit-learn's bundled images. The
functions below do not know which kind of array they are given. In the second run the parameters live in a
workspace that stays open; every step works in another one, which is left at the end of the step and serves
the next step again.

The table at the end compares the runs. The program fails if the network learned too little, if the runs
differ in a single bit, or if a steady step in the workspaces took memory from the system.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import ndarena
from ndarena import AllocationPolicy, LearningPolicy, SpillPolicy, Workspace, WorkspaceConfiguration

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

SEED = 7
HIDDEN = 64
CLASSES = 10
BATCH = 32
RATE = 0.003
WARM_UP = 100
STEADY = 1000
LEAST_ACCURACY = 0.97
PAGE = resource.getpagesize()

Array = Any  # an ndarray or a WorkspaceArray: the functions work on either


@dataclass
class Digits:
    """The images in rows of 64 values from 0 to 1; a target is 1 at the digit shown."""

    train_images: np.ndarray
    train_targets: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @classmethod
    def load(cls) -> Digits:
        """Hold back a fifth of the images for the test."""
        images, labels = load_digits(return_X_y=True)
        train_images, test_images, train_labels, test_labels = train_test_split(
            (images / 16).astype(np.float32), labels, test_size=0.2, random_state=SEED, stratify=labels
        )
        return cls(train_images, np.eye(CLASSES, dtype=np.float32)[train_labels], test_images, test_labels)


@dataclass
class Network:
    """The parameters, and the two running means that Adam keeps of each gradient."""

    parameters: list[Array]
    means: list[Array]
    squares: list[Array]


def scores_of(images: Array, parameters: list[Array]) -> tuple[Array, Array]:
    """Return the hidden activations and the score of every class."""
    w1, b1, w2, b2 = parameters
    hidden = np.maximum(images @ w1 + b1, 0)
    return hidden, hidden @ w2 + b2


def train_step(network: Network, images: Array, targets: Array, number: int) -> None:
    """Forward, backward, and Adam's update, in place."""
    hidden, scores = scores_of(images, network.parameters)
    likelihood = np.exp(scores - scores.max(axis=1, keepdims=True))
    probability = likelihood / likelihood.sum(axis=1, keepdims=True)

    error = (probability - targets) / len(images)
    hidden_error = (error @ network.parameters[2].T) * (hidden > 0)
    gradients = [images.T @ hidden_error, hidden_error.sum(axis=0), hidden.T @ error, error.sum(axis=0)]

    rate = RATE * (1 - 0.999**number) ** 0.5 / (1 - 0.9**number)
    for parameter, mean, square, gradient in zip(
        network.parameters, network.means, network.squares, gradients, strict=True
    ):
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient * gradient - square)
        parameter -= rate * mean / (np.sqrt(square) + 1e-8)


class OrdinaryArrays:
    """NumPy's own arrays: every result is allocated and freed."""

    name = "ordinary arrays"

    def run(self) -> AbstractContextManager[object]:
        """Enter the scope of what lives as long as the run: nothing to enter."""
        return nullcontext()

    def step(self) -> AbstractContextManager[object]:
        """Enter the scope of one step: nothing to enter."""
        return nullcontext()

    def array(self, values: np.ndarray) -> Array:
        """Copy the values into a new array."""
        return values.copy()

    def spilled(self) -> int:
        """Return the bytes of the running step that found no room: there is no room to be short of."""
        return 0


class Workspaces:
    """A workspace for the run, and one that every step enters and leaves."""

    name = "workspaces"

    def __init__(self) -> None:
        self.outer = Workspace(
            WorkspaceConfiguration(initial_size="1 MiB", policy_learning=LearningPolicy.NONE), "RUN"
        )
        # All steps are alike: no head-room, and an arena that was too small would show by growing.
        self.inner = Workspace(
            WorkspaceConfiguration(
                policy_allocation=AllocationPolicy.STRICT, policy_spill=SpillPolicy.REALLOCATE
            ),
            "STEP",
        )

    def run(self) -> AbstractContextManager[object]:
        """Enter the scope of what lives as long as the run."""
        return self.outer.notify_scope_entered()

    def step(self) -> AbstractContextManager[object]:
        """Enter the scope of one step."""
        return self.inner.notify_scope_entered()

    def array(self, values: np.ndarray) -> Array:
        """Copy the values into the current workspace."""
        return ndarena.array(values)

    def spilled(self) -> int:
        """Return the bytes of the running step that found no room."""
        return self.outer.spilled_size + self.inner.spilled_size


@dataclass
class Result:
    """What one run is judged by."""

    parameters: list[np.ndarray]
    accuracy: float
    samples_per_second: float
    faults: int
    new_bytes: int


def page_faults() -> int:
    """Return the page faults of this thread so far."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def initial_parameters(generator: np.random.Generator) -> list[np.ndarray]:
    """Draw the weights as He proposed; the biases are zero."""
    parameters: list[np.ndarray] = []
    for inputs, outputs in ((64, HIDDEN), (HIDDEN, CLASSES)):
        weights = (2 / inputs) ** 0.5 * generator.standard_normal((inputs, outputs))
        parameters += [weights.astype(np.float32), np.zeros(outputs, np.float32)]
    return parameters


def train(place: OrdinaryArrays | Workspaces, digits: Digits, epochs: int) -> Result:
    """Learn the training images, count what the steady steps take, and try the test images."""
    generator = np.random.default_rng(SEED)
    start = initial_parameters(generator)
    steps = len(digits.train_images) // BATCH
    allocated_bytes = ndarena.get_memory_manager().allocated_bytes
    number = faults = new_bytes = 0
    seconds = 0.0

    with place.run():
        network = Network(
            [place.array(p) for p in start],
            [place.array(np.zeros_like(p)) for p in start],
            [place.array(np.zeros_like(p)) for p in start],
        )
        for epoch in range(epochs):
            order = generator.permutation(len(digits.train_images))
            for rows in order[: steps * BATCH].reshape(steps, BATCH):
                number += 1
                faults_before, bytes_before, began = page_faults(), allocated_bytes(), time.perf_counter()
                with place.step():
                    images = place.array(digits.train_images[rows])
                    targets = place.array(digits.train_targets[rows])
                    train_step(network, images, targets, number)
                    spilled = place.spilled()
                seconds += time.perf_counter() - began
                if WARM_UP < number <= WARM_UP + STEADY:
                    faults += page_faults() - faults_before
                    new_bytes += allocated_bytes() - bytes_before + spilled
            show_progress(place.name, epoch + 1, epochs)
        parameters = [ndarena.detach(p) for p in network.parameters]

    answers = scores_of(digits.test_images, parameters)[1].argmax(axis=1)
    accuracy = float((answers == digits.test_labels).mean())
    # A page that faults is a page newly taken, whoever took it.
    return Result(parameters, accuracy, number * BATCH / seconds, faults, new_bytes + faults * PAGE)


def show_progress(name: str, epoch: int, epochs: int) -> None:
    """Update the line that tells how far a run is."""
    done = 30 * epoch // epochs
    if epoch == epochs or sys.stdout.isatty():
        end = "\n" if epoch == epochs else ""
        print(f"\r{name:>15} [{'#' * done:.<30}] epoch {epoch}/{epochs}", end=end, flush=True)


def show_table(ordinary: Result, arena: Result, workspace: Workspace) -> None:
    """Compare the two runs."""
    rows = [
        ("test accuracy", f"{ordinary.accuracy:.4f}", f"{arena.accuracy:.4f}"),
        ("samples/s", f"{ordinary.samples_per_second:,.0f}", f"{arena.samples_per_second:,.0f}"),
        ("page faults per steady step", f"{ordinary.faults / STEADY:g}", f"{arena.faults / STEADY:g}"),
        ("new bytes per steady step", f"{ordinary.new_bytes / STEADY:g}", f"{arena.new_bytes / STEADY:g}"),
        ("size of the arena", "-", f"{workspace.current_size:,}"),
        ("peak of bytes alive", "-", f"{workspace.peak_size:,}"),
        ("sum of bytes requested", "-", f"{workspace.last_cycle_allocations:,}"),
    ]
    print(f"\n{'':30}{OrdinaryArrays.name:>18}{Workspaces.name:>18}")
    for label, left, right in rows:
        print(f"{label:30}{left:>18}{right:>18}")


def shortcomings(ordinary: Result, arena: Result) -> list[str]:
    """Name what was promised and not kept."""
    same = all(p.tobytes() == q.tobytes() for p, q in zip(ordinary.parameters, arena.parameters, strict=True))
    promises = [
        (f"the accuracy is at least {LEAST_ACCURACY}", ordinary.accuracy >= LEAST_ACCURACY),
        ("both runs learn the same bits", same),
        (f"{STEADY} steady steps in workspaces fault on no page", arena.faults == 0),
        (f"{STEADY} steady steps in workspaces take no bytes from the system", arena.new_bytes == 0),
    ]
    return [promise for promise, kept in promises if not kept]


def main() -> int:
    """Run both, compare, and judge."""
    parser = argparse.ArgumentParser(description="Learn handwritten digits with and without workspaces.")
    parser.add_argument("--epochs", type=int, default=40, help="turns through the training images")
    epochs = parser.parse_args().epochs
    digits = Digits.load()
    if epochs * (len(digits.train_images) // BATCH) < WARM_UP + STEADY:
        parser.error(f"the comparison needs {WARM_UP + STEADY} steps; ask for more epochs")

    workspaces = Workspaces()
    with threadpool_limits(1):  # one thread, so that its page faults are all there are
        ordinary = train(OrdinaryArrays(), digits, epochs)
        arena = train(workspaces, digits, epochs)

    show_table(ordinary, arena, workspaces.inner)
    broken = shortcomings(ordinary, arena)
    if broken:
        print("\nNot kept: " + "; ".join(broken), file=sys.stderr)
        return 1
    print(f"\nBoth runs learned the same bits; {STEADY} steady steps in workspaces took nothing.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
