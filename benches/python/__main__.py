"""Measure the rows, tell how it goes, and write the report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from . import environment
from .core import core_rows
from .measure import SMOKE, Effort
from .model import Result, Row
from .picture import picture
from .processes import measure_here, measured
from .report import Report, figures_of
from .rows import all_rows


def main() -> int:
    """Run the command line; 1 if a row failed."""
    options = arguments()
    if options.measure:
        measure_here(json.loads(options.measure))
        return 0
    rows = [row for row in all_rows() if options.rows.lower() in row.key.lower()]
    if options.list:
        say(row.key for row in rows)
        return 0
    if not rows:
        sys.stderr.write(f"no row contains '{options.rows}'; --list prints them\n")
        return 2
    effort = SMOKE if options.smoke else Effort(rounds=options.rounds)
    report = run(rows, effort)
    if options.core is not None:
        report = with_core(report, core_rows(options.core))
    if options.out is not None:
        write(report, options.out)
    elif not options.smoke:
        say([report.markdown()])
    failed = [result for result in report.results if result.failed]
    say([f"{len(report.results)} rows: {report.summary()}"])
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benches.python", description=__doc__)
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose name contains it")
    parser.add_argument("--list", action="store_true", help="print the rows and do nothing")
    parser.add_argument(
        "--smoke", action="store_true", help="a few turns of each row: do they run, are results equal?"
    )
    parser.add_argument(
        "--rounds", type=int, default=Effort.rounds, help="of both sides (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md, report.json and report.svg there"
    )
    parser.add_argument("--core", type=Path, metavar="FILE", help="rows of the core, from cargo bench")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def run(rows: list[Row], effort: Effort) -> Report:
    """Measure, with a line of progress for every row."""
    began, load = time.monotonic(), environment.load()
    by_key, results = {row.key: row for row in rows}, list[Result]()
    for result in measured(rows, effort):
        results.append(result)
        line = f"[{len(results):3}/{len(rows)} {time.monotonic() - began:4.0f} s] {result.key}: "
        sys.stderr.write(line + figures_of(by_key[result.key], result) + "\n")
    return Report(rows, results, environment.describe(), (load, environment.load()), effort)


def with_core(report: Report, core: list[tuple[Row, Result]]) -> Report:
    """Return the report with the core's rows in front."""
    rows, results = [row for row, _ in core], [result for _, result in core]
    return replace(report, rows=rows + report.rows, results=results + report.results)


def write(report: Report, folder: Path) -> None:
    """Write the report in three forms."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report.markdown(), encoding="utf-8")
    (folder / "report.svg").write_text(picture(report), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    say([f"{folder / 'report.md'}, {folder / 'report.svg'}"])


def say(lines: object) -> None:
    """Print lines."""
    for line in lines:  # type: ignore[attr-defined]
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
