"""Pictures of evaluations, drawn with matplotlib, which is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndarena.evaluation.calibration import Histogram
    from ndarena.evaluation.curves import Outcome

__all__ = ["bars", "choice", "confusion", "curves", "histogram", "reliability"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
MOST_CELLS = 20  # DL4J prints matrices of so many classes
MOST_NAMES = 10  # as many colours as there are
GREY = "0.6"


def _axes(ax: Any) -> Any:
    """Return the axes to draw in: those given, or those of a new figure.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: pip install ndarena[plot]") from error
    return pyplot.subplots(layout="constrained")[1]


def choice(value: str, known: Sequence[str]) -> str:
    """Return a known word, or say which there are."""
    if value not in known:
        raise ValueError(f"what must be one of {', '.join(known)}, not {value!r}")
    return value


def confusion(ax: Any, matrix: np.ndarray[Any, Any], names: Sequence[str]) -> Any:
    """Draw how often which class was predicted; a cell is as dark as its part of the row."""
    ax = _axes(ax)
    parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    ax.figure.colorbar(image, ax=ax, label="fraction of the actual class")
    if len(names) <= MOST_CELLS:
        ax.set_xticks(range(len(names)), names, **_turned(names))
        ax.set_yticks(range(len(names)), names)
        for (i, j), count in np.ndenumerate(matrix):
            colour = "white" if parts[i, j] > 0.5 else "black"
            ax.text(j, i, f"{count:,}", ha="center", va="center", color=colour)
    ax.set(xlabel="predicted class", ylabel="actual class", title="Confusion matrix")
    return ax


def curves(ax: Any, what: str, outcomes: Mapping[str, Outcome]) -> Any:
    """Draw ROC or precision-recall curves, with their areas."""
    if choice(what, ("roc", "precision_recall")) == "roc":
        points = {
            f"{name}AUC {of.auc:.4f}": (of.roc_curve.fpr, of.roc_curve.tpr) for name, of in outcomes.items()
        }
        ax = _lines(ax, points, x="false positive rate", y="true positive rate", line="chance")
        ax.set_title("ROC curve")
        return ax
    points = {
        f"{name}AUPRC {of.auprc:.4f}": (of.precision_recall_curve.recall, of.precision_recall_curve.precision)
        for name, of in outcomes.items()
    }
    ax = _lines(ax, points, x="recall", y="precision")
    ax.set_title("Precision-recall curve")
    return ax


def reliability(ax: Any, diagrams: Mapping[str, tuple[Floats, Floats]]) -> Any:
    """Draw how often classes were true, by the probability they were given."""
    ax = _lines(
        ax,
        diagrams,
        x="mean predicted probability",
        y="fraction of positives",
        line="perfectly calibrated",
        marker="o",
    )
    ax.set_title("Reliability diagram")
    return ax


def _lines(  # noqa: PLR0913 - looks
    ax: Any,
    points: Mapping[str, tuple[Floats, Floats]],
    *,
    x: str,
    y: str,
    line: str | None = None,
    marker: str = "",
) -> Any:
    """Draw lines inside the unit square; they have names as long as there are colours."""
    ax = _axes(ax)
    few = len(points) <= MOST_NAMES
    for name, (across, up) in points.items():
        looks = {"label": name} if few else {"color": GREY, "alpha": 0.5}
        ax.plot(across, up, marker=marker, **looks)
    if line is not None:
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label=line, zorder=0)
    ax.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if few or line is not None:
        ax.legend()
    return ax


def histogram(ax: Any, those: Histogram, *, title: str, x: str) -> Any:
    """Draw counts in bins."""
    ax = _axes(ax)
    ax.stairs(those.counts, np.linspace(those.lower, those.upper, len(those.counts) + 1), fill=True)
    ax.set(xlabel=x, ylabel="count", title=title, xlim=(those.lower, those.upper))
    return ax


def bars(ax: Any, groups: Mapping[str, Sequence[float]], names: Sequence[str], *, title: str) -> Any:
    """Draw a bar for every group and name, those of a name side by side."""
    ax = _axes(ax)
    places, width = np.arange(len(names)), 0.8 / len(groups)
    for i, (group, values) in enumerate(groups.items()):
        ax.bar(places + (i - (len(groups) - 1) / 2) * width, values, width, label=group)
    ax.set_xticks(places, names, **_turned(names))
    ax.set_title(title)
    if len(groups) > 1:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(groups))
    return ax


def _turned(names: Sequence[str]) -> dict[str, Any]:
    """Return how names stand below an axis: long ones aslant."""
    return {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
