"""`python -m ndarena`: what it does, what it says, and its status."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from nn_support import chain, examples

import ndarena
from ndarena import nn
from ndarena.command_line import main
from ndarena.data import ArrayDataSetIterator, MultiDataSet, NormalizerStandardize

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a folder with a network in it."""
    monkeypatch.chdir(tmp_path)
    chain(6, 8, 3).save("net.zip")
    return tmp_path


@pytest.fixture
def factories(monkeypatch):
    """Give a module for functions that make data."""
    module = ModuleType("factories")
    x, y = examples(60, 6, 3)
    module.batches = lambda: ArrayDataSetIterator(x, y, batch_size=10)
    module.once = lambda: iter(module.batches())
    module.nothing = list
    module.number = lambda: 5
    module.ready = module.batches()
    monkeypatch.setitem(sys.modules, "factories", module)
    return module


def status_of(*arguments):
    """Run a command; the status with which it ends, however it does."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def train(*arguments, data="factories:batches"):
    """Train; of an option that is given twice the last one counts."""
    paths = ("--model-path", "net.zip", "--model-output-path", "out.zip")
    return status_of("train", *paths, "--data", data, *arguments)


# Training.


@pytest.mark.parametrize("workers", ["1", "2"])
def test_training_writes_what_a_wrapper_learns(folder, factories, workers, capsys):
    assert train("--workers", workers, "--epochs", "2") == 0
    net = nn.load_model("net.zip")
    with ndarena.parallel.ParallelWrapper(net, workers=int(workers)) as wrapper:
        wrapper.fit(factories.batches(), epochs=2)
    learned = nn.load_model("out.zip")
    assert (learned.params() == net.params()).all()
    assert (learned.updater_state() == net.updater_state()).all()
    assert (learned.iteration_count, learned.epoch_count) == (net.iteration_count, 2)
    out, err = capsys.readouterr()
    assert out == ""
    line = r"epoch {} of 2: 6 batches, 60 examples, \d+\.\d s, \d+ examples/s, score \d\.\d+\n"
    assert re.fullmatch(line.format(1) + line.format(2) + "wrote out.zip\n", err)


def test_the_options_reach_the_wrapper(folder, factories, monkeypatch):
    found = {}

    class Wrapper(ndarena.parallel.ParallelWrapper):
        def __init__(self, model, **options):
            found.update(options)
            super().__init__(model, **options)

    monkeypatch.setattr("ndarena.command_line.ParallelWrapper", Wrapper)
    numbers = ("--workers", "3", "--prefetch-size", "0", "--averaging-frequency", "4")
    assert train(*numbers, "--average-updaters", "false") == 0
    assert found == {
        "workers": 3,
        "prefetch_buffer": 0,
        "averaging_frequency": 4,
        "average_updaters": False,
        "report_score_after_averaging": False,
    }
    assert train() == 0
    assert found == {
        "workers": 2,
        "prefetch_buffer": 16,
        "averaging_frequency": 1,
        "average_updaters": True,
        "report_score_after_averaging": False,
    }


def test_P05_the_ancestors_command_completes(tmp_path, monkeypatch, factories):  # noqa: N802 - an id
    layers = [
        nn.ConvolutionLayer(n_out=4, kernel_size=(5, 5), activation="relu"),
        nn.SubsamplingLayer(kernel_size=(2, 2), stride=(2, 2)),
        nn.DenseLayer(n_out=16, activation="relu"),
        nn.OutputLayer(n_out=10),
    ]
    kind = nn.InputType.convolutional_flat(height=28, width=28, channels=1)
    conf = nn.MultiLayerConfiguration(layers=layers, input_type=kind, updater=nn.Nesterovs(0.01), seed=1)
    monkeypatch.chdir(tmp_path)
    nn.MultiLayerNetwork(conf).save("lenet.zip", save_updater=False)
    x, y = examples(64, 784, 10)
    factories.images = lambda: ArrayDataSetIterator(x, y, batch_size=16)
    arguments = ("--modelPath", "lenet.zip", "--modelOutputPath=out.zip", "--averagingFrequency", "2")
    assert status_of("train", *arguments, "--dataSetIteratorFactoryClazz", "factories:images") == 0
    assert (nn.load_model("out.zip").params() != nn.load_model("lenet.zip").params()).any()


def test_what_the_data_went_through_is_kept(folder, factories):
    scaler = NormalizerStandardize()
    scaler.fit(factories.batches())
    nn.load_model("net.zip").save("net.zip", normalizer=scaler)
    assert train() == 0
    assert (nn.load_normalizer("out.zip").mean == scaler.mean).all()


def test_scores_are_reported_if_one_asks(folder, factories, caplog):
    with caplog.at_level("INFO"):
        assert train("--report-score", "--averaging-frequency", "3") == 0
    assert len(caplog.messages) == 1
    assert "score" in caplog.messages[0].lower()


def test_on_a_terminal_a_line_moves(folder, factories, monkeypatch, capsys):
    monkeypatch.setattr("ndarena.command_line.Progress.PAUSE", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert train() == 0
    err = capsys.readouterr().err
    assert err.count("\repoch 1 of 1: ") == 7
    assert err.count("\n") == 2


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_training_that_fails_writes_nothing(folder, factories, kind, capsys):
    def broken():
        yield from factories.batches()
        raise kind("first line\nsecond line")

    factories.broken = broken
    assert train(data="factories:broken") == (1 if kind is ValueError else 130)
    last = capsys.readouterr().err.splitlines()[-1]
    if kind is ValueError:
        assert last == "python -m ndarena train: ValueError: first line (--traceback tells where)"
    else:
        assert last == "python -m ndarena train: interrupted"
    assert sorted(path.name for path in folder.iterdir()) == ["net.zip"]


def test_the_traceback_is_told_if_one_asks(folder, factories, capsys):
    factories.broken = lambda: 1 // 0
    assert train("--traceback", data="factories:broken") == 1
    err = capsys.readouterr().err
    assert "in <lambda>" in err
    assert err.endswith("ZeroDivisionError: integer division or modulo by zero\n")


# Evaluating and reporting.


def test_evaluating_prints_what_evaluations_say(folder, factories, capsys):
    arguments = ("--model-path", "net.zip", "--data", "factories:ready")
    assert status_of("evaluate", *arguments) == 0
    out, err = capsys.readouterr()
    net = nn.load_model("net.zip")
    assert out == f"{net.evaluate(factories.batches()).stats()}\n"
    assert err.startswith("evaluating net.zip on factories:ready\n")
    kinds = ("--evaluation", "roc-multi-class", "--evaluation", "regression")
    assert status_of("evaluate", *arguments, *kinds) == 0
    wanted = net.evaluate_roc_multi_class(factories.batches()), net.evaluate_regression(factories.batches())
    assert capsys.readouterr().out == "".join(f"{each.stats()}\n" for each in wanted)


def test_an_output_of_a_graph_is_evaluated(tmp_path, monkeypatch, factories, capsys):
    monkeypatch.chdir(tmp_path)
    vertices = {"a": (nn.OutputLayer(n_out=2), "x"), "b": (nn.OutputLayer(n_out=3), "x")}
    kinds = [nn.InputType.feed_forward(6)]
    conf = nn.ComputationGraphConfiguration(
        inputs=["x"], input_types=kinds, vertices=vertices, outputs=["a", "b"], seed=1
    )
    net = nn.ComputationGraph(conf)
    net.save("net.zip")
    x, y = examples(20, 6, 3)
    factories.pair = MultiDataSet([x], [y[:, :2], y])
    arguments = ("evaluate", "--model-path", "net.zip", "--data", "factories:pair", "--output")
    assert status_of(*arguments, "1") == 0
    (wanted,) = net.do_evaluation(factories.pair, {1: [ndarena.evaluation.Evaluation()]})[1]
    assert capsys.readouterr().out == f"{wanted.stats()}\n"
    assert status_of(*arguments, "2") == 1
    assert "there is no output 2" in capsys.readouterr().err


def test_a_report_tells_layers_and_memory_before_anything_runs(folder, capsys):
    assert status_of("report", "--model-path", "net.zip", "--minibatch", "7") == 0
    net = nn.load_model("net.zip")
    assert capsys.readouterr().out == f"{net.summary()}\n\n{net.memory_report(7)}\n"


def test_a_report_tells_the_workspaces_after_a_batch(folder, factories, capsys):
    assert status_of("report", "--model-path", "net.zip", "--data", "factories:batches") == 0
    out = capsys.readouterr().out
    net = nn.load_model("net.zip")
    assert out.startswith(f"{net.summary()}\n\n{net.memory_report(10)}\n\nworkspaces after a batch of 10\n")
    assert re.search(r"^\[WS_ALL_LAYERS_ACT\] closed: current size (?!0 B)", out, re.MULTILINE)


# Wrong use.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "argument --workers: '0' is no whole number from 1 on"),
        (["--epochs", "x"], "argument --epochs: 'x' is no whole number from 1 on"),
        (
            ["--prefetch-size", "-1"],
            "--prefetch-size: '-1' is no whole number from 0 on",
        ),
        (["--report-score", "yes"], "'yes' is neither true nor false"),
        (["--model-path", "no.zip"], "argument --model-path: there is no file 'no.zip'"),
        (["--model-output-path", "no/out.zip"], "no file 'no/out.zip' can be written"),
        (["--model-output-path", "."], "no file '.' can be written"),
        (["--ui-url", "localhost"], "unrecognized arguments: --ui-url localhost"),
        (["--data", "factories"], "--data must be MODULE:FACTORY, such as digits:training, not 'factories'"),
        (["--data", "no_such_module:f"], "--data: there is no module 'no_such_module'"),
        (["--data", "factories:f"], "--data: module 'factories' has no attribute 'f'"),
    ],
)
def test_wrong_use_has_status_2_and_says_what_is_wrong(folder, factories, arguments, message, capsys):
    assert train(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert sorted(path.name for path in folder.iterdir()) == ["net.zip"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "factories:number"], "TypeError: factories:number gives no data sets but int"),
        (
            ["--data", "factories:nothing"],
            "ValueError: factories:nothing gave no batch: there is nothing to write",
        ),
        (["--data", "factories:once", "--epochs", "2"], "ValueError: list_iterator gives one epoch, not 2"),
    ],
)
def test_data_that_cannot_be_learned_have_status_1(folder, factories, arguments, message, capsys):
    factories.once = lambda: iter(list(factories.batches()))
    assert train(*arguments) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("out.zip").exists()


def test_a_module_that_does_not_find_another_one_has_failed(folder, monkeypatch, capsys):
    (folder / "lacking.py").write_text("import no_such_module\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    assert train(data="lacking:f") == 1
    assert "ModuleNotFoundError: No module named 'no_such_module'" in capsys.readouterr().err


def test_a_file_that_is_no_network_has_status_1(folder, factories, capsys):
    Path("net.zip").write_bytes(b"nothing")
    assert train() == 1
    assert "ConfigurationError: file of a network: path='net.zip'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("train",), ("learn",)])
def test_a_command_that_is_not_whole_has_status_2(arguments, capsys):
    assert status_of(*arguments) == 2
    assert "usage: python -m ndarena" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "report", None])
def test_help_teaches_by_examples(command, capsys):
    assert status_of(*filter(None, [command]), "--help") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"python -m ndarena {command or 'train'} --model-path" in out.partition("examples:")[2]


def test_the_version_is_told(capsys):
    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"ndarena {ndarena.__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_trouble(folder):
    command = [sys.executable, "-m", "ndarena", "report", "--model-path", "net.zip"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() in {0, 1}


def test_the_commands_of_the_page_work_as_it_shows(tmp_path):
    pytest.importorskip("sklearn")
    text = PAGE.read_text(encoding="utf-8")
    module = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "digits.py").write_text(module, encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = "\n".join(blocks).replace("\\\n>", "")
    commands = re.findall(r"^\$ python (.*)$", shown, re.MULTILINE)
    assert {command.split()[2] for command in commands if "-m" in command} == {"train", "evaluate", "report"}
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command.split()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        if "evaluate" in command:
            assert float(re.search(r"Accuracy: +(\S+)", done.stdout)[1]) > 0.85
    assert (tmp_path / "trained.zip").is_file()


def test_a_network_of_numbers_is_evaluated_as_one(tmp_path, monkeypatch, factories, capsys):
    monkeypatch.chdir(tmp_path)
    conf = nn.MultiLayerConfiguration(
        layers=[nn.OutputLayer(n_in=6, n_out=3, activation="identity", loss="mse")], seed=1
    )
    nn.MultiLayerNetwork(conf).save("net.zip")
    assert status_of("evaluate", "--model-path", "net.zip", "--data", "factories:batches") == 0
    out = capsys.readouterr().out
    assert "MSE" in out
    assert "Accuracy" not in out
