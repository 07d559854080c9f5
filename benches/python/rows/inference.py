"""Clients that ask a network for single rows at the same time, and one that asks row by row."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benches.python.model import Bar, Check, Place, Row, Side, Sides
from ndarena import nn
from ndarena.parallel import ParallelInference

CLIENTS = 16
NETWORKS: tuple[tuple[tuple[int, ...], float, int], ...] = (
    ((784, 1000, 10), 1.3, 32),
    ((784, 4096, 4096, 10), 2.5, 2),
)
"""Units, how many times as many requests, and how many each client makes in a turn."""


def rows() -> list[Row]:
    """Return the rows of inference in several threads."""
    return [
        Row(
            "inference",
            f"{CLIENTS} clients, single rows",
            "-".join(map(str, sizes)),
            "float32",
            "one caller",
            Bar(round(1 / times, 3)),
            partial(sides, sizes, requests),
            Place.FRESH,
        )
        for sizes, times, requests in NETWORKS
    ]


def network(sizes: tuple[int, ...]) -> nn.MultiLayerNetwork:
    """Return a network of dense layers and a softmax."""
    layers: list[Any] = [nn.DenseLayer(n_out=n, activation="relu") for n in sizes[1:-1]]
    conf = nn.MultiLayerConfiguration(
        layers=[*layers, nn.OutputLayer(n_out=sizes[-1])],
        input_type=nn.InputType.feed_forward(sizes[0]),
        updater=nn.NoOp(),
        seed=7,
    )
    return nn.MultiLayerNetwork(conf)


def sides(sizes: tuple[int, ...], requests: int, stack: ExitStack) -> Sides:
    """Make the clients, and the caller that does in turns what they do together."""
    net = network(sizes)
    features = np.random.default_rng(7).random((CLIENTS, 1, sizes[0])).astype(np.float32)
    inference = stack.enter_context(ParallelInference(net))
    clients = Clients(inference, list(features), requests, stack)
    return Sides(
        Side("turn()", {"turn": clients.turn}, result=clients.turn),
        Side(
            "for x in rows:\n    output(x)",
            {"rows": list(features) * requests, "output": net.output},
            result=lambda: [net.output(x) for x in features],
        ),
        check=Check.CLOSE,
    )


class Clients:
    """Threads that ask for a row each, some times in every turn."""

    def __init__(
        self,
        inference: ParallelInference,
        features: list[np.ndarray[Any, Any]],
        requests: int,
        stack: ExitStack,
    ) -> None:
        self._answers, self._requests = list[Any](features), requests
        self._ask, self._over = inference.output, False
        self._meet = threading.Barrier(len(features) + 1)
        threads = [threading.Thread(target=self._work, args=item) for item in enumerate(features)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(self._end)

    def turn(self) -> list[Any]:
        """Let all begin, and wait until the last one is answered; return the answers."""
        self._meet.wait()
        self._meet.wait()
        return self._answers

    def _work(self, index: int, x: np.ndarray[Any, Any]) -> None:
        while True:
            self._meet.wait()
            if self._over:
                return
            for _ in range(self._requests):
                self._answers[index] = self._ask(x)
            self._meet.wait()

    def _end(self) -> None:
        self._over = True
        self._meet.wait()
