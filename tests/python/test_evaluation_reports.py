"""Reports of evaluations to the character, where no recording has them."""

import json

import numpy as np
import pytest
from nn_support import case_id, recorded

from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)

UNTIED = [
    case
    for case in recorded("evaluation")
    if case["kind"] == "roc" and not case["id"].startswith(("roc-ties", "roc-one-class"))
]


def of_classes(actual, said, classes, **settings):
    evaluation = Evaluation(**settings)
    evaluation.eval(np.eye(classes)[actual], np.eye(classes)[said])
    return evaluation


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"binary_decision_threshold": 0.3}, "Binary decision threshold: 0.3"),
        ({"binary_decision_threshold": 0.00025}, "Binary decision threshold: 2.5E-4"),
        ({"cost_array": [1, 0.1]}, "Cost array: [1.0, 0.1]"),
        ({"cost_array": [0.0005, 20000000]}, "Cost array: [5.0E-4, 2.0E7]"),
    ],
)
def test_settings_that_decide_stand_behind_the_metrics(settings, line):
    lines = of_classes([0, 1, 1], [0, 1, 1], 2, **settings).stats().split("\n")
    assert lines[8] == 'Precision, recall & F1: reported for positive class (class 1 - "1") only'
    assert lines[9:12] == [line, "", ""]
    assert lines[12] == "=========================Confusion Matrix========================="


def test_more_than_twenty_classes_have_no_matrix_in_the_report():
    note = (
        "\n\n\n\nNote: Confusion matrix not generated due to space requirements for 21 classes."
        "\nUse stats(false,true) to generate anyway"
        "\n=================================================================="
    )
    assert of_classes(range(21), range(21), 21).stats().endswith("of 21 classes)" + note)
    assert "Confusion matrix format" in of_classes(range(20), range(20), 20).stats()


def test_a_class_of_two_that_is_never_predicted_is_warned_of():
    report = of_classes([0, 0, 1], [0, 0, 0], 2).stats()
    assert report.split("\n")[9:13] == [
        "",
        "Warning: 1 class was never predicted by the model and was excluded from average precision",
        "Classes excluded from average precision: [1]",
        "",
    ]


@pytest.mark.parametrize("missing", [16, 17])
def test_more_than_sixteen_classes_are_counted_only(missing):
    report = of_classes([0, 1], [0, 1], missing + 2).stats()
    head = f"Warning: {missing} classes were never predicted by the model and were excluded from average "
    named = f"\nClasses excluded from average {{}}: {list(range(2, missing + 2))}\n" * (missing == 16)
    warnings = "".join(f"{head}{metric}{named.format(metric)}" for metric in ("precision", "recall"))
    assert f" classes)\n\n{warnings}\n====" in report


def test_a_five_behind_four_decimals_is_rounded_as_dl4j_does():
    """A classifier's report rounds to the even digit, tables of columns round a 5 up."""
    actual = [1] * 32
    assert " Accuracy:        0.0312" in of_classes(actual, [1] + [0] * 31, 2).stats()  # 1 / 32
    y, p = np.ones((32, 1)), np.zeros((32, 1))
    p[0] = 1
    binary = EvaluationBinary()
    binary.eval(y, p)
    assert binary.stats().split("\n")[1].split()[1:5] == ["0.0313", "0.0606", "1.0000", "0.0313"]


@pytest.mark.parametrize("kind", [ROCBinary, ROCMultiClass])
def test_areas_in_tables_are_rounded_up_at_a_five(kind):
    labels, scores = np.r_[1.0, np.zeros(32)], np.r_[0.5, 0.25, np.linspace(0.6, 0.9, 31)]  # area 1 / 32
    roc = kind()
    roc.eval(np.c_[labels, labels], np.c_[scores, scores])
    assert [row.split()[1] for row in roc.stats().split("\n")[1:]] == ["0.0313", "0.0313"]


@pytest.mark.parametrize("case", UNTIED, ids=case_id)
def test_areas_are_those_of_dl4j_to_the_last_digit(case):
    """Reports of a `ROC` show all digits, so trapezoids are added in DL4J's order."""
    roc, a = ROC(**case["configuration"]), case["a"]
    roc.eval(a["labels"], a["predictions"], a.get("mask"))
    assert (roc.calculate_auc(), roc.calculate_auprc()) == (case["metrics"]["auc"], case["metrics"]["auprc"])


def test_numbers_with_an_exponent_are_rounded_up_at_a_five():
    regression = RegressionEvaluation()
    regression.eval(np.zeros((4, 1)), np.array([[0.0], [0.0], [0.0], [1.000005 * 2]]))
    assert regression.mean_absolute_error(0) == 0.5000025
    assert regression.stats().split("\n")[1].split()[2] == "5.00003e-01"


@pytest.mark.parametrize("columns", [1, 2])
def test_rows_of_one_column_are_not_looked_at_for_the_best_n(columns):
    y, p = np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.2], [0.3]])
    if columns == 2:
        y, p = np.c_[1 - y, y], np.c_[1 - p, p]
    evaluation = Evaluation(top_n=2)
    evaluation.eval(y, p)
    counted = 0 if columns == 1 else 3
    assert evaluation.top_n_total_count == evaluation.top_n_correct_count == counted
    assert evaluation.top_n_accuracy() == (columns == 2)
    assert Evaluation.from_json(evaluation.to_json()).top_n_total_count == counted


def test_a_threshold_is_for_two_classes():
    evaluation = Evaluation(binary_decision_threshold=0.4)
    with pytest.raises(ValueError, match="is for two classes, not for 3"):
        evaluation.eval(np.eye(3), np.eye(3))
    assert evaluation.row_count == 0


@pytest.mark.parametrize(
    "written", [[0.25, 0.5], {"dataType": "FLOAT", "shape": [1, 2], "data": [0.25, 0.5]}]
)
@pytest.mark.parametrize(
    ("evaluation", "key"),
    [
        (Evaluation(cost_array=[1, 2]), "costArray"),
        (EvaluationBinary(decision_threshold=[0, 1]), "decisionThreshold"),
    ],
    ids=["costs", "thresholds"],
)
def test_rows_of_numbers_are_read_in_both_forms_of_dl4j(evaluation, key, written):
    tree = {**json.loads(evaluation.to_json()), key: written}
    again = type(evaluation).from_json(json.dumps(tree))
    assert json.loads(again.to_json())[key] == [0.25, 0.5]
    again.eval(np.eye(2), np.eye(2))
    assert again.accuracy() == 1.0
