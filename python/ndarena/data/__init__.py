"""Data for networks: data sets, and iterators over them (DL4J: ``org.nd4j.linalg.dataset``)."""

from ndarena.data.dataset import DataSet
from ndarena.data.examples import SplitTestAndTrain
from ndarena.data.iterators import (
    ArrayDataSetIterator,
    AsyncShieldDataSetIterator,
    DataSetIterator,
    ListDataSetIterator,
)
from ndarena.data.multi_dataset import MultiDataSet
from ndarena.data.normalizers import (
    ImagePreProcessingScaler,
    Normalizer,
    NormalizerMinMaxScaler,
    NormalizerStandardize,
)
from ndarena.data.prefetch import AsyncDataSetIterator, AsyncMultiDataSetIterator

__all__ = [
    "ArrayDataSetIterator",
    "AsyncDataSetIterator",
    "AsyncMultiDataSetIterator",
    "AsyncShieldDataSetIterator",
    "DataSet",
    "DataSetIterator",
    "ImagePreProcessingScaler",
    "ListDataSetIterator",
    "MultiDataSet",
    "Normalizer",
    "NormalizerMinMaxScaler",
    "NormalizerStandardize",
    "SplitTestAndTrain",
]
