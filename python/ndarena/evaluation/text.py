"""The words and columns of evaluation reports: DL4J's, to the character."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NO_DATA",
    "confusion_matrix_text",
    "confusion_to_string",
    "decimals",
    "exclusion",
    "java_floats",
    "java_number",
    "number",
    "scientific",
    "steps_note",
    "table",
    "warning",
]

LISTED = 16  # so many classes are named in a warning


def _java(value: float, form: str) -> str:
    """Return a number in a form; Java has words of its own for what is not finite."""
    if math.isfinite(value):
        return format(value, form)
    return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"


def number(value: float) -> str:
    """Return a value with four decimals, as ``DecimalFormat`` does: of two that are as near the even one."""
    return _java(value, ".4f")


def decimals(value: float) -> str:
    """Return a value with four decimals, as ``String.format`` does."""
    return _java(_half_up(value, -4), ".4f")


def scientific(value: float, places: int) -> str:
    """Return a value with so many decimals and an exponent, as ``String.format`` does."""
    value = float(value)
    known = value != 0 and math.isfinite(value)
    return _java(_half_up(value, Decimal(repr(value)).adjusted() - places) if known else value, f".{places}e")


def _half_up(value: float, place: int) -> float:
    """Return a value of so few decimal places, a 5 of its shortest form rounded away from zero."""
    value = float(value)
    if not math.isfinite(value):
        return value
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(place), ROUND_HALF_UP))


def java_number(value: float) -> str:
    """Return a number with all digits of its precision, as ``Double.toString`` or ``Float.toString`` does."""
    if value == 0 or not math.isfinite(value):
        return _java(float(value), "")
    digits = Decimal(str(value))
    if 1e-3 <= abs(value) < 1e7:
        whole = f"{digits:f}"
        return whole if "." in whole else f"{whole}.0"
    first, *others = digits.normalize().as_tuple().digits
    sign = "-" if value < 0 else ""
    return f"{sign}{first}.{''.join(map(str, others)) or '0'}E{digits.adjusted()}"


def java_floats(values: Any) -> str:
    """Return numbers in single precision, as ``Arrays.toString`` does."""
    return f"[{', '.join(map(java_number, np.ravel(values).astype(np.float32)))}]"


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


def warning(metric: str, classes: list[int]) -> str:
    """Say which classes are not in an average; if they are many, how many they are."""
    if not classes:
        return ""
    verb = "was" if len(classes) == 1 else "were"
    head = (
        f"Warning: {_classes(len(classes))} {verb} never predicted by the model "
        f"and {verb} excluded from average {metric}"
    )
    named = f"\nClasses excluded from average {metric}: {classes}\n"
    return head + named * (len(classes) <= LISTED)


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
