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
from ndarena.nn.choices import (
    BackpropType,
    CacheMode,
    ConvolutionMode,
    GradientNormalization,
    PoolingType,
    WorkspaceMode,
)
from ndarena.nn.configuration import MultiLayerConfiguration
from ndarena.nn.constraints import (
    LayerConstraint,
    MaxNormConstraint,
    MinMaxNormConstraint,
    NonNegativeConstraint,
    UnitNormConstraint,
)
from ndarena.nn.convolution import Convolution1DLayer, ConvolutionLayer
from ndarena.nn.distributions import (
    ConstantDistribution,
    Distribution,
    NormalDistribution,
    UniformDistribution,
)
from ndarena.nn.dropout import AlphaDropout, Dropout, GaussianDropout, GaussianNoise, IDropout, SpatialDropout
from ndarena.nn.feed_forward import BaseLayer, DenseLayer, FeedForwardLayer
from ndarena.nn.graph_configuration import ComputationGraphConfiguration
from ndarena.nn.input_type import (
    InputType,
    InputTypeConvolutional,
    InputTypeConvolutionalFlat,
    InputTypeFeedForward,
    InputTypeRecurrent,
)
from ndarena.nn.layer import Layer, ParamKind, ParamPart
from ndarena.nn.listeners import TrainingListener
from ndarena.nn.losses import ILossFunction, LossFunction, LossMCXENT, LossMSE, LossNegativeLogLikelihood
from ndarena.nn.network import MultiLayerNetwork
from ndarena.nn.output import LossLayer, OutputLayer, RnnLossLayer, RnnOutputLayer
from ndarena.nn.pooling import SubsamplingLayer
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
from ndarena.nn.schedules import (
    CycleSchedule,
    ExponentialSchedule,
    FixedSchedule,
    InverseSchedule,
    ISchedule,
    MapSchedule,
    PolySchedule,
    RampSchedule,
    ScheduleType,
    SigmoidSchedule,
    StepSchedule,
)
from ndarena.nn.series_vertices import (
    DuplicateToTimeSeriesVertex,
    LastTimeStepVertex,
    ReverseTimeSeriesVertex,
)
from ndarena.nn.updaters import Adam, IUpdater, Sgd
from ndarena.nn.vertex import GraphVertex
from ndarena.nn.vertices import MergeVertex, PreprocessorVertex, StackVertex, SubsetVertex, UnstackVertex
from ndarena.nn.weight_noise import DropConnect, IWeightNoise, WeightNoise
from ndarena.nn.weights import WeightInit

__all__ = [
    "Activation",
    "ActivationIdentity",
    "ActivationReLU",
    "ActivationSigmoid",
    "ActivationSoftmax",
    "ActivationTanH",
    "Adam",
    "AlphaDropout",
    "BackpropType",
    "BaseLayer",
    "CacheMode",
    "CnnToFeedForwardPreProcessor",
    "CnnToRnnPreProcessor",
    "ComposableInputPreProcessor",
    "ComputationGraphConfiguration",
    "ConstantDistribution",
    "Convolution1DLayer",
    "ConvolutionLayer",
    "ConvolutionMode",
    "CycleSchedule",
    "DenseLayer",
    "Distribution",
    "DropConnect",
    "Dropout",
    "DuplicateToTimeSeriesVertex",
    "ElementWiseOp",
    "ElementWiseVertex",
    "ExponentialSchedule",
    "FeedForwardLayer",
    "FeedForwardToCnnPreProcessor",
    "FeedForwardToRnnPreProcessor",
    "FixedSchedule",
    "GaussianDropout",
    "GaussianNoise",
    "GradientNormalization",
    "GraphVertex",
    "IActivation",
    "IDropout",
    "ILossFunction",
    "ISchedule",
    "IUpdater",
    "IWeightNoise",
    "InputPreProcessor",
    "InputType",
    "InputTypeConvolutional",
    "InputTypeConvolutionalFlat",
    "InputTypeFeedForward",
    "InputTypeRecurrent",
    "InverseSchedule",
    "L2NormalizeVertex",
    "L2Vertex",
    "LastTimeStepVertex",
    "Layer",
    "LayerConstraint",
    "LossFunction",
    "LossLayer",
    "LossMCXENT",
    "LossMSE",
    "LossNegativeLogLikelihood",
    "MapSchedule",
    "MaxNormConstraint",
    "MergeVertex",
    "MinMaxNormConstraint",
    "MultiLayerConfiguration",
    "MultiLayerNetwork",
    "NonNegativeConstraint",
    "NormalDistribution",
    "OutputLayer",
    "ParamKind",
    "ParamPart",
    "PolySchedule",
    "PoolingType",
    "PreprocessorVertex",
    "RampSchedule",
    "ReverseTimeSeriesVertex",
    "RnnLossLayer",
    "RnnOutputLayer",
    "RnnToCnnPreProcessor",
    "RnnToFeedForwardPreProcessor",
    "ScaleVertex",
    "ScheduleType",
    "Sgd",
    "ShiftVertex",
    "SigmoidSchedule",
    "SpatialDropout",
    "StackVertex",
    "StepSchedule",
    "SubsamplingLayer",
    "SubsetVertex",
    "TrainingListener",
    "UniformDistribution",
    "UnitNormConstraint",
    "UnstackVertex",
    "WeightInit",
    "WeightNoise",
    "WorkspaceMode",
]
