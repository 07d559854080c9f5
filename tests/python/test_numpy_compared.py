"""Every public function of NumPy does the same with workspace arrays as with plain ones.

The functions are read out of `numpy`, `numpy.linalg` and `numpy.fft`; dtypes, shapes, layouts and arguments
are drawn by hypothesis. Compared are the bits, dtype, shape, strides and place of the result, the class and
the text of errors and warnings, and the state of the operands afterwards.
"""

from __future__ import annotations

import ctypes
import itertools
import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_support import Refusal, Scopes, open_scopes
from compared_calls import (
    ADDED,
    EXCEPTIONS,
    FUNCTIONS,
    NOT_DISPATCHED,
    REMOVED,
    ROWS,
    UFUNCS,
    Arguments,
    arguments,
    row_of,
)
from compared_methods import (
    ATTRIBUTES,
    BINARY,
    IN_PLACE,
    IN_PLACE_ROWS,
    METHOD_ROWS,
    METHODS_APART,
    OF_NDARRAY,
    UNARY,
    Call,
    method_call,
    ufunc_call,
    with_out,
)
from compared_operands import Draw, Operand
from compared_results import Comparison, Pair, made, outcome
from hypothesis import given, note, settings
from hypothesis import strategies as st

import ndarena

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "slow" else 9
EXCEPTED = {name for names in EXCEPTIONS.values() for name in names.split()}
PLAIN_FUNCTIONS = [name for name in FUNCTIONS if name not in EXCEPTED and name not in UFUNCS]


@pytest.fixture
def scopes() -> Iterator[Scopes]:
    with open_scopes() as scopes, np.errstate(all="warn"):
        yield scopes


def compare(
    scopes: Scopes, call: Callable[..., Any], arguments: Arguments, *, is_dispatched: bool = True
) -> bool:
    """Compare one call; tell whether NumPy accepted it."""
    note(f"{call} {arguments}")
    places = {"outer": scopes.outer, "inner": scopes.inner}
    pairs: dict[int, Pair] = {}

    def pair(operand: Operand) -> Pair:
        if id(operand) not in pairs:
            pairs[id(operand)] = Pair(operand.ours(places), operand.plain())
        return pairs[id(operand)]

    ours = made(arguments, lambda operand: pair(operand).ours)
    plain = made(arguments, lambda operand: pair(operand).plain)
    want = outcome(lambda: call(*plain[0], **plain[1]))
    got = outcome(lambda: call(*ours[0], **ours[1]))
    Comparison(list(pairs.values()), scopes.inner, is_dispatched=is_dispatched).check(got, want)
    return not isinstance(want.result, Refusal)


def run(
    scopes: Scopes, draw_call: Callable[[Draw], Call], *, times: int = 1, is_dispatched: bool = True
) -> None:
    """Compare calls that hypothesis draws; NumPy must accept some of them."""
    accepted = 0

    @settings(max_examples=EXAMPLES * times)
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        nonlocal accepted
        call, arguments = draw_call(Draw(data))
        accepted += compare(scopes, call, arguments, is_dispatched=is_dispatched)

    examples()
    assert accepted > 0, "no call was accepted by NumPy"


@pytest.mark.parametrize("name", PLAIN_FUNCTIONS)
def test_function(scopes, name):
    is_dispatched = name not in NOT_DISPATCHED
    run(scopes, lambda draw: with_out(draw, FUNCTIONS[name], row_of(name)), is_dispatched=is_dispatched)


@pytest.mark.parametrize("name", UFUNCS)
def test_ufunc(scopes, name):
    run(scopes, lambda draw: ufunc_call(draw, UFUNCS[name]), times=2)


@pytest.mark.parametrize("name", [n for n in OF_NDARRAY if n not in METHODS_APART])
def test_method(scopes, name):
    run(scopes, lambda draw: method_call(draw, name))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attribute(scopes, name):
    run(scopes, lambda draw: (operator.attrgetter(name), arguments(draw, "a")))


@pytest.mark.parametrize("name", BINARY.split())
def test_operator(scopes, name):
    function = getattr(operator, name)

    def draw_call(draw: Draw) -> Call:
        args, _ = arguments(draw, "a scalar_or_related")
        return function, (args[:: draw.pick(1, -1)], {})

    run(scopes, draw_call, times=2)


@pytest.mark.parametrize("name", IN_PLACE.split())
def test_operator_in_place(scopes, name):
    row = IN_PLACE_ROWS.get(name, "w scalar_or_related")
    run(scopes, lambda draw: (getattr(operator, name), arguments(draw, row)), times=2)


@pytest.mark.parametrize("name", UNARY.split())
def test_unary_operator(scopes, name):
    run(scopes, lambda draw: (getattr(operator, name), arguments(draw, "a")))


def test_reading_elements(scopes):
    run(scopes, lambda draw: (operator.getitem, arguments(draw, "a key")), times=25)


def test_writing_elements(scopes):
    run(scopes, lambda draw: (operator.setitem, arguments(draw, "w key scalar_or_related")), times=25)


class TestTheTables:
    """No row is stale, and none is missing."""

    def test_every_name_is_one_of_numpys(self):
        known = {*FUNCTIONS, *ADDED, *REMOVED}
        assert {*ROWS, *EXCEPTED, *NOT_DISPATCHED} - known == set()
        assert {*METHOD_ROWS, *METHODS_APART} - {*OF_NDARRAY} == set()

    def test_a_name_of_some_versions_only_is_in_these(self):
        version = tuple(int(part) for part in np.__version__.split(".")[:2])
        assert {name for name in ADDED if name in FUNCTIONS} == {n for n, v in ADDED.items() if version >= v}
        assert {name for name in REMOVED if name in FUNCTIONS} == {
            n for n, v in REMOVED.items() if version < v
        }

    def test_every_function_is_compared_or_excepted(self):
        assert not EXCEPTED & set(ROWS)
        assert set(FUNCTIONS) == set(PLAIN_FUNCTIONS) | set(UFUNCS) | (EXCEPTED & set(FUNCTIONS))
        assert len(PLAIN_FUNCTIONS) > 250
        assert len(UFUNCS) > 95

    def test_an_excepted_function_does_not_ask_its_operands(self):
        """What dispatches may be excepted only if it writes files or leaves values undefined."""
        dispatched = {n for n in EXCEPTED & set(FUNCTIONS) if type(FUNCTIONS[n]) is type(np.sum)}
        assert dispatched == {"empty_like", "save", "savetxt", "savez", "savez_compressed"}

    def test_what_is_not_dispatched_returns_plain_arrays(self, scopes):
        ours = scopes.inner.array([1.0, 2.0])
        for name in sorted(NOT_DISPATCHED - {"frombuffer", "fromiter", "require"}):
            assert type(FUNCTIONS[name](ours)) is np.ndarray


class TestWhatItFound:
    """Each of these went wrong once."""

    def test_reductions_of_every_memory_order(self, scopes):
        """NumPy 2.0 and 2.1 write wrong values into `out` for axes that run backwards."""
        values = np.random.default_rng(0).integers(1, 9, (3, 4, 2)).astype(float)
        steps = itertools.product((1, -1), repeat=3)
        for axes, step in itertools.product(itertools.permutations(range(3)), steps):
            part = tuple(slice(None, None, s) for s in step)
            plain = values.transpose(axes)[part]
            ours = scopes.inner.array(values).transpose(axes)[part]
            for n in (1, 2):
                for over in itertools.combinations(range(3), n):
                    for reducer in (np.max, np.min, np.prod, np.sum, np.maximum.reduce):
                        assert (reducer(ours, axis=over).numpy() == reducer(plain, axis=over)).all()

    @pytest.mark.parametrize("location", ["RAM", "MMAP"])
    def test_numpy_may_read_a_byte_at_the_address_of_an_array_without_elements(self, location):
        """`copyto` with a mask does, and ended the process."""
        size = 1 << 20
        whole = ndarena.Workspace(
            ndarena.WorkspaceConfiguration(
                initial_size=size,
                policy_learning="NONE",
                policy_allocation="STRICT",
                policy_location=location,
            )
        )
        with whole:
            every = whole.zeros(size, bool)
            assert whole.number_of_external_allocations == 0
            for array in [whole.zeros((2, 0, 3), bool), every[size:], every.numpy()[size:]]:
                view = np.asarray(array)
                assert view.size == 0
                np.copyto(np.zeros(view.shape, bool), view, where=view)
                assert len(ctypes.string_at(view.__array_interface__["data"][0], 1)) == 1

    def test_a_copy_of_a_broadcast_array_has_numpys_memory_order(self, scopes):
        rows = np.broadcast_to(np.arange(3.0), (2, 3))
        ours = np.broadcast_to(scopes.outer.array([0.0, 1.0, 2.0]), (2, 3))
        for copy in [lambda x: x.astype("f4"), lambda x: x.astype("f8"), np.copy]:
            assert copy(ours).strides == copy(rows).strides
        assert ours.dup().strides == rows.copy("K").strides

    def test_a_stack_of_products_lies_as_the_stacks_of_its_operands(self, scopes):
        def stack(make):
            return np.moveaxis(make(np.arange(24.0).reshape(3, 2, 2, 2)), 0, 1)

        ours, theirs = stack(scopes.outer.array), stack(np.array)
        assert (ours @ ours).strides == (theirs @ theirs).strides

    def test_a_reduction_of_a_broadcast_array_has_numpys_memory_order(self, scopes):
        def tangled(make):
            return np.broadcast_to(make(np.arange(6.0).reshape(3, 2)).T[:, np.newaxis], (2, 3, 3))

        ours, theirs = tangled(scopes.outer.array), tangled(np.array)
        for axis in (0, 1, 2):
            assert ours.max(axis=axis).strides == theirs.max(axis=axis).strides
