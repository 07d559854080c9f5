"""Everything at once, for a long time: training, a ring, captures, leases and threads that come and go.

`make soak` runs it for half an hour, `make soak SOAK_MINUTES=2` for less. Every load checks its own numbers
in every turn. What the process holds is looked at all the time, and must be flat: a report and a picture are
written to target/soak, and the exit status says whether it was.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import platform
import queue
import resource
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from soak_picture import Line, picture

import ndarena
from ndarena import nn
from ndarena.data import ArrayDataSetIterator

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = 240
"""So many looks, however long it takes."""
WARM = 0.2
"""The part of the time in which caches fill."""
RING = ndarena.WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=7)


class Sample(NamedTuple):
    """What the process holds at one moment."""

    seconds: float
    resident: int
    held: int
    retired: int
    descriptors: int
    threads: int


class Soak:
    """The loads, the clock and what they have in common."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = time.monotonic()
        self.turns: collections.Counter[str] = collections.Counter()
        self.errors: list[str] = []

    def is_over(self) -> bool:
        """Whether time is up, or a load has failed."""
        return bool(self.errors) or time.monotonic() - self.began > self.seconds

    def repeat(self, name: str, turn: Callable[[int], None]) -> None:
        """Do turns until time is up; an error ends everything."""
        try:
            for number in itertools.count():
                if self.is_over():
                    return
                turn(number)
                self.turns[name] += 1
        except Exception as error:  # noqa: BLE001 - it goes into the report
            self.errors.append(f"{name}, turn {self.turns[name]}: {error!r}")

    def run(self) -> list[Sample]:
        """Run all loads in threads of their own, and look at the process meanwhile."""
        loads = [training, rings, captures, leases, churn]
        threads = [threading.Thread(target=load, args=(self,), name=load.__name__) for load in loads]
        for thread in threads:
            thread.start()
        samples = []
        while not self.is_over():
            time.sleep(self.seconds / SAMPLES)
            samples.append(self.look())
        for thread in threads:
            thread.join(60)
        self.errors += [f"{thread.name} does not end" for thread in threads if thread.is_alive()]
        return samples

    def look(self) -> Sample:
        """Look at the process."""
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return Sample(
            time.monotonic() - self.began,
            pages * resource.getpagesize(),
            ndarena.allocated_bytes(),
            sum(stats.retired_size for stats in ndarena.allocation_statistics()),
            len(list(Path("/proc/self/fd").iterdir())),
            len(list(Path("/proc/self/task").iterdir())),
        )


# ---------------------------------------------------------------- the loads


def training(soak: Soak) -> None:
    """Learn, and ask: two networks, one of them with ordinary arrays, must stay equal to the bit."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(256, 20)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 256)]

    def network(mode: nn.WorkspaceMode) -> nn.MultiLayerNetwork:
        layers = [nn.DenseLayer(n_out=48, activation="tanh"), nn.OutputLayer(n_out=4)]
        conf = nn.MultiLayerConfiguration(
            layers=layers,
            input_type=nn.InputType.feed_forward(20),
            updater=nn.Adam(1e-3),
            seed=9,
            training_workspace_mode=mode,
            inference_workspace_mode=mode,
        )
        return nn.MultiLayerNetwork(conf)

    nets = [network(nn.WorkspaceMode.ENABLED), network(nn.WorkspaceMode.NONE)]

    def turn(_: int) -> None:
        outputs = []
        for net in nets:
            net.fit(ArrayDataSetIterator(x, y, batch_size=50))
            outputs.append(net.output(x))
        check(np.array_equal(*outputs), "networks with and without workspaces differ")

    soak.repeat("training", turn)


def rings(soak: Soak) -> None:
    """Fill a ring in this thread, and read its blocks in another."""
    batches: queue.Queue[tuple[int, ndarena.WorkspaceArray] | None] = queue.Queue(3)

    def consume() -> None:
        def turn(_: int) -> None:
            batch = batches.get()
            if batch is not None:
                number, array = batch
                check(bool((array.numpy() == number).all()), "a block of the ring was overwritten")

        soak.repeat("ring, read", turn)

    reader = threading.Thread(target=consume)
    reader.start()
    circle = ndarena.get_workspace_for_current_thread(RING, id="SOAK_RING")

    def turn(number: int) -> None:
        with circle:
            batch = circle.full(4096, float(number))
        while not soak.is_over():
            try:
                batches.put((number, batch), timeout=0.2)
            except queue.Full:
                continue  # the reader has not had its turn yet
            break

    soak.repeat("ring, filled", turn)
    while reader.is_alive():
        try:
            batches.put(None, timeout=0.1)
        except queue.Full:
            batches.get()
    reader.join()


def captures(soak: Soak) -> None:
    """Compute with NumPy's own arrays inside captures, some of which survive for a while."""
    survivors: collections.deque[tuple[float, np.ndarray]] = collections.deque(maxlen=5)
    ws = ndarena.get_workspace_for_current_thread(id="SOAK_CAPTURE")

    def turn(number: int) -> None:
        with ws.notify_scope_entered(capture_numpy=True):
            x = np.full(8192, float(number))
            y = np.sqrt(x * x) + np.arange(8192) * 0
            if number % 7 == 0:
                survivors.append((float(number), y))
        check(all((array == value).all() for value, array in survivors), "a survivor was overwritten")

    soak.repeat("capture", turn)


def leases(soak: Soak) -> None:
    """Keep views beyond their cycles."""
    views: collections.deque[tuple[float, np.ndarray]] = collections.deque(maxlen=20)
    ws = ndarena.get_workspace_for_current_thread(id="SOAK_LEASES")

    def turn(number: int) -> None:
        with ws:
            a = ws.full(512, float(number)) * 2.0
            if number % 3 == 0:
                views.append((2.0 * number, a.numpy()))
            (a + 1).sum()
        check(all((view == value).all() for value, view in views), "a view was overwritten")

    soak.repeat("leases", turn)


def churn(soak: Soak) -> None:
    """Let threads come and go, with workspaces of one name."""

    def work(number: int, results: list[float]) -> None:
        with ndarena.get_and_activate_workspace(id="SOAK_CHURN") as ws:
            results.append(float((ws.full(1000, float(number)) + 1.0).sum()))

    def turn(number: int) -> None:
        results: list[float] = []
        threads = [threading.Thread(target=work, args=(number, results)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(results == [1000.0 * (number + 1)] * 3, f"threads found {results}")

    soak.repeat("threads", turn)


def check(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as an assertion has it
    """Raise an error unless it holds."""
    if not holds:
        raise AssertionError(otherwise)


# ---------------------------------------------------------------- the verdict


class Series(NamedTuple):
    """A column of the samples, and how much it may grow from the beginning of the flat part to its end."""

    name: str
    values: list[int]
    allowed: float
    slack: int
    unit: int = 1

    def ends(self) -> tuple[float, float]:
        """Return the medians of the first and the last quarter after the warm part."""
        warm = self.values[int(len(self.values) * WARM) :]
        quarter = max(1, len(warm) // 4)
        return median(warm[:quarter]), median(warm[-quarter:])

    def is_flat(self) -> bool:
        """Whether it did not grow."""
        first, last = self.ends()
        return last <= first * (1 + self.allowed) + self.slack


def columns(samples: list[Sample]) -> list[Series]:
    """Return what must be flat. Resident bytes count the interpreter's heap too, which breathes."""
    mib = 1 << 20
    return [
        Series("resident memory, MiB", [s.resident for s in samples], 0.02, 2 * mib, mib),
        Series("held for workspaces, MiB", [s.held for s in samples], 0.05, mib // 2, mib),
        Series("retired, KiB", [s.retired for s in samples], 0.1, 64 << 10, 1 << 10),
        Series("file descriptors", [s.descriptors for s in samples], 0, 0),
        Series("threads", [s.threads for s in samples], 0, 2),
    ]


def report(soak: Soak, series: list[Series], minutes: float) -> str:
    """Say in Markdown what was run and what was seen."""
    where = f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} processors"
    lines = [
        "# Soak",
        "",
        f"{minutes:g} minutes; {where}. Medians of the first and last quarter after warm-up.",
        "",
    ]
    lines += ["| what | first | last | flat |", "|---|---|---|---|"]
    for s in series:
        first, last = s.ends()
        word = "yes" if s.is_flat() else "NO"
        lines.append(f"| {s.name} | {first / s.unit:.1f} | {last / s.unit:.1f} | {word} |")
    lines += ["", "| load | turns |", "|---|---|"]
    lines += [f"| {name} | {turns} |" for name, turns in sorted(soak.turns.items())]
    lines += ["", *(f"- {error}" for error in soak.errors or ["no wrong number, no error"])]
    return "\n".join([*lines, "", "![what the process holds](soak.svg)", ""])


def main() -> int:
    """Run; tell whether everything was flat and right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, default=Path("target/soak"))
    options = parser.parse_args()
    soak = Soak(options.minutes * 60)
    samples = soak.run()
    series = columns(samples)
    options.out.mkdir(parents=True, exist_ok=True)
    text = report(soak, series, options.minutes)
    (options.out / "soak.md").write_text(text, encoding="utf-8")
    times = [s.seconds / 60 for s in samples]
    lines = [Line(s.name, [v / s.unit for v in s.values], is_flat=s.is_flat()) for s in series]
    (options.out / "soak.svg").write_text(picture(times, lines, WARM), encoding="utf-8")
    print(text)
    holds = not soak.errors and all(s.is_flat() for s in series)
    verdict = "held" if holds else "VIOLATED"
    print(f"soak: {verdict}, {sum(soak.turns.values())} turns in {options.minutes:g} minutes")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
