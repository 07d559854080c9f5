"""The words and columns of evaluation reports: DL4J's, to the character."""

from __future__ import annotations

import math

__all__ = ["confusion_matrix_text", "confusion_to_string", "exclusion", "number", "warning"]


def number(value: float) -> str:
    """Return a value with four decimals."""
    return f"{value:.4f}"


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
