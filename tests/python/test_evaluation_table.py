"""The ancestor's tests of evaluations, by their ids; those of networks are in `test_evaluating`."""

import itertools

import numpy as np
import pytest
from nn_support import chain
from sklearn import metrics

from ndarena.data import DataSet
from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    Prediction,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)

CLASSES = [
    Evaluation, EvaluationBinary, EvaluationCalibration, ROC, ROCBinary, ROCMultiClass, RegressionEvaluation,
]  # fmt: skip
ROCS = [ROC, ROCBinary, ROCMultiClass]
AREAS = ["calculate_auc", "calculate_auprc"]
COLUMN_METRICS = [
    "mean_squared_error", "mean_absolute_error", "root_mean_squared_error",
    "relative_squared_error", "pearson_correlation", "r_squared",
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


@pytest.mark.parametrize("size", [7, 40, 150])
def test_E09_errors_name_the_records_they_were_made_of(size):  # noqa: N802 - an id
    y, _ = drawn(150, 3)
    x = np.random.default_rng(1).normal(size=(150, 4))
    batches = [
        DataSet(
            x[i : i + size], y[i : i + size], metadata=[f"record {j}" for j in range(i, min(i + size, 150))]
        )
        for i in range(0, 150, size)
    ]
    net = chain(4, 5, 3, dtype="float64")
    evaluation = net.evaluate(batches)
    actual, said = y.argmax(axis=1), net.output(x).argmax(axis=1)
    wanted = [Prediction(a, p, f"record {i}") for i, (a, p) in enumerate(zip(actual, said, strict=True))]
    of = {cell: [w for w in wanted if w[:2] == cell] for cell in itertools.product(range(3), repeat=2)}
    assert 0 < len(evaluation.prediction_errors()) < 150
    assert evaluation.prediction_errors() == [p for (i, j), cell in of.items() if i != j for p in cell]
    for i in range(3):
        assert evaluation.predictions_by_actual_class(i) == [p for j in range(3) for p in of[i, j]]
        assert evaluation.predictions_by_predicted_class(i) == [p for j in range(3) for p in of[j, i]]
        for j in range(3):
            assert evaluation.predictions(i, j) == of[i, j]
            assert len(of[i, j]) == evaluation.confusion_matrix[i, j]


def test_E09_records_are_those_of_the_rows_that_are_kept():  # noqa: N802 - an id
    y, p = (a.reshape(4, 10, 3).transpose(0, 2, 1) for a in drawn(40, 3))
    mask = np.random.default_rng(2).integers(0, 2, (4, 10))
    halves = [fed(Evaluation(), (y[s], p[s], mask[s], list("abcd"[s]))) for s in (slice(2), slice(2, 4))]
    halves[0].merge(halves[1])
    found = [each for i in range(3) for each in halves[0].predictions_by_actual_class(i)]
    example, step = mask.nonzero()
    rows = zip(example, y.argmax(axis=1)[example, step], p.argmax(axis=1)[example, step], strict=True)
    assert sorted(found) == sorted(Prediction(a, said, "abcd"[n]) for n, a, said in rows)
    assert halves[1].prediction_errors()
    halves[1].reset()
    assert halves[1].prediction_errors() == halves[1].new_instance().prediction_errors() == []
    with pytest.raises(ValueError, match="metadata of 3 examples, where there are 4"):
        halves[1].eval(y, p, mask, list("abc"))
    assert halves[1].row_count == 0


@pytest.mark.parametrize("steps", [0, 10])
def test_E11_perfect_scores_have_area_1(steps):  # noqa: N802 - an id
    y = np.repeat([[1.0, 0.0], [0.0, 1.0]], 5, axis=0)
    p = np.array([[0.999 - 0.1 * i, 0.001 + 0.1 * i] for i in range(10)])
    assert fed(ROC(threshold_steps=steps), (y, p)).calculate_auc() == pytest.approx(1)


def test_E12_ten_thresholds_give_the_area_worked_out_by_hand():  # noqa: N802 - an id
    y, p = [[1], [0], [1], [0], [0]], [[0.95], [0.65], [0.45], [0.25], [0.05]]  # 5 of 6 pairs are in order
    assert fed(ROC(threshold_steps=10), (y, p)).calculate_auc() == pytest.approx(0.5 / 3 + 2 / 3)


def test_E13_thirty_scores_have_the_areas_of_scikit_learn():  # noqa: N802 - an id
    random = np.random.RandomState(12345)
    scores, labels = random.rand(30, 1), random.randint(0, 2, (30, 1))
    for order in (slice(None), slice(None, None, -1)):
        roc = fed(ROC(), (labels[order], scores[order]))
        assert roc.calculate_auc() == pytest.approx(0.459330143541, abs=1e-12)
        assert roc.calculate_auprc() == pytest.approx(0.398963619227, abs=1e-12)
        assert roc.calculate_auc() == pytest.approx(metrics.roc_auc_score(labels, scores), rel=1e-12)


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


WEIGHTS = np.array([[1, 0, 0.5, 1, 2], [0.9999, 1, -1, np.nan, 1], [0.5, 2, 0, 0, 0.5]])


@each_class
@pytest.mark.parametrize("form", ["[N, T]", "[N, 1, T]"])
def test_steps_of_series_count_where_their_mask_is_exactly_1(kind, form):
    y, p = (a[:, :1] if kind is ROC else a for a in drawn(15))
    shaped = [a.reshape(3, 5, -1).transpose(0, 2, 1) for a in (y, p)]
    keep = WEIGHTS.ravel() == 1
    assert keep.sum() == 4
    wanted = fed(kind(), (y[keep], p[keep]))
    mask = WEIGHTS if form == "[N, T]" else WEIGHTS[:, None]
    assert fed(kind(), (*shaped, mask)).to_json() == wanted.to_json()
    weightless = fed(kind(), (*shaped, np.where(mask == 1, 0.5, mask)))  # no step is left
    assert weightless.to_json() == kind().to_json()


@each_class
@pytest.mark.parametrize("places", [(), (2, 2)], ids=["rows", "images"])
def test_rows_and_points_of_images_count_where_their_mask_is_not_0(kind, places):
    y, p = (a[:, :1] if kind is ROC else a for a in drawn(12))
    shaped = [np.moveaxis(a.reshape(-1, *places, a.shape[1]), -1, 1) for a in (y, p)]
    mask = np.array([1, 0, 0.5, 2, -1, 0] * 2)
    wanted = fed(kind(), (y[mask != 0], p[mask != 0]))
    assert fed(kind(), (*shaped, mask.reshape(-1, *(places or (1,))))).to_json() == wanted.to_json()


def test_records_are_those_of_the_steps_whose_mask_is_exactly_1():
    y, p = (a.reshape(3, 5, 2).transpose(0, 2, 1) for a in drawn(15))
    evaluation = fed(Evaluation(), (y, p, WEIGHTS, ["a", "b", "c"]))
    found = [each.record_metadata for i in range(2) for each in evaluation.predictions_by_actual_class(i)]
    assert sorted(found) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("kind", [EvaluationBinary, ROCBinary, RegressionEvaluation])
def test_elements_of_series_count_where_their_mask_is_not_0(kind):
    y, p = (a.reshape(3, 5, 2).transpose(0, 2, 1) for a in drawn(15))
    mask = np.random.default_rng(1).choice([0, 0.5, 1, 2], y.shape)
    assert fed(kind(), (y, p, mask)).to_json() == fed(kind(), (y, p, mask != 0)).to_json()
    one = y[:, :1], p[:, :1]  # of one column, too
    assert fed(kind(), (*one, mask[:, :1])).to_json() == fed(kind(), (*one, mask[:, :1] != 0)).to_json()


@each_class
def test_E16_E19_E24_parts_that_are_merged_are_the_whole(kind):  # noqa: N802 - ids
    y, p = drawn(40)
    parts = [fed(kind(), (y[s], p[s])) for s in (slice(0, 13), slice(13, 30), slice(30, 40))]
    merged = kind()
    for part in parts:
        merged.merge(part)
    whole = fed(kind(), (y, p))
    assert merged.stats() == whole.stats()
    for name in AREAS if kind in ROCS else COLUMN_METRICS if kind is RegressionEvaluation else ():
        assert getattr(merged, name)() == pytest.approx(getattr(whole, name)(), rel=1e-12)


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


OF_NOTHING = {
    Evaluation: [
        "accuracy",
        "precision",
        "recall",
        "f1",
        "g_measure",
        "matthews_correlation",
        "top_n_accuracy",
    ],
    EvaluationBinary: ["accuracy", "precision", "recall", "f1", "matthews_correlation", "false_alarm_rate"],
    EvaluationCalibration: ["residual_plot", "probability_histogram"],
    **dict.fromkeys(ROCS, AREAS),
    RegressionEvaluation: COLUMN_METRICS,
}


@each_class
def test_E26_what_has_seen_nothing_reports_so_and_has_no_metrics(kind):  # noqa: N802 - an id
    evaluation = kind()
    assert "No data" in evaluation.stats().replace("Data", "data") or kind is EvaluationCalibration
    for name in OF_NOTHING[kind]:
        with pytest.raises(ValueError, match="nothing was evaluated"):
            getattr(evaluation, name)()
    evaluation.merge(kind())
    assert evaluation.to_json() == kind.from_json(kind().to_json()).to_json()


SETTINGS = {
    Evaluation: {"labels": ["a", "b"], "top_n": 2, "binary_positive_class": 0, "cost_array": [1.0, 2.0]},
    EvaluationBinary: {"decision_threshold": [0.3, 0.6], "roc_binary_steps": 4},
    EvaluationCalibration: {"reliability_bins": 3, "histogram_bins": 5, "exclude_empty_bins": False},
    **{kind: {"threshold_steps": 7, "remove_redundant_points": False} for kind in ROCS},
    RegressionEvaluation: {"columns": ["a", "b"]},
}


@each_class
def test_E27_a_new_instance_is_a_fresh_object_with_the_settings(kind):  # noqa: N802 - an id
    used = fed(kind(**SETTINGS[kind]), drawn())
    before = used.to_json()
    fresh, made = used.new_instance(), kind(**SETTINGS[kind])
    assert type(fresh) is kind
    assert (fresh.to_json(), fresh.stats()) == (made.to_json(), made.stats())
    assert fed(fresh, drawn(seed=3)).to_json() == fed(made, drawn(seed=3)).to_json()
    assert fresh.to_json() != fed(kind(), drawn(seed=3)).to_json()
    assert used.to_json() == before


def without_settings(report):
    lines = report.split("\n")
    return "\n".join(line for line in lines if not line.startswith(("Binary decision", "Cost array")))


def test_E28_thresholds_and_costs_are_scalings_by_hand():  # noqa: N802 - an id
    y, p = drawn(60)
    evaluation = fed(Evaluation(binary_decision_threshold=0.25), (y, p))
    said = p[:, 1] > 0.25
    decided = np.stack([~said, said], axis=1).astype(float)
    by_hand = fed(Evaluation(), (y, decided))
    assert without_settings(evaluation.stats()) == by_hand.stats()
    assert evaluation.true_positives(1) == np.sum(said & (y[:, 1] == 1))
    assert evaluation.false_positives(1) == np.sum(said & (y[:, 1] == 0))
    y, p = drawn(60, 3)
    costs = np.array([5.0, 2.0, 1.0])
    by_hand = fed(Evaluation(), (y, p * costs))
    assert without_settings(fed(Evaluation(cost_array=costs), (y, p)).stats()) == by_hand.stats()


# Hazards.


@each_class
@pytest.mark.parametrize("into_empty", [False, True])
def test_D_15_merged_halves_have_the_metrics_of_the_whole(kind, into_empty):  # noqa: N802 - an id
    y, p = drawn(40)
    halves, whole = [fed(kind(), (y[s], p[s])) for s in (slice(20), slice(20, 40))], fed(kind(), (y, p))
    merged = kind() if into_empty else halves.pop(0)
    for half in halves:
        merged.merge(half)
    for name in OF_NOTHING[kind] if kind is not EvaluationCalibration else ():
        indices = ((),) if kind is ROC or name in {"accuracy", "top_n_accuracy"} else ((), (0,), (1,))
        for index in indices:
            assert getattr(merged, name)(*index) == pytest.approx(getattr(whole, name)(*index), rel=1e-12)
    if kind is EvaluationCalibration:
        np.testing.assert_array_equal(merged.residual_plot(1).counts, whole.residual_plot(1).counts)
        diagrams = (e.reliability_diagram(0) for e in (merged, whole))
        np.testing.assert_allclose(*(d.mean_predicted for d in diagrams), rtol=1e-12)


@pytest.mark.parametrize("kind", ROCS)
def test_D_16_equal_scores_count_the_same_in_any_order_and_a_reset_forgets(kind):  # noqa: N802 - an id
    y, p = drawn(80)
    p = (p * 4).round() / 4
    order = np.argsort(y[:, 1] + p[:, 1] / 10, kind="stable")  # within equal scores the positive rows last
    one, other = fed(kind(), (y[order], p[order])), fed(kind(), (y[order[::-1]], p[order[::-1]]))
    wanted = metrics.roc_auc_score(y[:, 1], p[:, 1])
    index = () if kind is ROC else (1,)
    assert one.calculate_auc(*index) == other.calculate_auc(*index) == pytest.approx(wanted, rel=1e-12)
    assert one.calculate_auprc(*index) == other.calculate_auprc(*index)
    one.roc_curve(*index), one.precision_recall_curve(*index), one.stats()
    one.reset()
    y, p = drawn(30, seed=5)
    fed(one, (y, p))
    fresh = fed(kind(), (y, p))
    assert one.to_json() == fresh.to_json()
    assert one.roc_curve(*index).tpr.tolist() == fresh.roc_curve(*index).tpr.tolist()


@each_class
def test_D_17_what_was_merged_stays_as_it_was(kind):  # noqa: N802 - an id
    settings = SETTINGS[kind]
    given, into = fed(kind(**settings), drawn()), kind(**settings)
    before = given.to_json(), given.stats()
    into.merge(given)
    fed(into, drawn(seed=1))
    into.merge(given)
    assert (given.to_json(), given.stats()) == before
    into.reset()
    assert (given.to_json(), given.stats()) == before


@each_class
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_D_18_a_batch_that_is_masked_as_a_whole_changes_nothing(kind, rank):  # noqa: N802 - an id
    y, p = (a.reshape(10, 2, 2, -1).transpose(0, 3, 1, 2) for a in drawn(40))
    y, p = (a.reshape(10, 2, *((), (4,), (2, 2))[rank - 2]) if rank > 2 else a[:, :, 0, 0] for a in (y, p))
    mask = np.zeros((10, 1) if rank == 2 else (10, *y.shape[2:]))
    for evaluation in (kind(), fed(kind(), drawn())):
        before = evaluation.to_json(), evaluation.stats()
        evaluation.eval(y, np.full_like(p, np.nan), mask)
        assert (evaluation.to_json(), evaluation.stats()) == before
