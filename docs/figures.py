"""Draw the pictures of the documentation: `python docs/figures.py` writes docs/figures/*.svg.

Every picture comes twice, for light and for dark pages. In those of memory, time runs to the right and
addresses run upwards; a box is one array, as high as its bytes, from its birth to its death.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "figures"
FONT = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
CODE = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True)
class Palette:
    """Colours of one kind of page; those of the arrays differ in brightness too."""

    ink: str
    faint: str
    arena: str
    first: str
    second: str
    third: str
    good: str
    bad: str
    worse: str


PALETTES = {
    "light": Palette(
        ink="#1f2933",
        faint="#6b7785",
        arena="#e9eef4",
        first="#8fc1f0",
        second="#f6c177",
        third="#a8d5a2",
        good="#2f855a",
        bad="#b7791f",
        worse="#c53030",
    ),
    "dark": Palette(
        ink="#e4e9ef",
        faint="#9aa7b5",
        arena="#2a323c",
        first="#2f6ca8",
        second="#a8681c",
        third="#3f7d3a",
        good="#68d391",
        bad="#f6ad55",
        worse="#fc8181",
    ),
}


@dataclass
class Drawing:
    """A picture under way."""

    title: str
    width: int
    height: int
    palette: Palette
    parts: list[str] = field(default_factory=list)

    def box(
        self, at: tuple[float, float], size: tuple[float, float], fill: str, *, dashed: bool = False
    ) -> None:
        """Draw a rectangle from its upper left corner."""
        (x, y), (width, height) = at, size
        style = (
            f'fill="none" stroke="{fill}" stroke-width="1.5" stroke-dasharray="5 3"'
            if dashed
            else f'fill="{fill}"'
        )
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" {style}/>')

    def text(
        self,
        at: tuple[float, float],
        words: str,
        *,
        colour: str | None = None,
        size: int = 14,
        code: bool = False,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Write a line of text; `at` is on its base line."""
        family = CODE if code else FONT
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{at[0]:g}" y="{at[1]:g}" font-family="{family}" font-size="{size}" '
            f'fill="{colour or self.palette.ink}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def line(
        self, *points: tuple[float, float], colour: str, dashed: bool = False, arrow: bool = False
    ) -> None:
        """Draw a line through points, with a head at its end if it is an arrow."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        dashes = ' stroke-dasharray="3 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>'
        )
        if arrow:
            self._head(points[-2], points[-1], colour)

    def _head(self, before: tuple[float, float], tip: tuple[float, float], colour: str) -> None:
        (x0, y0), (x, y) = before, tip
        length = max(abs(x - x0), abs(y - y0))
        dx, dy = (x - x0) / length * 8, (y - y0) / length * 8
        corners = [(x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2)]
        path = " ".join(f"{cx:g},{cy:g}" for cx, cy in corners)
        self.parts.append(f'<polygon points="{path}" fill="{colour}"/>')

    def array(self, at: tuple[float, float], size: tuple[float, float], fill: str, name: str) -> None:
        """Draw an array with its name in the middle."""
        self.box(at, size, fill)
        self.text((at[0] + size[0] / 2, at[1] + size[1] / 2 + 5), name, code=True, anchor="middle")

    def svg(self) -> str:
        """Return the picture as text."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" aria-label="{escape(self.title)}">'
        )
        return "\n".join([head, f"<title>{escape(self.title)}</title>", *self.parts, "</svg>", ""])


def loop(palette: Palette) -> Drawing:
    """Draw three turns of a loop over one arena."""
    drawing = Drawing("Three turns of a loop share one arena", 760, 320, palette)
    starts, width = (100, 318, 536), 190
    drawing.box((302, 88), (442, 128), palette.arena)
    for turn, start in enumerate(starts, 1):
        drawing.text((start, 26), f"turn {turn}", bold=True)
        drawing.text((start + 52, 26), f"generation {turn}", colour=palette.faint)
        for edge in (start - 6, start + width + 6):
            drawing.line((edge, 40), (edge, 232), colour=palette.faint, dashed=True)
        turn_of_loop(drawing, start, outside=turn == 1)
    drawing.text((16, 84), "addresses", colour=palette.faint, size=13)
    drawing.line((30, 216), (30, 94), colour=palette.faint, arrow=True)
    drawing.text((318, 80), "one arena, learned in turn 1", colour=palette.faint, size=13)
    drawing.text((100, 58), "no arena yet: served outside,", colour=palette.faint, size=13)
    drawing.text((100, 76), "counted", colour=palette.faint, size=13)
    drawing.text((290, 252), "scope left: x, h, y end", anchor="middle", size=13)
    drawing.line((290, 258), (290, 272), colour=palette.worse, arrow=True)
    drawing.text(
        (290, 290), "h[0]  LeakedArrayError", code=True, colour=palette.worse, anchor="middle", size=13
    )
    drawing.line((594, 140), (594, 70), colour=palette.good, arrow=True)
    drawing.text((540, 60), "h.detach(): an ndarray", code=True, colour=palette.good, size=13)
    drawing.text((744, 310), "time →", colour=palette.faint, size=13, anchor="end")
    return drawing


def turn_of_loop(drawing: Drawing, start: float, *, outside: bool) -> None:
    """Draw x, h and y of one turn."""
    palette = drawing.palette
    shapes = [
        ("x", 4, 178, 34, palette.first),
        ("h", 40, 136, 40, palette.second),
        ("y", 90, 100, 34, palette.third),
    ]
    for name, delay, top, height, colour in shapes:
        at, size = (start + delay, top), (186 - delay, height)
        if outside:
            drawing.box(at, size, colour, dashed=True)
            drawing.text((at[0] + size[0] / 2, top + height / 2 + 5), name, code=True, anchor="middle")
        else:
            drawing.array(at, size, colour, name)


def reuse(palette: Palette) -> Drawing:
    """Draw one turn, with memory waiting for the end of the cycle and with memory used again inside it."""
    drawing = Drawing(
        "Memory of dead arrays: kept until the end of the cycle, or used again within it", 760, 300, palette
    )
    for left, name, policy, size in (
        (40, "AT_RESET", "as in ND4J", "learned: the sum of all requests"),
        (410, "WITHIN_CYCLE", "the default", "learned: what is alive at once"),
    ):
        drawing.text((left, 26), name, code=True, bold=True)
        drawing.text((left + 8 * len(name) + 22, 26), policy, colour=palette.faint)
        drawing.text((left, 290), size, colour=palette.faint, size=13)
    colours = (palette.first, palette.second, palette.third)
    drawing.box((40, 46), (310, 222), palette.arena)
    drawing.box((410, 156), (310, 112), palette.arena)
    for number in range(6):
        born = 44 + 46 * number
        name, colour = f"a{number}", colours[number % 3]
        drawing.array((born, 230 - 36 * number), (346 - born, 34), colour, name)
        drawing.array((born + 370, 230 - 36 * (number % 3)), (88 if number < 5 else 76, 34), colour, name)
    return drawing


def lives(palette: Palette) -> Drawing:
    """Draw a handle, a view and their memory through the life of a workspace."""
    drawing = Drawing("What dies when: a handle, a view of it, and their memory", 760, 270, palette)
    moments = [
        (150, "a = ws.ones(3)"),
        (280, "scope left"),
        (420, "entered again"),
        (560, "del v"),
        (655, "destroyed"),
    ]
    for x, words in moments:
        drawing.text((x, 24), words, size=12, anchor="middle", code=words.startswith(("a =", "del")))
        drawing.line((x, 32), (x, 250), colour=palette.faint, dashed=True)
    alive, gone = palette.third, palette.second
    for y, label in ((60, "a"), (116, "v = a.numpy()"), (172, "its block"), (212, "the next block")):
        drawing.text((8, y + 21), label, code=label[0] in "av", size=13)
    for y, begin, end, words, colour in (
        (60, 150, 280, "VALID", alive),
        (60, 280, 420, "LEAKED", gone),
        (60, 420, 655, "OUTDATED", gone),
        (60, 655, 752, "DESTROYED", gone),
        (116, 165, 560, "a view with a lease: keeps its values", alive),
        (172, 150, 280, "arena", palette.first),
        (172, 280, 560, "retired: nobody else gets it", palette.arena),
        (212, 420, 655, "arena", palette.first),
    ):
        drawing.box((begin + 1, y), (end - begin - 2, 32), colour)
        drawing.text(((begin + end) / 2, y + 21), words, anchor="middle", size=12)
    return drawing


def roles(palette: Palette) -> Drawing:
    """Draw where the arrays of two layers lie during one iteration."""
    drawing = Drawing(
        "One iteration of two layers: which workspace holds what, and for how long", 760, 280, palette
    )
    steps = [
        (200, "layer 0", "activate"),
        (335, "layer 1", "activate"),
        (470, "layer 1", "backprop_gradient"),
        (605, "layer 0", "backprop_gradient"),
    ]
    for x, layer, call in steps:
        drawing.text((x + 62, 22), layer, anchor="middle", bold=True)
        drawing.text((x + 62, 40), call, anchor="middle", code=True, size=11)
        drawing.line((x - 5, 50), (x - 5, 262), colour=palette.faint, dashed=True)
    lanes = [
        (58, "INPUT, ACTIVATIONS"),
        (124, "FF_WORKING_MEM"),
        (172, "BP_WORKING_MEM"),
        (220, "ACTIVATION_GRAD"),
    ]
    for y, label in lanes:
        drawing.text((8, y + 21), label, code=True, size=13)
    drawing.box((198, 58), (542, 56), palette.arena)
    for at, size, colour, name in (
        ((202, 86), (534, 25), palette.first, "x and z of layer 0"),
        ((338, 60), (398, 25), palette.first, "z of layer 1"),
        ((202, 124), (122, 32), palette.second, "scratch"),
        ((338, 124), (122, 32), palette.second, "scratch"),
        ((473, 172), (122, 32), palette.second, "scratch"),
        ((608, 172), (130, 32), palette.second, "scratch"),
        ((473, 220), (265, 20), palette.third, "epsilon for layer 0"),
        ((608, 242), (130, 20), palette.third, "epsilon of x"),
    ):
        drawing.box(at, size, colour)
        drawing.text((at[0] + size[0] / 2, at[1] + size[1] / 2 + 5), name, anchor="middle", size=12)
    return drawing


PICTURES = (loop, reuse, lives, roles)


def drawn() -> dict[str, str]:
    """Return every file's name and text."""
    return {
        f"{picture.__name__}-{page}.svg": picture(palette).svg()
        for picture in PICTURES
        for page, palette in PALETTES.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawn().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
