"""The report as a picture: a line for every path, a mark at its ratio, a tick at its bar."""

from __future__ import annotations

import math
from itertools import groupby
from xml.sax.saxutils import escape

from .model import Bar, Result, Row
from .report import FAILED, HOLDS, LOST, Report, verdict

WIDTH, HEAD, STEP, TITLE = 1080, 92, 19, 30
SIZES, LEFT, RIGHT = 450, 600, 1050
LEAST, MOST = 0.1, 10.0
GRID = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MARK = 5
STYLE = """\
<style>
svg { background: #fff; font-family: system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; font-size: 13px }
text { fill: #1f2933 } .faint { fill: #6b7785 } .bold { font-weight: 600 } .end { text-anchor: end }
.middle { text-anchor: middle } .small { font-size: 11px }
.grid { stroke: #dfe4ea } .even { stroke: #6b7785 } .bar { stroke: #1f2933; stroke-width: 2.5 }
.hold { fill: #2f855a; stroke: #2f855a } .lost { fill: #c53030; stroke: #c53030 }
.other { fill: #6b7785; stroke: #6b7785 } .double { fill: #fff }
@media (prefers-color-scheme: dark) {
svg { background: #14191f } text { fill: #e4e9ef } .faint { fill: #9aa7b5 }
.grid { stroke: #2a323c } .even { stroke: #9aa7b5 } .bar { stroke: #e4e9ef }
.hold { fill: #68d391; stroke: #68d391 } .lost { fill: #fc8181; stroke: #fc8181 }
.other { fill: #9aa7b5; stroke: #9aa7b5 } .double { fill: #14191f }
}
</style>"""

Pairs = list[tuple[Row, Result]]


def picture(report: Report) -> str:
    """Return the report as SVG, for light and dark pages."""
    parts, top = [], HEAD
    for family, members in groupby(report.pairs(), key=lambda pair: pair[0].family):
        parts.append(text(16, top + 20, family, "bold"))
        top += TITLE
        for pairs in by_path(list(members)):
            parts += path_line(pairs, top)
            top += STEP
    height = top + 24
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="Ratios of ndarena to its peers">'
    )
    return "\n".join([opening, STYLE, *legend(report), *axis(height), *parts, "</svg>", ""])


def by_path(members: Pairs) -> list[Pairs]:
    """Put the dtypes of one path together."""
    lines: dict[tuple[str, str, str], Pairs] = {}
    for row, result in members:
        lines.setdefault((row.path, row.size, row.peer), []).append((row, result))
    return list(lines.values())


def legend(report: Report) -> list[str]:
    """Say what is seen."""
    facts = report.facts
    where = f"{facts['processor']} · NumPy {facts['NumPy']} · load {report.loads[0]} to {report.loads[1]}"
    parts = [
        text(16, 24, "Time in a workspace over time of its peer", "bold"),
        text(16, 44, where, "faint small"),
        text(16, 62, report.summary(), "faint small"),
    ]
    marks = [
        ("hold", "", "float32"),
        ("hold", "double", "float64"),
        ("lost", "", "not the bar"),
        ("other", "", "no bar"),
    ]
    for number, (colour, hollow, words) in enumerate(marks):
        x = LEFT + 8 + 98 * number
        parts += [mark(x, 20, colour, hollow), text(x + 10, 24, words, "small")]
    x = LEFT + 8 + 98 * len(marks)
    parts += [tick(x, 20), text(x + 10, 24, "bar", "small")]
    return parts


def axis(height: int) -> list[str]:
    """Draw the scale; left of 1 the workspace is faster."""
    parts = [
        text(place(0.3), 62, "← faster", "faint small middle"),
        text(place(3), 62, "slower →", "faint small middle"),
    ]
    for ratio in GRID:
        x = place(ratio)
        colour = "even" if ratio == 1 else "grid"
        parts.append(f'<line class="{colour}" x1="{x:g}" x2="{x:g}" y1="{HEAD - 6}" y2="{height - 12}"/>')
        parts.append(text(x, HEAD - 12, f"{ratio:g}", "faint small middle"))
    return parts


def path_line(pairs: Pairs, top: float) -> list[str]:
    """Draw a path with its dtypes."""
    row = pairs[0][0]
    middle = top + STEP / 2
    parts = [
        text(28, middle + 4, row.path, "small"),
        text(SIZES, middle + 4, row.size, "faint small end"),
        text(LEFT - 14, middle + 4, row.peer, "faint small end"),
    ]
    if not any(result.is_measured for _, result in pairs):
        why = pairs[0][1].missing or "failed"
        return [*parts, text(LEFT + 20, middle + 4, why, "faint small")]
    if row.bar is not None:
        parts.append(tick(place(row.bar.limit), middle))
    parts += [of_result(one, result, middle) for one, result in pairs if result.is_measured]
    return parts


def of_result(row: Row, result: Result, middle: float) -> str:
    """Draw a measured ratio; one beyond the scale is written at its end."""
    colour = {HOLDS: "hold", LOST: "lost", FAILED: "lost"}.get(verdict(row, result), "other")
    hollow = "double" if row.dtype == "float64" else ""
    drawn = mark(place(result.ratio), middle, colour, hollow)
    return f"<g><title>{escape(about(row, result, row.bar))}</title>{drawn}</g>"


def about(row: Row, result: Result, bar: Bar | None) -> str:
    """Return what a pointer over a mark shows."""
    return f"{row.path} {row.size} {row.dtype}: {result.ratio:.2f} of {row.peer}" + (
        f", bar {bar}" if bar else ""
    )


def place(ratio: float) -> float:
    """Return where a ratio lies; the scale is logarithmic and ends at a tenth and at ten."""
    share = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (RIGHT - LEFT)


def mark(x: float, y: float, colour: str, hollow: str) -> str:
    """Draw a dot, with a hole for double precision."""
    hole = f'<circle class="{hollow}" cx="{x:g}" cy="{y:g}" r="{MARK - 2.5}"/>' if hollow else ""
    return f'<circle class="{colour}" cx="{x:g}" cy="{y:g}" r="{MARK}"/>{hole}'


def tick(x: float, y: float) -> str:
    """Draw a bar's tick."""
    return f'<line class="bar" x1="{x:g}" x2="{x:g}" y1="{y - 7:g}" y2="{y + 7:g}"/>'


def text(x: float, y: float, words: str, looks: str) -> str:
    """Write words."""
    return f'<text class="{looks}" x="{x:g}" y="{y:g}">{escape(words)}</text>'
