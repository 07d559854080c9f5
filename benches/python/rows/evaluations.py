"""What evaluating a network takes: one pass for two evaluations, against two, and against scikit-learn."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena import nn
from ndarena.data import ArrayDataSetIterator
from ndarena.evaluation import Evaluation, ROCMultiClass

from .networks import Shape

ROWS = 10_000
SHAPE = Shape(784, 1000, 10, 128)
PATH = "do_evaluation(it, Evaluation(), ROCMultiClass())"


def rows() -> list[Row]:
    """Return the rows of evaluation."""
    return [
        row("two passes", 0.65, two_passes),
        row("scikit-learn on collected outputs", 1.0, by_scikit_learn, needs="sklearn"),
    ]


def row(peer: str, bar: float, function: Any, needs: str | None = None) -> Row:
    """Return one row."""
    make = partial(sides, function)
    size = f"{SHAPE}, {ROWS} rows"
    place = Place.TUNED  # an exact ROC keeps every score, in the heap
    return Row("evaluation", PATH, size, "float32", peer, Bar(bar), make, place, needs=needs)


def sides(peer: Any, _: ExitStack) -> Sides:
    """Make the sides: the network and the batches are the same."""
    random = np.random.default_rng(7)
    net = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[
                nn.DenseLayer(n_in=SHAPE.inputs, n_out=SHAPE.hidden, activation="relu"),
                nn.OutputLayer(n_in=SHAPE.hidden, n_out=SHAPE.classes),
            ],
            seed=7,
        )
    )
    x = random.random((ROWS, SHAPE.inputs), np.float32)
    y = np.eye(SHAPE.classes, dtype=np.float32)[random.integers(0, SHAPE.classes, ROWS)]
    batches = ArrayDataSetIterator(x, y, batch_size=SHAPE.batch)
    ours = Side("metrics(net, batches)", {"metrics": one_pass, "net": net, "batches": batches})
    theirs = Side("metrics(net, batches, y)", {"metrics": peer, "net": net, "batches": batches, "y": y})
    return Sides(ours, theirs, check=Check.CLOSE)


def one_pass(net: Any, batches: Any) -> list[Any]:
    """Return accuracy, confusion matrix and areas of one pass."""
    return figures(*net.do_evaluation(batches, Evaluation(), ROCMultiClass()))


def two_passes(net: Any, batches: Any, _: Any) -> list[Any]:
    """Return the same of two."""
    (evaluation,) = net.do_evaluation(batches, Evaluation())
    (roc,) = net.do_evaluation(batches, ROCMultiClass())
    return figures(evaluation, roc)


def figures(evaluation: Evaluation, roc: ROCMultiClass) -> list[Any]:
    """Return accuracy, confusion matrix and the area of every class."""
    areas = [roc.calculate_auc(i) for i in range(SHAPE.classes)]
    return [evaluation.accuracy(), evaluation.confusion_matrix, areas]


def by_scikit_learn(net: Any, batches: Any, y: Any) -> list[Any]:
    """Return the same by scikit-learn's functions, of outputs that are collected before."""
    from sklearn import metrics  # noqa: PLC0415 - only where it is installed

    p = net.output(batches)
    actual, said = y.argmax(axis=1), p.argmax(axis=1)
    areas = [metrics.roc_auc_score(y[:, i], p[:, i]) for i in range(SHAPE.classes)]
    return [metrics.accuracy_score(actual, said), metrics.confusion_matrix(actual, said), areas]
