"""Evaluations of drawn labels and scores, ties and all: scikit-learn's numbers, in any split."""

import math

import numpy as np
import pytest
from evaluation_support import MAKERS, plain_sums
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
near = {"rel": 1e-9, "abs": 1e-12, "nan_ok": True}


@st.composite
def cases(draw, least=2, most=5, grids=(2, 3, 7, 1000)):
    """Draw classes, scores of every class on a grid that makes ties, and which rows count."""
    rows, classes = draw(st.integers(2, 40)), draw(st.integers(least, most))
    steps = draw(st.sampled_from(grids))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    actual = rng.integers(0, draw(st.integers(1, classes)), rows)  # of some classes there may be no row
    scores = rng.integers(0, steps + 1, (rows, classes)) / steps
    scores[np.arange(rows), actual] = np.minimum(
        1, scores[np.arange(rows), actual] + rng.integers(0, 2, rows) / steps
    )
    keep = rng.random(rows) < draw(st.sampled_from([0.5, 1.0]))
    return np.eye(classes)[actual], scores, keep


def fed(evaluation, y, p, keep):
    evaluation.eval(y, p, None if keep.all() else keep[:, None])
    return evaluation


def some(case):
    """Return the rows that count, if there are any."""
    y, p, keep = case
    return (y[keep], p[keep]) if keep.any() else None


@given(cases())
def test_classes_are_counted_as_by_scikit_learn(case):
    evaluation, kept = fed(Evaluation(), *case), some(case)
    if kept is None:
        assert evaluation.row_count == 0
        return
    y, p = kept
    actual, said, classes = y.argmax(axis=1), p.argmax(axis=1), y.shape[1]
    matrix = metrics.confusion_matrix(actual, said, labels=range(classes))
    assert evaluation.confusion_matrix.tolist() == matrix.tolist()
    assert evaluation.accuracy() == pytest.approx(metrics.accuracy_score(actual, said), **near)
    per_class = {"labels": list(range(classes)), "average": None, "zero_division": 0.0}
    for name, of in (("precision", metrics.precision_score), ("recall", metrics.recall_score)):
        wanted = of(actual, said, **per_class)
        assert [getattr(evaluation, name)(i) for i in range(classes)] == pytest.approx(wanted, **near)
        micro = of(actual, said, average="micro")
        assert getattr(evaluation, name)(averaging="micro") == pytest.approx(micro, **near)
        macro = of(actual, said, **{**per_class, "average": "macro", "zero_division": np.nan})
        assert getattr(evaluation, name)(averaging="macro") == pytest.approx(macro, **near)
    for beta in (0.5, 1, 2):
        wanted = metrics.fbeta_score(actual, said, beta=beta, **per_class)
        assert [evaluation.f_beta(beta, i) for i in range(classes)] == pytest.approx(wanted, **near)
    for i in range(classes):
        of_class = actual == i, said == i
        both = len(np.unique(of_class[0])) == len(np.unique(of_class[1])) == 2
        wanted = metrics.matthews_corrcoef(*of_class) if both else math.nan
        assert evaluation.matthews_correlation(i) == pytest.approx(wanted, **near)


@given(cases(3, 6, (1000,)), st.integers(2, 4))
def test_the_best_few_are_those_of_scikit_learn(case, n):
    y, p, _ = case
    p = p + np.arange(p.shape[1]) * 1e-5  # no ties: of equal scores scikit-learn takes the later class
    p = p / p.max()
    evaluation = Evaluation(top_n=n)
    evaluation.eval(y, p)
    n = min(n, p.shape[1] - 1)
    if evaluation.top_n == n:
        wanted = metrics.top_k_accuracy_score(y.argmax(axis=1), p, k=n, labels=range(p.shape[1]))
        assert evaluation.top_n_accuracy() == pytest.approx(wanted, **near)


@given(cases(), st.sampled_from([0.3, 0.5]))
def test_binary_outputs_are_counted_as_by_scikit_learn(case, threshold):
    evaluation, kept = fed(EvaluationBinary(decision_threshold=threshold), *case), some(case)
    if kept is None:
        return
    y, p = kept
    for i in range(y.shape[1]):
        actual, said = y[:, i], p[:, i] > threshold
        (tn, fp), (fn, tp) = metrics.confusion_matrix(actual, said, labels=[0, 1])
        counts = [evaluation.true_negatives, evaluation.false_positives, evaluation.false_negatives]
        assert [count(i) for count in (*counts, evaluation.true_positives)] == [tn, fp, fn, tp]
        assert evaluation.accuracy(i) == pytest.approx(metrics.accuracy_score(actual, said), **near)
        for name in ("precision", "recall", "f1"):
            wanted = getattr(metrics, f"{name}_score")(actual, said, zero_division=0.0)
            assert getattr(evaluation, name)(i) == pytest.approx(wanted, **near)


def areas(y, p):
    """Return scikit-learn's areas of a column; none without rows of both kinds, or without a positive one."""
    if not y.any():
        return math.nan, math.nan
    precision, recall, _ = metrics.precision_recall_curve(y, p)
    return math.nan if y.all() else metrics.roc_auc_score(y, p), metrics.auc(recall, precision)


@pytest.mark.parametrize("kind", [ROC, ROCBinary, ROCMultiClass])
@given(cases())
def test_areas_and_curves_are_those_of_scikit_learn(kind, case):
    kept = some(case)
    if kind is ROC:
        case = case[0][:, -1:], case[1][:, -1:], case[2]
    roc = fed(kind(remove_redundant_points=False), *case)
    if kept is None:
        return
    y, p = some(case)
    for i in range(y.shape[1]):
        index, wanted = () if kind is ROC else (i,), areas(y[:, i], p[:, i])
        assert roc.calculate_auc(*index) == pytest.approx(wanted[0], **near)
        assert roc.calculate_auprc(*index) == pytest.approx(wanted[1], **near)
        if math.isnan(wanted[0]):
            continue
        fpr, tpr, _ = metrics.roc_curve(y[:, i], p[:, i], drop_intermediate=False)
        curve = roc.roc_curve(*index)
        ours = set(zip(curve.fpr.round(12), curve.tpr.round(12), strict=True))
        assert set(zip(fpr.round(12), tpr.round(12), strict=True)) == ours
    if kind is not ROC and all(not math.isnan(areas(y[:, i], p[:, i])[0]) for i in range(y.shape[1])):
        assert roc.calculate_auc() == pytest.approx(metrics.roc_auc_score(y, p, average="macro"), **near)


@given(cases(), st.sampled_from([0.0, -3.0, 1e5]))
def test_numbers_are_held_against_as_by_scikit_learn(case, offset):
    y, p, keep = case
    y = y @ np.vander(np.arange(1.0, y.shape[1] + 1), increasing=True) + offset  # columns that differ
    p = p + offset
    evaluation, kept = fed(RegressionEvaluation(), y, p, keep), some((y, p, keep))
    if kept is None:
        return
    y, p = kept
    names = {
        "mean_squared_error": metrics.mean_squared_error,
        "mean_absolute_error": metrics.mean_absolute_error,
        "root_mean_squared_error": lambda *two, **how: np.sqrt(metrics.mean_squared_error(*two, **how)),
    }
    for name, of in names.items():
        wanted = of(y, p, multioutput="raw_values")
        assert [getattr(evaluation, name)(i) for i in range(y.shape[1])] == pytest.approx(wanted, rel=1e-6)
    for i in range(y.shape[1]):
        if len(set(y[:, i])) > 1:
            wanted = metrics.r2_score(y[:, i], p[:, i])
            assert evaluation.r_squared(i) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
            assert evaluation.relative_squared_error(i) == pytest.approx(1 - wanted, rel=1e-6, abs=1e-6)
            if len(set(p[:, i])) > 1:
                wanted = np.corrcoef(y[:, i], p[:, i])[0, 1]
                assert evaluation.pearson_correlation(i) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@given(cases(grids=(30,)), st.integers(1, 12))
def test_reliability_is_that_of_scikit_learn(case, bins):
    y, p, keep = case
    p = (30 * p + 0.37) / 31  # on no edge: there the two put a score on different sides
    evaluation, kept = fed(EvaluationCalibration(reliability_bins=bins), y, p, keep), some((y, p, keep))
    if kept is None:
        return
    y, p = kept
    assert evaluation.label_counts.tolist() == y.sum(axis=0).tolist()
    for i in range(y.shape[1]):
        if 0 < y[:, i].sum() < len(y):
            fraction, mean = calibration_curve(y[:, i], p[:, i], n_bins=bins)
            diagram = evaluation.reliability_diagram(i)
            np.testing.assert_allclose(diagram.fraction_positive, fraction, atol=1e-12)
            np.testing.assert_allclose(diagram.mean_predicted, mean, atol=1e-12)


@pytest.mark.parametrize(("make", "kind"), MAKERS.values(), ids=MAKERS)
@given(cases(3, 3), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_any_split_merged_in_any_order_is_the_whole(make, kind, case, parts, seed):
    y, p, keep = case
    if kind == "single":
        y, p = y[:, :1], p[:, :1]
    rng = np.random.default_rng(seed)
    of_part = rng.integers(0, parts, len(y))
    whole, merged = fed(make(), y, p, keep), make()
    for part in rng.permutation(parts):
        rows = of_part == part
        evaluation = make()
        for half in (rows & (p[:, 0] > 0.5), rows & ~(p[:, 0] > 0.5)):
            if half.any():
                evaluation.eval(y[half], p[half], keep[half, None])
        if rng.integers(2):
            evaluation = type(evaluation).from_json(evaluation.to_json())
        merged.merge(evaluation)
    assert plain_sums(merged) == plain_sums(whole)
