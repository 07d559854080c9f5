"""What is told about training (DL4J: ``TrainingListener``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndarena.nn.network import MultiLayerNetwork
    from ndarena.nn.words import Array

__all__ = ["TrainingListener", "checked_listeners"]


class TrainingListener:
    """Base of listeners; override what you want to hear, in the order of the methods here.

    All are called while no workspace is current. Arrays handed over belong to the network: `on_forward_pass`
    may keep a `detach()` of them.
    """

    def on_epoch_start(self, model: MultiLayerNetwork) -> None:
        """Hear that an epoch over an iterator begins."""

    def on_forward_pass(self, model: MultiLayerNetwork, activations: list[Array]) -> None:
        """Hear the activations of a batch: the input first, without the output layer."""

    def on_backward_pass(self, model: MultiLayerNetwork) -> None:
        """Hear that gradient and score of a batch are known."""

    def on_gradient_calculation(self, model: MultiLayerNetwork) -> None:
        """Hear that `MultiLayerNetwork.gradient` holds the gradient, summed over the batch."""

    def iteration_done(self, model: MultiLayerNetwork, iteration: int, epoch: int) -> None:
        """Hear that the parameters have moved; the counters are raised afterwards."""

    def on_epoch_end(self, model: MultiLayerNetwork) -> None:
        """Hear that an epoch is over; the counter is raised afterwards."""


EVENTS = tuple(name for name in vars(TrainingListener) if not name.startswith("_"))


def checked_listeners(listeners: tuple[TrainingListener, ...]) -> tuple[TrainingListener, ...]:
    """Return listeners; what does not hear all events is a `TypeError`."""
    for listener in listeners:
        if isinstance(listener, type) or not all(hasattr(listener, event) for event in EVENTS):
            what = f"the class {listener.__name__}" if isinstance(listener, type) else f"{listener!r:.100}"
            raise TypeError(f"listeners are objects derived from TrainingListener, one by one, not {what}")
    return listeners
