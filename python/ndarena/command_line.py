"""The commands of ``python -m ndarena`` (DL4J: ``ParallelWrapperMain``)."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
import time
import traceback
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndarena._core import __version__, print_allocation_statistics_for_current_thread
from ndarena.data import DataSet, MultiDataSet
from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)
from ndarena.nn import ComputationGraph, TrainingListener, load_model, load_normalizer
from ndarena.parallel import ParallelWrapper

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["main"]

PROGRAM = "python -m ndarena"
FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
EVALUATIONS: dict[str, type[Any]] = {
    "classification": Evaluation,
    "binary": EvaluationBinary,
    "regression": RegressionEvaluation,
    "roc": ROC,
    "roc-binary": ROCBinary,
    "roc-multi-class": ROCMultiClass,
    "calibration": EvaluationCalibration,
}
DL4J_NAMES = dict.fromkeys(
    ("--data-set-iterator-factory-clazz", "--multi-data-set-iterator-factory-clazz"), "--data"
)

ABOUT = """\
Train, evaluate and describe networks that are kept in files: those of net.save(), or DL4J's.

The data come from Python. `--data module:factory` names a module, here or on PYTHONPATH, and in
it a function that is called without arguments and returns an iterator over data sets:

    # digits.py
    from ndarena.data import DigitsDataSetIterator

    def training():
        return DigitsDataSetIterator(batch_size=64, num_examples=1500, shuffle=True)
"""
EXAMPLES = f"""\
examples:
  {PROGRAM} report --model-path digits.zip --minibatch 64
  {PROGRAM} train --model-path digits.zip --data digits:training \\
      --model-output-path trained.zip --workers 2 --epochs 10
  {PROGRAM} evaluate --model-path trained.zip --data digits:test

`{PROGRAM} COMMAND --help` explains a command. Results are printed on the standard
output, and what happens meanwhile on standard error. The status is 0 if all went well, 1 if
something failed, 2 if the command was not understood, and 130 after an interrupt.
"""
TRAIN = """\
Train a network in several threads, each with workspaces of its own, and write it to a new file.
Updaters go on where the file says they were, and so does the count of iterations and epochs. The
new file is there when it is whole; if anything fails, or you interrupt, nothing is written.

Options have the names of DL4J's ParallelWrapperMain, whose spelling (--modelPath) is understood.
"""
TRAIN_EXAMPLES = f"""\
examples:
  {PROGRAM} train --model-path net.zip --data digits:training --model-output-path trained.zip
  {PROGRAM} train --model-path net.zip --data digits:training --model-output-path trained.zip \\
      --workers 4 --averaging-frequency 5 --average-updaters false --epochs 20 --report-score
"""
EVALUATE = """\
Hold the outputs of a network against the labels of data, in one pass for all evaluations asked
for, and print what each of them says.
"""
EVALUATE_EXAMPLES = f"""\
examples:
  {PROGRAM} evaluate --model-path trained.zip --data digits:test
  {PROGRAM} evaluate --model-path trained.zip --data digits:test \\
      --evaluation classification --evaluation roc-multi-class
"""
REPORT = """\
Print the layers of a network, and the memory that training and inference need for batches of a
size, before anything is run. With --data a batch is run, and what its workspaces hold is printed.
"""
REPORT_EXAMPLES = f"""\
examples:
  {PROGRAM} report --model-path net.zip --minibatch 128
  {PROGRAM} report --model-path net.zip --data digits:training
"""


def main(arguments: Sequence[str]) -> int:
    """Run a command; return the status of the process.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command line, without the name of the program.

    Raises
    ------
    SystemExit
        Of status 0 after help, and of status 2 where the arguments are wrong.
    """
    parser = _parser()
    options = parser.parse_args(_in_our_spelling(arguments))
    try:
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say(f"{options.prog}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except argparse.ArgumentTypeError as error:
        options.parser.error(str(error))
    except Exception as error:  # noqa: BLE001 - a person is told
        if options.traceback:
            traceback.print_exc()
        else:
            text = " ".join(str(error).splitlines()[:1])
            say(f"{options.prog}: {type(error).__name__}: {text} (--traceback tells where)")
        return FAILED
    return 0


def say(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")


# What may be said.


def _in_our_spelling(arguments: Sequence[str]) -> list[str]:
    """Turn DL4J's names of options, such as ``--modelPath``, into ours."""

    def turned(argument: str) -> str:
        if not argument.startswith("--"):
            return argument
        name, equals, value = argument.partition("=")
        name = re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: f"-{found[0]}", name).lower()
        return DL4J_NAMES.get(name, name) + equals + value

    return [turned(argument) for argument in arguments]


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=ABOUT, epilog=EXAMPLES, formatter_class=form, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"ndarena {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, run, summary, about, examples in (
        ("train", train, "train a network in several threads", TRAIN, TRAIN_EXAMPLES),
        ("evaluate", evaluate, "hold a network against labels", EVALUATE, EVALUATE_EXAMPLES),
        ("report", report, "tell layers and memory of a network", REPORT, REPORT_EXAMPLES),
    ):
        own = commands.add_parser(
            name, help=summary, description=about, epilog=examples, formatter_class=form, allow_abbrev=False
        )
        own.set_defaults(run=run, parser=own, prog=f"{PROGRAM} {name}")
        own.add_argument(
            "--model-path", required=True, type=_existing, metavar="FILE", help="the file of the network"
        )
        own.add_argument(
            "--data",
            required=name != "report",
            metavar="MODULE:FACTORY",
            help="what makes the data sets" if name != "report" else "what makes data sets, to run the first",
        )
        OPTIONS[name](own)
        own.add_argument("--traceback", action="store_true", help="if it fails, tell where")
    return parser


def _train_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model-output-path", required=True, type=_target, metavar="FILE", help="where the result is written"
    )
    add("--workers", type=_count(1), default=2, metavar="N", help="threads (default: 2)")
    add("--epochs", type=_count(1), default=1, metavar="N", help="times through the data (default: 1)")
    add(
        "--prefetch-size", type=_count(0), default=16, metavar="N",
        help="batches that are read ahead; 0: none (default: 16)",
    )  # fmt: skip
    add(
        "--averaging-frequency", type=_count(1), default=1, metavar="N",
        help="batches of each worker between two averages (default: 1)",
    )  # fmt: skip
    _switch(parser, "--average-updaters", "whether the states of updaters are averaged", default=True)
    _switch(parser, "--report-score", "whether the score is told after every average", default=False)


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evaluation",
        action="append",
        choices=EVALUATIONS,
        help="what is asked; may be given several times (default: classification, or regression "
        "where outputs are no probabilities)",
    )
    parser.add_argument(
        "--output",
        type=_count(0),
        default=0,
        metavar="N",
        help="which output of a graph, from 0 (default: 0)",
    )


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minibatch", type=_count(1), metavar="N", help="examples of a batch (default: as the data, or 32)"
    )


OPTIONS = {"train": _train_options, "evaluate": _evaluate_options, "report": _report_options}


def _switch(parser: argparse.ArgumentParser, name: str, about: str, *, default: bool) -> None:
    parser.add_argument(
        name, nargs="?", type=_truth, const=True, default=default, metavar="true|false",
        help=f"{about} (default: {str(default).lower()})",
    )  # fmt: skip


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _count(least: int) -> Any:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return int(text)

    return count


def _existing(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text)


def _target(text: str) -> Path:
    """Return where a file can be written, which is known before anything is trained."""
    folder = Path(text).parent
    if Path(text).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"no file {text!r} can be written")
    return Path(text)


def _source(name: str) -> Iterable[Any]:
    """Return what a factory makes, or the iterable itself that is named."""
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise argparse.ArgumentTypeError(
            f"--data must be MODULE:FACTORY, such as digits:training, not {name!r}"
        )
    try:
        found = attrgetter(path)(importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # what the module itself imports
        raise argparse.ArgumentTypeError(f"--data: there is no module {error.name!r}") from None
    except AttributeError as error:
        raise argparse.ArgumentTypeError(f"--data: {error}") from None
    source: Iterable[Any] = found() if callable(found) else found
    if not hasattr(source, "__iter__") and not isinstance(source, DataSet | MultiDataSet):
        raise TypeError(f"{name} gives no data sets but {type(source).__name__}")
    return source


def _first(name: str) -> Any:
    """Return the first data set of a source."""
    source = _source(name)
    data = source if isinstance(source, DataSet | MultiDataSet) else next(iter(source), None)
    if data is None:
        raise ValueError(f"{name} gave no batch")
    return data


# What is done.


class Progress(TrainingListener):
    """Tells how training goes: a line for every epoch, and on a terminal one that moves meanwhile."""

    PAUSE = 0.2  # seconds

    def __init__(self, epochs: int) -> None:
        self._epochs, self._epoch, self._moves = epochs, 0, sys.stderr.isatty()
        self.batches = 0

    def on_epoch_start(self, model: Any) -> None:
        """Begin to count."""
        self._epoch += 1
        self.batches = self._examples = 0
        self._begin = self._told = time.monotonic()

    def on_forward_pass(self, model: Any, activations: Any) -> None:
        """Count the examples."""
        first = next(iter(activations.values() if isinstance(activations, dict) else activations))
        self._examples += len(first)

    def iteration_done(self, model: Any, iteration: int, epoch: int) -> None:
        """Tell it on a terminal, now and then."""
        self.batches += 1
        now = time.monotonic()
        if self._moves and now - self._told > self.PAUSE:
            self._told = now
            sys.stderr.write(f"\r{self._line(model)}")
            sys.stderr.flush()

    def on_epoch_end(self, model: Any) -> None:
        """Tell it."""
        say(f"\r{self._line(model)}" if self._moves else self._line(model))

    def _line(self, model: Any) -> str:
        seconds = time.monotonic() - self._begin
        return (
            f"epoch {self._epoch} of {self._epochs}: {self.batches} batches, {self._examples} examples, "
            f"{seconds:.1f} s, {self._examples / max(seconds, 1e-9):.0f} examples/s, "
            f"score {model.score():.6g}  "
        ).rstrip(" " * (not self._moves))


def train(options: argparse.Namespace) -> None:
    """Train a network, and write it to a new file."""
    source, progress = _source(options.data), Progress(options.epochs)
    net, normalizer = load_model(options.model_path), load_normalizer(options.model_path)
    if options.report_score:
        logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    wrapper = ParallelWrapper(
        net,
        workers=options.workers,
        prefetch_buffer=options.prefetch_size,
        averaging_frequency=options.averaging_frequency,
        average_updaters=options.average_updaters,
        report_score_after_averaging=options.report_score,
    )
    wrapper.set_listeners(progress)
    wrapper.fit(source, epochs=options.epochs)
    if not progress.batches:
        raise ValueError(f"{options.data} gave no batch: there is nothing to write")
    net.save(options.model_output_path, normalizer=normalizer)
    say(f"wrote {options.model_output_path}")


def evaluate(options: argparse.Namespace) -> None:
    """Print what evaluations say of a network."""
    source, net = _source(options.data), load_model(options.model_path)
    names = options.evaluation or [_evaluation_of(net, options.output)]
    evaluations = [EVALUATIONS[name]() for name in names]
    is_graph = isinstance(net, ComputationGraph)
    if options.output and not is_graph:
        raise ValueError(f"{options.model_path} has one output: there is no output {options.output}")
    say(f"evaluating {options.model_path} on {options.data}")
    began = time.monotonic()
    if is_graph:
        net.do_evaluation(source, {options.output: evaluations})
    else:
        net.do_evaluation(source, *evaluations)
    say(f"{time.monotonic() - began:.1f} s")
    for evaluation in evaluations:
        sys.stdout.write(f"{evaluation.stats()}\n")


def _evaluation_of(net: Any, output: int) -> str:
    """Return what fits an output: numbers that are no probabilities are not counted as classes."""
    layers = [node.twin for node in net.wiring.outputs][output : output + 1]
    return (
        "classification" if all(getattr(layer, "is_classifier", True) for layer in layers) else "regression"
    )


def report(options: argparse.Namespace) -> None:
    """Print what is known of a network before it runs, and its workspaces after a batch if there is one."""
    data = None if options.data is None else _first(options.data)
    net = load_model(options.model_path)
    minibatch = options.minibatch or (32 if data is None else len(data))
    sys.stdout.write(f"{net.summary()}\n\n{net.memory_report(minibatch)}\n")
    if data is None:
        return
    for _ in range(2):  # the first one learns the sizes
        net.fit(data)
    sys.stdout.write(f"\nworkspaces after a batch of {len(data)}\n")
    print_allocation_statistics_for_current_thread()
