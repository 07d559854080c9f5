"""Every public callable of the package, and values of every type that make no sense to it."""

from __future__ import annotations

import contextlib
import decimal
import fractions
import functools
import inspect
import types
from typing import TYPE_CHECKING, Any

import numpy as np

import ndarena
from ndarena import data, evaluation, memory, nn, parallel, testing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = ndarena.WorkspaceConfiguration(
    initial_size="64 KiB", policy_learning="NONE", policy_allocation="STRICT"
)
RING = ndarena.WorkspaceConfiguration(
    initial_size=4096, policy_learning="NONE", policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=1
)
MODULES = {"": ndarena, "_core.": ndarena._core, "functions.": ndarena.functions}  # noqa: SLF001
ROOMS = {"nn.": nn, "data.": data, "evaluation.": evaluation, "memory.": memory, "testing.": testing}
ROOMS["parallel."] = parallel
SERVED = ["this_cycle_allocations", "peak_size", "current_offset", "host_offset", "primary_offset"]
SERVED += ["requests_on_plan", "requests_dynamic"]
"""Counters of requests: NumPy may refuse to go on after its result's memory was served, and given back."""
PROCESS_WIDE = {"memory.tune_malloc", "_core._set_fault", "_core._fail_allocations", "__class__", ".plot"}
"""What changes the process for all that comes after it (Matplotlib keeps figures), and what is no method."""


class Stage:
    """Workspaces in every state, with their arrays, while `outer` and `ws` are open."""

    def __init__(self, outer: ndarena.Workspace) -> None:
        self.outer = outer
        self.ws = ndarena.get_workspace_for_current_thread(SMALL, id="HERE")
        self.closed = ndarena.get_workspace_for_current_thread(SMALL, id="CLOSED")
        with self.closed:
            self.stale = self.closed.ones((2, 3))
        self.destroyed = ndarena.Workspace(SMALL, "DESTROYED")
        self.destroyed.destroy_workspace()
        self.ring = ndarena.Workspace(RING, "RING")
        self.scope = self.ws.notify_scope_entered()
        self.array = self.ws.array(np.arange(6.0).reshape(2, 3))
        self.far = self.outer.ones(3)
        self.dead = self.ws.ones(3)
        self.dead.close()

    @functools.cached_property
    def mgr(self) -> Any:
        """Hand out a manager of roles, one of which is open."""
        roles = {ndarena.ArrayType.ACTIVATIONS: ("HERE", SMALL), ndarena.ArrayType.INPUT: None}
        return ndarena.LayerWorkspaceMgr(roles)

    @functools.cached_property
    def conf(self) -> Any:
        """Describe a small network."""
        layers = [nn.DenseLayer(n_out=3, activation="tanh"), nn.OutputLayer(n_out=2)]
        return nn.MultiLayerConfiguration(layers=layers, input_type=nn.InputType.feed_forward(3), seed=1)

    @functools.cached_property
    def net(self) -> Any:
        """Make a small network."""
        return nn.MultiLayerNetwork(self.conf)

    @functools.cached_property
    def graph(self) -> Any:
        """Make a small graph."""
        vertices = {"a": (nn.DenseLayer(n_out=3), "in"), "out": (nn.OutputLayer(n_out=2), "a")}
        inputs = {"inputs": ["in"], "input_types": [nn.InputType.feed_forward(3)]}
        conf = nn.ComputationGraphConfiguration(**inputs, vertices=vertices, outputs=["out"], seed=1)
        return nn.ComputationGraph(conf)

    @functools.cached_property
    def wrapper(self) -> Any:
        """Make a trainer of one thread."""
        return parallel.ParallelWrapper(self.net, workers=1)

    @functools.cached_property
    def inference(self) -> Any:
        """Make a model that a thread asks."""
        return parallel.ParallelInference(self.net)

    def end_threads(self) -> None:
        """Close what has threads."""
        for name in ("wrapper", "inference"):
            if name in vars(self):
                getattr(self, name).close()

    def unchanged(self) -> tuple[Any, ...]:
        """Show what a refused call must leave as it is."""
        workspaces = (self.outer, self.closed, self.destroyed, self.ring)
        ids = {name for name in ndarena.get_all_workspaces_ids_for_current_thread() if name[:3] != "WS_"}
        here = self.ws.stats().to_dict()
        lasting = {name: value for name, value in here.items() if name not in SERVED}
        return (ndarena.get_current_workspace(), ids, lasting, *(ws.stats() for ws in workspaces))


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Set a stage, and clear the thread of everything afterwards, whatever happened on it."""
    outer = ndarena.Workspace(SMALL, "OUTER")
    try:
        # The end of the block closes all scopes inside, also one out of workspaces, and says so.
        with contextlib.suppress(ndarena.ScopeError), outer:
            set_up = Stage(outer)
            try:
                yield set_up
            finally:
                set_up.end_threads()
    finally:
        ndarena.set_debug_mode("DISABLED")
        leave_all()
        ndarena.set_current_workspace(None)
        ndarena.destroy_all_workspaces_for_current_thread()
        ndarena.set_default_workspace_configuration(ndarena.WorkspaceConfiguration())
        ndarena.toggle_periodic_gc(True)
        ndarena.set_auto_gc_window(0)
        ndarena.set_occasional_gc_frequency(0)


def leave_all() -> None:
    """Close every scope of the thread; inside a scope without workspaces nothing can be asked."""
    for _ in range(10_000):
        current = ndarena.get_current_workspace()
        if current is None or not current.is_scope_active:
            break
        current.notify_scope_left()


# ---------------------------------------------------------------- receivers and their callables

RECEIVERS: dict[str, Callable[[Stage], Any]] = {
    "workspace": lambda s: s.ws,
    "closed workspace": lambda s: s.closed,
    "destroyed workspace": lambda s: s.destroyed,
    "ring": lambda s: s.ring,
    "scope": lambda s: s.scope,
    "array": lambda s: s.array,
    "integers": lambda s: s.ws.array([[3, 1], [2, 0]]),
    "zero-dimensional": lambda s: s.ws.array(1.5),
    "empty": lambda s: s.ws.zeros((0, 4), "f4"),
    "structured": lambda s: s.ws.zeros(2, [("x", "i4"), ("y", ">f8")]),
    "swapped": lambda s: s.ws.ones(3, ">c16"),
    "text": lambda s: s.ws.array(["a", "bc"]),
    "read-only": lambda s: np.broadcast_to(s.ws.zeros(3), (2, 3)),
    "strided": lambda s: s.array[::-1, ::2],
    "far array": lambda s: s.far,
    "stale array": lambda s: s.stale,
    "closed array": lambda s: s.dead,
    "flags": lambda s: s.array.flags,
    "configuration": lambda _: SMALL,
    "stats": lambda s: s.ws.stats(),
    "workspace manager": lambda _: ndarena.get_workspace_manager(),
    "memory manager": lambda _: ndarena.get_memory_manager(),
    "layer manager": lambda s: s.mgr,
    "immutable layer manager": lambda _: ndarena.LayerWorkspaceMgr.no_workspaces_immutable(),
    "builder": lambda _: ndarena.LayerWorkspaceMgr.builder(),
    "role": lambda _: ndarena.ArrayType.INPUT,
    "policy": lambda _: ndarena.SpillPolicy.FAIL,
    "error": lambda _: ndarena.LeakedArrayError("gone", shape=(2, 3)),
    "scoped out": lambda _: ndarena.scope_out_of_workspaces(),
    "capture": lambda _: ndarena.capture_numpy(),
    "gc policy": lambda _: ndarena.gc_policy(auto_gc_window=5),
    "network configuration": lambda s: s.conf,
    "network": lambda s: s.net,
    "layer": lambda s: s.net.layers[0],
    "output layer": lambda s: s.net.layers[1],
    "updater": lambda _: nn.Adam(0.1),
    "loss": lambda _: nn.LossMSE(),
    "activation": lambda _: nn.ActivationSoftmax(),
    "data set": lambda _: data.DataSet(np.ones((4, 3)), np.eye(2)[[0, 1, 1, 0]]),
    "iterator": lambda _: data.ArrayDataSetIterator(np.ones((4, 3)), np.ones((4, 2)), batch_size=2),
    "list iterator": lambda _: data.ListDataSetIterator([data.DataSet(np.ones((2, 3)), np.ones((2, 2)))]),
    "evaluation": lambda _: evaluation.Evaluation(),
    "regression evaluation": lambda _: evaluation.RegressionEvaluation(),
    "roc": lambda _: evaluation.ROC(),
    "data sets": lambda _: data.MultiDataSet([np.ones((4, 3))], [np.ones((4, 2))]),
    "reading ahead": lambda s: data.AsyncDataSetIterator(RECEIVERS["iterator"](s)),
    "normalizer": lambda _: data.NormalizerStandardize(),
    "graph": lambda s: s.graph,
    "recurrent layer": lambda _: nn.LSTM(n_in=3, n_out=2),
    "wrapper": lambda s: s.wrapper,
    "inference": lambda s: s.inference,
    "threshold": lambda _: parallel.AdaptiveThresholdAlgorithm(),
}


def public_names(module: types.ModuleType) -> list[str]:
    """List what a module offers; of the extension, the private switches too."""
    names = dir(module) if module is not ndarena else module.__all__
    return [name for name in names if not name.startswith("__")]


def found_callables() -> dict[str, Callable[[Stage], Any]]:
    """Find every public function, class and method: how it is called, by its name."""
    found: dict[str, Callable[[Stage], Any]] = {}
    for prefix, module in {**MODULES, **ROOMS}.items():
        for name in public_names(module) if prefix in MODULES else module.__all__:
            value = getattr(module, name)
            if callable(value) and not isinstance(value, types.ModuleType):
                found[prefix + name] = lambda _, value=value: value
    with stage() as s:
        for what, receiver in RECEIVERS.items():
            object_ = receiver(s)
            for name in filter(functools.partial(is_open, type(object_)), dir(type(object_))):
                if callable(inspect.getattr_static(type(object_), name, None)) and hasattr(object_, name):
                    found[f"{what}.{name}"] = lambda s, r=receiver, name=name: getattr(r(s), name)
            properties = inspect.getmembers(type(object_), inspect.isdatadescriptor)
            for name, _ in properties:
                found[f"{what}.{name} = "] = lambda s, r=receiver, name=name: setter(r(s), name)
    return {name: c for name, c in found.items() if not any(name.endswith(p) for p in PROCESS_WIDE)}


def is_open(class_: type, name: str) -> bool:
    """Whether a name of a class is called by users, or by the interpreter; of the extension, all are."""
    return name.startswith("__") or not name.startswith("_") or class_.__module__ == "ndarena"


def setter(receiver: Any, name: str) -> Callable[[Any], None]:
    """Make a function of an assignment."""

    def assign(value: Any = None, *_: Any, **__: Any) -> None:
        setattr(receiver, name, value)

    return assign


# ---------------------------------------------------------------- values


class Raising:
    """An object whose every special method that somebody may ask fails."""

    def fail(self, *_: Any, **__: Any) -> Any:
        """Fail."""
        raise LookupError("asked")

    __len__ = __iter__ = __getitem__ = __index__ = __float__ = __int__ = __bool__ = __array__ = fail
    __call__ = __add__ = __radd__ = __enter__ = __exit__ = __str__ = __repr__ = __hash__ = __eq__ = fail


class Lying:
    """An object that answers with the wrong type."""

    def answer(self, *_: Any, **__: Any) -> Any:
        """Answer nonsense."""
        return self

    __add__ = __radd__ = __array__ = __call__ = __enter__ = answer
    __array_wrap__ = __array_finalize__ = __array_priority__ = answer

    def __len__(self) -> int:
        """Be longer than anything."""
        return 2**62

    def __getitem__(self, key: Any) -> Any:
        """End soon all the same."""
        if key in (0, 1, 2):
            return self
        raise IndexError


class Foreign:
    """An object with protocols of its own."""

    __array_ufunc__ = None
    __array_interface__ = {"shape": (3,), "typestr": "<f8", "data": None, "version": 3}  # noqa: RUF012


class Sub(np.ndarray):
    """A subclass of ndarray."""


def endless() -> list[Any]:
    """Make a list that holds itself."""
    items: list[Any] = [1.0]
    items.append(items)
    return items


def deep(depth: int = 100) -> list[Any]:
    """Make a list of lists of lists."""
    item: list[Any] = [1.0]
    for _ in range(depth):
        item = [item]
    return item


VALUES: dict[str, Callable[[Stage], Any]] = {
    **{
        repr(value)[:30]: lambda _, value=value: value
        for value in [
            None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**62, 2**63 - 1, -(2**63), 2**64, 2**100, 0.0,
            -0.0, 2.5, 1e300, float("nan"), float("inf"), 1j, "", "HERE", "CLOSED", "nowhere", "C", "K",
            "f8", "float32", "O", "10 MiB", "-1 B", "\0", "é☃", "\ud800", "x" * 5000, "tanh", "DISABLED",
            "REALLOCATE", b"", b"bytes", bytearray(b"\2\3"), (), (2, 3), (3,), (-1,), (0, 2**62), (2**40,
            2**40), (1,) * 70, [], [1.0, 2.0], [[1, 2], [3]], {}, {"x": 1}, set(), frozenset({1}), range(3),
            slice(None), slice(3, None, -1), Ellipsis, NotImplemented, int, float, object, type, np.float32,
            np.dtype("f4"), np.dtype("O"), np.dtype("M8[s]"), np.dtype([("x", "i4")]), np.add, np.matmul,
            np.sum, np.newaxis, len, print, abs, Exception, KeyError, decimal.Decimal("1.5"),
            fractions.Fraction(1, 3), np.float64(2.0), np.int8(3), np.bool_(True), np.str_("x"),
            np.datetime64("2020-01-01"), np.nan, SMALL, RING, ndarena.ArrayType.ACTIVATIONS,
            ndarena.SpillPolicy.FAIL, ndarena.Workspace, ndarena.WorkspaceArray, ndarena, np,
            types.SimpleNamespace(),
        ]
    },
    "object()": lambda _: object(),
    "a raising object": lambda _: Raising(),
    "a lying object": lambda _: Lying(),
    "a foreign object": lambda _: Foreign(),
    "a list in itself": lambda _: endless(),
    "a deep list": lambda _: deep(),
    "a function": lambda _: lambda *_, **__: None,
    "a generator": lambda _: (x for x in [1, 2]),
    "a coroutine function": lambda _: asynchronous,
    "an exception": lambda _: ValueError("mine"),
    "a memoryview": lambda _: memoryview(np.arange(3.0)),
    "a vector": lambda _: np.arange(3.0),
    "a matrix": lambda _: np.ones((2, 3)),
    "a square": lambda _: np.ones((3, 3), "f4"),
    "no numbers": lambda _: np.empty(0),
    "indices": lambda _: np.array([0, 1, 1]),
    "wild indices": lambda _: np.array([99, -99]),
    "a mask": lambda _: np.array([True, False, True]),
    "objects": lambda _: np.array([None, 1, "x"], object),
    "words": lambda _: np.array(["x", "yy"]),
    "a record": lambda _: np.zeros(2, [("x", "i4"), ("o", "O")]),
    "swapped numbers": lambda _: np.arange(3, dtype=">i4"),
    "read-only numbers": lambda _: np.broadcast_to(1.0, (2, 3)),
    "a subclass": lambda _: np.ones(3).view(Sub),
    "a masked array": lambda _: np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]),
    "unaligned numbers": lambda _: np.zeros(25, "u1")[1:].view("f8"),
    "overlapping numbers": lambda _: np.lib.stride_tricks.as_strided(np.ones(1), (3,), (0,)),
    "nobody's data set": lambda _: data.DataSet(np.ones((2, 3)), np.ones((2, 2))),
    **RECEIVERS,
}  # fmt: skip


async def asynchronous() -> None:
    """Do nothing, later."""


NAMES = [
    "dtype", "order", "shape", "axis", "out", "where", "keepdims", "copy", "device", "like",
    "casting", "subok", "initial", "ddof", "configuration", "id", "capture_numpy", "workspace",
    "workspace_mgr", "mask", "training", "t", "name", "default", "msg", "allow_scoped_out",
    "epochs", "labels", "fill_value", "start", "stop", "num", "step", "endpoint", "k", "N", "M",
    "initial_size", "max_size", "alignment", "policy_spill", "auto_gc_window", "migrate_if_invalid",
    "exception_if_detached", "enforce_existence", "dup_if_correct_type", "x", "y", "batch_size",
    "seed",
]  # fmt: skip
"""Keywords that some callable takes."""
