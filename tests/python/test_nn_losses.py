"""Loss functions: derivatives, masks, weights, what is refused."""

import numpy as np
import pytest
from nn_support import differences

from ndarena import ConfigurationError, get_workspace_for_current_thread, nn

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(4, 3))
SHARES = RNG.dirichlet(np.ones(3), 4)
ONE_HOT = np.eye(3)[[2, 0, 1, 1]]
SIGNS = np.where(ONE_HOT > 0, 1.0, -1.0)
ROWS = np.array([[1.0], [0.0], [1.0], [1.0]])
ELEMENTS = RNG.integers(0, 2, Z.shape).astype(float)
WEIGHTS = (0.5, 2.0, 1.25)
CASES = [
    (nn.LossMSE(), "identity", SHARES),
    (nn.LossMSE(), "softmax", SHARES),
    (nn.LossMSE(weights=WEIGHTS), "tanh", SHARES),
    (nn.LossL2(weights=WEIGHTS), "identity", SHARES),
    (nn.LossL1(), "tanh", SHARES),
    (nn.LossMAE(weights=WEIGHTS), "identity", SHARES),
    (nn.LossMAPE(weights=WEIGHTS), "softplus", SHARES),
    (nn.LossMSLE(weights=WEIGHTS), "sigmoid", SHARES),
    (nn.LossMCXENT(weights=WEIGHTS), "softmax", ONE_HOT),
    (nn.LossMCXENT(weights=WEIGHTS), "sigmoid", SHARES),
    (nn.LossNegativeLogLikelihood(), "softmax", SHARES),
    (nn.LossSparseMCXENT(weights=WEIGHTS), "softmax", ONE_HOT.argmax(axis=1)[:, None].astype(float)),
    (nn.LossBinaryXENT(weights=WEIGHTS), "sigmoid", ONE_HOT),
    (nn.LossHinge(), "tanh", SIGNS),
    (nn.LossSquaredHinge(), "identity", SIGNS),
    (nn.LossKLD(), "softmax", SHARES),
    (nn.LossPoisson(), "softplus", SHARES),
    (nn.LossCosineProximity(), "identity", SHARES),
    (nn.LossCosineProximity(), "softplus", SHARES),
    (nn.LossWasserstein(), "tanh", SIGNS),
]
every_case = pytest.mark.parametrize(("loss", "activation", "labels"), CASES, ids=repr)


def function(name):
    return nn.Activation(name).get_activation_function()


def takes_elements(loss, activation):
    return not isinstance(loss, nn.LossCosineProximity) and activation != "softmax"


@every_case
@pytest.mark.parametrize("mask", [None, ROWS, ELEMENTS], ids=["whole", "rows", "elements"])
def test_the_gradient_is_the_derivative_of_the_score(loss, activation, labels, mask):
    if mask is ELEMENTS and not takes_elements(loss, activation):
        return
    act, z = function(activation), Z.copy()
    wanted = differences(lambda: loss.compute_score(labels, z, act, mask, average=False), z)
    np.testing.assert_allclose(loss.compute_gradient(labels, Z, act, mask), wanted, rtol=1e-5, atol=1e-7)


@every_case
def test_scores_are_sums_of_those_of_the_examples(loss, activation, labels):
    act = function(activation)
    for mask in (None, ROWS):
        rows = loss.compute_score_array(labels, Z, act, mask)
        assert rows.shape == (4,)
        assert loss.compute_score(labels, Z, act, mask, average=False) == pytest.approx(rows.sum())
        assert loss.compute_score(labels, Z, act, mask) == pytest.approx(rows.sum() / 4)
    assert rows[1] == 0.0
    assert not loss.compute_gradient(labels, Z, act, ROWS)[1].any()


@every_case
def test_operands_stay_and_workspaces_give_the_same_bits(loss, activation, labels):
    act, z, y = function(activation), Z.copy(), labels.copy()
    score, gradient = loss.compute_score_array(y, z, act, ROWS), loss.compute_gradient(y, z, act, ROWS)
    np.testing.assert_array_equal(z, Z)
    np.testing.assert_array_equal(y, labels)
    with get_workspace_for_current_thread(id="WORK") as ws:
        operands = ws.array(y), ws.array(z), act, ws.array(ROWS)
        np.testing.assert_array_equal(loss.compute_score_array(*operands).detach(), score)
        np.testing.assert_array_equal(loss.compute_gradient(*operands).detach(), gradient)


@every_case
def test_single_precision_stays(loss, activation, labels):
    act, y, z = function(activation), labels.astype("f4"), Z.astype("f4")
    assert loss.compute_gradient(y, z, act).dtype == np.float32
    np.testing.assert_allclose(
        loss.compute_score_array(y, z, act), loss.compute_score_array(labels, Z, act), rtol=1e-4
    )


@pytest.mark.parametrize(
    "loss", [nn.LossMCXENT(), nn.LossBinaryXENT(), nn.LossKLD(), nn.LossPoisson()], ids=repr
)
def test_a_saturated_output_of_no_wanted_class_costs_nothing(loss):
    z = np.array([[800.0, -800.0]])
    act = function("sigmoid")
    score = loss.compute_score(np.array([[1.0, 0.0]]), z, act)
    assert np.isfinite(score)
    assert np.isfinite(loss.compute_gradient(np.array([[1.0, 0.0]]), z, act)).all()


def test_two_terms_and_softmax_weigh_the_gradient_itself():
    act, weights = function("softmax"), np.array(WEIGHTS)
    plain = nn.LossBinaryXENT().compute_gradient(ONE_HOT, Z, act, ROWS)
    share = act(Z)
    slope = (share - ONE_HOT) / (share * (1.0 - share))
    np.testing.assert_allclose(plain, share * (slope - (slope * share).sum(axis=1, keepdims=True)) * ROWS)
    weighed = nn.LossBinaryXENT(weights=WEIGHTS)
    np.testing.assert_allclose(weighed.compute_gradient(ONE_HOT, Z, act, ROWS), plain * weights)
    scores = weighed.compute_score_array(ONE_HOT, Z, act)
    np.testing.assert_allclose(scores, -(weights * ONE_HOT * np.log(share)).sum(axis=1))


@pytest.mark.parametrize("loss", [nn.LossMCXENT(), nn.LossCosineProximity()], ids=repr)
def test_a_mask_of_elements_is_refused_where_columns_are_joined(loss):
    for method in (loss.compute_score_array, loss.compute_gradient):
        with pytest.raises(ValueError, match=r"a mask is \(4, 1\), not \(4, 3\)"):
            method(ONE_HOT, Z, function("softmax"), ELEMENTS)


@pytest.mark.parametrize("wrong", [3.0, -1.0, 0.5, np.nan])
def test_an_index_that_is_no_class_is_refused_unless_masked(wrong):
    labels = np.array([[0.0], [wrong], [1.0], [2.0]])
    loss, act = nn.LossSparseMCXENT(), function("softmax")
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        loss.compute_score_array(labels, Z, act)
    assert loss.compute_score_array(labels, Z, act, ROWS)[1] == 0.0
    with pytest.raises(ValueError, match=r"labels must be \(4, 1\)"):
        loss.compute_gradient(ONE_HOT, Z, act)


def test_the_layer_takes_indices_as_labels():
    rng = np.random.default_rng(1)
    x, indices = rng.normal(size=(20, 3)), rng.integers(0, 3, (20, 1))
    nets = [
        nn.MultiLayerNetwork(
            nn.MultiLayerConfiguration(layers=[nn.OutputLayer(n_in=3, n_out=3, loss=loss)], seed=1)
        )
        for loss in ("mcxent", "sparse_mcxent")
    ]
    nets[0].fit(x, np.eye(3)[indices[:, 0]])
    nets[1].fit(x, indices)
    np.testing.assert_array_equal(nets[0].params(), nets[1].params())
    with pytest.raises(ValueError, match=r"expected labels of shape \[20, 1\], not \[20, 3\]"):
        nets[1].fit(x, np.eye(3)[indices[:, 0]])


@every_case
def test_an_output_that_is_known_is_taken_and_stays(loss, activation, labels):
    act = function(activation)
    output = act(Z)
    kept = output.copy()
    for method in (loss.compute_score, loss.compute_score_array, loss.compute_gradient):
        for mask in (None, ROWS):
            got = method(labels, Z, act, mask, output=output)
            np.testing.assert_array_equal(got, method(labels, Z, act, mask))
    np.testing.assert_array_equal(output, kept)


def test_a_loss_of_ones_own_need_not_know_of_outputs():
    class Own(nn.ILossFunction):
        def compute_score_array(self, labels, pre_output, activation, mask=None):
            return nn.LossMSE().compute_score_array(labels, pre_output, activation, mask)

        def compute_gradient(self, labels, pre_output, activation, mask=None):
            return nn.LossMSE().compute_gradient(labels, pre_output, activation, mask)

    nets = [
        nn.MultiLayerNetwork(
            nn.MultiLayerConfiguration(layers=[nn.OutputLayer(n_in=3, n_out=3, loss=loss)], seed=1)
        )
        for loss in (Own(), "mse")
    ]
    for net in nets:
        net.fit(Z, SHARES)
    np.testing.assert_array_equal(nets[0].params(), nets[1].params())
    assert nets[0].score() == nets[1].score()


def test_weights_are_one_per_column():
    with pytest.raises(ValueError, match="LossMSE: 2 weights for 3 columns"):
        nn.LossMSE(weights=(1.0, 2.0)).compute_gradient(SHARES, Z, function("identity"))
    with pytest.raises(ConfigurationError, match="one per column"):
        nn.LossL1(weights="many")
    assert nn.LossFunction("MEAN_ABSOLUTE_ERROR") is nn.LossFunction.MAE
