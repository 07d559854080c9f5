"""Every layer, with what goes into it: the table of the contract suite."""

from dataclasses import dataclass

import numpy as np

from ndarena import nn
from ndarena.nn import InputType

ROWS = InputType.feed_forward(4)
SERIES = InputType.recurrent(3, 5)
IMAGES = InputType.convolutional(5, 6, 3)


@dataclass(frozen=True)
class Sample:
    """A layer, the type of its input, and whether that is made of indices or has a mask of steps or rows."""

    layer: nn.Layer
    input_type: nn.InputType
    indices: bool = False
    masked: bool = False

    def twin(self, dtype="float64"):
        """Return a working twin whose parameters are drawn, so that none of them is special."""
        layer = self.layer.with_input_type(self.input_type)
        twin = layer.instantiate(dtype=dtype)
        twin.params[...] = np.random.default_rng(1).uniform(0.3, 1.3, twin.params.shape)
        return twin

    def input(self, batch, dtype="float64", seed=2):
        """Draw an input."""
        rng = np.random.default_rng(seed)
        shape = (batch, *self.input_type.shape)
        if self.indices:
            return rng.integers(0, self.layer.n_in, shape).astype(dtype)
        return rng.normal(size=shape).astype(dtype)

    def mask(self, batch):
        """Return a mask of steps or rows, if the sample has one: of every series some step is kept."""
        if not self.masked:
            return None
        steps = self.input_type.shape[1:] or (1,)
        mask = (np.random.default_rng(3).random((batch, *steps)) < 0.6).astype(float)
        mask[:, 1:2] = 1.0
        return mask

    @property
    def has_loss(self):
        """Whether the layer has labels in the place of an epsilon."""
        return hasattr(self.layer, "compute_score")

    @property
    def output_shape(self):
        """The shape of the output without the batch, as the types have it."""
        return self.layer.with_input_type(self.input_type).get_output_type(self.input_type).shape

    def above(self, batch, dtype="float64"):
        """Draw labels or epsilon."""
        drawn = np.random.default_rng(4).uniform(0.1, 1.0, (batch, *self.output_shape)).astype(dtype)
        return drawn / drawn.sum(axis=1, keepdims=True) if self.has_loss else drawn - 0.5


def convolution(**fields):
    return nn.ConvolutionLayer(**{"n_out": 2, "kernel_size": (3, 2), "activation": "tanh", **fields})


def pooling(kind, **fields):
    return nn.SubsamplingLayer(pooling_type=kind, **{"kernel_size": (2, 2), **fields})


LSTM = nn.LSTM(n_in=3, n_out=2, activation="tanh")
SMOOTH = {"n_out": 3, "activation": "tanh"}

LAYERS = {
    "dense": Sample(nn.DenseLayer(**SMOOTH), ROWS),
    "dense, no bias": Sample(nn.DenseLayer(**SMOOTH, has_bias=False), ROWS),
    "dense, layer norm": Sample(nn.DenseLayer(**SMOOTH, has_layer_norm=True), ROWS),
    "dense, masked": Sample(nn.DenseLayer(**SMOOTH, has_layer_norm=True), ROWS, masked=True),
    "dense, relu, masked": Sample(nn.DenseLayer(n_out=3, activation="relu"), ROWS, masked=True),
    "output": Sample(nn.OutputLayer(n_out=3), ROWS),
    "output, mse": Sample(nn.OutputLayer(n_out=3, loss="mse", activation="tanh"), ROWS),
    "loss": Sample(nn.LossLayer(loss="mse", activation="tanh"), ROWS),
    "loss of series": Sample(nn.RnnLossLayer(activation="softmax"), SERIES),
    "loss of series, masked": Sample(nn.RnnLossLayer(activation="softmax"), SERIES, masked=True),
    "loss of pixels": Sample(nn.CnnLossLayer(activation="softmax"), IMAGES),
    "output of series": Sample(nn.RnnOutputLayer(n_out=2), SERIES),
    "output of series, masked": Sample(nn.RnnOutputLayer(n_out=2), SERIES, masked=True),
    "activation": Sample(nn.ActivationLayer("tanh"), ROWS),
    "activation of images": Sample(nn.ActivationLayer("softmax"), IMAGES),
    "embedding": Sample(
        nn.EmbeddingLayer(n_in=6, n_out=2, has_bias=True), InputType.feed_forward(1), indices=True
    ),
    "embedding, masked": Sample(
        nn.EmbeddingLayer(n_in=6, n_out=2, activation="tanh"), InputType.feed_forward(1), True, True
    ),
    "embedding of series": Sample(
        nn.EmbeddingSequenceLayer(n_in=6, n_out=2), InputType.feed_forward(5), indices=True
    ),
    "simple rnn": Sample(nn.SimpleRnn(**SMOOTH), SERIES),
    "simple rnn, layer norm, masked": Sample(
        nn.SimpleRnn(**SMOOTH, has_layer_norm=True), SERIES, masked=True
    ),
    "simple rnn, softsign": Sample(nn.SimpleRnn(n_out=2, activation="softsign"), SERIES),
    "simple rnn, layer norm, softsign": Sample(
        nn.SimpleRnn(n_out=2, activation="softsign", has_layer_norm=True), SERIES
    ),
    "lstm": Sample(LSTM, SERIES),
    "lstm, masked": Sample(LSTM, SERIES, masked=True),
    "lstm, other functions": Sample(
        nn.LSTM(n_out=2, activation="softsign", gate_activation="hardsigmoid"), SERIES
    ),
    "graves lstm": Sample(nn.GravesLSTM(n_out=2, activation="tanh"), SERIES),
    "graves lstm, other functions, masked": Sample(
        nn.GravesLSTM(n_out=2, activation="softsign", gate_activation="rationaltanh"), SERIES, masked=True
    ),
    "bidirectional": Sample(nn.Bidirectional(LSTM), SERIES),
    "bidirectional, added": Sample(nn.Bidirectional(LSTM, mode="add"), SERIES),
    "bidirectional, multiplied": Sample(nn.Bidirectional(LSTM, mode="mul"), SERIES),
    "bidirectional, last time steps": Sample(nn.Bidirectional(nn.LastTimeStep(LSTM)), SERIES, masked=True),
    "last time step of both": Sample(nn.LastTimeStep(nn.Bidirectional(LSTM)), SERIES, masked=True),
    "bidirectional, masked": Sample(nn.Bidirectional(LSTM, mode="average"), SERIES, masked=True),
    "last time step": Sample(nn.LastTimeStep(LSTM), SERIES, masked=True),
    "convolution": Sample(convolution(), IMAGES),
    "convolution, no bias": Sample(convolution(has_bias=False, activation="identity"), IMAGES),
    "convolution, strides, padding": Sample(convolution(stride=(2, 3), padding=(1, 2)), IMAGES),
    "convolution, same": Sample(convolution(convolution_mode="same"), IMAGES),
    "convolution, same, strides": Sample(convolution(convolution_mode="same", stride=(2, 3)), IMAGES),
    "convolution, dilation": Sample(convolution(dilation=(2, 3), padding=(0, 1)), IMAGES),
    "convolution of pixels": Sample(convolution(kernel_size=(1, 1)), IMAGES),
    "convolution of few pixels": Sample(convolution(kernel_size=(1, 1), stride=(2, 2)), IMAGES),
    "convolution, softmax": Sample(convolution(activation="softmax"), IMAGES),
    "convolution 1d": Sample(nn.Convolution1DLayer(n_out=2, kernel_size=3, activation="tanh"), SERIES),
    "convolution 1d, same, masked": Sample(
        nn.Convolution1DLayer(n_out=2, kernel_size=3, convolution_mode="same"), SERIES, masked=True
    ),
    "convolution 1d, strides, masked": Sample(
        nn.Convolution1DLayer(n_out=2, kernel_size=2, stride=2, padding=1), SERIES, masked=True
    ),
    "pooling, max": Sample(pooling("max"), IMAGES),
    "pooling, max, overlap": Sample(pooling("max", kernel_size=(3, 2), stride=(1, 1)), IMAGES),
    "pooling, max, same": Sample(pooling("max", kernel_size=(3, 3), convolution_mode="same"), IMAGES),
    "pooling, max, padding": Sample(pooling("max", padding=(1, 1), dilation=(2, 1)), IMAGES),
    "pooling, avg": Sample(pooling("avg"), IMAGES),
    "pooling, avg, padding": Sample(pooling("avg", padding=(1, 1)), IMAGES),
    "pooling, avg, padding counts": Sample(
        pooling("avg", padding=(1, 1), avg_pool_include_pad_in_divisor=True), IMAGES
    ),
    "pooling, sum": Sample(pooling("sum", kernel_size=(3, 2), stride=(2, 1)), IMAGES),
    "pooling, norm": Sample(pooling("pnorm", pnorm=3, stride=(1, 2), padding=(1, 0)), IMAGES),
    "upsampling": Sample(nn.Upsampling2D(size=(2, 3)), IMAGES),
    "zero padding": Sample(nn.ZeroPaddingLayer(padding=(1, 0, 2, 3)), IMAGES),
    "no padding": Sample(nn.ZeroPaddingLayer(), IMAGES),
    "batch normalisation": Sample(nn.BatchNormalization(), ROWS),
    "batch normalisation of series": Sample(nn.BatchNormalization(), SERIES),
    "batch normalisation of images": Sample(nn.BatchNormalization(), IMAGES),
    "batch normalisation, locked": Sample(
        nn.BatchNormalization(lock_gamma_beta=True, gamma=1.5, beta=0.5), IMAGES
    ),
    "batch normalisation, log": Sample(nn.BatchNormalization(use_log_std=True), ROWS),
    "layer normalisation": Sample(nn.LayerNormalization(), ROWS),
    "layer normalisation of series": Sample(nn.LayerNormalization(), SERIES),
    "layer normalisation of images": Sample(nn.LayerNormalization(), IMAGES),
    "local response normalisation": Sample(nn.LocalResponseNormalization(n=3, alpha=0.1), IMAGES),
} | {
    f"global pooling, {kind}, {what}": Sample(
        nn.GlobalPoolingLayer(pooling_type=kind, pnorm=3, collapse_dimensions=what != "images"),
        IMAGES if what == "images" else SERIES,
        masked=what == "masked",
    )
    for kind in ("max", "avg", "sum", "pnorm")
    for what in ("series", "masked", "images")
}
