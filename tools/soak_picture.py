"""A soak as a picture: one small chart under the other, over one axis of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 860, 80, 840
HEAD, HEIGHT, GAP = 48, 84, 44
STYLE = """\
<style>
svg { background: #fff; font-family: system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; font-size: 13px }
text { fill: #1f2933 } .faint { fill: #6b7785; font-size: 11px } .bold { font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle } .grid { stroke: #dfe4ea } .warm { fill: #f1f4f7 }
.line { fill: none; stroke-width: 1.8 } .flat { stroke: #2f855a } .grows { stroke: #c53030 }
@media (prefers-color-scheme: dark) {
svg { background: #14191f } text { fill: #e4e9ef } .faint { fill: #9aa7b5 } .grid { stroke: #2a323c }
.warm { fill: #1b222a } .flat { stroke: #68d391 } .grows { stroke: #fc8181 }
}
</style>"""


@dataclass(frozen=True)
class Line:
    """One chart: its title, a value per look, and the verdict."""

    name: str
    values: list[float]
    is_flat: bool


def picture(minutes: list[float], lines: list[Line], warm: float) -> str:
    """Return the charts as SVG, for light and dark pages; the warm part of the time is shaded."""
    height = HEAD + len(lines) * (HEIGHT + GAP) + 8
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="What the process holds over time">'
    )
    parts = [text(16, 26, "What the process holds, over minutes; the warm-up is shaded", "bold")]
    for number, line in enumerate(lines):
        parts += chart(HEAD + number * (HEIGHT + GAP), minutes, line, warm)
    return "\n".join([opening, STYLE, *parts, "</svg>", ""])


def chart(top: int, minutes: list[float], line: Line, warm: float) -> list[str]:
    """Draw one line over its frame; its axis begins at zero."""
    most, last = round_above(max(*line.values, 1e-9)), max(minutes[-1], 1e-9)
    base = top + 18 + HEIGHT
    points = [
        f"{LEFT + (RIGHT - LEFT) * t / last:.1f},{base - HEIGHT * v / most:.1f}"
        for t, v in zip(minutes, line.values, strict=True)
    ]
    colour = "flat" if line.is_flat else "grows"
    width = (RIGHT - LEFT) * warm
    parts = [
        text(16, top + 10, f"{line.name}: {'flat' if line.is_flat else 'GROWS'}"),
        f'<rect class="warm" x="{LEFT}" y="{base - HEIGHT}" width="{width:.1f}" height="{HEIGHT}"/>',
    ]
    for share in (0, 0.5, 1):
        y = base - HEIGHT * share
        parts += [
            f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{RIGHT}" y2="{y}"/>',
            text(LEFT - 8, y + 4, f"{most * share:.4g}", "faint end"),
            text(LEFT + (RIGHT - LEFT) * share, base + 15, f"{last * share:.3g}", "faint middle"),
        ]
    return [*parts, f'<polyline class="line {colour}" points="{" ".join(points)}"/>']


def round_above(value: float) -> float:
    """Return a round number from ``value`` on, whose half is round as well."""
    unit = 10.0 ** math.floor(math.log10(value))
    return unit * next(step for step in (1, 2, 4, 6, 8, 10) if step * unit >= value)


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Return a text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'
