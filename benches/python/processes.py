"""Who measures what: one process for the rows of a family, one of its own for a row that asks for it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any

import ndarena

from . import longest, resident, workers
from .measure import SMOKE, Effort, measure
from .model import Place, Result, Row
from .rows import all_rows

FOREVER = 600  # seconds; a row takes a few
PROCESSES = 5
SIDES_APART = {
    Place.RESIDENT: resident.measured,
    Place.LONGEST: longest.measured,
    Place.WORKERS: workers.measured,
}


def batches(rows: list[Row], shares: tuple[Place, ...] = (Place.SHARED,)) -> Iterator[list[Row]]:
    """Split rows into those of one process each; of a family those of some places share one."""
    for _, family in groupby(rows, key=lambda row: row.family):
        members = list(family)
        shared = [row for row in members if row.place in shares]
        if shared:
            yield shared
        yield from ([row] for row in members if row.place not in shares)


def measured(rows: list[Row], effort: Effort) -> Iterator[Result]:
    """Measure rows in processes of their own; a process that dies takes its remaining rows with it."""
    # Whether a row runs is seen in any process; how fast it is, where nothing was before.
    shares = (Place.SHARED, Place.FRESH) if effort == SMOKE else (Place.SHARED,)
    for batch in batches(rows, shares):
        own = SIDES_APART.get(batch[0].place)
        if own is not None:
            yield own(batch[0], 1 if effort == SMOKE else PROCESSES)
            continue
        left = {row.key for row in batch}
        order = {"keys": [row.key for row in batch], "effort": asdict(effort)}
        command = [sys.executable, "-m", "benches.python", "--measure", json.dumps(order)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
            for line in process.stdout or ():
                result = Result.from_dict(json.loads(line))
                left.discard(result.key)
                yield result
            status = process.wait(FOREVER)
        yield from (
            Result(row.key, failed=f"its process ended with status {status}")
            for row in batch
            if row.key in left
        )


def measure_here(order: dict[str, Any]) -> None:
    """Measure rows in this process and print a line for each."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ndarena.UnusedWorkspaceWarning)  # views and scalars take no memory
    keys = set(order["keys"])
    for row in (row for row in all_rows() if row.key in keys):
        if row.place is Place.TUNED and not ndarena.memory.tune_malloc().is_available:
            result = Result(row.key, missing="not available: needs glibc")
        else:
            result = measure(row, Effort(**order["effort"]))
        print(json.dumps(result.to_dict()), flush=True)  # noqa: T201 - the parent reads it
