"""Gradients held against central differences (DL4J: ``GradientCheckUtil``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndarena.nn.dropout import IDropout
from ndarena.nn.layer import ParamKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndarena.nn.layer import Layer

__all__ = ["GradientCheck", "GradientMismatch", "check_gradients"]


class GradientMismatch(NamedTuple):
    """A parameter whose derivative is wrong."""

    name: str
    """As in ``param_table()``."""
    place: tuple[int, ...]
    """Where in that parameter."""
    gradient: float
    """What the network computes."""
    difference: float
    """What the differences of the score are."""
    relative_error: float


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found; it is true if all is well."""

    checked: int
    """How many numbers were compared."""
    max_relative_error: float
    """Of all of them."""
    mismatches: tuple[GradientMismatch, ...]
    """Those that differ, the worst first."""

    def __bool__(self) -> bool:
        """Tell whether there is no mismatch."""
        return not self.mismatches

    def __str__(self) -> str:
        """Tell how it went, and where it is worst."""
        lines = [f"{len(self.mismatches)} of {self.checked} derivatives differ"]
        for wrong in self.mismatches[:10]:
            where = f"{wrong.name}{list(wrong.place)}"
            values = f"gradient {wrong.gradient:.6g}, difference {wrong.difference:.6g}"
            lines.append(f"{where}: {values}, relative error {wrong.relative_error:.2g}")
        return "\n".join(lines)


def check_gradients(  # noqa: PLR0913 - all but two have a good default
    net: Any,
    dataset: Any,
    *,
    epsilon: float = 1e-6,
    max_relative_error: float = 1e-3,
    min_absolute_error: float = 1e-8,
    max_per_param: int | None = None,
    seed: int | None = None,
) -> GradientCheck:
    """Compare the gradient of a network with central differences of its score in training.

    Penalties are left out, and so are running statistics, whose gradients are no derivatives.

    Parameters
    ----------
    net : MultiLayerNetwork or ComputationGraph
        Of dtype float64, without dropout and noise. Its parameters come back as they are.
    dataset : DataSet or MultiDataSet
        A small batch.
    epsilon : float
        By how much a parameter is moved to both sides.
    max_relative_error : float
        How large ``|a - b| / (|a| + |b|)`` may be.
    min_absolute_error : float
        Smaller differences are none.
    max_per_param : int, optional
        How many numbers of a parameter are looked at, at most; default: all.
    seed : int, optional
        From which it is drawn which ones.

    Raises
    ------
    ValueError
        A network of single precision, or one that draws numbers in training.
    """
    if net.dtype != np.float64:
        raise ValueError(f"differences need a network of float64, not {net.dtype}")
    params, skipped = net.params(), set()
    for name, layer in _layers_of(net):
        _refuse_chance(name, layer)
        kinds = ((part["name"], layer.param_kind(part["name"])) for part in layer.param_layout)
        skipped |= {f"{name}_{own}" for own, kind in kinds if kind is ParamKind.STATISTIC}
    _, gradient = net.compute_gradient_and_score(dataset)
    rng, errors, mismatches = np.random.default_rng(seed), [0.0], []
    for part in net.param_layout:
        if part["name"] in skipped:
            continue
        count = part["length"] if max_per_param is None else min(max_per_param, part["length"])
        for place in rng.choice(part["length"], count, replace=False):
            at = part["offset"] + int(place)
            a, b = float(gradient[at]), _difference(net, dataset, params, at, epsilon)
            error = abs(a - b) / (abs(a) + abs(b)) if abs(a - b) >= min_absolute_error else 0.0
            errors.append(error)
            if not error <= max_relative_error:
                order: Any = part["order"].upper()
                index = tuple(int(i) for i in np.unravel_index(int(place), part["shape"], order=order))
                mismatches.append(GradientMismatch(part["name"], index, a, b, error))
    mismatches.sort(key=lambda wrong: -wrong.relative_error)
    return GradientCheck(len(errors) - 1, max(errors), tuple(mismatches))


def _layers_of(net: Any) -> Iterator[tuple[str, Layer]]:
    """Go through the layers, with the names with which those of their parameters begin."""
    found = net.vertices.items() if hasattr(net, "vertices") else enumerate(net.layers)
    return ((str(name), layer) for name, layer in found if hasattr(layer, "param_layout"))


def _refuse_chance(name: str, layer: Layer) -> None:
    for inner in (layer, layer.learns_as()):
        if isinstance(inner.dropout, IDropout) or getattr(inner, "weight_noise", None) is not None:
            raise ValueError(f"layer {name} ({type(layer).__name__}) draws numbers in training")


def _difference(net: Any, dataset: Any, params: Any, at: int, epsilon: float) -> float:
    """Return the derivative of the summed loss with respect to one parameter."""
    kept = params[at]
    losses = []
    try:
        for value in (kept + epsilon, kept - epsilon):
            params[at] = value
            losses.append(net.score(dataset, training=True) - net.calc_regularization_score())
    finally:
        params[at] = kept
    return float((losses[0] - losses[1]) / (2.0 * epsilon) * dataset.num_examples())
