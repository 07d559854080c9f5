"""Data for networks: data sets, and iterators over them (DL4J: ``org.nd4j.linalg.dataset``)."""

from ndarena.data.callbacks import DataSetCallback, DefaultCallback, InterleavedDataSetCallback
from ndarena.data.dataset import DataSet
from ndarena.data.examples import SplitTestAndTrain
from ndarena.data.iterators import (
    ArrayDataSetIterator,
    DataSetIterator,
    ExistingDataSetIterator,
    ListDataSetIterator,
)
from ndarena.data.joint import InequalityHandling, JointParallelDataSetIterator
from ndarena.data.multi_dataset import MultiDataSet
from ndarena.data.normalizers import (
    ImagePreProcessingScaler,
    Normalizer,
    NormalizerMinMaxScaler,
    NormalizerStandardize,
)
from ndarena.data.prefetch import AsyncDataSetIterator, AsyncMultiDataSetIterator
from ndarena.data.real_sets import DigitsDataSetIterator, IrisDataSetIterator, MnistDataSetIterator
from ndarena.data.shields import (
    AsyncShieldDataSetIterator,
    AsyncShieldMultiDataSetIterator,
    WorkspacesShieldDataSetIterator,
    WorkspacesShieldMultiDataSetIterator,
)
from ndarena.data.wrappers import (
    CachingDataSetIterator,
    EarlyTerminationDataSetIterator,
    KFoldIterator,
    MultipleEpochsIterator,
)

__all__ = [
    "ArrayDataSetIterator",
    "AsyncDataSetIterator",
    "AsyncMultiDataSetIterator",
    "AsyncShieldDataSetIterator",
    "AsyncShieldMultiDataSetIterator",
    "CachingDataSetIterator",
    "DataSet",
    "DataSetCallback",
    "DataSetIterator",
    "DefaultCallback",
    "DigitsDataSetIterator",
    "EarlyTerminationDataSetIterator",
    "ExistingDataSetIterator",
    "ImagePreProcessingScaler",
    "InequalityHandling",
    "InterleavedDataSetCallback",
    "IrisDataSetIterator",
    "JointParallelDataSetIterator",
    "KFoldIterator",
    "ListDataSetIterator",
    "MnistDataSetIterator",
    "MultiDataSet",
    "MultipleEpochsIterator",
    "Normalizer",
    "NormalizerMinMaxScaler",
    "NormalizerStandardize",
    "SplitTestAndTrain",
    "WorkspacesShieldDataSetIterator",
    "WorkspacesShieldMultiDataSetIterator",
]
