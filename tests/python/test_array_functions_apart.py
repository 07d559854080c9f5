"""NumPy's functions on workspace arrays, beside the table: `out=`, mixtures, subclasses, printing."""

from __future__ import annotations

import numpy as np
import pytest
from array_support import address, assert_equal, open_scopes, plain
from function_samples import SAMPLES

import ndarena

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def scopes():
    with open_scopes() as scopes:
        yield scopes


def test_out_comes_back_as_the_same_handle(scopes):
    m = scopes.outer.array(SAMPLES["m"]())
    for call, shape in [
        (lambda out: np.sum(m, axis=0, out=out), (4,)),
        (lambda out: np.mean(m, axis=1, out=out), (3,)),
        (lambda out: np.cumsum(m, axis=1, out=out), (3, 4)),
        (lambda out: np.clip(m, 0, 1, out=out), (3, 4)),
        (lambda out: np.concatenate([m, m], out=out), (6, 4)),
        (lambda out: np.stack([m, m], out=out), (2, 3, 4)),
        (lambda out: np.dot(m, m.T, out=out), (3, 3)),
        (lambda out: np.take(m, [0, 2], axis=0, out=out), (2, 4)),
        (lambda out: np.median(m, axis=0, out=out), (4,)),
        (lambda out: np.einsum("ij->i", m, out=out), (3,)),
        (lambda out: np.round(m, 1, out=out), (3, 4)),
        (lambda out: np.max(m, axis=0, out=out), (4,)),
    ]:
        out, plain_out = scopes.outer.zeros(shape), np.zeros(shape)
        assert call(out) is out
        assert call(plain_out) is plain_out
        assert_equal(out, plain_out)


def test_a_sequence_may_mix_workspaces_and_plain_arrays(scopes):
    m = SAMPLES["m"]()
    got = np.concatenate([m, scopes.outer.array(m), scopes.inner.array(m)])
    assert got.workspace is scopes.inner
    assert_equal(got, np.concatenate([m, m, m]))


def test_what_shares_with_a_plain_operand_stays_plain(scopes):
    x, y = SAMPLES["v"](), SAMPLES["v3"]()[:, np.newaxis]
    ours = scopes.outer.array(y)
    first, second = np.broadcast_arrays(x, ours)
    assert type(first) is np.ndarray
    assert np.shares_memory(first, x)
    assert second.workspace is scopes.outer
    assert address(second) == address(ours)


def test_named_tuples_keep_their_type(scopes):
    a = scopes.outer.array(SAMPLES["s"]())
    for got, want in [
        (np.linalg.eig(a), np.linalg.eig(SAMPLES["s"]())),
        (np.linalg.svd(a), np.linalg.svd(SAMPLES["s"]())),
        (np.linalg.qr(a), np.linalg.qr(SAMPLES["s"]())),
        (np.linalg.slogdet(a), np.linalg.slogdet(SAMPLES["s"]())),
        (np.unique_counts(a), np.unique_counts(SAMPLES["s"]())),
    ]:
        assert type(got) is type(want)
        assert got._fields == want._fields


def test_iterators_are_over_leased_views(scopes):
    a = scopes.inner.array(SAMPLES["v"]())
    want = SAMPLES["v"]().tolist()
    iterator, flat, pairs = np.nditer(a), a.flat, np.ndenumerate(a)
    del a
    for _ in range(8):
        scopes.inner.full(5, 99.0)
    assert [float(x) for x in iterator] == want
    assert [float(x) for x in flat] == want
    assert [float(x) for _, x in pairs] == want


def test_functions_that_numpy_does_not_dispatch_get_a_view(scopes):
    a = scopes.inner.array(SAMPLES["v"]())
    got = np.asarray(a)
    assert type(got) is np.ndarray
    assert address(got) == address(a)
    assert type(np.array(a)) is np.ndarray
    assert type(np.ascontiguousarray(a)) is np.ndarray
    assert type(np.ma.array(a)) is np.ma.MaskedArray
    assert (
        np.random.default_rng(1).permutation(a).tolist()
        == np.random.default_rng(1).permutation(SAMPLES["v"]()).tolist()
    )
    assert np.polynomial.Polynomial(a)(2.0) == np.polynomial.Polynomial(SAMPLES["v"]())(2.0)
    np.testing.assert_allclose(a, SAMPLES["v"]())


def test_a_generator_fills_numpy_of_an_array(scopes):
    """Where NumPy demands a real ndarray, `numpy()` is one."""
    a = scopes.inner.zeros(4)
    with pytest.raises((TypeError, ValueError)):
        np.random.default_rng(3).random(out=a)
    np.random.default_rng(3).random(out=a.numpy())
    assert_equal(a, np.random.default_rng(3).random(4))


def test_a_foreign_class_is_asked_before_us(scopes):
    class Foreign:
        def __array_function__(self, function, types, arguments, keywords):
            return (function.__name__, ndarena.WorkspaceArray in types)

    assert np.concatenate([scopes.outer.zeros(2), Foreign()]) == ("concatenate", True)
    assert np.sum(scopes.outer.zeros(2), out=Foreign()) == ("sum", True)


def test_a_function_with_a_subclass_is_left_to_numpy(scopes):
    masked = np.ma.array(SAMPLES["v"](), mask=[1, 0, 0, 0, 1])
    got = np.ma.concatenate([masked, scopes.outer.array(SAMPLES["v"]())])
    assert type(got) is np.ma.MaskedArray
    assert got.mask.tolist() == [True, False, False, False, True] + [False] * 5


def test_printing_goes_by_numpys_options(scopes):
    with np.printoptions(precision=2, threshold=4, edgeitems=1):
        scopes.check(lambda a: np.array2string(a, separator=","), SAMPLES["v"]() / 3)
        scopes.check(np.array_str, SAMPLES["v"]() / 3)


def test_the_namespace_is_the_module(scopes):
    namespace = scopes.outer.zeros(2).__array_namespace__()
    assert namespace is ndarena
    assert namespace.fft is np.fft
    assert namespace.broadcast_to is np.broadcast_to
    assert namespace.pi == np.pi
    assert namespace.linalg is np.linalg
    assert namespace.zeros is not np.zeros
    with pytest.raises(AttributeError):
        _ = namespace.no_such_name


def test_plain_operands_stay_plain_inside_a_scope(scopes):
    before = scopes.inner.this_cycle_allocations
    got = np.concatenate([SAMPLES["v"](), SAMPLES["v"]()]) + np.ones(10)
    assert type(got) is np.ndarray
    assert scopes.inner.this_cycle_allocations == before
    assert plain(got) is got
