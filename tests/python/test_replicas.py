"""Replicas of networks: copies that need not draw parameters, which are copied in any case."""

import numpy as np
import pytest
from parallel_support import NETWORKS, assert_equal_networks, batches

from ndarena import nn


class Keeping(nn.DenseLayer):
    """Keeps what it drew besides its parameters."""

    def init_params(self, table, rng):
        super().init_params(table, rng)
        self.kept = rng.random(3)


class Counting(nn.IWeightInit):
    """Counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def fill(self, weights, rng, *, fan_in, fan_out):
        self.asked += 1
        weights[...] = rng.random(weights.shape)


def of(*layers):
    return nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(
            layers=[*layers, nn.OutputLayer(n_out=2)], seed=3, input_type=nn.InputType.feed_forward(4)
        )
    )


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_replica_is_a_clone_that_draws_as_the_generator_given(make):
    net = make()
    net.fit(batches())
    replica, clone = net.replica(net.rng), net.clone()
    clone.rng.bit_generator.state = net.rng.bit_generator.state
    assert not np.shares_memory(replica.params(), net.params())
    for _ in range(2):
        assert_equal_networks(replica, clone)
        assert replica.iteration_count == clone.iteration_count
        assert replica.rng.bit_generator.state == clone.rng.bit_generator.state
        replica.fit(batches())
        clone.fit(batches())


def test_parameters_of_a_replica_are_not_drawn():
    counting = Counting()
    net = of(nn.DenseLayer(n_out=3, weight_init=counting))
    asked = counting.asked
    net.replica(net.rng)
    assert counting.asked == asked
    net.clone()
    assert counting.asked > asked


@pytest.mark.parametrize("before", [[], [nn.DenseLayer(n_out=5)]])
def test_a_layer_of_somebody_else_draws_in_a_replica_what_it_drew_in_the_network(before):
    net = of(*before, Keeping(n_out=3))
    place = len(before)
    assert (
        net.replica(np.random.default_rng(9)).layers[place].kept.tolist() == net.layers[place].kept.tolist()
    )


def test_parameters_given_to_init_come_after_the_seed_is_drawn_from():
    drawn, given = of(nn.DenseLayer(n_out=3)), of(nn.DenseLayer(n_out=3))
    given.init(params=np.ones(given.num_params()))
    assert given.params().tolist() == [1.0] * given.num_params()
    assert given.rng.bit_generator.state == drawn.rng.bit_generator.state
