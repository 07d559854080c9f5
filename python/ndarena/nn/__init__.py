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
from ndarena.nn.configuration import MultiLayerConfiguration, WorkspaceMode
from ndarena.nn.feed_forward import BaseLayer, DenseLayer, OutputLayer
from ndarena.nn.input_type import InputType
from ndarena.nn.layer import Layer, ParamPart
from ndarena.nn.listeners import TrainingListener
from ndarena.nn.losses import ILossFunction, LossFunction, LossMCXENT, LossMSE, LossNegativeLogLikelihood
from ndarena.nn.network import MultiLayerNetwork
from ndarena.nn.updaters import Adam, IUpdater, Sgd
from ndarena.nn.weights import WeightInit

__all__ = [
    "Activation",
    "ActivationIdentity",
    "ActivationReLU",
    "ActivationSigmoid",
    "ActivationSoftmax",
    "ActivationTanH",
    "Adam",
    "BaseLayer",
    "DenseLayer",
    "IActivation",
    "ILossFunction",
    "IUpdater",
    "InputType",
    "Layer",
    "LossFunction",
    "LossMCXENT",
    "LossMSE",
    "LossNegativeLogLikelihood",
    "MultiLayerConfiguration",
    "MultiLayerNetwork",
    "OutputLayer",
    "ParamPart",
    "Sgd",
    "TrainingListener",
    "WeightInit",
    "WorkspaceMode",
]
