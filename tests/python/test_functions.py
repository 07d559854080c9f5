"""NumPy's functions as functions of the module: the same results, without the override protocols."""

import numpy as np
import pytest

import ndarena
from ndarena._core import functions

NAMES = sorted(name for name in vars(functions) if not name.startswith("_"))
UFUNCS = [name for name in NAMES if isinstance(getattr(np, name), np.ufunc)]
SAMPLE = np.linspace(0.1, 0.9, 12, dtype=np.float32)
OTHERS = {
    "argsort": (SAMPLE[::-1].copy(),),
    "clip": (SAMPLE, 0.2, 0.5),
    "concatenate": ((SAMPLE, SAMPLE),),
    "dot": (SAMPLE, SAMPLE),
    "einsum": ("i,i->i", SAMPLE, SAMPLE),
    "outer": (SAMPLE, SAMPLE),
    "repeat": (SAMPLE, 2),
    "reshape": (SAMPLE, (3, 4)),
    "stack": ((SAMPLE, SAMPLE),),
    "take": (SAMPLE, [3, 1]),
    "where": (SAMPLE > 0.5, SAMPLE, 0.0),
}


def attached(ws, value):
    """Return the same with every array in the workspace."""
    if isinstance(value, np.ndarray):
        return ws.array(value)
    return tuple(attached(ws, item) for item in value) if isinstance(value, tuple) else value


def operands(name):
    if name in OTHERS:
        return OTHERS[name]
    function = getattr(np, name)
    is_bitwise = isinstance(function, np.ufunc) and not any(t.startswith("f") for t in function.types)
    sample = np.arange(1, 13) if is_bitwise else SAMPLE
    if name in {"arccosh", "acosh"}:
        sample = SAMPLE + 1
    if name == "matmul":
        return (SAMPLE.reshape(3, 4), SAMPLE.reshape(4, 3))
    return (sample,) * (function.nin if isinstance(function, np.ufunc) else 1)


@pytest.fixture
def ws():
    with ndarena.Workspace(id="FUNCTIONS") as workspace:
        yield workspace


def same(got, want):
    assert isinstance(got, ndarena.WorkspaceArray) == (isinstance(want, np.ndarray) and want.ndim > 0)
    np.testing.assert_array_equal(np.asarray(got), want, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_numpy_gives(ws, name):
    args = operands(name)
    want = getattr(np, name)(*args)
    same(getattr(ndarena, name)(*attached(ws, args)), want)


@pytest.mark.parametrize("name", NAMES)
def test_plain_arrays_stay_plain(ws, name):
    args = operands(name)
    got, want = getattr(ndarena, name)(*args), getattr(np, name)(*args)
    assert type(got) is type(want)
    np.testing.assert_array_equal(got, want)
    assert ws.stats().this_cycle_allocations == 0


@pytest.mark.parametrize("name", [name for name in UFUNCS if name != "matmul"])
def test_the_arguments_of_a_ufunc_are_numpys(ws, name):
    args = operands(name)
    ours, plain = attached(ws, args), getattr(np, name)
    want = plain(*args)
    out = ws.empty(want.shape, want.dtype)
    assert getattr(ndarena, name)(*ours, out=out) is out
    same(out, want)
    assert getattr(ndarena, name)(*ours, out) is out
    mask = np.arange(12) % 2 == 0
    filled = ws.zeros(want.shape, want.dtype)
    getattr(ndarena, name)(*ours, out=filled, where=mask)
    same(filled, np.where(mask, want, np.zeros_like(want)))


@pytest.mark.parametrize("name", NAMES)
def test_a_stale_operand_is_refused(name):
    with ndarena.Workspace(id="STALE") as workspace:
        args = attached(workspace, operands(name))
    with pytest.raises(ndarena.StaleArrayError):
        getattr(ndarena, name)(*args)


def test_other_names_are_of_the_same_functions():
    assert ndarena.abs is ndarena.absolute
    assert ndarena.true_divide is ndarena.divide
    assert ndarena.conj is ndarena.conjugate


def test_foreign_operands_are_asked(ws):
    class Foreign:
        def __array_ufunc__(self, *args, **kwargs):
            return "asked"

        def __array_function__(self, *args, **kwargs):
            return "asked"

    assert ndarena.add(ws.ones(3), Foreign()) == "asked"
    assert ndarena.where(ws.ones(3), Foreign(), 0) == "asked"


def test_wrong_arguments_are_refused(ws):
    with pytest.raises(TypeError, match="exp"):
        ndarena.exp()
    with pytest.raises(TypeError):
        ndarena.exp(ws.ones(3), nonsense=1)
    with pytest.raises(ValueError, match="broadcast"):
        ndarena.add(ws.ones(3), ws.ones(4))
