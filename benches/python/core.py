"""The core's bars, which `cargo bench --bench bars -- --out FILE` measured, as rows of the same table."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .model import Bar, Figures, Result, Row, Sides


def core_rows(path: Path) -> list[tuple[Row, Result]]:
    """Return the rows of a file, measured."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [core_row(json.loads(line)) for line in lines]


def core_row(fields: dict[str, Any]) -> tuple[Row, Result]:
    """Return a row of the core: its times have no page faults beside them."""
    name, _, trace = fields["path"].partition(", ")
    bar = None if fields["bar"] is None else Bar(round(fields["bar"], 2))
    row = Row("core", name, trace, "", "bumpalo", bar, measured_elsewhere)
    ours, peer = (Figures(least, median, 0.0) for least, median in (fields["ours"], fields["peer"]))
    ratios = ours.least / peer.least, ours.median / peer.median
    return row, Result(row.key, None, None, *ratios, ours, peer)


def measured_elsewhere(stack: ExitStack) -> Sides:
    """Refuse: there is no Python side."""
    raise NotImplementedError(f"measured by cargo bench; {stack} is not needed")
