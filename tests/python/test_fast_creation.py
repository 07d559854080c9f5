"""`empty`, `zeros` and their like in every form of arguments: fast path, general path and NumPy."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from array_support import DTYPES
from fast_support import fast_paths, heard, in_numpys_words
from support import KIB, MIB, fixed, in_thread

import ndarena
from ndarena import ArrayType, LayerWorkspaceMgr, Workspace

MAKERS = ["empty", "zeros", "create", "create_uninitialized"]
ZEROED = {"zeros", "create"}


class Length:
    """An object that is an index."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Int(int):
    """A subclass, which may tell another value."""

    def __index__(self):
        return 3


class Shape(tuple):
    __slots__ = ()

    def __iter__(self):
        return iter((2, 2))


SHAPES = [
    0, 1, 7, (), (3,), (2, 3), (0, 3), (3, 0), (1,) * 8, (1,) * 9, (2,) * 12, (1,) * 64, (1,) * 65,
    [2, 3], [], [[2]], np.int64(4), np.uint8(3), (np.int64(2), 3), np.array([2, 3]), np.array(3), range(1, 3),
    Length(2), (Length(2), 1), True, (True, 2), False, Int(5), (Int(5), 2), Shape((5,)),
    -1, (-1,), (2, -3), (0, -1), 2.0, (2.0,), "3", None, b"12", ((2, 3),), (2, None),
    1 << 40, 2**62, 2**63, (2**31, 2**31, 2**31), (2**63, 0), (0, 2**62), -(2**63), 10**30,
]  # fmt: skip

CHANGING = itertools.cycle([np.dtype("f4"), np.dtype("i8")])


class WithDtype:
    """A class with an attribute `dtype`, which changes from look to look."""

    dtype = np.dtype("i2")


class Changing(type):
    @property
    def dtype(cls):
        return next(CHANGING)


class ChangesAlways(metaclass=Changing):
    pass


class OfFloat32(np.float32):
    """A subclass of a scalar of NumPy's, of another module."""


class Pretends(np.float32):
    """One that says it is NumPy's own."""

    __module__ = "numpy"
    dtype = np.dtype("i2")


TEXTS = """
    float32 float int f d i4 <f8 >f8 =i2 |b1 u1 g c8 bool complex float128 half single double longlong uint
    p P intp O S4 U V8 M8[ns] m8 f4,i8 (2,)f4 3f4 a4 x9 Float32
"""

ASKED = [
    None, *DTYPES, *TEXTS.split(), "", "f4 ", float, int, bool, complex, object, str, bytes, type, type(None),
    np.float16, np.float32, np.float64, np.longdouble, np.int8, np.intp, np.uint64, np.bool_, np.complex64,
    np.generic, np.number, np.void, np.str_, np.datetime64, np.dtype, np.dtypes.Float32DType,
    np.dtype("f8", metadata={"a": 1}), np.dtype(("f8", (2,))), np.dtype("f4").newbyteorder(),
    WithDtype, WithDtype(), OfFloat32, Pretends, np.float32(3), 3, 2.5, [], {}, ("f4", 2), [("x", "f4")],
    {"names": ["a"], "formats": ["f8"]}, np.array([1, 2]),
]  # fmt: skip


@pytest.fixture
def ws():
    workspace = Workspace(fixed(4 * MIB), "W")
    with workspace:
        yield workspace


def zeroed(maker, array):
    """Fill what is uninitialised, so that bits can be compared."""
    if maker not in ZEROED and isinstance(array, np.ndarray | ndarena.WorkspaceArray):
        plain = array.numpy() if isinstance(array, ndarena.WorkspaceArray) else array
        if not plain.dtype.hasobject:
            plain.view()[...] = np.zeros((), plain.dtype)
    return array


def compare(ws, maker, *args, **kwargs):
    """Assert that the maker gives or refuses the same with fast paths and without, and as NumPy does."""

    def ask(make):
        return heard(lambda: zeroed(maker, make(*args, **kwargs)))

    with fast_paths(on=True):
        fast, again = ask(getattr(ws, maker)), ask(getattr(ws, maker))
    with fast_paths(on=False):
        general = ask(getattr(ws, maker))
    assert fast == general, f"{maker} {args} {kwargs}"
    assert again == general, f"{maker} {args} {kwargs}, the second time"
    numpys = np.zeros if maker in ZEROED else np.empty
    want = ask(numpys)
    if want[0].kind == "array" and general[0].kind == "array":
        assert general == want, f"{maker} {args} {kwargs}"
    elif want[0].kind != "array":
        assert general[0].kind != "array", f"{maker} {args} {kwargs}"


@pytest.mark.parametrize("maker", MAKERS)
def test_every_form_of_shape(ws, maker):
    for shape in SHAPES:
        for dtype in ("f8", np.uint8, None):
            compare(ws, maker, shape, dtype)
        compare(ws, maker, shape)


@pytest.mark.parametrize("maker", MAKERS)
def test_every_form_of_dtype(ws, maker):
    for dtype in ASKED:
        for shape in ((2, 3), 5, (), 0):
            compare(ws, maker, shape, dtype)
            compare(ws, maker, shape, dtype=dtype)


@pytest.mark.parametrize("maker", MAKERS)
def test_other_arguments(ws, maker):
    for order in ("C", "F", "K", "A", "c", None, 1, b"F", "X"):
        compare(ws, maker, (2, 3), "f4", order)
        compare(ws, maker, (2, 3), order=order)
    compare(ws, maker)
    compare(ws, maker, shape=(2, 3))
    compare(ws, maker, shape=3, dtype="i4", order="F")
    compare(ws, maker, 3, nothing=1)
    compare(ws, maker, 3, "f4", "C", None)
    compare(ws, maker, 3, device="cpu")
    compare(ws, maker, 3, device="gpu")
    compare(ws, maker, 3, like=np.ones(2))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_dtype_that_changes_is_looked_up_each_time(ws, maker):
    """What a class of the user's means is not remembered."""
    for on in (True, False):
        with fast_paths(on=on):
            make = getattr(ws, maker)
            WithDtype.dtype = np.dtype("f4")
            first = make(3, WithDtype).dtype
            WithDtype.dtype = np.dtype("i2")
            assert (first, make(3, WithDtype).dtype) == (np.dtype("f4"), np.dtype("i2"))
            changing = {make(2, ChangesAlways).dtype for _ in range(4)}
            assert changing == {np.dtype("f4"), np.dtype("i8")}


def test_a_subclass_that_says_it_is_numpys_is_not_remembered(ws):
    """`__module__` is a word, not a proof."""
    for dtype in ("f4", "i2", "f8"):
        Pretends.dtype = np.dtype(dtype)
        want = np.empty(2, Pretends).dtype
        for on in (True, False, True):
            with fast_paths(on=on):
                assert ws.empty(2, Pretends).dtype == want


def test_more_dtypes_than_are_remembered(ws):
    """Every answer is the right one, whatever was asked before."""
    asked = [float, int, bool, complex, "f4", "i2", "u8", np.float16, np.int8, np.complex64, "c16", "f8"]
    with fast_paths(on=True):
        for dtype in [*asked, *reversed(asked)] * 2:
            assert ws.empty(3, dtype).dtype == np.dtype(dtype)
            assert ws.zeros((2, 2), dtype).numpy().any() == np.False_


def test_texts_that_are_equal_but_not_the_same(ws):
    with fast_paths(on=True):
        for n in range(40):
            name = "".join(["f", "48"[n % 2]])
            assert ws.empty(2, name).dtype == np.dtype(name)


def test_zeros_are_zero_in_used_memory():
    """Memory that others filled before."""
    with fast_paths(on=True):
        workspace = Workspace(fixed(64 * KIB), "USED")
        for _ in range(3):
            with workspace:
                for n in (1, 8, 100, 3000):
                    filled = workspace.empty(n)
                    filled.fill(-1.5)
                    del filled
                    assert not workspace.zeros(n).numpy().any()
                    assert not workspace.create((n,), np.int8).numpy().any()


def test_results_are_writeable_aligned_and_packed(ws):
    for on, maker, shape in itertools.product((True, False), MAKERS, [3, (2, 3), (1, 1), (4, 1, 2)]):
        with fast_paths(on=on):
            array = getattr(ws, maker)(shape, "f8").numpy()
            assert array.flags.writeable and array.flags.aligned and array.flags.c_contiguous
            assert array.__array_interface__["data"][0] % 64 == 0


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("state", ["never entered", "left", "destroyed", "of another thread"])
def test_a_workspace_that_serves_nothing(maker, state):
    found = []
    for on in (True, False):
        with fast_paths(on=on):
            workspace = (
                in_thread(Workspace, fixed(KIB), "S") if "thread" in state else Workspace(fixed(KIB), "S")
            )
            if state in {"left", "destroyed"}:
                with workspace:
                    workspace.empty(3)
            if state == "destroyed":
                workspace.destroy_workspace()
            answer, warned = heard(lambda workspace=workspace: getattr(workspace, maker)(3))
            words = [in_numpys_words(str(fact)).split(";")[0] for fact in answer.facts]
            found.append((answer.kind, words, warned))
            assert answer.kind != "array"
    assert found[0] == found[1]


TYPES = [ArrayType.ACTIVATIONS, "activations", ArrayType.INPUT, "nonsense", None, 3]
RESTS = [(), ("f4",), (np.float32, "F"), ("f8", "C"), (object,), ("x9",), (None, "X")]
ASKED_OF_MANAGERS = list(
    itertools.product(TYPES, [3, (2, 3), [2, 3], (), -1, 2**62, np.int64(2), None], RESTS)
)


@pytest.mark.parametrize("name", ["create", "create_uninitialized"])
def test_managers(name):
    def answers(make):
        for kind, shape, rest in ASKED_OF_MANAGERS:
            answer, warned = heard(lambda: zeroed(name, make(kind, shape, *rest)))  # noqa: B023 - called at once
            yield (
                kind,
                shape,
                rest,
                answer.kind,
                [in_numpys_words(str(fact)) for fact in answer.facts],
                warned,
            )

    found = []
    for on in (True, False):
        with fast_paths(on=on):
            ndarena.destroy_all_workspaces_for_current_thread()
            builder = LayerWorkspaceMgr.builder().with_(ArrayType.ACTIVATIONS, "A", fixed(64 * KIB))
            manager = builder.default_no_workspace().build()
            with manager.notify_scope_entered(ArrayType.ACTIVATIONS):
                found.append(list(answers(getattr(manager, name))))
            ndarena.destroy_all_workspaces_for_current_thread()
    for one, other in zip(*found, strict=True):
        assert one == other
    assert sum(answer[3] == "array" for answer in found[0]) > 30


def test_numpys_deprecated_names_warn_once(ws):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for name in ("a4", "a", "3f4", "1f4", "(1,)f4"):
            compare(ws, "empty", 2, name)
