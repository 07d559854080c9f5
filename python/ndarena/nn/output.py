"""Layers with a loss (DL4J: ``OutputLayer``, ``LossLayer`` and their forms for series)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ndarena._core import ArrayType, LayerWorkspaceMgr
from ndarena.nn.activations import (
    Activation,
    ActivationHardSigmoid,
    ActivationIdentity,
    ActivationSigmoid,
    ActivationSoftmax,
    IActivation,
    activation_of,
)
from ndarena.nn.declared import keep
from ndarena.nn.feed_forward import FullyConnected
from ndarena.nn.input_type import InputType, InputTypeFeedForward, InputTypeRecurrent
from ndarena.nn.layer import Layer
from ndarena.nn.losses import ILossFunction, LossFunction, loss_of
from ndarena.nn.series import like_series, rows_of_mask, rows_of_series, series_of

if TYPE_CHECKING:
    from ndarena.nn.words import Array

__all__ = ["LossLayer", "OutputLayer", "RnnLossLayer", "RnnOutputLayer", "WithLoss"]

ACTIVATIONS = ArrayType.ACTIVATIONS
ACTIVATION_GRAD = ArrayType.ACTIVATION_GRAD
FF_WORKING_MEM, BP_WORKING_MEM = ArrayType.FF_WORKING_MEM, ArrayType.BP_WORKING_MEM
PROBABILITIES = (ActivationSoftmax, ActivationSigmoid, ActivationHardSigmoid)


class WithLoss(Layer):
    """A layer that is told its ``labels`` and says how far its activation is from them.

    Losses are computed of rows. Where the output is no matrix, a subclass says which rows it is made of.

    Parameters
    ----------
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy.
    """

    loss: str | LossFunction | ILossFunction = "mcxent"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("loss", loss_of(self.loss, self._owner()))

    in_rows: ClassVar[bool] = True
    """Whether an output is a matrix, so that nothing need be turned into rows and back."""

    labels = cast("Array", None)
    """What a twin is told: what its activation should be."""
    _kept = cast("Any", None)
    _asked = cast("tuple[object, tuple[Array, ...], dict[str, Array]] | None", None)
    """What the loss was asked with for the gradient, behind what it was made of."""

    def clear(self) -> None:
        """Forget what the forward pass kept, and the labels."""
        super().clear()
        if self.labels is not None:
            keep(self, "labels", None)
        if self._asked is not None:
            keep(self, "_asked", None)

    def compute_score(
        self,
        regularization: float = 0.0,
        *,
        training: bool = False,
        workspace_mgr: LayerWorkspaceMgr,
    ) -> float:
        """Return the loss per example plus ``regularization``; without a forward pass: `RuntimeError`."""
        given, known = self._given(workspace_mgr)
        loss: Any = self.loss
        total: float = loss.compute_score(*given, average=False, **known)
        return total / (len(self.labels) or 1) + regularization

    def compute_score_for_examples(
        self,
        regularization: float = 0.0,
        *,
        workspace_mgr: LayerWorkspaceMgr,
    ) -> Array:
        """Return the loss of every example plus ``regularization``, ``[batch]``."""
        given, known = self._given(workspace_mgr)
        loss: Any = self.loss
        scores = loss.compute_score_array(*given, **known)
        return self._per_example(scores, len(self.labels)) + regularization

    @property
    def is_classifier(self) -> bool:
        """Whether the activation may be probabilities."""
        return True

    # How an output lies in rows; a matrix does so by itself.

    def _rows_of(self, x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        """Return the rows of input, output or labels; copied to a role's place where there is no view."""
        return x

    def _masks_for(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shapes that a mask of such an output may have: one number a row, or one an element."""
        return [(shape[0], 1), shape]

    def _rows_of_mask(self, mask: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        """Return a mask as that of the rows."""
        return mask

    def _output_of(self, rows: Array, like: Array) -> Array:
        """Return rows in the shape of an output for the input ``like``, as a view."""
        return rows

    def _per_example(self, scores: Array, examples: int) -> Array:
        """Return the scores of rows as those of examples."""
        return scores

    # What the subclass has of its forward pass.

    @cached_property
    def _function(self) -> IActivation:
        raise NotImplementedError

    def _sums(self, mgr: LayerWorkspaceMgr) -> tuple[Array, Array, Array, Array]:
        """Return the input, the rows of what the activation function was given, the mask, and the activation.

        The last one is ``None`` where it is not known without the mask.
        """
        raise NotImplementedError

    def _hide(self, rows: Array, output: Array, mask: Array, mgr: LayerWorkspaceMgr) -> None:
        """Set what is masked of an output, given as its rows too, to 0, in place; check the mask."""
        self._check_mask(mask, *self._masks_for(output.shape))
        rows *= self._rows_of_mask(mask, mgr, FF_WORKING_MEM)

    def _given(self, mgr: LayerWorkspaceMgr) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """Return what the methods of the loss are given, and by name what need not be computed again."""
        if self._asked is not None and self._asked[0] is self._kept and self._asked[1][0] is self.labels:
            return self._asked[1:]
        loss: Any = self.loss
        (x, sums, mask, output), labels = self._sums(mgr), self.labels
        if labels is None:
            raise RuntimeError(f"{self.name}: it has no labels")
        expected = sums.shape if self.in_rows else self._output_of(sums, x).shape
        columns = loss.label_columns(expected[1])
        if columns != expected[1]:
            expected = (expected[0], columns, *expected[2:])
        if labels.shape != expected:
            self._refuse_shape("labels", str(list(expected)), labels, _cure(labels.shape, expected))
        rows = labels if self.in_rows else self._rows_of(labels, mgr, FF_WORKING_MEM)
        if mask is not None:
            mask = self._rows_of_mask(mask, mgr, FF_WORKING_MEM)
        given = rows, sums, self._function, mask
        known = {"output": output} if output is not None and loss.takes_output else {}
        if self.in_rows:  # nothing of it lies in scratch
            keep(self, "_asked", (self._kept, given, known))
        return given, known

    def _delta(self, epsilon: Array, mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative to what the activation function was given, in rows.

        It is that of the loss, or of an error from outside, of which ``epsilon`` is that to the activation.
        """
        if epsilon is None:
            given, known = self._given(mgr)
            loss: Any = self.loss
            return loss.compute_gradient(*given, **known)
        _, sums, mask, _ = self._sums(mgr)
        rows = self._rows_of(epsilon, mgr, BP_WORKING_MEM)
        if mask is not None:
            rows = rows * self._rows_of_mask(mask, mgr, BP_WORKING_MEM)
        return self._function.backprop(sums, rows)


def _cure(given: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Return what makes labels of numbers, one an example, into such as are expected."""
    if len(expected) != 2 or given not in {expected[:1], (expected[0], 1)}:
        return ""
    if expected[1] == 1:
        return ": labels[:, None] has that shape"
    numbers = "labels" if len(given) == 1 else "labels[:, 0]"
    return f": numbers of classes become rows by np.eye({expected[1]})[{numbers}]"


class OutputLayer(FullyConnected, WithLoss):
    """A fully connected layer with a loss (DL4J: ``OutputLayer``); its ``labels`` are ``[batch, n_out]``.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of outputs.
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy.
    activation : str, Activation or IActivation
        Default: softmax.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    activation: str | Activation | IActivation | None = "softmax"

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return ``[batch, n_out]`` for ``[batch, n_in]``, 0 where ``mask`` is; else `ValueError`."""
        self._check_input(x)
        given = x if self.in_rows else self._rows_of(x, workspace_mgr, FF_WORKING_MEM)
        out = sums = self._sums_of(given, workspace_mgr)
        may_be_asked = training or self.labels is not None
        if may_be_asked:
            out = workspace_mgr.create_uninitialized(ACTIVATIONS, sums.shape, sums.dtype)
        rows = self._function.forward(sums, training=training, out=out)
        output = rows if self.in_rows else self._output_of(rows, x)
        if mask is not None:
            self._hide(rows, output, mask, workspace_mgr)
        if may_be_asked:
            keep(self, "_kept", (x, sums, mask, rows if mask is None else None))
        return output

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative of the summed loss with respect to the input, in its shape.

        ``epsilon`` is ``None``, or the derivative of an error from outside to the activation, which takes the
        place of the loss. Without a forward pass in training: `RuntimeError`.
        """
        x = (self._kept or self._refuse_backward())[0]
        delta = self._delta(epsilon, workspace_mgr)
        rows = x if self.in_rows else self._rows_of(x, workspace_mgr, BP_WORKING_MEM)
        below = self._gradient_from(rows, delta, workspace_mgr)
        return below if self.in_rows or below is None else self._output_of(below, x)

    def _check_input(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}]", x)

    def _sums(self, mgr: LayerWorkspaceMgr) -> tuple[Array, Array, Array, Array]:
        return self._kept or self._refuse_backward()

    @property
    def is_classifier(self) -> bool:
        """Whether the activation is made of probabilities."""
        return isinstance(self._function, PROBABILITIES)


class LossLayer(WithLoss):
    """A loss of what comes in, ``[batch, n]``, without parameters (DL4J: ``LossLayer``).

    Parameters
    ----------
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy.
    activation : str, Activation or IActivation
        Default: identity.
    """

    inherits_dropout: ClassVar[bool] = False
    input_kind: ClassVar[type[InputType] | None] = InputTypeFeedForward

    activation: str | Activation | IActivation = "identity"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        self._set("activation", activation_of(self.activation, self._owner()))

    def clear(self) -> None:
        """Forget input, mask and labels."""
        super().clear()
        self._kept: tuple[Array, Array] | None = None

    def activate(
        self, x: Array, *, training: bool = False, workspace_mgr: LayerWorkspaceMgr, mask: Array = None
    ) -> Array:
        """Return the activation of ``x``, 0 where ``mask`` is; another rank is a `ValueError`."""
        self._check_input(x)
        rows = self._rows_of(x, workspace_mgr, FF_WORKING_MEM)
        out = workspace_mgr.create_uninitialized(ACTIVATIONS, rows.shape, rows.dtype)
        out = self._function.forward(rows, training=training, out=out)
        output = self._output_of(out, x)
        if mask is not None:
            self._hide(out, output, mask, workspace_mgr)
        if training or self.labels is not None:
            self._kept = x, mask
        return output

    def backprop_gradient(self, epsilon: Array, *, workspace_mgr: LayerWorkspaceMgr) -> Array:
        """Return the derivative of the summed loss with respect to the input, in its shape.

        ``epsilon`` is ``None``, or the derivative of an error from outside to the activation, which takes the
        place of the loss. Without a forward pass in training: `RuntimeError`.
        """
        delta = self._delta(epsilon, workspace_mgr)
        x, _ = self._from_forward()
        return self._output_of(workspace_mgr.leverage_to(ACTIVATION_GRAD, delta), x)

    def _check_input(self, x: Array) -> None:
        if x.ndim != 2:
            self._refuse_input("[batch, features]", x)

    def _from_forward(self) -> tuple[Array, Array]:
        if self._kept is None:
            raise RuntimeError(f"{self.name}: activate() in training, or with labels, must come first")
        return self._kept

    def _sums(self, mgr: LayerWorkspaceMgr) -> tuple[Array, Array, Array, Array]:
        x, mask = self._from_forward()
        return x, self._rows_of(x, mgr, FF_WORKING_MEM), mask, None

    @cached_property
    def _function(self) -> IActivation:
        return activation_of(self.activation, self._owner())

    @property
    def is_classifier(self) -> bool:
        """Whether the activation is made of probabilities, if what comes in is."""
        return isinstance(self._function, (*PROBABILITIES, ActivationIdentity))


class RowsOfSeries:
    """Outputs ``[batch, n, time]``, whose steps are rows; masks are ``[batch, time]`` or of that shape."""

    in_rows: ClassVar[bool] = False

    def _rows_of(self, x: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        return rows_of_series(x, mgr, role)

    def _masks_for(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        batch, _, time = shape
        return [(batch, time), (batch, 1, time), shape]

    def _rows_of_mask(self, mask: Array, mgr: LayerWorkspaceMgr, role: ArrayType) -> Array:
        return rows_of_mask(mask, mgr, role)

    def _output_of(self, rows: Array, like: Array) -> Array:
        return series_of(rows.reshape(like.shape[2], like.shape[0], rows.shape[1]))

    def _per_example(self, scores: Array, examples: int) -> Array:
        return scores.reshape(-1, examples).sum(axis=0) if examples else scores


class RnnOutputLayer(RowsOfSeries, OutputLayer):
    """An output layer for every step of a series (DL4J: ``RnnOutputLayer``).

    Its ``labels`` are ``[batch, n_out, time]``. A loss is summed over the steps that are kept.

    Parameters
    ----------
    n_in : int, optional
        Number of inputs; by default taken from the input type.
    n_out : int
        Number of outputs.
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy.
    activation : str, Activation or IActivation
        Default: softmax, of every step.
    has_bias : bool
        Whether ``b`` is added.

    Further parameters: those of `BaseLayer` and `Layer`. A field that is wrong is a `ConfigurationError`.
    """

    input_kind = InputTypeRecurrent

    def get_output_type(self, input_type: InputType) -> InputType:
        """Return series of ``n_out`` features, as long as the input."""
        return like_series(input_type, self.n_out)

    def _check_input(self, x: Array) -> None:
        if x.ndim != 3 or x.shape[1] != self.n_in:
            self._refuse_input(f"[batch, {self.n_in}, time]", x)


class RnnLossLayer(RowsOfSeries, LossLayer):
    """A loss of every step of a series ``[batch, n, time]`` (DL4J: ``RnnLossLayer``).

    Parameters
    ----------
    loss : str, LossFunction or ILossFunction
        Default: cross-entropy. It is summed over the steps that are kept.
    activation : str, Activation or IActivation
        Default: identity.
    """

    input_kind = InputTypeRecurrent

    def _check_input(self, x: Array) -> None:
        if x.ndim != 3:
            self._refuse_input("[batch, features, time]", x)
