"""The words and columns of evaluation reports: DL4J's, to the character."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NO_DATA",
    "confusion_matrix_text",
    "confusion_to_string",
    "exclusion",
    "java_double",
    "number",
    "scientific",
    "steps_note",
    "table",
    "warning",
]


def _java(value: float, form: str) -> str:
    """Return a number in a form; Java has words of its own for what is not finite."""
    if math.isfinite(value):
        return format(value, form)
    return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"


def number(value: float) -> str:
    """Return a value with four decimals."""
    return _java(value, ".4f")


def scientific(value: float, decimals: int) -> str:
    """Return a value with so many decimals and an exponent."""
    return _java(value, f".{decimals}e")


def java_double(value: float) -> str:
    """Return a value with all its digits, as ``Double.toString`` does."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e7:
        return _java(value, "")
    digits = Decimal(repr(value))
    first, *others = digits.as_tuple().digits
    return f"{'-' * (value < 0)}{first}.{''.join(map(str, others)) or '0'}E{digits.adjusted()}"


def table(rows: Sequence[Sequence[Any]], widths: Sequence[int]) -> str:
    """Return rows of columns of these widths."""
    return "\n".join(
        "".join(f"{value!s:{width}}" for value, width in zip(row, widths, strict=True)) for row in rows
    )


NO_DATA = "\n-- No Data --\n"


def steps_note(steps: int) -> str:
    """Say that areas are of so many steps; nothing of exact ones."""
    if not steps:
        return ""
    return (
        f"\n[Note: Thresholded AUC/AUPRC calculation used with {steps} steps); "
        "accuracy may reduced compared to exact mode]"
    )


def _classes(n: int) -> str:
    return f"{n} class" if n == 1 else f"{n} classes"


def exclusion(classes: list[int]) -> str:
    """Say behind a value how many classes are not in it."""
    return f"\t({_classes(len(classes))} excluded from average)" if classes else ""


def warning(metric: str, classes: list[int]) -> list[str]:
    """Say which classes are not in an average."""
    if not classes:
        return []
    number_of = _classes(len(classes))
    verb = "was" if len(classes) == 1 else "were"
    return [
        f"Warning: {number_of} {verb} never predicted by the model and {verb} excluded from average {metric}",
        f"Classes excluded from average {metric}: {classes}",
    ]


def confusion_to_string(matrix: list[list[int]], names: list[str]) -> str:
    """Return the matrix with a name before every row."""
    width = max(10, *(len(name) + 5 for name in names))
    head = "".join(f"{i:7d}" for i in range(len(names)))
    rows = [
        f"{i:<3d}{name:{width}} | " + "".join(f"{count:7d}" for count in row)
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    return "\n".join([f"   {'Predicted:':{width}}   {head}", "   Actual:", *rows, ""])


def confusion_matrix_text(matrix: list[list[int]], names: list[str]) -> str:
    """Return the matrix with a name behind every row."""
    largest = max(len(names), *(count for row in matrix for count in row))
    width = math.ceil(math.log10(largest)) + 1
    head = "".join(f"{i:{width}d}" for i in range(len(names)))
    rows = [
        "".join(f"{count:{width}d}" for count in row) + f" | {i} = {name}"
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    form = "Confusion matrix format: Actual (rowClass) predicted as (columnClass) N times"
    return "\n".join([head, "-" * (len(head) + 1), *rows, "", form])
