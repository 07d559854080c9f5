"""What must be equal between a call with plain arrays and the same call with workspace arrays."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_support import Refusal, address
from compared_operands import Operand

import ndarena

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Outcome:
    """What a call returned or raised, and what it warned of."""

    result: Any
    warnings: list[tuple[type[Warning], str]]


@dataclass(frozen=True)
class Pair:
    """An operand in the two calls."""

    ours: Any
    plain: np.ndarray


def made(value: Any, make: Callable[[Operand], Any]) -> Any:
    """Make all operands in arguments."""
    if isinstance(value, Operand):
        return make(value)
    if isinstance(value, list | tuple):
        return type(value)(made(item, make) for item in value)
    if isinstance(value, dict):
        return {key: made(item, make) for key, item in value.items()}
    return value


def in_numpys_words(message: str) -> str:
    """Name the class of the operand as in the call with plain arrays."""
    message = re.sub(r"ndarena\.WorkspaceArray", "numpy.ndarray", message)
    message = re.sub(r"\bWorkspaceArray\(", "array(", message)
    message = re.sub(r"\bWorkspaceArray\b", "ndarray", message)
    return re.sub(r"\s+", " ", message)  # lines of a longer name are indented further


def outcome(call: Callable[[], Any]) -> Outcome:
    """Call, and keep what comes of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result: Any
        try:
            result = call()
        except Exception as error:
            result = Refusal(type(error), in_numpys_words(str(error)))
    return Outcome(result, [(w.category, in_numpys_words(str(w.message))) for w in caught])


def bits(array: np.ndarray) -> Any:
    """Give the bytes of the elements, without padding."""
    if array.dtype.names is not None:
        return [bits(array[name]) for name in array.dtype.names]
    if array.dtype.kind not in "fc" or array.dtype.itemsize % 16 or array.dtype.char not in "gG":
        return array.tobytes()
    raw = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, 16)
    return raw[:, :10].tobytes()


def assert_same_values(got: np.ndarray, want: np.ndarray) -> None:
    """Equal dtype, shape and bits."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if want.dtype.hasobject:
        assert repr(got.tolist()) == repr(want.tolist())
    elif bits(got) != bits(want):
        assert got.tolist() == want.tolist()
        message = "equal values of different bits"
        raise AssertionError(message)


def steps(array: Any) -> list[int]:
    """Give the strides that lead somewhere."""
    return [step for n, step in zip(array.shape, array.strides, strict=True) if n > 1]


def is_writeable(array: Any) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of `broadcast_arrays`, on first look
        flag: bool = array.flags.writeable
        return flag


class Comparison:
    """Compares the outcomes of the two calls."""

    def __init__(self, pairs: Sequence[Pair], current: ndarena.Workspace, *, is_dispatched: bool) -> None:
        self.pairs = pairs
        self.current = current
        self.is_dispatched = is_dispatched

    def check(self, got: Outcome, want: Outcome) -> None:
        self.check_result(got.result, want.result)
        assert got.warnings == want.warnings
        for pair in self.pairs:
            ours = pair.ours if type(pair.ours) is np.ndarray else pair.ours.numpy()
            assert_same_values(ours, pair.plain)

    def check_result(self, got: Any, want: Any) -> None:
        if isinstance(want, Refusal) or isinstance(got, Refusal):
            assert isinstance(got, Refusal) and isinstance(want, Refusal) and got == want, (
                f"{got!r} instead of {want!r}"
            )
        elif type(want) is np.ndarray:
            self.check_array(got, want)
        elif isinstance(want, tuple | list):
            assert type(got) is type(want)
            assert len(got) == len(want)
            for g, w in zip(got, want, strict=True):
                self.check_result(g, w)
        elif isinstance(want, np.ndarray | np.generic):
            assert type(got) is type(want)
            assert_same_values(np.asarray(got), np.asarray(want))
        elif isinstance(want, str):
            assert in_numpys_words(got) == in_numpys_words(want)
        else:
            assert type(got) is type(want)
            if isinstance(want, bool | int | float | complex | bytes | np.dtype | type | None):
                np.testing.assert_equal(got, want)

    def check_array(self, got: Any, want: np.ndarray) -> None:
        for pair in self.pairs:
            if want is pair.plain and self.is_dispatched:
                assert got is pair.ours
                return
        sharing = self.sharing(want)
        owner = sharing[0] if sharing else None
        is_plain = want.dtype.hasobject or not self.is_dispatched
        is_plain = is_plain or (owner is not None and type(owner.ours) is np.ndarray)
        if want.size == 0 and any(type(pair.ours) is np.ndarray for pair in self.pairs):
            is_plain = type(got) is np.ndarray  # without bytes, whose view it is cannot be told
        assert type(got) is (np.ndarray if is_plain else ndarena.WorkspaceArray), type(got)
        assert_same_values(got if is_plain else got.numpy(), want)
        assert is_writeable(got) == is_writeable(want)
        if owner is not None:
            assert address(got) - address(owner.ours) == address(want) - address(owner.plain)
            assert steps(got) == steps(want)
            if not is_plain:
                assert got.workspace is owner.ours.workspace
        elif not is_plain:
            self.check_new(got, want)

    def sharing(self, want: np.ndarray) -> list[Pair]:
        """Find the operands in whose memory NumPy's result lies."""
        return [p for p in self.pairs if want.size and np.may_share_memory(want, p.plain)]

    def check_new(self, got: Any, want: np.ndarray) -> None:
        """Check the place of a result that is no view of an operand, and its memory order."""
        if want.size == 0:
            return
        assert got.workspace is self.current
        # A view of a temporary, with gaps or backwards, comes without its temporary.
        assert steps(got) == steps(want.copy(order="K")), f"{got.strides} instead of {want.strides}"
