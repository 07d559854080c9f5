"""One good call for every public callable: found among common arguments, or written down here."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nonsense_support import RECEIVERS, SMALL, VALUES, Stage, found_callables, leave_all, stage

import ndarena
from ndarena import data, evaluation, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

Recipe = tuple[Any, ...] | dict[str, Any]

X, Y = np.ones((4, 3)), np.eye(2)[[0, 1, 1, 0]]
FITTED = data.ImagePreProcessingScaler()
SERIES = nn.InputType.recurrent(3, 5)

COMMON = [
    "", "a vector", "array", "2", "'f8'", "'HERE'", "object()", "a matrix", "array; array", "2; 2",
    "nobody's data set", "iterator", "role", "role; array", "None; None; None", "a function", "(2, 3)",
    "role; (2, 3)", "'HERE'; a configuration", "True", "network", "a vector; a vector", "[1.0, 2.0]",
    "''", "array; 'HERE'", "workspace", "0", "array; 1", "a square", "a mask; array; array",
]  # fmt: skip
"""Arguments that are tried first, by the names that nonsense has for them."""
GOOD = VALUES | {"a configuration": lambda _: SMALL}


P = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])


def evaluated(kind: str = "Evaluation") -> Any:
    """Return an evaluation that has seen something."""
    found = getattr(evaluation, kind)()
    found.eval(Y, P)
    return found


def normalizer() -> Any:
    """Return a normaliser that has seen something."""
    fitted = data.NormalizerStandardize()
    fitted.fit(data.DataSet(X + Y[:, :1], Y))
    return fitted


def out_of_all(s: Stage, function: Any) -> None:
    """Call outside every scope."""
    leave_all()
    function("text")


def write_digits() -> None:
    """Write two handwritten digits as the files of MNIST have them."""
    head = (0x0803).to_bytes(4, "big") + (2).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    Path("train-images-idx3-ubyte").write_bytes(head + bytes(2 * 28 * 28))
    Path("train-labels-idx1-ubyte").write_bytes(
        (0x0801).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"\0\1"
    )


async def entered(scope: Any) -> None:
    """Enter a scope of a task."""
    async with scope:
        await asyncio.sleep(0)


def recurrent() -> nn.MultiLayerNetwork:
    """Return a network with states."""
    layers = [nn.LSTM(n_out=2, activation="tanh"), nn.RnnOutputLayer(n_out=2)]
    return nn.MultiLayerNetwork(nn.MultiLayerConfiguration(layers=layers, input_type=SERIES, seed=1))


def stateful() -> None:
    """Put states into a network, and into a graph."""
    vertices = {"a": (nn.LSTM(n_out=2), "in"), "out": (nn.RnnOutputLayer(n_out=2), "a")}
    fields = {"inputs": ["in"], "vertices": vertices, "outputs": ["out"], "input_types": [SERIES]}
    graph = nn.ComputationGraph(nn.ComputationGraphConfiguration(**fields, seed=1))
    for net, layer in [(recurrent(), 0), (graph, "a")]:
        net.rnn_time_step(np.ones((2, 3)))
        net.rnn_set_previous_state(layer, net.rnn_get_previous_state(layer))


ONE_VERTEX = {
    "inputs": ["in"],
    "vertices": {"out": (nn.OutputLayer(n_in=3, n_out=2), "in")},
    "outputs": ["out"],
}
GRAPH = nn.ComputationGraphConfiguration(**ONE_VERTEX, seed=1)


def after_forward(kind: type[nn.BaseLayer], method: str, *args: Any) -> Any:
    """Call a method of a layer that has seen something."""
    mgr = ndarena.LayerWorkspaceMgr.no_workspaces()
    layer = kind(n_in=3, n_out=2).instantiate(dtype="float64")
    x = np.ones((4, 3, 5)) if kind is nn.LSTM else X
    layer.activate(x, training=True, workspace_mgr=mgr)
    layer.labels = Y
    call = getattr(layer, method)
    return (
        call(*args, workspace_mgr=mgr)
        if "workspace_mgr" in inspect.signature(call).parameters
        else call(*args)
    )


def init_params(layer: Any) -> None:
    """Draw the parameters of a layer anew."""
    twin = type(layer)(n_in=3, n_out=2).instantiate(dtype="float64")
    twin.init_params(twin.param_table, np.random.default_rng(1))


STEPS = np.ones((4, 2, 5))


WRITTEN: dict[str, Callable[[Any, Stage], Any]] = {
    "Workspace.__aenter__": lambda f, s: asyncio.run(entered(s.ws)),
    "Scope.__aenter__": lambda f, s: asyncio.run(entered(s.ws.notify_scope_entered())),
    "WorkspaceArray.__array_function__": lambda f, s: f(np.sum, (type(s.array),), (s.array,), {}),
    "WorkspaceArray.__array_ufunc__": lambda f, s: f(np.add, "__call__", s.array, s.array),
    "WorkspaceArray.__index__": lambda f, s: s.ws.array(3).__index__(),
    "WorkspaceArray.setfield": lambda f, s: f(1, "f8"),
    "WorkspaceArray.swapaxes": lambda f, s: s.array.swapaxes(0, 1),
    "WorkspaceArray.to_device": lambda f, s: f("cpu"),
    "LayerWorkspaceMgr": lambda f, s: f({}),
    "LayerWorkspaceMgrBuilder.with_": lambda f, s: f("INPUT", "X", SMALL),
    "LayerWorkspaceMgr.cast_to": lambda f, s: f("INPUT", "f4", s.array),
    "LayerWorkspaceMgr.set_configuration": lambda f, s: s.mgr.set_configuration("ACTIVATIONS", SMALL),
    "LayerWorkspaceMgr.set_workspace": lambda f, s: s.mgr.set_workspace("INPUT", "X", SMALL),
    "LayerWorkspaceMgr.set_workspace_name": lambda f, s: s.mgr.set_workspace_name("ACTIVATIONS", "Y"),
    "LayerWorkspaceMgr.validate_array_location": lambda f, s: s.mgr.validate_array_location(
        "ACTIVATIONS", s.array
    ),
    "functions.einsum": lambda f, s: f("i,i->", s.far, s.far),
    "gc_policy": lambda f, s: f(auto_gc_window=5),
    "set_debug_mode": lambda f, s: f("SPILL_EVERYTHING"),
    "set_default_workspace_configuration": lambda f, s: f(SMALL),
    "MemoryManager.gc_policy": lambda f, s: f(auto_gc_window=5),
    "LeakedArrayError.__setstate__": lambda f, s: f({}),
    "LeakedArrayError.with_traceback": lambda f, s: f(None),
    "Flags.__getitem__": lambda f, s: f("C_CONTIGUOUS"),
    "ROC.eval": lambda f, s: f(Y, P),
    "RegressionEvaluation.eval": lambda f, s: f(Y, P),
    "Evaluation.eval": lambda f, s: f(Y, P),
    **{
        f"{kind}.merge": lambda f, s, kind=kind: evaluated(kind).merge(evaluated(kind))
        for kind in ("Evaluation", "RegressionEvaluation", "ROC")
    },
    "MultiDataSet.__init__": lambda f, s: f([X], [Y]),
    "NormalizerStandardize.from_bytes": lambda f, s: f(normalizer().to_bytes()),
    "NormalizerStandardize.pre_process": lambda f, s: normalizer().pre_process(data.DataSet(X, Y)),
    "NormalizerStandardize.revert": lambda f, s: normalizer().revert(data.DataSet(X.copy(), Y)),
    "NormalizerStandardize.to_bytes": lambda f, s: normalizer().to_bytes(),
    "NormalizerStandardize.transform": lambda f, s: normalizer().transform(data.DataSet(X.copy(), Y)),
    "AdaptiveThresholdAlgorithm.calculate_threshold": lambda f, s: f(
        iteration=1,
        epoch=0,
        last_threshold=1e-3,
        last_was_dense=False,
        last_sparsity_ratio=0.1,
        updates_plus_residual=X,
    ),
    "LossMSE.compute_gradient": lambda f, s: f(Y, Y * 0.5, nn.ActivationSigmoid()),
    "LossMSE.compute_score": lambda f, s: f(Y, Y * 0.5, nn.ActivationSigmoid()),
    "LossMSE.compute_score_array": lambda f, s: f(Y, Y * 0.5, nn.ActivationSigmoid()),
    **{
        f"{kind}.{name}": call
        for kind in ("MultiLayerNetwork", "ComputationGraph")
        for name, call in {
            "follow": lambda f, s: f(f.__self__.replica(np.random.default_rng(1)), score=0.5),
            "replica": lambda f, s: f(np.random.default_rng(1)),
            "set_params": lambda f, s: f(f.__self__.params()),
            "set_updater_state": lambda f, s: f(f.__self__.updater_state()),
        }.items()
    },
    "MultiLayerNetwork.backprop_gradient": lambda f, s: (
        s.net.feed_forward(X, training=True, keep_inputs=True),
        f(Y),
    ),
    "ComputationGraph.backprop_gradient": lambda f, s: (
        s.graph.feed_forward(X, training=True, keep_inputs=True),
        f(Y),
    ),
    "ComputationGraph.calculate_gradients": lambda f, s: f([X], [Y]),
    "MultiLayerNetwork.do_evaluation": lambda f, s: f([data.DataSet(X, Y)], evaluated()),
    "ComputationGraph.do_evaluation": lambda f, s: f([data.DataSet(X, Y)], {0: [evaluated()]}),
    "ComputationGraph.__init__": lambda f, s: f(GRAPH),
    "ComputationGraph.configuration_class": lambda f, s: f(**ONE_VERTEX),
    "MultiLayerNetwork.calculate_gradients": lambda f, s: f(X, Y),
    **{
        f"{kind}.rnn_{name}_previous_state": lambda f, s: stateful()
        for kind in ("MultiLayerNetwork", "ComputationGraph")
        for name in ("get", "set")
    },
    **{
        f"{kind}.__setstate__": lambda f, s: f(f.__self__.__reduce__()[2])
        for kind in ("MultiLayerNetwork", "ComputationGraph")
    },
    "MultiLayerNetwork.rnn_time_step": lambda f, s: recurrent().rnn_time_step(np.ones((2, 3))),
    "MultiLayerNetwork.__init__": lambda f, s: f(s.conf),
    "MultiLayerNetwork.configuration_class": lambda f, s: f(layers=[nn.OutputLayer(n_out=2, n_in=3)]),
    "MultiLayerConfiguration.__init__": lambda f, s: f(layers=[nn.OutputLayer(n_out=2, n_in=3)]),
    "MultiLayerNetwork.training_workspace_mode = ": lambda f, s: f("NONE"),
    "MultiLayerNetwork.inference_workspace_mode = ": lambda f, s: f("NONE"),
    "WorkspaceManager.debug_mode = ": lambda f, s: f("DISABLED"),
    "WorkspaceManager.default_workspace_configuration = ": lambda f, s: f(SMALL),
    "ArrayDataSetIterator.__init__": lambda f, s: f(X, Y, batch_size=2),
    "assert_no_workspaces_open": lambda f, s: out_of_all(s, f),
    "assert_open_and_active": lambda f, s: f("HERE", "text"),
    "assert_open_active_and_current": lambda f, s: f("HERE", "text"),
    "data.MnistDataSetIterator": lambda f, s: (write_digits(), f(".", 1)),
    "nn.load_model": lambda f, s: (s.net.save("net.zip"), f("net.zip")),
    "nn.load_normalizer": lambda f, s: (s.net.save("net.zip", normalizer=FITTED), f("net.zip")),
    "nn.check_gradients": lambda f, s: f(
        nn.MultiLayerNetwork(replace(s.conf, dtype="float64")), data.DataSet(X, Y), max_per_param=1
    ),
    "Evaluation.classes_excluded": lambda f, s: evaluated().classes_excluded("precision"),
    "MultiLayerConfiguration.with_inherited": lambda f, s: s.conf.with_inherited(s.conf.layers[0]),
    "DenseLayer.activate": lambda f, s: after_forward(nn.DenseLayer, "activate", X),
    "DenseLayer.backprop_gradient": lambda f, s: after_forward(nn.DenseLayer, "backprop_gradient", Y),
    "LSTM.activate": lambda f, s: after_forward(nn.LSTM, "activate", np.ones((4, 3, 5))),
    "LSTM.backprop_gradient": lambda f, s: after_forward(nn.LSTM, "backprop_gradient", STEPS),
    "LSTM.rnn_get_previous_state": lambda f, s: after_forward(nn.LSTM, "rnn_get_previous_state"),
    "LSTM.clear": lambda f, s: after_forward(nn.LSTM, "clear"),
    "LSTM.rnn_activate_using_stored_state": lambda f, s: after_forward(
        nn.LSTM, "rnn_activate_using_stored_state", np.ones((4, 3, 5))
    ),
    "LSTM.rnn_set_previous_state": lambda f, s: after_forward(
        nn.LSTM, "rnn_set_previous_state", {"prev_act": Y, "prev_mem": Y}
    ),
    "LSTM.rnn_time_step": lambda f, s: after_forward(nn.LSTM, "rnn_time_step", np.ones((4, 3, 5))),
    "LSTM.rnn_clear_previous_state": lambda f, s: after_forward(nn.LSTM, "rnn_clear_previous_state"),
    "OutputLayer.activate": lambda f, s: after_forward(nn.OutputLayer, "activate", X),
    "OutputLayer.backprop_gradient": lambda f, s: after_forward(nn.OutputLayer, "backprop_gradient", None),
    "OutputLayer.compute_score": lambda f, s: after_forward(nn.OutputLayer, "compute_score"),
    "OutputLayer.compute_score_for_examples": lambda f, s: after_forward(
        nn.OutputLayer, "compute_score_for_examples"
    ),
    **{
        f"{kind}.{name}": call
        for kind in ("DenseLayer", "OutputLayer", "LSTM")
        for name, call in {
            "__init__": lambda f, s: f(n_out=2),
            "init_params": lambda f, s: init_params(f.__self__),
            "own_input_type": lambda f, s: f(first=True),
            "get_pre_processor": lambda f, s: f(SERIES),
        }.items()
    },
    "Adam.apply": lambda f, s: f(np.ones(3), np.zeros(6), iteration=0, epoch=0),
    "testing.inject": lambda f, s: f(MemoryError, batch=1),
}

MADE: dict[str, Recipe] = {
    "data.ArrayDataSetIterator": {"x": X, "y": Y, "batch_size": 2},
    "data.KFoldIterator": (2, data.DataSet(X, Y)),
    "data.MultiDataSet": ([X], [Y]),
    "data.MultipleEpochsIterator": (2, [data.DataSet(X, Y)]),
    "nn.ActivationLayer": ("tanh",),
    "nn.AlphaDropout": (0.5,),
    "nn.Bidirectional": (nn.LSTM(n_in=3, n_out=2),),
    "nn.CheckpointListener": {"directory": "folder", "save_every_n_epochs": 1},
    "nn.CnnToFeedForwardPreProcessor": (2, 3, 4),
    "nn.CnnToRnnPreProcessor": (2, 3, 4),
    "nn.BaseRecurrentLayer": {"n_out": 2},
    "nn.ComputationGraph": (GRAPH,),
    "nn.ComputationGraphConfiguration": ONE_VERTEX,
    "nn.MultiLayerConfiguration": {"layers": [nn.OutputLayer(n_in=3, n_out=2)]},
    "nn.MultiLayerNetwork": (nn.MultiLayerConfiguration(layers=[nn.OutputLayer(n_in=3, n_out=2)]),),
    "nn.ConvolutionLayer": {"n_out": 2, "kernel_size": (3, 3)},
    "nn.Convolution1DLayer": {"n_out": 2, "kernel_size": 3},
    "nn.CycleSchedule": ("ITERATION", 0.1, 0.2, 10, 2),
    "nn.DenseLayer": {"n_out": 3},
    "nn.DropConnect": (0.5,),
    "nn.Dropout": (0.5,),
    "nn.ElementWiseVertex": ("ADD",),
    "nn.EmbeddingLayer": {"n_in": 3, "n_out": 2},
    "nn.EmbeddingSequenceLayer": {"n_in": 3, "n_out": 2},
    "nn.ExponentialSchedule": ("ITERATION", 0.1, 0.9),
    "nn.FeedForwardLayer": {"n_out": 3},
    "nn.FeedForwardToCnnPreProcessor": (2, 3, 4),
    "nn.GravesLSTM": {"n_out": 2},
    "nn.InputTypeConvolutional": (2, 3, 4),
    "nn.InputTypeConvolutionalFlat": (2, 3, 4),
    "nn.InverseSchedule": ("ITERATION", 0.1, 0.9, 1.0),
    "nn.LSTM": {"n_out": 2},
    "nn.LastTimeStep": (nn.LSTM(n_in=3, n_out=2),),
    "nn.MapSchedule": ("ITERATION", {0: 0.1}),
    "nn.OutputLayer": {"n_out": 2},
    "nn.PolySchedule": ("ITERATION", 0.1, 1.0, 10),
    "nn.PreprocessorVertex": (nn.FeedForwardToCnnPreProcessor(1, 1, 3),),
    "nn.RampSchedule": (nn.FixedSchedule(0.1), 5),
    "nn.RnnOutputLayer": {"n_out": 2},
    "nn.RnnToCnnPreProcessor": (2, 3, 4),
    "nn.SigmoidSchedule": ("ITERATION", 0.1, 0.9, 5),
    "nn.SimpleRnn": {"n_out": 2},
    "nn.SpatialDropout": (0.5,),
    "nn.StepSchedule": ("ITERATION", 0.1, 0.9, 5),
    "nn.UnstackVertex": (0, 2),
    "nn.WeightInitDistribution": (nn.UniformDistribution(0, 1),),
    "nn.WeightNoise": (nn.UniformDistribution(0, 1),),
}
"""Arguments with which a class is made."""


REFUSED = {
    "LayerWorkspaceMgrBuilder", "MemoryManager", "Scope", "WorkspaceArray", "WorkspaceManager",
    "WorkspaceStats", "WorkspaceArray.__delitem__", "Adam.move", "NormalizerStandardize.read_pairs",
    "nn.ProgressListener", "testing.Point",
}  # fmt: skip
"""What is made by others only, or always raises, or is for others of ours, or needs an extra."""
OF_OBJECT = {
    "__delattr__", "__ge__", "__getattribute__", "__gt__", "__le__", "__lt__", "__new__", "__reduce__",
    "__reduce_ex__", "__setattr__",
}  # fmt: skip
"""What every object has, and may refuse."""


def kinds() -> dict[str, str]:
    """Name the class of every receiver; no stage outlives this."""
    with stage() as s:
        return {what: type(receiver(s)).__name__ for what, receiver in RECEIVERS.items()}


KINDS = kinds()
CALLABLES = found_callables()
Attempt = Callable[[Stage], Any]


def key(name: str) -> str:
    """Return the name of a callable with the class of its receiver; the extension's are the module's."""
    receiver, dot, method = name.rpartition(".")
    return f"{KINDS.get(receiver, receiver)}{dot}{method}".removeprefix("_core.")


def attempts(name: str) -> Iterator[Attempt]:
    """Offer calls of a callable, the written ones first; some are good."""
    find, id_ = CALLABLES[name], key(name)
    if id_ in WRITTEN:
        yield lambda s: WRITTEN[id_](find(s), s)
    if id_ in MADE:
        yield lambda s: made(find(s), MADE[id_])
    kind, _, method = id_.partition(".")
    if kind in {"Evaluation", "RegressionEvaluation", "ROC"}:
        yield lambda _: getattr(evaluated(kind), method)()
        yield lambda _: getattr(evaluated(kind), method)(1)
    for line in COMMON:
        names = [value for value in line.split("; ") if value]
        yield lambda s, names=names: find(s)(*[GOOD[value](s) for value in names])
    yield lambda s: find(s)(next(iter(find(s))))  # of choices, a member
    yield lambda s: find(s)(*[1] * required(find(s)))  # of records, numbers


def made(function: Any, arguments: Recipe) -> Any:
    """Call with arguments of either kind."""
    return function(**arguments) if isinstance(arguments, dict) else function(*arguments)


def required(function: Any) -> int:
    """Count the arguments without a default."""
    return sum(p.default is p.empty for p in inspect.signature(function).parameters.values())


def outcome(attempt: Attempt) -> Exception | None:
    """Make a call on a stage of its own, and forget what comes of it; the exception, if it is refused."""
    with stage() as s:
        try:
            result = attempt(s)
        except Exception as error:
            return error.with_traceback(None)
        if hasattr(result, "cr_frame"):
            result.close()
    return None


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Let calls print to nobody."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def good_and_refused(name: str) -> tuple[Attempt | None, Attempt | None]:
    """Find the first good call of a callable, and the first that is refused."""
    refused = None
    for attempt in attempts(name):
        if outcome(attempt) is None:
            return attempt, refused
        refused = refused or attempt
    return None, refused


def without_a_good_call() -> list[str]:
    """List the public callables of which no good call is known."""
    found = defaultdict(list)
    for name in CALLABLES:
        found[key(name)].append(name)
    return [
        id_
        for id_, names in found.items()
        if needs_a_call(id_) and all(good_and_refused(name)[0] is None for name in names)
    ]


def needs_a_call(id_: str) -> bool:
    """Whether a callable is public, and made to be called."""
    name = id_.rpartition(".")[2]
    private = name.startswith("_") and not name.startswith("__")
    return not private and not name.endswith(" = ") and name not in OF_OBJECT and id_ not in REFUSED
