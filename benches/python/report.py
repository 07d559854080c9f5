"""The report as a Markdown table, with the rows that are lost on their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from .measure import Effort
from .model import Result, Row

HEAD = """\
| path | n | dtype | peer | ours ns | peer ns | ratio | median | bar | holds | faults, ours / peer | bytes |
|---|---|---|---|---:|---:|---:|---:|---|---|---|---:|"""
EXPLAINED = """\
One sample of a side is as many turns as take about {sample:g} ms; the sides take turns for {rounds} rounds in
one process, the collector off. The ratio is that of the least times, the median stands beside it. Faults are
minor page faults per turn in the quietest round; bytes are those newly held for workspaces over all rounds.
Rows without a bar are published, not promised. A bar holds only if ours takes no fault and no byte."""


@dataclass(frozen=True)
class Report:
    """Rows, what was measured of them, and where."""

    rows: list[Row]
    results: list[Result]
    facts: dict[str, str]
    loads: tuple[str, str]
    effort: Effort

    def pairs(self) -> list[tuple[Row, Result]]:
        """Return the rows that have a result, in their order."""
        by_key = {result.key: result for result in self.results}
        return [(row, by_key[row.key]) for row in self.rows if row.key in by_key]

    def summary(self) -> str:
        """Return how many hold, and how many do not."""
        counts = Counter(verdict(row, result) for row, result in self.pairs())
        return ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))

    def markdown(self) -> str:
        """Return the report as text."""
        lost = [pair for pair in self.pairs() if verdict(*pair) in {LOST, FAILED}]
        explained = EXPLAINED.format(sample=self.effort.sample_ns / 1e6, rounds=self.effort.rounds)
        facts = "\n".join(f"- {name}: {value}" for name, value in self.facts.items())
        parts = [
            "# ndarena against its peers",
            f"{facts}\n- load over a minute: {self.loads[0]} at the beginning, {self.loads[1]} at the end",
            f"{len(self.results)} rows: {self.summary()}.",
            "## Rows lost",
            table(lost) if lost else "None.",
            "## All rows",
            explained,
            table(self.pairs()),
        ]
        return "\n\n".join(parts) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for other programs."""
        rows = [
            {"bar": str(row.bar or ""), "verdict": verdict(row, result), **result.to_dict()}
            for row, result in self.pairs()
        ]
        return {"facts": self.facts, "loads": self.loads, "rows": rows}


HOLDS, LOST, FAILED, PUBLISHED = "hold", "lost", "failed", "published"
QUIET = 0.05  # of a fault per turn: one that comes now and then is not the turn's


def verdict(row: Row, result: Result) -> str:
    """Return the word that a row is counted under."""
    if result.missing is not None:
        return result.missing.partition(":")[0]
    if result.failed is not None or result.ours is None or result.peer is None:
        return FAILED
    if row.bar is None:
        return PUBLISHED
    if row.bar.faulting_peer and result.peer.faults < 1:
        return "do not count: the peer takes no faults"
    is_flat = result.ours.faults < QUIET and result.held == 0
    return HOLDS if is_flat and row.bar.holds(result.ratio) else LOST


def table(pairs: list[tuple[Row, Result]]) -> str:
    """Return the lines of some rows."""
    return "\n".join([HEAD, *(line(row, result) for row, result in pairs)])


def line(row: Row, result: Result) -> str:
    """Return a row's line."""
    path = f"{row.family}: `{row.path}`" if is_code(row.path) else f"{row.family}: {row.path}"
    head = [path, row.size, row.dtype, row.peer]
    if result.ours is None or result.peer is None:
        return cells(
            [*head, "", "", "", "", str(row.bar or ""), result.missing or f"failed: {result.failed}", "", ""]
        )
    figures = [
        nanoseconds(result.ours.least) + per_second(row, result.ours.least),
        nanoseconds(result.peer.least) + per_second(row, result.peer.least),
        f"{result.ratio:.2f}",
        f"{result.median_ratio:.2f}",
        str(row.bar or ""),
        {HOLDS: "yes", LOST: "**no**", PUBLISHED: ""}.get(verdict(row, result), verdict(row, result)),
        f"{result.ours.faults:.4g} / {result.peer.faults:.4g}",
        str(result.held),
    ]
    return cells([*head, *figures])


def cells(texts: list[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def is_code(path: str) -> bool:
    """Return whether a path is what a person types."""
    return any(char in path for char in "()[]:") or " @ " in path or "*" in path or " + " in path


def nanoseconds(time: float) -> str:
    """Return a time with the digits that mean something."""
    return f"{time:.1f}" if time < 100 else f"{time:,.0f}".replace(",", " ")  # noqa: PLR2004


def per_second(row: Row, time: float) -> str:
    """Return how many examples a second that is, where a turn learns some."""
    return f" ({row.examples / time * 1e9:,.0f} samples/s)".replace(",", " ") if row.examples else ""


def figures_of(row: Row, result: Result) -> str:
    """Return a result for the line of progress."""
    if result.ours is None or result.peer is None:
        return result.missing or f"FAILED: {result.failed}"
    bar = f" ({row.bar})" if row.bar else ""
    return f"{result.ratio:.2f}{bar} {verdict(row, result)}"
