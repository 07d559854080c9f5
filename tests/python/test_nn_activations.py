"""Activation functions: derivatives, the places results go to, dtypes."""

import numpy as np
import pytest
from nn_support import differences

from ndarena import ConfigurationError, WorkspaceArray, get_workspace_for_current_thread, nn

FUNCTIONS = [
    *(name.get_activation_function() for name in nn.Activation),
    nn.ActivationELU(1.5),
    nn.ActivationLReLU(alpha=0.3),
    nn.ActivationThresholdedReLU(theta=0.25),
    nn.ActivationReLU(max=1.5, threshold=0.25, negative_slope=0.1),
]
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=repr)
X = np.random.default_rng(0).uniform(-3.0, 3.0, (4, 5))
EPSILON = np.random.default_rng(1).normal(size=X.shape)


@every_function
def test_the_derivative_is_that_of_the_function(function):
    x = X.copy()
    wanted = differences(lambda: float((function(x) * EPSILON).sum()), x)
    np.testing.assert_allclose(function.backprop(X, EPSILON), wanted, atol=1e-7)


@pytest.mark.parametrize(
    ("form", "slopes"),
    [
        ({}, [0, 0, 1, 1]),
        ({"max": 2.0}, [0, 0, 1, 0]),
        ({"negative_slope": 0.5}, [0.5, 1, 1, 1]),
        ({"max": 2.0, "threshold": 1.0}, [0, 0, 1, 0]),
    ],
    ids=str,
)
def test_where_a_relu_bends_its_slope_is_dl4js(form, slopes):
    x = np.array([-1.0, 0.0, 1.0, 2.0])
    assert nn.ActivationReLU(**form).backprop(x, np.ones(4)).tolist() == slopes


@every_function
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_operands_may_take_the_results(function, dtype):
    x, epsilon = X.astype(dtype), EPSILON.astype(dtype)
    value, gradient = function(x), function.backprop(x, epsilon)
    assert value.dtype == gradient.dtype == x.dtype
    in_place = x.copy()
    assert function.forward(in_place, out=in_place) is in_place
    np.testing.assert_array_equal(in_place, value)
    for given in (0, 1):
        operands = [x.copy(), epsilon.copy()]
        assert function.backprop(*operands, out=operands[given]) is operands[given]
        np.testing.assert_array_equal(operands[given], gradient)
        np.testing.assert_array_equal(operands[1 - given], (epsilon, x)[given])


@every_function
def test_arrays_of_workspaces_give_the_same_bits(function):
    value, gradient = function(X), function.backprop(X, EPSILON)
    with get_workspace_for_current_thread(id="WORK") as ws:
        x, epsilon = ws.array(X), ws.array(EPSILON)
        results = function(x), function.backprop(x, epsilon)
        assert all(isinstance(result, WorkspaceArray) for result in results)
        np.testing.assert_array_equal(results[0].detach(), value)
        np.testing.assert_array_equal(results[1].detach(), gradient)


@every_function
def test_far_values_raise_no_warning(function):
    for dtype, far in (("f4", 1e9), ("f8", 1e60)):
        x = np.array([[-far, far, -1e3, 1e3]], dtype)
        assert np.isfinite(function(x)).all()
        assert np.isfinite(function.backprop(x, np.ones_like(x))).all()


@pytest.mark.parametrize(
    ("form", "field"), [("ELU", "alpha"), ("LReLU", "alpha"), ("ThresholdedReLU", "theta")]
)
def test_a_wrong_constant_is_named(form, field):
    with pytest.raises(ConfigurationError, match=rf"Activation{form}: {field}='much'") as caught:
        getattr(nn, f"Activation{form}")("much")
    assert caught.value.field == field
