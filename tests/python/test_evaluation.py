"""Evaluation: the recorded metrics and texts of DL4J, and how batches and objects are joined."""

import math

import numpy as np
import pytest
from nn_support import case_id, recorded

from ndarena.evaluation import Evaluation

CASES = [case for case in recorded("evaluation") if case["kind"] == "evaluation"]
FED = [c for c in CASES if c["id"] not in {"eval-nan", "eval-all-masked"}]
COUNTS = {"row_count", "top_n_correct_count", "top_n_total_count"}


def batches(case):
    a, k = case["a"], case.get("split_at") or len(case["a"]["labels"]) // 2
    return [
        [a[name][part] if name in a else None for name in ("labels", "predictions", "mask")]
        for part in (slice(None, k), slice(k, None))
    ]


def fed(case, *parts):
    evaluation = Evaluation(**(case["configuration"] or {}))
    for part in parts:
        evaluation.eval(*part)
    return evaluation


def merged(into, *others):
    for other in others:
        into.merge(other)
    return into


def in_one(case):
    a = case["a"]
    return fed(case, [a["labels"], a["predictions"], a.get("mask")])


def after_reset(case):
    evaluation = fed(case, *batches(case))
    evaluation.reset()
    for part in batches(case):
        evaluation.eval(*part)
    return evaluation


WAYS = {
    "at once": in_one,
    "in batches": lambda case: fed(case, *batches(case)),
    "merged": lambda case: merged(*(fed(case, part) for part in batches(case))),
    "merged into empty": lambda case: merged(fed(case), *(fed(case, part) for part in batches(case))),
    "after reset": after_reset,
}


def value_of(evaluation, name, index=None):
    if name in COUNTS:
        return getattr(evaluation, name)
    if name.startswith("classes_excluded_"):
        return evaluation.classes_excluded(name.removeprefix("classes_excluded_"))
    metric, _, averaging = name.rpartition("_")
    how = {"averaging": averaging} if averaging in {"macro", "micro"} else {}
    metric = metric if how else name
    arguments = () if index is None else (index,)
    if metric.startswith("f_beta_"):
        return evaluation.f_beta(float(metric.removeprefix("f_beta_")), *arguments, **how)
    return getattr(evaluation, metric)(*arguments, **how)


def wanted_values(metrics):
    """Return what was recorded; the ancestor divides false negatives by fn + tn for the micro average."""
    values = {k: v for k, v in metrics.items() if k not in {"per_class", "confusion_matrix"}}
    fn, tp = (sum(row[k] for row in metrics["per_class"]) for k in ("false_negatives", "true_positives"))
    return {**values, "false_negative_rate_micro": fn / (fn + tp)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FED, ids=case_id)
def test_recorded_values(case, way):
    evaluation = WAYS[way](case)
    metrics = case["metrics"]
    assert evaluation.confusion_matrix.tolist() == metrics["confusion_matrix"]
    assert evaluation.confusion_matrix.dtype == np.int64
    for name, value in wanted_values(metrics).items():
        assert value_of(evaluation, name) == pytest.approx(float(value), nan_ok=True, rel=1e-12), name
    for i, row in enumerate(metrics["per_class"]):
        for name, value in row.items():
            got = value_of(evaluation, name, i)
            assert got == pytest.approx(float(value), nan_ok=True, rel=1e-12), (i, name)
    for name in ("stats", "confusion_to_string", "confusion_matrix_text"):
        if name in case:
            assert getattr(evaluation, name)() == case[name]


def test_merge_leaves_its_argument_alone():
    first, second = (fed(FED[0], part) for part in batches(FED[0]))
    before = second.confusion_matrix
    first.merge(second)
    assert (second.confusion_matrix == before).all()
    assert first.row_count > second.row_count


def test_a_batch_that_is_masked_as_a_whole_is_ignored():
    case = next(c for c in CASES if c["id"] == "eval-all-masked")
    evaluation = in_one(case)
    assert evaluation.row_count == 0
    for metric in (evaluation.accuracy, evaluation.precision, evaluation.recall, evaluation.f1):
        with pytest.raises(ValueError, match="nothing was evaluated"):
            metric()


def test_nan_among_predictions_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        in_one(next(c for c in CASES if c["id"] == "eval-nan"))


def test_the_micro_matthews_correlation_of_nothing_right_or_wrong_is_nan():
    evaluation = Evaluation(2)
    evaluation.eval([[1, 0]], [[1, 0]])
    assert math.isnan(evaluation.matthews_correlation(0))


@pytest.mark.parametrize(
    ("labels", "predictions", "mask", "message"),
    [
        (np.ones((3, 2)), np.ones((2, 2)), None, "same shape"),
        (np.ones(3), np.ones(3), None, "same shape"),
        (np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 2)), "mask"),
        (np.ones((3, 4)), np.ones((3, 4)), None, "4 classes, where there were 3"),
    ],
)
def test_data_that_do_not_fit_are_refused(labels, predictions, mask, message):
    evaluation = Evaluation()
    evaluation.eval(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match=message):
        evaluation.eval(labels, predictions, mask)
    assert evaluation.row_count == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"top_n": 0},
        {"binary_positive_class": 2},
        {"num_classes": 2, "labels": ["a", "b", "c"]},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError):
        Evaluation(**settings)


def test_a_new_instance_has_the_settings_and_no_counts():
    evaluation = Evaluation(labels=["a", "b", "c"], top_n=2)
    evaluation.eval(np.eye(3), np.eye(3))
    fresh = evaluation.new_instance()
    assert fresh.row_count == 0
    fresh.eval(np.eye(3), np.eye(3))
    assert fresh.stats() == evaluation.stats()


def test_unknown_words_are_refused():
    evaluation = Evaluation()
    evaluation.eval(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="averaging"):
        evaluation.precision(averaging="median")
    with pytest.raises(ValueError, match="metric"):
        evaluation.classes_excluded("accuracy")
    with pytest.raises(ValueError, match="no class 3"):
        evaluation.recall(3)
