"""The programs whose cycles are recorded: networks as one writes them with NumPy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

import ndarena

RATE = 1e-3
Array = Any  # of a workspace, or plain
Step = Callable[[ndarena.Workspace], object]


def steps() -> dict[str, Step]:
    """Return a function for each trace, which does one cycle's work in the workspace it is given."""
    return {
        "mlp_784_1000_10": network((784, 1000, 10), 128),
        "mlp_784_1000_500_200_10": network((784, 1000, 500, 200, 10), 128),
        "mlp_64_64_10": network((64, 64, 10), 32),
        "lstm_inference": lstm(50, 32, 128, train=False),
        "lstm_training": lstm(50, 32, 128, train=True),
        "transformer_4": transformer(4),
        "transformer_12": transformer(12),
    }


def normal(*shape: int) -> Array:
    """Return parameters of a size that keeps a network's signals in bounds."""
    drawn = np.random.default_rng(sum(shape)).standard_normal(shape) / np.sqrt(16 * shape[0])
    return drawn.astype(np.float32)


def softmax(z: Array) -> Array:
    """Return probabilities along the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def network(units: tuple[int, ...], batch: int) -> Step:
    """Return a training step of dense layers with ReLU, a softmax and cross entropy."""
    layers = [(normal(n, m), np.zeros(m, np.float32)) for n, m in pairwise(units)]
    x = np.random.default_rng(1).random((batch, units[0]), np.float32)
    y = np.eye(units[-1], dtype=np.float32)[np.arange(batch) % units[-1]]

    def step(ws: ndarena.Workspace) -> None:
        inputs, sums = [ws.array(x)], []
        target = ws.array(y)
        for w, b in layers:
            z = inputs[-1] @ w + b
            sums.append(z)
            inputs.append(np.maximum(z, 0))
        delta = (softmax(sums[-1]) - target) * (1 / batch)
        for at in reversed(range(len(layers))):
            w, b = layers[at]
            dw, db = inputs[at].T @ delta, delta.sum(axis=0)
            if at:
                delta = (delta @ w.T) * (sums[at - 1] > 0)
            w -= dw * RATE
            b -= db * RATE

    return step


def lstm(length: int, batch: int, units: int, *, train: bool) -> Step:
    """Return a pass of an LSTM over a sequence; in training with its gradient."""
    x = np.random.default_rng(2).random((length, batch, units), np.float32)
    w, u, b = normal(units, 4 * units), normal(units, 4 * units), np.zeros(4 * units, np.float32)

    def step(ws: ndarena.Workspace) -> None:
        inputs = ws.array(x)
        h, c = ws.zeros((batch, units), np.float32), ws.zeros((batch, units), np.float32)
        seen = []
        for t in range(length):
            i, f, o, g = gates(inputs[t] @ w + h @ u + b, units)
            before = h, c
            c = f * c + i * g
            squashed = np.tanh(c)
            h = o * squashed
            if train:
                seen.append((i, f, o, g, squashed, *before))
        if train:
            lstm_backward(inputs, seen, (w, u, b), h)

    return step


def gates(z: Array, units: int) -> tuple[Array, Array, Array, Array]:
    """Return input, forget and output gate, and the candidate."""
    i, f, o = (1 / (1 + np.exp(-z[:, at * units : (at + 1) * units])) for at in range(3))
    return i, f, o, np.tanh(z[:, 3 * units :])


def lstm_backward(inputs: Array, seen: list[tuple[Array, ...]], weights: tuple[Array, ...], h: Array) -> None:
    """Go back through time from the last output, and down the gradient."""
    w, u, b = weights
    dh, dc = h * (1 / h.size), h * 0
    dw, du, db = (ndarena.zeros(p.shape, p.dtype) for p in weights)
    for t in reversed(range(len(seen))):
        i, f, o, g, squashed, h_before, c_before = seen.pop()
        dc = dc + dh * o * (1 - squashed * squashed)
        dz = np.concatenate(
            (
                dc * g * i * (1 - i),
                dc * c_before * f * (1 - f),
                dh * squashed * o * (1 - o),
                dc * i * (1 - g * g),
            ),
            axis=1,
        )
        dw += inputs[t].T @ dz
        du += h_before.T @ dz
        db += dz.sum(axis=0)
        dh, dc = dz @ u.T, dc * f
    for parameter, gradient in ((w, dw), (u, du), (b, db)):
        parameter -= gradient * RATE


def transformer(layers: int, batch: int = 8, length: int = 64, units: int = 128) -> Step:
    """Return a training step of layers with one head of attention and a dense pair, each with a bypass."""
    x = np.random.default_rng(3).random((batch, length, units), np.float32)
    shapes = ((units, units),) * 4 + ((units, 4 * units), (4 * units, units))
    stack = [tuple(normal(*shape) for shape in shapes) for _ in range(layers)]

    def step(ws: ndarena.Workspace) -> None:
        signal, seen = ws.array(x), []
        for parameters in stack:
            signal, kept = layer_forward(signal, parameters)
            seen.append(kept)
        gradient = signal * (1 / signal.size)
        for parameters in reversed(stack):
            gradient = layer_backward(gradient, seen.pop(), parameters)

    return step


def layer_forward(x: Array, parameters: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    """Return a layer's output and what its gradient needs."""
    wq, wk, wv, wo, w1, w2 = parameters
    q, k, v = x @ wq, x @ wk, x @ wv
    scores = softmax(q @ k.swapaxes(-1, -2) * (1 / np.sqrt(np.float32(x.shape[-1]))))
    mixed = scores @ v
    attended = x + mixed @ wo
    hidden = np.maximum(attended @ w1, 0)
    return attended + hidden @ w2, (x, q, k, v, scores, mixed, attended, hidden)


def layer_backward(dy: Array, kept: tuple[Array, ...], parameters: tuple[Array, ...]) -> Array:
    """Return the gradient of a layer's input, and go down those of its parameters."""
    x, q, k, v, scores, mixed, attended, hidden = kept
    wq, wk, wv, wo, w1, w2 = parameters
    scale = 1 / np.sqrt(np.float32(x.shape[-1]))
    dhidden = (dy @ w2.T) * (hidden > 0)
    dattended = dy + dhidden @ w1.T
    dmixed = dattended @ wo.T
    dscores = dmixed @ v.swapaxes(-1, -2)
    dscores = scores * (dscores - (dscores * scores).sum(axis=-1, keepdims=True)) * scale
    dv = scores.swapaxes(-1, -2) @ dmixed
    dq, dk = dscores @ k, dscores.swapaxes(-1, -2) @ q
    weights, signals = (wq, wk, wv, wo, w1, w2), (x, x, x, mixed, attended, hidden)
    gradients = (dq, dk, dv, dattended, dhidden, dy)
    for w, signal, gradient in zip(weights, signals, gradients, strict=True):
        flat = signal.reshape(-1, signal.shape[-1])
        w -= flat.T @ gradient.reshape(-1, gradient.shape[-1]) * RATE
    return dattended + dq @ wq.T + dk @ wk.T + dv @ wv.T
