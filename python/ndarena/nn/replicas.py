"""What a network offers to those who train copies of it in threads of their own (DL4J: ``Trainer``)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from ndarena.nn.base import Network
from ndarena.nn.claim import Claim
from ndarena.nn.learner import Learner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from ndarena.nn.listeners import TrainingListener

__all__ = ["Replicated"]

OURS = f"{__package__}."


class Replicated(Learner):
    """A network of which replicas can learn."""

    @property
    def listeners(self) -> tuple[TrainingListener, ...]:
        """Who is told about training."""
        return self._listeners

    def replica(self, rng: np.random.Generator) -> Self:
        """Return a `clone` that draws dropout and noise as a generator would from now on."""
        twin = self._undrawn() if all(map(is_ours, (self, *self.layers))) else self.clone()
        twin.rng.bit_generator.state = rng.bit_generator.state
        return twin

    def _undrawn(self) -> Self:
        """Return a `clone` whose generator has drawn nothing: its parameters are copied in any case."""
        twin = object.__new__(type(self))
        Network.__init__(twin, self.configuration, draws=False)
        twin.__setstate__(self.__reduce__()[2])
        return twin

    def sharing(self) -> Self:
        """Return a network on the same parameters with layers of its own, that another thread asks.

        It is for outputs alone: what it would learn, it would learn into the same gradient.
        """
        twin = object.__new__(type(self))
        own = {"wiring": self.wiring.apart(), "_here": threading.local(), "_learning": [], "_claim": Claim()}
        twin.__dict__ |= self.__dict__ | own
        return twin

    def led(self, work: Callable[..., None], *facts: object) -> None:
        """Do work that keeps `fit` out; where the network learns already that is a `RuntimeError`."""
        self._alone(work, *facts)

    def follow(self, replica: Self, *, score: float) -> None:
        """Take over where a replica is, its vectors apart: generator, iterations counted."""
        self.rng.bit_generator.state = replica.rng.bit_generator.state
        self.iteration_count = replica.iteration_count
        self._score = score

    def batches_of(self, data: Any) -> Iterable[Any]:
        """Return the data sets that `fit` would go through in an epoch; a single one is the only one."""
        only = self._data_set(data)
        return data if only is None else [only]

    def checked(self, data: object) -> Any:
        """Return a data set of the kind that the network takes; anything else is a `TypeError`."""
        return self._checked(data)


def is_ours(thing: Any) -> bool:
    """Tell whether the class of a network or layer is of this package, and that of a layer inside.

    A layer of somebody else may keep what it was told, or has drawn, when its parameters were first filled.
    """
    inside = getattr(thing, "layer", None)
    return type(thing).__module__.startswith(OURS) and (inside is None or is_ours(inside))
