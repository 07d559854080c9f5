"""Layers and networks that work in workspaces (DL4J: ``org.deeplearning4j.nn``)."""

from ndarena.nn.activations import (
    Activation,
    ActivationIdentity,
    ActivationReLU,
    ActivationSigmoid,
    ActivationSoftmax,
    ActivationTanH,
    IActivation,
)
from ndarena.nn.arithmetic_vertices import (
    ElementWiseOp,
    ElementWiseVertex,
    L2NormalizeVertex,
    L2Vertex,
    ScaleVertex,
    ShiftVertex,
)
from ndarena.nn.choices import BackpropType, CacheMode, ConvolutionMode, PoolingType, WorkspaceMode
from ndarena.nn.configuration import MultiLayerConfiguration
from ndarena.nn.convolution import Convolution1DLayer, ConvolutionLayer
from ndarena.nn.feed_forward import BaseLayer, DenseLayer, FeedForwardLayer
from ndarena.nn.graph_configuration import ComputationGraphConfiguration
from ndarena.nn.input_type import (
    InputType,
    InputTypeConvolutional,
    InputTypeConvolutionalFlat,
    InputTypeFeedForward,
    InputTypeRecurrent,
)
from ndarena.nn.layer import Layer, ParamPart
from ndarena.nn.listeners import TrainingListener
from ndarena.nn.losses import ILossFunction, LossFunction, LossMCXENT, LossMSE, LossNegativeLogLikelihood
from ndarena.nn.network import MultiLayerNetwork
from ndarena.nn.output import LossLayer, OutputLayer, RnnLossLayer, RnnOutputLayer
from ndarena.nn.preprocessors import (
    CnnToFeedForwardPreProcessor,
    CnnToRnnPreProcessor,
    ComposableInputPreProcessor,
    FeedForwardToCnnPreProcessor,
    FeedForwardToRnnPreProcessor,
    InputPreProcessor,
    RnnToCnnPreProcessor,
    RnnToFeedForwardPreProcessor,
)
from ndarena.nn.series_vertices import (
    DuplicateToTimeSeriesVertex,
    LastTimeStepVertex,
    ReverseTimeSeriesVertex,
)
from ndarena.nn.updaters import Adam, IUpdater, Sgd
from ndarena.nn.vertex import GraphVertex
from ndarena.nn.vertices import MergeVertex, PreprocessorVertex, StackVertex, SubsetVertex, UnstackVertex
from ndarena.nn.weights import WeightInit

__all__ = [
    "Activation",
    "ActivationIdentity",
    "ActivationReLU",
    "ActivationSigmoid",
    "ActivationSoftmax",
    "ActivationTanH",
    "Adam",
    "BackpropType",
    "BaseLayer",
    "CacheMode",
    "CnnToFeedForwardPreProcessor",
    "CnnToRnnPreProcessor",
    "ComposableInputPreProcessor",
    "ComputationGraphConfiguration",
    "Convolution1DLayer",
    "ConvolutionLayer",
    "ConvolutionMode",
    "DenseLayer",
    "DuplicateToTimeSeriesVertex",
    "ElementWiseOp",
    "ElementWiseVertex",
    "FeedForwardLayer",
    "FeedForwardToCnnPreProcessor",
    "FeedForwardToRnnPreProcessor",
    "GraphVertex",
    "IActivation",
    "ILossFunction",
    "IUpdater",
    "InputPreProcessor",
    "InputType",
    "InputTypeConvolutional",
    "InputTypeConvolutionalFlat",
    "InputTypeFeedForward",
    "InputTypeRecurrent",
    "L2NormalizeVertex",
    "L2Vertex",
    "LastTimeStepVertex",
    "Layer",
    "LossFunction",
    "LossLayer",
    "LossMCXENT",
    "LossMSE",
    "LossNegativeLogLikelihood",
    "MergeVertex",
    "MultiLayerConfiguration",
    "MultiLayerNetwork",
    "OutputLayer",
    "ParamPart",
    "PoolingType",
    "PreprocessorVertex",
    "ReverseTimeSeriesVertex",
    "RnnLossLayer",
    "RnnOutputLayer",
    "RnnToCnnPreProcessor",
    "RnnToFeedForwardPreProcessor",
    "ScaleVertex",
    "Sgd",
    "ShiftVertex",
    "StackVertex",
    "SubsetVertex",
    "TrainingListener",
    "UnstackVertex",
    "WeightInit",
    "WorkspaceMode",
]
