"""Training in several threads: what it comes to, what it counts, and who hears of it."""

import logging
import threading

import numpy as np
import pytest
from nn_support import chain, examples
from parallel_support import (
    CLASSES,
    INPUTS,
    NETWORKS,
    Heard,
    assert_equal_networks,
    batches,
    dense,
    graph,
    rows,
    threads,
)
from sklearn.datasets import load_digits

from ndarena import nn
from ndarena.data import ArrayDataSetIterator, DataSet, DataSetIterator, MultiDataSet
from ndarena.errors import ConfigurationError
from ndarena.nn import InputType
from ndarena.parallel import ParallelWrapper, RoutingIterationListener, teams
from ndarena.parallel.trainers import DefaultTrainer, SymmetricTrainer

MODES = ["AVERAGING", "SHARED_GRADIENTS"]


# ---------------------------------------------------------------- the ancestor's tests, by their ids


def digits(n, seed):
    """Draw images of digits, 16 by 16, with noise."""
    found = load_digits()
    rng = np.random.default_rng(seed)
    of = rng.integers(0, len(found.target), n)
    images = np.kron(found.images[of] / 16, np.ones((2, 2))) + rng.normal(0, 0.1, (n, 16, 16))
    return images[:, None].astype(np.float32), np.eye(10, dtype=np.float32)[found.target[of]]


def lenet():
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.ConvolutionLayer(n_out=20, kernel_size=5, activation="identity"),
            nn.SubsamplingLayer(pooling_type="max", kernel_size=2, stride=2),
            nn.ConvolutionLayer(n_out=50, kernel_size=5, activation="identity"),
            nn.SubsamplingLayer(pooling_type="max", kernel_size=2, stride=2),
            nn.DenseLayer(n_out=500, activation="relu"),
            nn.OutputLayer(n_out=10),
        ],
        input_type=InputType.convolutional(16, 16, 1),
        updater=nn.Nesterovs(0.01, momentum=0.9),
        l2=0.0005,
        seed=123,
    )
    return nn.MultiLayerNetwork(conf)


def test_P01_a_lenet_learns_in_two_threads():  # noqa: N802 - ids
    net = lenet()
    x, y = digits(15 * 128, seed=1)
    with ParallelWrapper(net, workers=2, prefetch_buffer=24, averaging_frequency=3) as wrapper:
        wrapper.fit(ArrayDataSetIterator(x, y, batch_size=128), epochs=5)
    x, y = digits(4 * 128, seed=2)
    assert net.evaluate(ArrayDataSetIterator(x, y, batch_size=128)).accuracy() > 0.5


class Statistics(RoutingIterationListener):
    """Collects where it was told what, for all its copies."""

    def __init__(self):
        self.heard = []

    def on_forward_pass(self, model, activations):
        self.heard.append(("forward", self.session_id, self.worker_id))

    def on_backward_pass(self, model):
        self.heard.append(("backward", self.session_id, self.worker_id))


@pytest.mark.parametrize("place", ["P02 wrapper", "P03 model"])
@pytest.mark.parametrize("kind", [dense, graph])
def test_P02_P03_every_worker_has_its_own_copy_of_a_routing_listener(kind, place):  # noqa: N802 - ids
    net, listener = kind(), Statistics()
    if place == "P03 model":
        net.set_listeners(listener)
    wrapper = ParallelWrapper(net, workers=2)
    if place == "P02 wrapper":
        wrapper.set_listeners(listener)
    wrapper.fit(batches(20, size=10))
    events, sessions, workers = zip(*listener.heard, strict=True)
    assert (events.count("forward"), events.count("backward")) == (2, 2)
    assert set(sessions) == {wrapper.uuid}
    assert set(workers) == {f"{wrapper.uuid}_thread_{k}" for k in range(2)}
    assert listener.worker_id is None


@pytest.mark.parametrize("kind", [DefaultTrainer, SymmetricTrainer])
def test_P04_a_trainer_is_named_for_its_wrapper_and_its_thread(kind):  # noqa: N802 - ids
    assert kind("alpha", 3, dense()).uuid == "alpha_thread_3"


@pytest.mark.parametrize(("rate", "epochs"), [(0.1, 5), (1e4, 1)])
def test_P06_training_stops_at_the_last_epoch_or_before_it_when_the_score_is_too_bad(rate, epochs):  # noqa: N802 - ids
    net = dense(updater=nn.Sgd(rate))

    class MaxScore(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            if model.score() > 10:
                wrapper.stop_fit()

    wrapper = ParallelWrapper(net, workers=2)
    wrapper.set_listeners(MaxScore())
    wrapper.fit(batches(), epochs=5)
    assert net.epoch_count == 5 if epochs == 5 else net.epoch_count < 5


@pytest.mark.parametrize("fields", [{"updater": nn.Adam(0.05), "dropout": 0.7}, {"updater": nn.Nesterovs()}])
@pytest.mark.parametrize("kind", NETWORKS.values())
def test_P28_one_worker_is_the_network_alone(kind, fields):  # noqa: N802 - ids
    ours, theirs = kind(**fields), kind(**fields)
    wrapper = ParallelWrapper(ours, workers=1)
    for _ in range(2):
        wrapper.fit(batches(100, size=10))
        theirs.fit(batches(100, size=10))
    assert_equal_networks(ours, theirs)
    assert ours.score() == theirs.score()


@pytest.mark.parametrize("kind", NETWORKS.values())
@pytest.mark.parametrize("mode", ["ENABLED", "NONE"])
def test_P29_averaging_every_step_is_one_network_with_the_whole_round_as_a_batch(kind, mode):  # noqa: N802 - ids
    ours, theirs = kind(l2=0.01), kind(l2=0.01)
    ParallelWrapper(ours, workers=4, workspace_mode=mode).fit(batches(120, size=10), epochs=2)
    theirs.fit(batches(120, size=40), epochs=2)
    np.testing.assert_allclose(ours.params(), theirs.params(), rtol=1e-12, atol=1e-14)
    assert ours.score() == pytest.approx(theirs.score(), rel=1e-12)
    assert (ours.iteration_count, ours.epoch_count) == (theirs.iteration_count, theirs.epoch_count) == (6, 2)


def test_P30_shared_gradients_improve_the_accuracy():  # noqa: N802 - ids
    net = chain(INPUTS, 20, CLASSES, updater=nn.Adam(0.003))
    x, _ = examples(600, INPUTS, CLASSES)
    y = np.eye(CLASSES, dtype=np.float32)[x[:, :CLASSES].argmax(axis=1)]
    source = ArrayDataSetIterator(x, y, batch_size=25)
    before = net.evaluate(source).accuracy()
    ParallelWrapper(net, workers=2, training_mode="SHARED_GRADIENTS").fit(source, epochs=6)
    assert net.evaluate(source).accuracy() >= before + 0.005


def test_D_14_the_last_rounds_are_averaged():  # noqa: N802 - ids
    data = list(batches(70, size=5))
    ours = dense()
    ParallelWrapper(ours, workers=2, averaging_frequency=5).fit(data)
    mean = 0
    for first in (0, 5):
        twins = [dense(), dense()]
        for k, twin in enumerate(twins):
            if first:
                twin.set_params(mean)
            twin.fit(data[2 * first + k : 2 * first + 10 : 2])
        mean = (twins[0].params() + twins[1].params()) / 2
    np.testing.assert_allclose(ours.params(), mean, rtol=1e-12)
    assert ours.iteration_count == 7


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("averaging_frequency", [0, -1, 1.0, True, "1"]),
        ("workers", [0, -2, 2.0, False]),
        ("prefetch_buffer", [-1, 0.5, None]),
        ("seed", [-1, "x"]),
        ("average_updaters", [1, None, "no"]),
        ("report_score_after_averaging", ["yes"]),
        ("workspace_mode", ["SOMETIMES", 1]),
        ("training_mode", ["NONE", None, 3]),
        ("threshold_algorithm", [1e-3]),
        ("gradients_accumulator", [object()]),
    ],
)
def test_D_21_an_argument_that_makes_no_sense_is_refused_by_name(field, values):  # noqa: N802 - ids
    for value in values:
        with pytest.raises(ConfigurationError, match=field) as caught:
            ParallelWrapper(dense(), **{field: value})
        assert isinstance(caught.value, ValueError)
        assert caught.value.field == field


# ---------------------------------------------------------------- what it comes to


def test_the_mean_weighs_workers_by_their_examples():
    ours, theirs = dense(), dense()
    ParallelWrapper(ours, workers=3).fit(batches(47, size=10), epochs=2)
    whole = rows(47)
    for _ in range(2):
        for part in (slice(30), slice(30, 47)):
            theirs.fit(DataSet(whole.features[part], whole.labels[part]))
    np.testing.assert_allclose(ours.params(), theirs.params(), rtol=1e-12)


def test_the_states_of_updaters_are_averaged_unless_that_is_switched_off():
    data = list(batches(20, size=10))
    fields = {"updater": nn.Nesterovs(0.1, momentum=0.9)}
    twins = [dense(**fields), dense(**fields)]
    for twin, batch in zip(twins, data, strict=True):
        twin.fit(batch)
    states = [twin.updater_state() for twin in twins]
    for average, expected in ((True, (states[0] + states[1]) / 2), (False, states[0])):
        net = dense(**fields)
        ParallelWrapper(net, workers=2, average_updaters=average).fit(data)
        np.testing.assert_allclose(net.updater_state(), expected, rtol=1e-12)
        mean = (twins[0].params() + twins[1].params()) / 2
        np.testing.assert_allclose(net.params(), mean, rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [None, 5])
def test_equal_runs_give_equal_parameters(mode, seed):
    def trained(seed):
        net = dense(dropout=0.6, updater=nn.Adam(0.05))
        wrapper = ParallelWrapper(net, workers=3, training_mode=mode, averaging_frequency=2, seed=seed)
        for _ in range(2):
            wrapper.fit(batches(), epochs=2)
        return net

    first = trained(seed)
    assert_equal_networks(trained(seed), first)
    assert not np.array_equal(trained(11).params(), first.params())


def test_workers_draw_their_own_noise():
    seen = {}

    class Keep(nn.TrainingListener):
        def on_forward_pass(self, model, activations):
            seen.setdefault(threading.current_thread().name, activations[1].detach())

    net = chain(INPUTS, 50, CLASSES, dropout=0.5, dtype="float64")
    wrapper = ParallelWrapper(net, workers=2)
    wrapper.set_listeners(Keep())
    wrapper.fit([rows(10), rows(10)])
    first, second = seen.values()
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("training_mode", MODES)
@pytest.mark.parametrize("prefetch", [0, 1, 16])
def test_reading_ahead_and_workspaces_change_no_bit(training_mode, prefetch):
    results = []
    for mode, buffer in (("NONE", 0), ("ENABLED", prefetch)):
        net = dense(updater=nn.Adam(0.05))
        options = {"workspace_mode": mode, "prefetch_buffer": buffer, "training_mode": training_mode}
        ParallelWrapper(net, workers=3, **options).fit(batches(200, size=7), epochs=2)
        results.append(net)
    assert_equal_networks(*results)


class Reusing(DataSetIterator):
    """Gives batches in the same two arrays, again and again."""

    def __init__(self, *, async_supported):
        self.async_supported = async_supported

    def batches(self):
        x, y = np.empty((7, INPUTS)), np.empty((7, CLASSES))
        for batch in batches(210, size=7):
            x[:], y[:] = batch.features, batch.labels
            yield DataSet(x, y)
        x[:] = y[:] = np.nan


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", ["read ahead", "not read ahead", "a generator"])
def test_a_source_may_use_its_arrays_again(mode, source):
    reusing = Reusing(async_supported=source == "read ahead")
    ours, theirs = dense(), dense()
    wrapper = ParallelWrapper(ours, workers=3, training_mode=mode)
    wrapper.fit(iter(reusing) if source == "a generator" else reusing)
    ParallelWrapper(theirs, workers=3, training_mode=mode).fit(list(batches(210, size=7)))
    assert_equal_networks(ours, theirs)


@pytest.mark.parametrize("mode", ["SINGLE", "SEPARATE"])
def test_a_deprecated_workspace_mode_is_told_and_works(mode):
    with pytest.warns(DeprecationWarning, match=mode):
        wrapper = ParallelWrapper(dense(), workers=2, workspace_mode=mode)
    reference = dense()
    ParallelWrapper(reference, workers=2).fit(batches())
    with pytest.warns(DeprecationWarning):
        wrapper.fit(batches())
    assert_equal_networks(wrapper.model, reference)


@pytest.mark.parametrize("mode", MODES)
def test_pieces_of_series_are_learned_by_all_workers_however_many_there_are(mode):
    rng = np.random.default_rng(2)

    def series(steps):
        x = rng.normal(size=(4, 2, steps))
        return DataSet(x, np.eye(2)[(x.sum(axis=1) > 0).astype(int)].transpose(0, 2, 1))

    conf = nn.MultiLayerConfiguration(
        layers=[nn.LSTM(n_out=4, activation="tanh"), nn.RnnOutputLayer(n_out=2)],
        input_type=InputType.recurrent(2),
        backprop_type="TRUNCATED_BPTT",
        tbptt_fwd_length=3,
        tbptt_back_length=3,
        updater=nn.Sgd(0.1),
        dtype="float64",
        seed=1,
    )
    net = nn.MultiLayerNetwork(conf)
    ParallelWrapper(net, workers=2, training_mode=mode).fit([series(9), series(3), series(4)], epochs=2)
    assert net.iteration_count == 2 * (3 + 2)
    assert np.isfinite(net.params()).all()
    assert threads() == []


def test_constraints_hold_for_the_mean():
    net = dense(constraints=[nn.UnitNormConstraint()], updater=nn.Sgd(1.0))
    ParallelWrapper(net, workers=2).fit(batches())
    norms = np.sqrt((net.param_table()["0_W"] ** 2).sum(axis=1))
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_a_data_set_is_an_epoch_of_one_batch():
    ours, theirs = dense(), dense()
    ParallelWrapper(ours, workers=2).fit(rows(), epochs=3)
    theirs.fit([rows()], epochs=3)
    assert_equal_networks(ours, theirs)


def test_a_graph_takes_data_sets_of_both_kinds():
    ours, theirs = graph(), graph()
    several = [MultiDataSet.of(batch) for batch in batches()]
    ParallelWrapper(ours, workers=2).fit(several)
    ParallelWrapper(theirs, workers=2).fit(batches())
    assert_equal_networks(ours, theirs)


def test_a_network_without_parameters_learns_nothing():
    conf = nn.MultiLayerConfiguration(layers=[nn.LossLayer(loss="mse")], input_type=InputType.feed_forward(3))
    data = np.zeros((4, 3), np.float32)
    for mode in MODES:
        ParallelWrapper(nn.MultiLayerNetwork(conf), workers=2, training_mode=mode).fit([DataSet(data, data)])


# ---------------------------------------------------------------- what is told


def test_listeners_hear_iterations_of_replicas_and_epochs_of_the_model():
    net, heard = dense(), Heard()
    net.add_listeners(heard)
    ParallelWrapper(net, workers=2).fit(batches(30), epochs=2)
    assert heard.names() == (["epoch starts"] + ["iteration"] * 3 + ["epoch ends"]) * 2
    epochs = [event for event in heard.events if event[0] != "iteration"]
    assert [(model is net, epoch) for _, model, epoch in epochs] == [(True, k) for k in (0, 0, 1, 1)]
    iterations = [event[1:] for event in heard.events if event[0] == "iteration"]
    assert len({id(model) for model, *_ in iterations} | {id(net)}) == 3
    assert sorted(counts for _, *counts in iterations) == [[0, 0]] * 2 + [[1, 0]] + [[2, 1]] * 2 + [[3, 1]]


def test_listeners_are_told_one_at_a_time():
    inside, most = 0, 0

    class Counts(nn.TrainingListener):
        def iteration_done(self, model, iteration, epoch):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            model.output(np.zeros((64, INPUTS)))  # lets other threads run
            inside -= 1

    wrapper = ParallelWrapper(dense(), workers=3)
    wrapper.add_listeners(Counts(), Counts())
    wrapper.fit(batches(90, size=2))
    assert most == 1


def test_the_score_is_the_mean_over_examples_and_is_logged_where_that_is_asked_for(caplog):
    net, twins = dense(), [dense(), dense()]
    data = [rows(10), rows(30, seed=1)]
    for twin, batch in zip(twins, data, strict=True):
        twin.fit(batch)
    with caplog.at_level(logging.INFO, logger="ndarena.parallel"):
        ParallelWrapper(net, workers=2).fit(data)
        assert caplog.messages == []
        expected = (10 * twins[0].score() + 30 * twins[1].score()) / 40
        assert net.score() == pytest.approx(expected, rel=1e-12)
        wrapper = ParallelWrapper(net, workers=2, averaging_frequency=2, report_score_after_averaging=True)
        wrapper.fit([*data, *data, *data])
    assert [message.partition(":")[0] for message in caplog.messages] == ["Averaged score"] * 2
    assert float(caplog.messages[-1].partition(":")[2]) == pytest.approx(net.score(), rel=1e-12)


def test_a_schedule_counts_rounds():
    schedule = nn.MapSchedule(values={0: 0.5, 1: 0.1, 2: 0.02}, schedule_type="ITERATION")
    ours, theirs = dense(updater=nn.Sgd(schedule)), dense(updater=nn.Sgd(schedule))
    ParallelWrapper(ours, workers=2).fit(batches(60, size=10))
    theirs.fit(batches(60, size=20))
    np.testing.assert_allclose(ours.params(), theirs.params(), rtol=1e-12)


@pytest.mark.parametrize("sizes", [[4, 4], [4, 7], [4, 4, 4]], ids=["two", "unequal", "three"])
def test_who_asks_the_model_meanwhile_is_never_answered_by_half_a_mean(monkeypatch, sizes):
    model = dense()
    before, seen = model.params().copy(), []
    make = teams.set_mean

    def watched(mean, weighted):
        mean.fill(np.nan)  # what it holds until it is a mean
        seen.append(np.isfinite(model.params()).all())
        make(mean, weighted)
        seen.append(np.isfinite(model.params()).all())

    monkeypatch.setattr(teams, "set_mean", watched)
    x, y = examples(sum(sizes), INPUTS, CLASSES)
    ends = np.cumsum(sizes)
    data = [DataSet(x[end - n : end], y[end - n : end]) for n, end in zip(sizes, ends, strict=True)]
    ParallelWrapper(model, workers=len(sizes), prefetch_buffer=0).fit(data)
    assert seen
    assert all(seen)
    assert np.isfinite(model.params()).all()
    assert (model.params() != before).any()
