"""What the tests of evaluations share: how each is made, and what it knows."""

import base64
import json

from ndarena.binary import BinaryReader
from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)

MAKERS = {
    "Evaluation": (Evaluation, "classes"),
    "Evaluation top 2": (lambda: Evaluation(labels=["a", "b", "c"], top_n=2), "classes"),
    "EvaluationBinary": (EvaluationBinary, "binary"),
    "EvaluationBinary with ROC": (
        lambda: EvaluationBinary(decision_threshold=[0.2, 0.5, 0.7], roc_binary_steps=0),
        "binary",
    ),
    "EvaluationCalibration": (lambda: EvaluationCalibration(reliability_bins=4, histogram_bins=7), "classes"),
    "ROC": (ROC, "single"),
    "ROC 7": (lambda: ROC(threshold_steps=7), "single"),
    "ROCBinary": (ROCBinary, "binary"),
    "ROCBinary 12": (lambda: ROCBinary(threshold_steps=12), "binary"),
    "ROCMultiClass": (lambda: ROCMultiClass(remove_redundant_points=False), "classes"),
    "ROCMultiClass 5": (lambda: ROCMultiClass(threshold_steps=5), "classes"),
    "RegressionEvaluation": (RegressionEvaluation, "regression"),
}


def rounded(tree):
    """Return a JSON tree in which sums that were added up in another order are equal."""
    if isinstance(tree, dict) and "array" in tree:
        return rounded(BinaryReader(base64.b64decode(tree["array"])).array().tolist())
    if isinstance(tree, dict):
        return {k: rounded(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [rounded(v) for v in tree]
    return float(f"{round(tree, 12):.9g}") + 0.0 if isinstance(tree, float) else tree


def plain_sums(evaluation):
    """Return what an evaluation knows, without the origin from which a regression measures."""
    tree = json.loads(evaluation.to_json())
    return rounded({k: v for k, v in tree.items() if k not in {"distances", "origin"}})
