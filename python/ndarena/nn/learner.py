"""What both kinds of networks do with data: learn from it, and say what they make of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndarena._core import Workspace, WorkspaceArray, detach
from ndarena.errors import ScopeError
from ndarena.nn.base import Network, note_workspaces
from ndarena.nn.batches import (
    batch_of,
    check_epochs,
    check_gave,
    errors_of,
    is_array,
    positional,
    read_ahead,
)
from ndarena.nn.choices import BackpropType, WorkspaceMode
from ndarena.nn.layer import cut
from ndarena.nn.memory import TrainingMemory
from ndarena.nn.pace import do_step
from ndarena.nn.passes import InferencePass, PieceTrainingPass, SteppingPass, TrainingPass
from ndarena.nn.recurrent import RecurrentLayer
from ndarena.nn.words import Array, is_whole, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ndarena.nn.batches import Batch
    from ndarena.nn.layer import Flat
    from ndarena.nn.wiring import Node

__all__ = ["Learner", "check_target", "delivered"]

STANDARD = BackpropType.STANDARD


class Learner(Network):
    """What `MultiLayerNetwork` and `ComputationGraph` have in common."""

    _score = float("nan")
    _outside: TrainingPass | None = None
    input: Any = None
    """The features of the last batch learned, where they are plain."""

    # What the kinds of networks differ in.

    data_classes: ClassVar[tuple[type, ...]]
    """The data sets that the network takes."""

    def _labelled(self, features: Any, labels: Any) -> Any:
        """Return the data set of features and labels."""
        raise NotImplementedError

    def _heard(self, work: TrainingPass, batch: Batch) -> Any:
        """Return the activations as listeners are told them."""
        raise NotImplementedError

    def _remember(self, batch: Batch) -> None:
        """Keep what went in."""
        raise NotImplementedError

    # Learning.

    def _data_set(self, data: Any, labels: Any = None) -> Any:
        """Return the one batch that is given; ``None`` for an iterable of batches."""
        if labels is not None:
            return self._labelled(data, labels)
        if isinstance(data, self.data_classes):
            return data
        if is_array(data) or not hasattr(data, "__iter__"):
            what = f"an array of shape {list(data.shape)}" if hasattr(data, "shape") else f"{data!r:.100}"
            raise TypeError(
                f"fit takes {self._kinds()}, an iterable of them, or features and labels, not {what}"
            )
        return None

    def _checked(self, data: object) -> Any:
        """Return a data set of the kind that the network takes."""
        if isinstance(data, self.data_classes):
            return data
        raise TypeError(
            f"expected {self._kinds()}, not {type(data).__name__}: DataSet(features, labels) is one"
        )

    def _kinds(self) -> str:
        return " or ".join(f"a {kind.__name__}" for kind in self.data_classes)

    @positional(2, "features and labels; epochs= is given by name")
    def fit(self, data: Any, labels: Any = None, *, epochs: int = 1) -> None:
        """Learn.

        Parameters
        ----------
        data : iterable of DataSet, DataSet, or array_like
            Batches, read ahead by a thread if the iterator is a `DataSetIterator` that allows it; or one
            batch, as features with ``labels`` or as a data set, of which every epoch is one
            iteration. A graph takes lists of arrays, and data sets of either kind.
        labels : array_like, optional
            ``[N, n_out]``, with features.
        epochs : int
            How often to go through the data. Epochs over an iterable are counted in `epoch_count`.

        Raises
        ------
        ValueError
            Data that do not fit the network, no second epoch where one is asked for, or an iterator that is
            used up.
        RuntimeError
            The network is learning already.
        """
        if not is_whole(epochs) or epochs < 0:
            raise ValueError(f"epochs must be a whole number from 0 on, not {epochs!r}")
        batch = self._data_set(data, labels)
        if batch is not None:
            self._alone(self._fit_repeatedly, batch, epochs)
        else:
            self._alone(self._fit_epochs, data, epochs)

    def _alone(self, work: Callable[..., Any], *facts: Any) -> Any:
        """Keep others from learning meanwhile; if it fails let go of what the layers kept."""
        me = object()
        try:
            # Inside, and ended by one call of C: no signal comes between.
            self._learning.append(me)
            if self._learning[0] is not me:
                raise RuntimeError("this network is learning already")
            if not self._claim.get():
                self._claim.wait()
            try:
                result = work(*facts)
            except BaseException as error:
                self._forget()
                if isinstance(error, MemoryError):
                    note_workspaces(error)
                raise
            finally:
                self._claim.leave()
        finally:
            self._learning.remove(me)
        self._outside = None
        return result

    def _fit_repeatedly(self, data: Any, times: int) -> None:
        for _ in range(times):
            self._fit_batch(data)

    def _fit_epochs(self, data: Iterable[Any], epochs: int) -> None:
        check_epochs(data, epochs)
        with read_ahead(data, self.wiring) as source:
            for _ in range(epochs):
                check_gave(data, self._fit_epoch(source))

    def _fit_epoch(self, batches: Iterable[Any]) -> int:
        """Learn from all batches once; return how many there were."""
        count = 0
        self._tell("on_epoch_start")
        for count, data in enumerate(batches, 1):  # noqa: B007 - the last number
            self._fit_batch(self._checked(data))
        self._tell("on_epoch_end")
        self._epoch_count += 1
        return count

    def _fit_batch(self, data: Any) -> None:
        """Do one iteration, or one per piece; a network without parameters has nothing to learn."""
        if not self.params().size:
            return
        batch = batch_of(data, self.wiring, self.dtype)
        if self.configuration.backprop_type is STANDARD:
            do_step(self._iterate, batch)
            return
        self.rnn_clear_previous_state()
        try:
            for piece in batch.pieces(self.configuration.tbptt_fwd_length):
                do_step(self._iterate, piece, PieceTrainingPass)
        finally:
            self.rnn_clear_previous_state()

    def _iterate(self, batch: Batch, kind: type[TrainingPass] = TrainingPass) -> None:
        memory, tells = self._training(), bool(self._listeners)
        self._learn_gradient(batch, memory, kind, tells=tells)
        if tells:
            self._tell("on_gradient_calculation")
            memory = self._training()  # listeners may have changed modes, or destroyed workspaces
        self.updater.learn(
            self.gradient(),
            iteration=self._iteration_count,
            epoch=self._epoch_count,
            batch_size=len(batch.features[0]),
            scope=memory.updating,
        )
        memory.settle()
        if self._listeners:
            self._tell("iteration_done", self.iteration_count, self.epoch_count)
        self._iteration_count += 1

    def _learn_gradient(
        self,
        batch: Batch,
        memory: TrainingMemory,
        kind: type[TrainingPass] = TrainingPass,
        *,
        tells: bool = False,
        keep_epsilons: bool = False,
    ) -> list[Array]:
        """Set gradient and score of a batch; return the epsilons of the inputs if they are asked for."""
        self._remember(batch)
        with memory.whole():
            work = kind(self.wiring, memory, self.dtype, batch)
            work.forward_hidden()
            if tells:
                self._tell("on_forward_pass", self._heard(work, batch))
                memory.check("on_forward_pass")
            penalty = self.calc_regularization_score if self.updater.has_penalty else None
            epsilons = work.backward(penalty=penalty, keep_epsilons=keep_epsilons)
            self._score = work.score
            self._forget()
            if tells:
                self._tell("on_backward_pass")
        return epsilons

    def _forget(self) -> None:
        """Let go of what the layers kept for the backward pass."""
        self._outside = None
        for node in self.wiring.nodes:
            node.twin.clear()

    def compute_gradient_and_score(self, dataset: Any) -> tuple[float, Flat]:
        """Return the score of a data set and its gradient, ``[P]``, summed over the examples."""
        self._gradient_of(self._checked(dataset))
        return self._score, self.gradient().copy()

    def _gradient_of(self, data: Any) -> list[Array]:
        """Set gradient and score; return the epsilons of the inputs."""
        batch, memory = batch_of(data, self.wiring, self.dtype), self._training()
        learn = partial(self._learn_gradient, keep_epsilons=True)
        epsilons: list[Array] = self._alone(learn, batch, memory)
        memory.settle()
        return epsilons

    def _gradients_by_name(self) -> dict[str, Flat]:
        return cut(self.gradient().copy(), self.param_layout)

    # Errors from outside.

    def _keep_forward(self, batch: Batch) -> list[Flat]:
        """Go forward as in training, and keep what a backward pass needs; return all values, plain."""
        work: TrainingPass = self._alone(self._forward_in_training, batch)
        self._outside = work
        return [np.array(value, self.dtype) for value in work.values]

    def _forward_in_training(self, batch: Batch) -> TrainingPass:
        self._forget()
        memory = TrainingMemory(self.wiring, WorkspaceMode.NONE)
        work = TrainingPass(self.wiring, memory, self.dtype, batch)
        work.forward_hidden()
        work.forward_outputs()
        return work

    def _backward_from(self, epsilons: Sequence[Array]) -> tuple[Flat, list[Array]]:
        """Go backward from errors that come from outside; return the gradient and the input epsilons."""
        work, self._outside = self._outside, None
        if work is None:
            raise RuntimeError("feed_forward(x, training=True, keep_inputs=True) must come first")
        outputs = [work.values[node.value] for node in self.wiring.outputs]
        errors = errors_of(epsilons, outputs, self.dtype)
        below = self._alone(partial(work.backward, errors, keep_epsilons=True))
        self._forget()
        return self.gradient().copy(), below

    # Asking.

    def _ask(
        self,
        batch: Batch,
        use: Callable[..., list[Any]],
        *facts: Any,
        training: bool = False,
        kind: type[InferencePass] = InferencePass,
    ) -> list[Any]:
        """Return what is made of a way forward, with copies of the layers where they are at work or kept."""
        memory = self._inference(training=training)
        own = not training and self._outside is None and self._claim.get()
        try:
            work = kind(self.wiring if own else self.wiring.apart(), memory, self.dtype, batch)
            if training:
                work.training = True
            results = use(work, *facts)
        except MemoryError as error:
            note_workspaces(error)
            raise
        finally:
            if own:
                self._claim.leave()
        memory.settle()
        return results

    def _outputs(
        self,
        batch: Batch,
        deliver: Callable[[Node, Array], Any],
        *,
        training: bool = False,
        kind: type[InferencePass] = InferencePass,
    ) -> list[Any]:
        """Return what ``deliver`` makes of the outputs."""
        return self._ask(batch, InferencePass.outputs, deliver, training=training, kind=kind)

    def _next_outputs(self, batch: Batch, workspace: Workspace | None, *, one_step: bool) -> list[Any]:
        """Return the outputs of steps that follow on those before; of one step they have no time."""

        def deliver(_: Node, result: Array) -> Array:
            result = result[:, :, 0] if one_step and result.ndim == 3 else result
            return delivered(result, workspace, None, batch.features)

        return self._outputs(batch, deliver, kind=SteppingPass)

    @positional(1)
    def score(self, dataset: Any = None, *, training: bool = False) -> float:
        """Return loss per example and penalties of a data set, or without one of the last batch learned.

        That of several outputs is the sum.
        """
        if dataset is None:
            return self._score

        def score(node: Node) -> float:
            mgr = self._inference(training=training).detached
            penalty = 0.0 if node.output else self.calc_regularization_score()
            return float(node.twin.compute_score(penalty, training=training, workspace_mgr=mgr))

        return float(sum(self._scored(self._checked(dataset), score, training=training)))

    @positional(1)
    def score_examples(self, dataset: Any, *, add_regularization: bool = False) -> Flat:
        """Return the loss of every example, ``[N]``, each with the whole penalties if that is asked for."""

        def score(node: Node) -> Array:
            penalty = self.calc_regularization_score() if add_regularization and not node.output else 0.0
            return node.twin.compute_score_for_examples(penalty, workspace_mgr=self._inference().detached)

        first, *others = self._scored(self._checked(dataset), score, training=False)
        for other in others:
            first += other
        return first  # type: ignore[no-any-return]  # an array of the first output layer

    def _scored(self, data: Any, score: Callable[[Node], Any], *, training: bool) -> list[Any]:
        batch = batch_of(data, self.wiring, self.dtype)
        memory = self._inference(training=training)
        work = InferencePass(self.wiring.apart(), memory, self.dtype, batch)
        work.training = training
        try:
            return work.scored(batch.labels, score)
        except MemoryError as error:
            note_workspaces(error)
            raise

    # Series, piece by piece.

    def _recurrent(self, layer: int | str) -> RecurrentLayer:
        raise NotImplementedError

    def rnn_clear_previous_state(self) -> None:
        """Forget the states of all recurrent layers: what follows is a beginning."""
        for node in self.wiring.nodes:
            if isinstance(node.twin, RecurrentLayer):
                node.twin.rnn_clear_previous_state()

    def rnn_get_previous_state(self, layer: int | str) -> dict[str, Flat]:
        """Return copies of the state of a layer, given by index or name, as `rnn_time_step` left it."""
        return self._recurrent(layer).rnn_get_previous_state()

    def rnn_set_previous_state(self, layer: int | str, state: Mapping[str, Array]) -> None:
        """Copy a state into a layer, for `rnn_time_step` to go on from."""
        self._recurrent(layer).rnn_set_previous_state(state)


def check_target(workspace: Workspace | None, out: Array) -> None:
    """Refuse two targets, a closed workspace, and what is none."""
    if workspace is not None and out is not None:
        raise ValueError("the result goes to workspace= or to out=, not to both")
    if workspace is not None and not isinstance(workspace, Workspace):
        raise TypeError(f"workspace must be a Workspace that is open, not {type(workspace).__name__}")
    if workspace is not None and not workspace.is_scope_active:
        raise ScopeError(
            f"workspace [{workspace.id}] is closed: enter it before output(), and leave it yourself",
            workspace_id=workspace.id,
        )


def delivered(
    result: Array, workspace: Workspace | None, out: Array = None, apart_from: Sequence[Array] = ()
) -> Array:
    """Return a result where it is wanted: in ``out``, in a workspace, or plain and nobody else's."""
    if out is not None:
        _check_out(out, result)
        out[...] = result
        return out
    if workspace is not None:
        return workspace.array(result)
    plain = detach(result)
    if plain is result and any(share_memory(plain, other) for other in apart_from):
        plain = plain.copy()
    return plain


def _check_out(out: Array, result: Array) -> None:
    """Refuse what cannot hold a result: no array, another shape, or a dtype that would lose it."""
    if not isinstance(out, np.ndarray | WorkspaceArray):
        raise TypeError(f"out must be an array, not {type(out).__name__}")
    if tuple(out.shape) != tuple(result.shape):
        raise ValueError(f"out must have shape {list(result.shape)}, not {list(out.shape)}")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        raise TypeError(f"out must be able to hold {result.dtype}, and {out.dtype} is not")
