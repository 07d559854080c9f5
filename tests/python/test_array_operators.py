"""The operators of Python on workspace arrays: values, places, and who may answer first."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from array_support import NUMERIC, address, assert_equal, open_scopes, outcome, plain, sample

import ndarena

BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "@": operator.matmul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "divmod": divmod,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
}
IN_PLACE = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "//=": operator.ifloordiv,
    "%=": operator.imod,
    "**=": operator.ipow,
    "@=": operator.imatmul,
    "&=": operator.iand,
    "|=": operator.ior,
    "^=": operator.ixor,
    "<<=": operator.ilshift,
    ">>=": operator.irshift,
}
UNARY = {"-": operator.neg, "+": operator.pos, "~": operator.invert, "abs": abs}
REFLECTED = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>", "divmod": "divmod",
}  # fmt: skip
DTYPES = [*NUMERIC, "M8[D]", "m8[s]", "S3", "U3", ">i4", ">f8"]


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


@pytest.mark.parametrize("symbol", BINARY)
class TestBinary:
    """Each test compares with NumPy for every dtype, errors included: class and message."""

    def test_two_workspace_arrays(self, scopes, symbol):
        for dtype in DTYPES:
            scopes.check(BINARY[symbol], sample(dtype, (3, 3)), sample(dtype, (3, 3), start=2))

    def test_a_plain_array_on_either_side(self, scopes, symbol):
        self.check_both_sides(scopes, BINARY[symbol], lambda x: x)

    def test_a_scalar_on_either_side(self, scopes, symbol):
        self.check_both_sides(scopes, BINARY[symbol], lambda x: x[0, 0])

    def test_a_list_on_either_side(self, scopes, symbol):
        self.check_both_sides(scopes, BINARY[symbol], np.ndarray.tolist)

    def check_both_sides(self, scopes, op, convert):
        for dtype in DTYPES:
            other = convert(sample(dtype, (3, 3), start=2))
            scopes.check(lambda a, other=other: op(a, other), sample(dtype, (3, 3)))
            scopes.check(lambda a, other=other: op(other, a), sample(dtype, (3, 3)))


SCALARS = [True, 2, -1, 2.5, 1j, 300, 2**70, np.float32(2), np.int8(3), np.longdouble(2)]


@pytest.mark.parametrize("dtype", ["?", "b", "B", "l", "Q", "e", "f", "d", "F"])
@pytest.mark.parametrize("symbol", ["+", "-", "*", "/", "//", "**", "<", "==", "&"])
def test_promotion_of_scalars_is_numpys(scopes, symbol, dtype):
    op = BINARY[symbol]
    for scalar in SCALARS:
        scopes.check(lambda a, scalar=scalar: op(a, scalar), sample(dtype))
        scopes.check(lambda a, scalar=scalar: op(scalar, a), sample(dtype))


@pytest.mark.parametrize("left", ["?", "b", "Q", "e", "f", "d", "D", "M8[s]", "S3"])
@pytest.mark.parametrize("symbol", ["+", "*", "/", "<", "=="])
def test_promotion_of_arrays_is_numpys(scopes, symbol, left):
    for right in ["?", "b", "Q", "e", "f", "d", "D", "m8[s]", "U3"]:
        scopes.check(BINARY[symbol], sample(left), sample(right))


@pytest.mark.parametrize("symbol", UNARY)
def test_unary(scopes, symbol):
    for dtype in DTYPES:
        scopes.check(UNARY[symbol], sample(dtype))


@pytest.mark.parametrize("symbol", [*BINARY, *UNARY])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1,), (2, 3, 4)])
def test_shapes(scopes, symbol, shape):
    operands = [sample("l", shape), sample("l", shape, start=2)]
    if symbol in BINARY:
        scopes.check(BINARY[symbol], *operands)
    else:
        scopes.check(UNARY[symbol], operands[0])


@pytest.mark.parametrize("symbol", BINARY)
def test_operands_of_different_shape(scopes, symbol):
    scopes.check(BINARY[symbol], sample("d", (3, 1)), sample("d", (1, 3)))
    scopes.check(BINARY[symbol], sample("d", (3, 2)), sample("d", (5,)))


@pytest.mark.parametrize("symbol", IN_PLACE)
class TestInPlace:
    """For every dtype, with NumPy's result or error."""

    def test_the_handle_stays_and_the_memory_changes(self, scopes, symbol):
        """An operator that writes in place returns the handle it was given."""

        def apply(a, b):
            where = address(a)
            result = IN_PLACE[symbol](a, b)
            assert result is a
            assert address(a) == where
            return result

        for dtype in DTYPES:
            scopes.check(apply, sample(dtype, (3, 3)), sample(dtype, (3, 3), start=2))

    def test_a_plain_operand(self, scopes, symbol):
        for dtype in DTYPES:
            other = sample(dtype, (3, 3), start=2)
            for operand in [other, other[0, 0]]:
                scopes.check(lambda a, b=operand: IN_PLACE[symbol](a, b), sample(dtype, (3, 3)))

    def test_a_plain_target_stays_plain(self, scopes, symbol):
        for dtype in DTYPES:
            other, target, expected = (
                sample(dtype, (3, 3), start=2),
                sample(dtype, (3, 3)),
                sample(dtype, (3, 3)),
            )
            want = outcome(lambda o=other, t=expected: IN_PLACE[symbol](t, o))
            got = outcome(lambda o=other, t=target: IN_PLACE[symbol](t, scopes.outer.array(o)))
            if want is expected:
                assert got is target
            else:
                assert got == want
            np.testing.assert_array_equal(target, expected)


def test_in_place_takes_no_memory_of_the_current_workspace(scopes):
    a = scopes.outer.array(sample("d"))
    before = scopes.inner.stats()
    a += a
    a *= 2.0
    a -= 1
    assert scopes.inner.stats() == before


def test_in_place_with_an_overlapping_operand(scopes):
    def shift(a):
        a[1:] += a[:-1]
        return a

    scopes.check(shift, sample("d", (9,)))


@pytest.mark.parametrize("name", REFLECTED)
def test_reflected_slots_exist_and_swap(scopes, name):
    ours = scopes.outer.array(sample("l", (3, 3)))
    got = getattr(ours, f"__r{name}__")(2 if name != "matmul" else np.eye(3, dtype=int))
    want = BINARY[REFLECTED[name]](2 if name != "matmul" else np.eye(3, dtype=int), sample("l", (3, 3)))
    for g, w in zip(got, want, strict=True) if name == "divmod" else [(got, want)]:
        assert_equal(g, w)


def test_power_with_a_modulus_is_refused_as_in_numpy(scopes):
    scopes.check(lambda a: pow(a, 2, 3), sample("l"))
    scopes.check(lambda a: pow(a, 2), sample("l"))
    scopes.check(lambda a: pow(a, 2, None), sample("l"))


@pytest.mark.parametrize("exponent", [2, 0.5, -1, 1, 0, 2.0, 3.5])
@pytest.mark.parametrize("dtype", ["l", "f", "d", "D"])
def test_powers(scopes, exponent, dtype):
    scopes.check(lambda a: a**exponent, sample(dtype))


@pytest.mark.parametrize("symbol", ["==", "!="])
def test_equality_with_what_is_no_array(scopes, symbol):
    for other in [None, "text", object, ..., {}]:
        scopes.check(lambda a, other=other: BINARY[symbol](a, other), sample("d"))


def test_a_chain_of_temporaries(scopes):
    scopes.check(
        lambda a, b, c: (a + b) * c - a / (b + 1.0) ** 2, sample("d"), sample("d", start=4), sample("d")
    )


def test_truth_and_numbers_are_numpys(scopes):
    for convert in [bool, int, float, complex, operator.index, round, len, list, str.__len__]:
        for value in [
            np.array(3),
            np.array(2.5),
            np.array([1.5]),
            np.array([[4]]),
            np.ones(3),
            np.array([]),
            np.array(True),
        ]:
            scopes.check(convert, value)


def test_an_array_is_not_hashable(scopes):
    with pytest.raises(TypeError, match="unhashable type"):
        hash(scopes.outer.zeros(3))


class Mute:
    """Opts out of ufuncs and answers for itself."""

    __array_ufunc__ = None

    def _answer(self, other):
        return "mute"

    __add__ = __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _answer
    __rmatmul__ = __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = __rdivmod__ = _answer
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _answer
    __hash__ = None


class Silent:
    """Opts out of ufuncs and has no operators."""

    __array_ufunc__ = None
    __eq__ = None
    __ne__ = None
    __hash__ = None


class Prior:
    """Without `__array_ufunc__`, but of a higher priority than an array."""

    __array_priority__ = 1000.0
    __add__ = __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __gt__ = __lt__ = lambda self, other: "prior"


class Lower:
    """Of a lower priority than an array, and convertible."""

    __array_priority__ = -1000.0

    def __array__(self, dtype=None, copy=None):
        return np.full(3, 10.0)

    def __radd__(self, other):
        return "lower"


class Quantity:
    """Answers ufuncs for itself and records them."""

    def __init__(self):
        self.calls = []

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        self.calls.append((ufunc.__name__, method, [type(x) for x in inputs], sorted(keywords)))
        return "quantity"

    def __radd__(self, other):
        return "reflected"


class Declines:
    """Takes part in ufuncs, and always declines."""

    def __array_ufunc__(self, *_args, **_keywords):
        return NotImplemented


class Sub(np.ndarray):
    """A plain subclass."""


class Eager(np.ndarray):
    """A subclass with operators of its own and a higher priority."""

    __array_priority__ = 10.0

    def __radd__(self, other):
        return "eager"


@pytest.mark.parametrize("symbol", BINARY)
def test_an_operand_that_opted_out_answers(scopes, symbol):
    """With `__array_ufunc__ = None` on the right our slot steps back."""
    assert BINARY[symbol](scopes.outer.array(sample("d", (3, 3))), Mute()) == "mute"


def test_the_slot_itself_returns_not_implemented(scopes):
    a = scopes.outer.zeros(3)
    for slot in ["add", "radd", "sub", "matmul", "pow", "lt", "iadd"]:
        want = outcome(lambda slot=slot: getattr(np.zeros(3), f"__{slot}__")(Mute()))
        got = outcome(lambda slot=slot: getattr(a, f"__{slot}__")(Mute()))
        assert got == want
    assert a.__add__(Mute()) is NotImplemented


def test_an_operand_that_opted_out_without_operators_is_a_type_error(scopes):
    with pytest.raises(TypeError, match="unsupported operand"):
        scopes.outer.zeros(3) + Silent()
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.add(scopes.outer.zeros(3), Silent())


def test_a_higher_priority_answers(scopes):
    a = scopes.outer.zeros(3)
    assert a + Prior() == "prior"
    assert a @ Prior() == "prior"
    assert (a < Prior()) == "prior"
    assert Prior() + a == "prior"


def test_a_lower_priority_is_converted(scopes):
    got = scopes.outer.zeros(3) + Lower()
    assert type(got) is ndarena.WorkspaceArray
    assert_equal(got, np.full(3, 10.0))


def test_a_foreign_ufunc_handler_is_asked_by_the_operator(scopes):
    """As with ndarray, the operator hands a foreign `__array_ufunc__` to the ufunc, not to `__radd__`."""
    theirs, ours = Quantity(), Quantity()
    want = np.zeros(3) + theirs
    got = scopes.outer.zeros(3) + ours
    assert got == want == "quantity"
    assert [c[:2] for c in ours.calls] == [c[:2] for c in theirs.calls] == [("add", "__call__")]


@pytest.mark.parametrize(
    "name",
    [
        "add",
        "sub",
        "mul",
        "matmul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "lshift",
        "rshift",
        "and",
        "or",
        "xor",
    ],
)
def test_a_foreign_ufunc_handler_is_asked_by_the_in_place_operator(scopes, name):
    """It gets the array as `out`, and the name is bound to what it answers."""
    theirs, ours = Quantity(), Quantity()
    operation = getattr(operator, f"i{name}")
    assert operation(np.zeros(3), theirs) == operation(scopes.outer.zeros(3), ours) == "quantity"
    assert ours.calls[0][:2] == theirs.calls[0][:2]
    assert ours.calls[0][3] == [k for k in theirs.calls[0][3] if k != "axes"] == ["out"]  # matmul's own aid


def test_a_foreign_ufunc_handler_is_asked_by_the_ufunc(scopes):
    foreign = Quantity()
    a = scopes.outer.zeros(3)
    assert np.multiply(a, foreign) == "quantity"
    assert np.multiply(foreign, a) == "quantity"
    assert np.add.outer(a, foreign) == "quantity"
    assert np.add(1.0, a, out=foreign) == "quantity"
    assert [c[0] for c in foreign.calls] == ["multiply", "multiply", "add", "add"]


def test_when_everybody_declines_it_is_numpys_type_error(scopes):
    with pytest.raises(TypeError, match=r"not supported|returned NotImplemented"):
        np.add(scopes.outer.zeros(3), Declines())


def test_in_place_with_a_foreign_operand_is_numpys(scopes):
    for make in [Mute, Silent, Prior, Quantity]:
        a, target = scopes.outer.zeros(3), np.zeros(3)
        want = outcome(lambda make=make, target=target: operator.iadd(target, make()))
        got = outcome(lambda make=make, a=a: operator.iadd(a, make()))
        if isinstance(want, str):
            assert got == want
        else:
            assert getattr(got, "kind", got) == getattr(want, "kind", want)


def test_a_subclass_decides_on_its_result(scopes):
    x = sample("d", (3,))
    for got in [
        scopes.outer.array(x) + x.view(Sub),
        x.view(Sub) + scopes.outer.array(x),
        np.add(scopes.outer.array(x), x.view(Sub)),
    ]:
        assert type(got) is Sub
        np.testing.assert_array_equal(np.asarray(got), x + x)


def test_a_subclass_with_its_own_reflected_operator_answers(scopes):
    assert scopes.outer.zeros(3) + np.zeros(3).view(Eager) == np.zeros(3) + np.zeros(3).view(Eager) == "eager"


def test_a_masked_array_keeps_its_mask(scopes):
    x = sample("d", (3,))
    masked = np.ma.array(x, mask=[False, True, False])
    for op in [operator.add, operator.sub, operator.mul, operator.truediv, operator.gt]:
        for got, want in [
            (op(scopes.outer.array(x), masked), op(x, masked)),
            (op(masked, scopes.outer.array(x)), op(masked, x)),
        ]:
            assert type(got) is np.ma.MaskedArray
            np.testing.assert_array_equal(got.mask, want.mask)
            np.testing.assert_array_equal(got.compressed(), want.compressed())


def test_a_matrix_multiplies_as_a_matrix(scopes):
    x = sample("d", (3, 3))
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(x)
    got = scopes.outer.array(x) * matrix
    assert type(got) is np.matrix
    np.testing.assert_array_equal(got, x @ x)


def test_a_result_of_a_subclass_shows_no_foreign_bytes(scopes):
    """Operands go in as leased views, so what a subclass keeps of them stays."""
    kept = []

    class Keeper(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
            kept.extend(x for x in inputs if not isinstance(x, Keeper))
            return "kept"

    a = scopes.inner.full(3, 7.0)
    assert np.add(a, np.zeros(3).view(Keeper)) == "kept"
    del a
    for _ in range(8):
        scopes.inner.full(3, 9.0)
    assert len(kept) == 1
    np.testing.assert_array_equal(plain(kept[0]), [7.0, 7.0, 7.0])


def test_augmented_assignment_rebinds_to_the_same_handle(scopes):
    a = handle = scopes.outer.ones(3)
    a += 1
    assert a is handle
    a = np.ones(3)
    a += handle
    assert type(a) is np.ndarray
    assert a.tolist() == [3.0, 3.0, 3.0]


def test_division_warnings_are_numpys(scopes):
    a = scopes.outer.zeros(3)
    with np.errstate(all="warn"), pytest.warns(RuntimeWarning, match="invalid value encountered in divide"):
        _ = a / a
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        a /= 0.0
    with (
        np.errstate(all="warn"),
        pytest.warns(RuntimeWarning, match="divide by zero encountered in floor_divide"),
    ):
        _ = scopes.outer.ones(3, int) // 0
