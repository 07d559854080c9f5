"""Pictures of evaluations: what is drawn is what was counted."""

import sys

import matplotlib as mpl
import numpy as np
import pytest

from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)

mpl.use("Agg")

from matplotlib import pyplot as plt

NAMES = ["ant", "bee", "elephant"]


@pytest.fixture(autouse=True)
def closed():
    plt.close("all")
    yield
    plt.close("all")


def fed(evaluation, classes=3):
    rng = np.random.default_rng(0)
    y = np.eye(classes)[rng.integers(0, classes, 80)]
    p = y * 0.4 + rng.dirichlet(np.ones(classes), 80)
    p /= p.sum(axis=1, keepdims=True)
    columns = slice(1) if isinstance(evaluation, ROC) else slice(None)
    evaluation.eval(y[:, columns], p[:, columns])
    return evaluation


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ticks_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_confusion_matrix_is_drawn_with_names_and_counts():
    evaluation = fed(Evaluation(labels=NAMES))
    ax = evaluation.plot()
    matrix = evaluation.confusion_matrix
    drawn = ax.images[0].get_array()
    np.testing.assert_allclose(drawn, matrix / matrix.sum(axis=1, keepdims=True))
    assert [int(text.get_text()) for text in ax.texts] == matrix.ravel().tolist()
    assert [text.get_position() for text in ax.texts] == [(j, i) for i in range(3) for j in range(3)]
    assert ticks_of(ax.xaxis) == ticks_of(ax.yaxis) == NAMES
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "actual class")


def test_of_many_classes_a_matrix_has_no_numbers():
    ax = fed(Evaluation(), 30).plot()
    assert ax.images[0].get_array().shape == (30, 30)
    assert not ax.texts


@pytest.mark.parametrize("steps", [0, 10])
@pytest.mark.parametrize("kind", [ROC, ROCBinary, ROCMultiClass])
def test_curves_are_drawn_with_their_areas(kind, steps):
    roc = fed(kind(threshold_steps=steps))
    columns = [()] if kind is ROC else [(0,), (1,), (2,)]
    ax = roc.plot()
    for index, line in zip(columns, ax.lines[:-1], strict=True):
        curve = roc.roc_curve(*index)
        np.testing.assert_array_equal(line.get_xydata(), np.stack([curve.fpr, curve.tpr], axis=1))
    names = [f"{'' if kind is ROC else f'{index[0]}: '}" for index in columns]
    areas = [f"AUC {roc.calculate_auc(*index):.4f}" for index in columns]
    assert legend_of(ax) == [*map("".join, zip(names, areas, strict=True)), "chance"]
    ax = roc.plot("precision_recall")
    for index, line in zip(columns, ax.lines, strict=True):
        curve = roc.precision_recall_curve(*index)
        np.testing.assert_array_equal(line.get_xydata(), np.stack([curve.recall, curve.precision], axis=1))
    areas = [f"AUPRC {roc.calculate_auprc(*index):.4f}" for index in columns]
    assert legend_of(ax) == [*map("".join, zip(names, areas, strict=True))]


@pytest.mark.parametrize("what", ["roc", "precision_recall"])
def test_of_many_columns_curves_have_no_names(what):
    ax = fed(ROCMultiClass(), 12).plot(what)
    assert len(ax.lines) == 12 + (what == "roc")
    assert len({line.get_color() for line in ax.lines[:12]}) == 1
    assert (ax.get_legend() is None) == (what == "precision_recall")


def test_reliability_is_drawn_by_class():
    evaluation = fed(EvaluationCalibration())
    ax = evaluation.plot()
    assert legend_of(ax) == ["class 0", "class 1", "class 2", "perfectly calibrated"]
    (line, _) = evaluation.plot(i=2).lines
    diagram = evaluation.reliability_diagram(2)
    for drawn in (line, ax.lines[2]):
        np.testing.assert_array_equal(drawn.get_xdata(), diagram.mean_predicted)
        np.testing.assert_array_equal(drawn.get_ydata(), diagram.fraction_positive)


@pytest.mark.parametrize("i", [None, 1])
@pytest.mark.parametrize(
    ("what", "name"), [("residuals", "residual_plot"), ("probabilities", "probability_histogram")]
)
def test_histograms_are_drawn(what, name, i):
    evaluation = fed(EvaluationCalibration(histogram_bins=8))
    ax = evaluation.plot(what, i)
    values, edges, _ = ax.patches[0].get_data()
    assert values.tolist() == getattr(evaluation, name)(i).counts.tolist()
    np.testing.assert_allclose(edges, np.arange(9) / 8)
    assert ax.get_title().endswith("of class 1") == (i == 1)


def test_metrics_of_outputs_and_columns_are_bars():
    binary = fed(EvaluationBinary())
    ax = binary.plot()
    heights = [bar.get_height() for bar in ax.patches]
    metrics = [binary.accuracy, binary.f1, binary.precision, binary.recall]
    assert heights == [metric(i) for metric in metrics for i in range(3)]
    assert legend_of(ax) == ["Accuracy", "F1", "Precision", "Recall"]
    numbers = fed(RegressionEvaluation(columns=NAMES))
    for name in ("root_mean_squared_error", "r_squared"):
        ax = numbers.plot(name)
        assert [bar.get_height() for bar in ax.patches] == [getattr(numbers, name)(i) for i in range(3)]
        assert ticks_of(ax.xaxis) == NAMES


KINDS = [
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    ROC,
    ROCBinary,
    ROCMultiClass,
    RegressionEvaluation,
]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@each_kind
def test_a_picture_is_drawn_where_it_is_wanted(kind):
    evaluation = fed(kind())
    figure, (first, second) = plt.subplots(1, 2)
    assert evaluation.plot(ax=second) is second
    assert second.get_title()
    assert not first.get_title()
    assert plt.get_fignums() == [figure.number]
    own = evaluation.plot()
    assert own.figure is not figure
    own.figure.canvas.draw()


@each_kind
def test_nothing_and_unknown_pictures_are_refused(kind):
    with pytest.raises(ValueError, match="nothing was evaluated"):
        kind().plot()
    if kind not in {Evaluation, EvaluationBinary}:
        with pytest.raises(ValueError, match=r"what must be one of .*, not 'everything'"):
            fed(kind()).plot("everything")
    assert plt.get_fignums() == []


def test_without_matplotlib_there_is_no_picture(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install ndarena\[plot\]"):
        fed(Evaluation()).plot()
