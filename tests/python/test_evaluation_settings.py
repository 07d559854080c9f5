"""Settings of evaluations: refused where they are wrong, and looked at where objects are merged."""

import json
import math

import numpy as np
import pytest

from ndarena.evaluation import Evaluation, EvaluationBinary, RegressionEvaluation

THREE = np.eye(3)


def fed(evaluation, y=THREE, p=THREE):
    evaluation.eval(y, p)
    return evaluation


# Thresholds, costs, and the axis of classes.

NO_PROBABILITIES = [True, np.True_, "0.5", math.nan, math.inf, 5, -0.1, {}, 1j]


@pytest.mark.parametrize("threshold", [*NO_PROBABILITIES, [0.5], np.array([0.5]), np.array(0.5)], ids=str)
def test_a_binary_decision_threshold_is_one_number_from_0_to_1(threshold):
    with pytest.raises(ValueError, match=r"^binary_decision_threshold must be a number from 0 to 1, not "):
        Evaluation(binary_decision_threshold=threshold)


@pytest.mark.parametrize("threshold", [0, 1, 0.25, np.float32(0.25), np.int64(1)])
def test_a_binary_decision_threshold_may_be_any_number_from_0_to_1(threshold):
    for evaluation in (
        Evaluation(2, binary_decision_threshold=threshold),
        Evaluation(binary_decision_threshold=threshold),
    ):
        fed(evaluation, np.eye(2), np.eye(2))
        assert type(evaluation).from_json(evaluation.to_json()).binary_decision_threshold == threshold


@pytest.mark.parametrize("classes", [{"num_classes": 3}, {"labels": ["a", "b", "c"]}], ids=str)
def test_thresholds_and_costs_for_other_classes_are_refused_at_once(classes):
    with pytest.raises(ValueError, match="binary_decision_threshold is for two classes, not for 3"):
        Evaluation(**classes, binary_decision_threshold=0.3)
    with pytest.raises(ValueError, match=r"cost_array must have shape \(3,\), not \(2,\)"):
        Evaluation(**classes, cost_array=[1, 2])
    assert Evaluation(**classes, cost_array=[1, 2, 0]).cost_array.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "threshold", [*NO_PROBABILITIES, [0.5, 5], [0.5, math.nan], [], [[0.5]], [True], ["0.5"]], ids=str
)
def test_decision_thresholds_are_numbers_from_0_to_1(threshold):
    with pytest.raises(ValueError, match=r"^decision_threshold must be "):
        EvaluationBinary(decision_threshold=threshold)


@pytest.mark.parametrize("threshold", [0.25, np.float32(0.25), np.array(0.25), [0.25, 0.5, 1]], ids=str)
def test_a_binary_evaluation_with_thresholds_comes_back_from_json(threshold):
    evaluation = fed(EvaluationBinary(decision_threshold=threshold))
    read = EvaluationBinary.from_json(evaluation.to_json())
    assert (read.stats(), read.to_json()) == (evaluation.stats(), evaluation.to_json())
    assert fed(read).total_count(2) == 6


@pytest.mark.parametrize(
    "costs",
    [
        3,
        [],
        [[1, 2]],
        [1, -1],
        [1, math.nan],
        [1, math.inf],
        [True, False],
        ["1", "2"],
        [1, None],
        "12",
        [1, [2]],
    ],
    ids=str,
)
def test_costs_are_a_row_of_finite_numbers_from_0_on(costs):
    with pytest.raises(ValueError, match=r"^cost_array must be "):
        Evaluation(cost_array=costs)


def test_costs_are_copied():
    costs = np.ones(2)
    evaluation = Evaluation(cost_array=costs)
    costs[0] = -1
    assert evaluation.cost_array.tolist() == [1, 1]


@pytest.mark.parametrize("axis", [0, True, 1.0, "1", None, [1]], ids=str)
def test_the_axis_of_classes_is_a_whole_number_and_not_that_of_examples(axis):
    with pytest.raises(ValueError, match=r"^axis must be a whole number from 1 on, or below 0 from the end"):
        Evaluation(axis=axis)


@pytest.mark.parametrize("axis", [2, -1, np.int64(2), np.int8(-1)])
def test_classes_may_be_on_any_other_axis(axis):
    y = np.eye(3)[[[0, 1], [2, 2]]]
    evaluation = Evaluation(axis=axis)
    evaluation.eval(y, y, np.array([[1, 1], [1, 0]]), ["a", "b"])
    assert evaluation.confusion_matrix.tolist() == np.eye(3).tolist()
    assert evaluation.predictions_by_actual_class(2) == [(2, 2, "b")]
    assert Evaluation.from_json(evaluation.to_json()).axis == axis


@pytest.mark.parametrize("axis", [2, 7, -2, -7])
def test_an_axis_that_the_labels_do_not_have_is_refused(axis):
    with pytest.raises(ValueError, match=rf"labels \[3, 3\] have no axis {axis} of classes"):
        fed(Evaluation(axis=axis))


# Columns of a regression.


@pytest.mark.parametrize(
    "columns",
    [0, -1, np.int64(0), 2.5, np.float64(2), True, np.True_, "ab", b"ab", [], [None], [["a"]], ["a", ["b"]],
     [np.zeros(2)], np.array(2), np.eye(2), (f"c{i}" for i in range(2)), object()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_columns_are_names_or_how_many_there_are(columns):
    with pytest.raises(ValueError, match=r"^columns must be names, or a number from 1 on, not "):
        RegressionEvaluation(columns=columns)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (2, ["col_0", "col_1"]),
        (np.int64(2), ["col_0", "col_1"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (("a", 7), ["a", "7"]),
        (np.array([5, 6]), ["5", "6"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names_of_columns_are_texts_of_their_own(columns, names):
    evaluation = fed(RegressionEvaluation(columns=columns), np.eye(2), np.eye(2))
    assert evaluation.column_names == names
    assert json.loads(evaluation.to_json())["columnNames"] == names
    assert evaluation.new_instance().column_names == names
    given = ["a", "b"]
    evaluation = RegressionEvaluation(columns=given)
    given.append("c")
    assert evaluation.column_names == ["a", "b"]


# Merging.


@pytest.mark.parametrize(
    ("into", "other", "message"),
    [
        (
            RegressionEvaluation(columns=["x", "y"]),
            fed(RegressionEvaluation()),
            "3 columns, where 2 are named",
        ),
        (RegressionEvaluation(columns=2), RegressionEvaluation(columns=3), "3 columns, where 2 are named"),
        (fed(RegressionEvaluation()), RegressionEvaluation(columns=2), "2 columns, where there were 3"),
        (
            EvaluationBinary(decision_threshold=[0.2, 0.3]),
            fed(EvaluationBinary()),
            "3 outputs, where there are 2 thresholds",
        ),
        (Evaluation(2), fed(Evaluation()), "3 classes, where there were 2"),
        (Evaluation(cost_array=[1, 2]), fed(Evaluation()), r"cost_array must have shape \(3,\)"),
        (Evaluation(binary_decision_threshold=0.3), fed(Evaluation()), "for two classes, not for 3"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_an_object_with_settings_merges_only_what_it_would_evaluate(into, other, message):
    before = into.to_json(), other.to_json()
    with pytest.raises(ValueError, match=message):
        into.merge(other)
    if other.to_json() != other.new_instance().to_json():
        with pytest.raises(ValueError, match=message):
            into.eval(THREE, THREE)
    assert (into.to_json(), other.to_json()) == before


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("kind", [Evaluation, RegressionEvaluation])
def test_an_object_without_names_takes_those_of_what_it_merges(kind, seen):
    setting, names = ("labels", "class_names") if kind is Evaluation else ("columns", "column_names")
    named = fed(kind(**{setting: ["a", "b", "c"]}))
    merged = fed(kind()) if seen else kind()
    merged.merge(named)
    assert getattr(merged, names) == ["a", "b", "c"]
    whole = kind(**{setting: ["a", "b", "c"]})
    for _ in range(1 + seen):
        fed(whole)
    assert merged.stats() == whole.stats()
    again = kind.from_json(merged.to_json())
    assert (again.stats(), again.to_json()) == (merged.stats(), merged.to_json())
    merged.merge(fed(kind(**{setting: ["x", "y", "z"]})))
    assert getattr(merged, names) == ["a", "b", "c"]
    merged.reset()
    with pytest.raises(ValueError, match=r"2 (classes|columns), where"):
        merged.eval(np.eye(2), np.eye(2))
    assert fed(merged).stats() == named.stats() == fed(merged.new_instance()).stats()


def test_an_object_without_names_takes_those_of_an_empty_one():
    merged = fed(RegressionEvaluation())
    merged.merge(RegressionEvaluation(columns=["a", "b", "c"]))
    assert merged.column_names == ["a", "b", "c"]


@pytest.mark.parametrize("empty", [False, True])
def test_an_evaluation_of_another_top_n_is_not_merged(empty):
    evaluation, other = fed(Evaluation(top_n=2)), Evaluation(top_n=1)
    if not empty:
        fed(other)
    with pytest.raises(ValueError, match=r"an Evaluation of top_n=1 cannot be merged into one of top_n=2"):
        evaluation.merge(other)
    with pytest.raises(ValueError, match=r"an Evaluation of top_n=2 cannot be merged into one of top_n=1"):
        other.merge(evaluation)
    assert (evaluation.row_count, evaluation.top_n_total_count, other.row_count) == (3, 3, 3 * (not empty))
    evaluation.merge(fed(Evaluation(top_n=2)))
    assert (evaluation.row_count, evaluation.top_n_total_count, evaluation.top_n_accuracy()) == (6, 6, 1)


def test_a_binary_evaluation_stays_as_it_was_where_its_roc_refuses():
    evaluation = EvaluationBinary(roc_binary_steps=0)
    with pytest.raises(ValueError, match="predictions must be probabilities"):
        evaluation.eval(THREE, 2 * THREE)
    tree = json.loads(fed(evaluation.new_instance()).to_json())
    for column in tree["rocBinary"]["underlying"]:
        del column["scores"]  # which DL4J does not write
    for into in (evaluation, fed(evaluation.new_instance())):
        before = into.to_json()
        with pytest.raises(ValueError, match="holds no scores"):
            into.merge(EvaluationBinary.from_json(json.dumps(tree)))
        assert into.to_json() == before
    assert evaluation.to_json() == EvaluationBinary(roc_binary_steps=0).to_json()
