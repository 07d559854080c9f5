"""The ancestor's tests of evaluations, by their ids; others are in `test_evaluating`, `test_evaluations`."""

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

CLASSES = [
    Evaluation, EvaluationBinary, EvaluationCalibration, ROC, ROCBinary, ROCMultiClass, RegressionEvaluation,
]  # fmt: skip
each_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def drawn(rows=40, columns=2, seed=0):
    rng = np.random.default_rng(seed)
    return np.eye(columns)[rng.integers(0, columns, rows)], rng.dirichlet(np.ones(columns), rows)


def fed(evaluation, *batches):
    for batch in batches:
        evaluation.eval(*batch)
    return evaluation


def of_confusion(matrix):
    """Evaluate rows that give this confusion matrix."""
    pairs = [(i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) for _ in range(count)]
    actual, said = np.array(pairs).T
    return fed(Evaluation(), (np.eye(len(matrix))[actual], np.eye(len(matrix))[said]))


@pytest.mark.parametrize("steps", [0, 10])
def test_E11_perfect_scores_have_area_1(steps):  # noqa: N802 - an id
    y = np.repeat([[1.0, 0.0], [0.0, 1.0]], 5, axis=0)
    p = np.array([[0.999 - 0.1 * i, 0.001 + 0.1 * i] for i in range(10)])
    assert fed(ROC(threshold_steps=steps), (y, p)).calculate_auc() == pytest.approx(1)


def test_E12_ten_thresholds_give_the_area_worked_out_by_hand():  # noqa: N802 - an id
    y, p = [[1], [0], [1], [0], [0]], [[0.95], [0.65], [0.45], [0.25], [0.05]]  # 5 of 6 pairs are in order
    assert fed(ROC(threshold_steps=10), (y, p)).calculate_auc() == pytest.approx(0.5 / 3 + 2 / 3)


def test_E14_the_area_under_precision_and_recall_is_by_trapezoids():  # noqa: N802 - an id
    y, p = [[0], [0], [1], [1]], [[0.1], [0.4], [0.35], [0.8]]
    roc = fed(ROC(), (y, p))
    assert roc.calculate_auprc() == pytest.approx(0.7916666666667)
    assert roc.calculate_auc() == pytest.approx(0.75)


@each_class
def test_E15_E21_masked_series_are_their_kept_steps(kind):  # noqa: N802 - ids
    y, p = drawn(40)
    y, p = (a[:, :1] if kind is ROC else a for a in (y, p))
    shaped = [a.reshape(4, 10, -1).transpose(0, 2, 1) for a in (y, p)]
    keep = np.arange(10) < np.array([[10], [7], [3], [9]])
    masked = fed(kind(), (*shaped, keep.astype(np.float32)))
    flat = fed(kind(), (y[keep.ravel()], p[keep.ravel()]))
    assert masked.to_json() == flat.to_json()


@each_class
def test_E16_E19_E24_parts_that_are_merged_are_the_whole(kind):  # noqa: N802 - ids
    y, p = drawn(40)
    parts = [fed(kind(), (y[s], p[s])) for s in (slice(0, 13), slice(13, 30), slice(30, 40))]
    merged = kind()
    for part in parts:
        merged.merge(part)
    whole = fed(kind(), (y, p))
    assert merged.stats() == whole.stats()
    if kind is RegressionEvaluation:
        assert merged.r_squared() == pytest.approx(whole.r_squared(), rel=1e-12)


def test_E17_more_rows_than_a_block_of_the_ancestor_are_kept():  # noqa: N802 - an id
    y, p = drawn(5000)
    roc = fed(ROC(), *((y[i : i + 100], p[i : i + 100]) for i in range(0, 5000, 100)))
    assert roc.total_count == 5000
    assert roc.calculate_auc() == fed(ROC(), (y, p)).calculate_auc()


def test_E18_metrics_are_those_by_hand():  # noqa: N802 - an id
    evaluation = of_confusion([[20, 3], [10, 5]])
    assert evaluation.accuracy() == pytest.approx(25 / 38)
    assert [evaluation.precision(i) for i in range(2)] == pytest.approx([20 / 30, 5 / 8])
    assert [evaluation.recall(i) for i in range(2)] == pytest.approx([20 / 23, 5 / 15])
    assert evaluation.f1(1) == pytest.approx(2 * 5 / (2 * 5 + 3 + 10))
    assert evaluation.false_positive_rate(1) == pytest.approx(3 / 23)


def test_E20_a_class_among_the_best_counts_for_top_n():  # noqa: N802 - an id
    p = np.tile([0.1, 0.2, 0.3, 0.25, 0.15], (8, 1))
    y = np.eye(5)[[2, 2, 3, 3, 1, 1, 0, 4]]  # ranks 1, 1, 2, 2, 3, 3, 5, 4
    evaluation = fed(Evaluation(top_n=3), (y, p))
    assert (evaluation.top_n_accuracy(), evaluation.accuracy()) == (6 / 8, 2 / 8)


@each_class
def test_E22_NaN_among_predictions_is_refused(kind):  # noqa: N802 - an id
    y, p = drawn()
    p[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        kind().eval(y, p)


def test_E25_elements_of_numbers_are_masked_per_column():  # noqa: N802 - an id
    y, p = (np.random.default_rng(seed).normal(size=(20, 3)) for seed in range(2))
    mask = np.random.default_rng(2).integers(0, 2, (20, 3))
    evaluation = fed(RegressionEvaluation(), (y, p, mask))
    for i in range(3):
        error = (p - y)[mask[:, i] == 1, i]
        assert evaluation.mean_squared_error(i) == pytest.approx(np.mean(error**2))
        assert evaluation.mean_absolute_error(i) == pytest.approx(np.mean(abs(error)))


@each_class
def test_E26_E27_an_empty_object_reports_and_is_like_a_new_instance(kind):  # noqa: N802 - ids
    evaluation = fed(kind(), drawn())
    fresh = evaluation.new_instance()
    assert (fresh.to_json(), fresh.stats()) == (kind().to_json(), kind().stats())
    assert fresh.stats() != evaluation.stats() or kind is EvaluationCalibration


def test_E28_thresholds_and_costs_are_scalings_by_hand():  # noqa: N802 - an id
    y, p = drawn(60)
    evaluation = fed(Evaluation(binary_decision_threshold=0.25), (y, p))
    said = p[:, 1] > 0.25
    assert evaluation.true_positives(1) == np.sum(said & (y[:, 1] == 1))
    assert evaluation.false_positives(1) == np.sum(said & (y[:, 1] == 0))
    y, p = drawn(60, 3)
    costs = np.array([5.0, 2.0, 1.0])
    by_hand = fed(Evaluation(), (y, p * costs))
    assert fed(Evaluation(cost_array=costs), (y, p)).stats() == by_hand.stats()
