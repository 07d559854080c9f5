"""How good predictions are (DL4J: ``org.nd4j.evaluation``)."""

from ndarena.evaluation.binary import EvaluationBinary
from ndarena.evaluation.calibration import EvaluationCalibration, Histogram, ReliabilityDiagram
from ndarena.evaluation.classification import Evaluation
from ndarena.evaluation.curves import ConfusionCounts, CurvePoint, PrecisionRecallCurve, RocCurve
from ndarena.evaluation.records import Prediction
from ndarena.evaluation.regression import RegressionEvaluation
from ndarena.evaluation.roc import ROC
from ndarena.evaluation.roc_per_class import ROCBinary, ROCMultiClass

__all__ = [
    "ROC",
    "ConfusionCounts",
    "CurvePoint",
    "Evaluation",
    "EvaluationBinary",
    "EvaluationCalibration",
    "Histogram",
    "PrecisionRecallCurve",
    "Prediction",
    "ROCBinary",
    "ROCMultiClass",
    "RegressionEvaluation",
    "ReliabilityDiagram",
    "RocCurve",
]
