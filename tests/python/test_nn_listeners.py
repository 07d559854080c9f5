"""Listeners that come along: what they tell, keep, save and refuse."""

import sys
import types

import numpy as np
import pytest
from nn_support import chain, examples

from ndarena import ConfigurationError, nn
from ndarena.data import ArrayDataSetIterator, DataSet

X, Y = examples(24, 5, 3)


def batches(size=8):
    return ArrayDataSetIterator(X, Y, batch_size=size)


def trained(*listeners, epochs=2, mode="ENABLED", **fields):
    net = chain(5, 4, 3, training_workspace_mode=mode, **fields)
    net.set_listeners(*listeners)
    net.fit(batches(), epochs=epochs)
    return net


def test_scores_are_told_and_kept(tmp_path):
    lines, all_scores, some = [], nn.CollectScoresListener(), nn.CollectScoresListener(4)
    net = trained(nn.ScoreIterationListener(4, output=lines.append), all_scores, some)
    assert all_scores.iterations == list(range(6))
    assert all_scores.scores[-1] == net.score()
    assert some.scores == all_scores.scores[::4]
    assert lines == [f"Score at iteration {i} is {all_scores.scores[i]}" for i in (0, 4)]
    all_scores.export_scores(tmp_path / "scores.txt", delimiter=";")
    rows = np.loadtxt(tmp_path / "scores.txt", delimiter=";", skiprows=1)
    np.testing.assert_array_equal(rows, np.array([range(6), all_scores.scores]).T)


def test_lines_go_to_the_standard_output(capsys):
    trained(nn.ScoreIterationListener(), nn.PerformanceListener(3), nn.WorkspaceListener(3), epochs=1)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    assert out[0].startswith("Score at iteration 0 is ")


def test_speed_is_told(monkeypatch):
    now = iter(float(i) for i in range(100))
    monkeypatch.setattr("ndarena.nn.reports.time.perf_counter", lambda: next(now))
    lines = []
    listener = nn.PerformanceListener(2, report_score=True, output=lines.append)
    net = trained(listener)
    assert [line.split(":")[0] for line in lines] == ["iteration 1", "iteration 3", "iteration 5"]
    assert listener.last == (5, 2.0, 16.0, net.score())  # two batches of eight in a second
    assert lines[-1] == f"iteration 5: 2.00 batches/s, 16.0 samples/s, score {net.score():.6g}"


@pytest.mark.parametrize("mode", ["ENABLED", "NONE"])
def test_memory_is_told(mode):
    lines = []
    listener = nn.WorkspaceListener(2, output=lines.append)
    with trained(listener, epochs=60, mode=mode):
        assert len(lines) == 90
        assert lines[-1] == str(listener.last)
        assert listener.last.iteration == 178
        assert listener.last.spilled_bytes == 0
        assert (listener.last.workspace_bytes > 0) == (mode == "ENABLED")
        assert listener.last.new_bytes == 0
        assert listener.last.page_faults is None or listener.last.page_faults >= 0


def test_training_goes_on_from_a_checkpoint(tmp_path):
    whole = trained(epochs=4)
    trained(nn.CheckpointListener(tmp_path, save_every_n_iterations=5, save_every_n_epochs=2), epochs=2)
    found = nn.CheckpointListener.available_checkpoints(tmp_path)
    assert [(c.number, c.path.name) for c in found] == [
        (0, "checkpoint_0_MultiLayerNetwork.zip"),
        (1, "checkpoint_1_MultiLayerNetwork.zip"),
    ]
    last = nn.CheckpointListener.load_checkpoint(tmp_path)
    assert (last.iteration_count, last.epoch_count) == (6, 2)
    last.fit(batches(), epochs=2)
    np.testing.assert_array_equal(last.params(), whole.params())
    first = nn.CheckpointListener.load_checkpoint(tmp_path, 0)
    assert (first.iteration_count, first.epoch_count) == (5, 1)


def test_old_checkpoints_go(tmp_path):
    listener = nn.CheckpointListener(tmp_path, save_every_n_iterations=1, keep_last=2, keep_every=3)
    net = trained(listener, epochs=3)
    names = [c.number for c in nn.CheckpointListener.available_checkpoints(tmp_path)]
    assert names == [0, 3, 6, 7, 8]
    assert nn.CheckpointListener.last_checkpoint(tmp_path).number == 8
    assert net.iteration_count == 9
    again = nn.CheckpointListener(tmp_path, save_every_seconds=0)
    trained(again, epochs=1)
    assert nn.CheckpointListener.last_checkpoint(tmp_path).number == 11
    nn.CheckpointListener(tmp_path, save_every_seconds=9e9, delete_existing=True)
    assert nn.CheckpointListener.last_checkpoint(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="no checkpoint 4"):
        nn.CheckpointListener.load_checkpoint(tmp_path, 4)


@pytest.mark.parametrize("action", ["raise", "warn"])
def test_a_score_that_is_no_number_is_told_with_iteration_and_layer(action):
    net = trained(nn.InvalidScoreListener(action), epochs=1)
    before = net.params().copy()
    net.param_table()["0_W"][0, 0] = np.nan
    words = r"the score is nan in iteration 3, epoch 1: it begins in layer 0 \(layer0, DenseLayer\); .* 0_W, "
    if action == "warn":
        with pytest.warns(RuntimeWarning, match=words):
            net.fit(X, Y)
        return
    with pytest.raises(nn.InvalidScoreError, match=words):
        net.fit(X, Y)
    assert net.iteration_count == 3
    net.set_params(before)
    net.fit(X, Y)
    assert np.isfinite(net.score())


def test_an_input_that_is_no_number_is_named():
    net = trained(nn.InvalidScoreListener(), epochs=1)
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(nn.InvalidScoreError, match="it begins in the input;"):
        net.fit(DataSet(bad, Y))


def test_graphs_tell_as_much(tmp_path):
    vertices = {"h": (nn.DenseLayer(n_out=4), "x"), "y": (nn.OutputLayer(n_out=3), "h")}
    conf = nn.ComputationGraphConfiguration(
        inputs=["x"], input_types=[nn.InputType.feed_forward(5)], vertices=vertices, outputs=["y"], seed=1
    )
    lines = []
    net = nn.ComputationGraph(conf)
    speed = nn.PerformanceListener(2, output=lines.append)
    net.set_listeners(
        speed, nn.CheckpointListener(tmp_path, save_every_n_epochs=1), nn.InvalidScoreListener()
    )
    net.fit(batches(), epochs=2)
    assert speed.last.samples_per_second == pytest.approx(8 * speed.last.batches_per_second)
    (first, second) = nn.CheckpointListener.available_checkpoints(tmp_path)
    assert first.path.name == "checkpoint_0_ComputationGraph.zip"
    again = nn.CheckpointListener.load_checkpoint(tmp_path, second.number)
    np.testing.assert_array_equal(again.params(), net.params())
    assert (again.iteration_count, again.epoch_count) == (6, 2)
    net.param_table()["h_b"][...] = np.nan
    with pytest.raises(nn.InvalidScoreError, match="it begins in h; gradients"):
        net.fit(batches())


class Bar:
    """What a progress bar of rich is asked for."""

    def __init__(self, *columns):
        self.seen = []
        Bar.shown.append(self)

    def start(self):
        self.seen.append("start")

    def stop(self):
        self.seen.append("stop")

    def add_task(self, description, total):
        self.seen.append((description, total))
        return 7

    def update(self, task, *, advance=0, total=None, description=None):
        assert task == 7
        self.seen.append(advance or total)


def test_progress_is_shown(monkeypatch):
    Bar.shown = []
    columns = ["TextColumn", "BarColumn", "MofNCompleteColumn", "TimeElapsedColumn", "TimeRemainingColumn"]
    rich = types.SimpleNamespace(Progress=Bar, **{name: lambda *_: None for name in columns})
    monkeypatch.setitem(sys.modules, "rich", rich)
    monkeypatch.setitem(sys.modules, "rich.progress", rich)
    net = trained(nn.ProgressListener())
    assert [bar.seen for bar in Bar.shown] == [
        ["start", ("epoch 0", None), 1, 1, 1, 3, "stop"],
        ["start", ("epoch 1", 3), 1, 1, 1, 3, "stop"],
    ]
    net.fit(X, Y)  # no epoch, no bar
    assert len(Bar.shown) == 2


def test_without_rich_there_is_no_progress_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"pip install ndarena\[progress\]"):
        nn.ProgressListener()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda _: nn.ScoreIterationListener(0), "print_iterations"),
        (lambda _: nn.CollectScoresListener(0.5), "frequency"),
        (lambda _: nn.PerformanceListener(0), "frequency"),
        (lambda _: nn.WorkspaceListener(0), "frequency"),
        (nn.CheckpointListener, "save_every_n_iterations"),
        (lambda path: nn.CheckpointListener(path, save_every_n_epochs=0), "save_every_n_epochs"),
        (lambda path: nn.CheckpointListener(path, save_every_seconds=-1), "save_every_seconds"),
        (lambda path: nn.CheckpointListener(path, save_every_n_epochs=1, keep_last=0), "keep_last"),
        (lambda _: nn.InvalidScoreListener("sleep"), "action"),
    ],
)
def test_a_wrong_argument_is_named(make, field, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        make(tmp_path)
    assert caught.value.field == field
