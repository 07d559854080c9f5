"""Networks in several threads (DL4J: ``deeplearning4j-parallel-wrapper``)."""

from ndarena.parallel.accumulators import EncodedGradientsAccumulator, GradientsAccumulator
from ndarena.parallel.inference import InferenceMode, LoadBalanceMode, ParallelInference
from ndarena.parallel.listening import RoutingIterationListener
from ndarena.parallel.thresholds import (
    AdaptiveThresholdAlgorithm,
    FixedThresholdAlgorithm,
    ResidualClippingPostProcessor,
    ResidualPostProcessor,
    TargetSparsityThresholdAlgorithm,
    ThresholdAlgorithm,
)
from ndarena.parallel.wrapper import ParallelWrapper, TrainingMode

__all__ = [
    "AdaptiveThresholdAlgorithm",
    "EncodedGradientsAccumulator",
    "FixedThresholdAlgorithm",
    "GradientsAccumulator",
    "InferenceMode",
    "LoadBalanceMode",
    "ParallelInference",
    "ParallelWrapper",
    "ResidualClippingPostProcessor",
    "ResidualPostProcessor",
    "RoutingIterationListener",
    "TargetSparsityThresholdAlgorithm",
    "ThresholdAlgorithm",
    "TrainingMode",
]
