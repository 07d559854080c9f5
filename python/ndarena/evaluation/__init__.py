"""How good predictions are (DL4J: ``org.nd4j.evaluation``)."""

from ndarena.evaluation.classification import Evaluation

__all__ = ["Evaluation"]
