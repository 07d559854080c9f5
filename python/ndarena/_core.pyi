"""The extension: workspaces, their arrays, and the managers of a thread."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType, TracebackType
from typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    final,
)

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ndarena.policies import (
    AllocationPolicy,
    DebugMode,
    EscapePolicy,
    HugePages,
    LearningPolicy,
    LocationPolicy,
    MirroringPolicy,
    ResetPolicy,
    ReusePolicy,
    SpillPolicy,
    Validity,
    WorkspaceType,
)

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Size: TypeAlias = int | np.integer[Any] | str
_Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
_Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Order: TypeAlias = Literal["C", "F", "A", "K"]
# A WorkspaceArray in the current workspace, a plain ndarray where none is current, or a scalar.
_Result: TypeAlias = Any

__version__: Final[str]
DEFAULT_WORKSPACE_ID: Final[str]

@final
class WorkspaceConfiguration:
    """What a workspace is asked to do: immutable, validated when it is built.

    Sizes are bytes, or strings such as ``"10 MiB"``; policies are members or their names. A contradiction is a
    `ConfigurationError` with ``field``, ``value`` and ``reason``.
    """

    def __new__(
        cls,
        *,
        policy_allocation: AllocationPolicy | str = ...,
        policy_spill: SpillPolicy | str = ...,
        policy_mirroring: MirroringPolicy | str = ...,
        policy_learning: LearningPolicy | str = ...,
        policy_reset: ResetPolicy | str = ...,
        policy_location: LocationPolicy | str = ...,
        temp_file_path: str | None = None,
        initial_size: _Size = 0,
        min_size: _Size = 0,
        max_size: _Size = 0,
        cycles_before_initialization: int = 0,
        overallocation_limit: float = 0.3,
        steps_number: int = 2,
        policy_reuse: ReusePolicy | str = ...,
        policy_escape: EscapePolicy | str = ...,
        alignment: int = 64,
        huge_pages: HugePages | str = ...,
        prefault: bool = False,
    ) -> Self: ...
    @classmethod
    def nd4j(cls, *, release: str = "1.0.0-M2.1", **fields: Any) -> WorkspaceConfiguration:
        """Return a configuration with the ancestor's arithmetic, to the byte."""

    def replace(self, **changes: Any) -> WorkspaceConfiguration:
        """Return a configuration with some fields changed."""

    @property
    def policy_allocation(self) -> AllocationPolicy:
        """Whether a learned size gets head-room."""
    @property
    def policy_spill(self) -> SpillPolicy:
        """What becomes of a request that does not fit."""
    @property
    def policy_mirroring(self) -> MirroringPolicy:
        """Of devices; kept for the ancestor's configurations."""
    @property
    def policy_learning(self) -> LearningPolicy:
        """When the size is derived from use."""
    @property
    def policy_reset(self) -> ResetPolicy:
        """Whether the workspace is scoped or circular."""
    @property
    def policy_location(self) -> LocationPolicy:
        """Where the memory lies."""
    @property
    def temp_file_path(self) -> str | None:
        """The file of a memory-mapped workspace."""
    @property
    def initial_size(self) -> int:
        """Bytes taken when the workspace is made."""
    @property
    def min_size(self) -> int:
        """Lower bound of a learned size; 0: none."""
    @property
    def max_size(self) -> int:
        """Upper bound of every size; 0: none."""
    @property
    def cycles_before_initialization(self) -> int:
        """Cycles seen before the size is learned, under OVER_TIME."""
    @property
    def overallocation_limit(self) -> float:
        """The head-room as a fraction; of a ring, the number of further blocks."""
    @property
    def steps_number(self) -> int:
        """Accepted and ignored, as in the ancestor."""
    @property
    def policy_reuse(self) -> ReusePolicy:
        """Whether memory of a dead array serves the same cycle."""
    @property
    def policy_escape(self) -> EscapePolicy:
        """What a view that outlives its scope means."""
    @property
    def alignment(self) -> int:
        """Alignment of every array, in bytes."""
    @property
    def huge_pages(self) -> HugePages:
        """Whether large arenas ask for huge pages."""
    @property
    def prefault(self) -> bool:
        """Whether every page is touched when memory is taken."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Scope:
    """One entering of a workspace: a context manager whose ``with`` target is the workspace.

    ``async with`` makes the scope one of the asyncio task that runs: it may span an ``await``, and nobody
    else is inside, child tasks included. `ScopeError` without such a task, or if something else was
    entered since.
    """

    @property
    def workspace(self) -> Workspace | None:
        """The workspace entered; ``None`` if no workspace is current inside."""
    def close(self) -> None:
        """Leave the scope. Closing it again does nothing."""
    def _leave_apart(self) -> None:
        """Leave the scope though others inside it stay open, as if they had been entered before it."""
    def __enter__(self) -> Workspace: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...
    async def __aenter__(self) -> Workspace: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class WorkspaceStats:
    """All counters of a workspace at one moment."""

    def __new__(cls, **fields: Any) -> Self: ...
    def __reduce__(self) -> tuple[Any, tuple[()]]: ...
    @property
    def id(self) -> str:
        """Name of the workspace."""
    @property
    def thread_id(self) -> int:
        """Thread that owns it, as `threading.get_ident` names it."""
    @property
    def device_id(self) -> int:
        """Always 0."""
    @property
    def configuration(self) -> WorkspaceConfiguration:
        """What the workspace was asked to do."""
    @property
    def workspace_type(self) -> WorkspaceType:
        """Scoped, circular or dummy."""
    @property
    def generation_id(self) -> int:
        """Number of full enters so far."""
    @property
    def current_size(self) -> int:
        """Bytes of the arena, or of a ring's block."""
    @property
    def current_offset(self) -> int:
        """End of the highest span in use."""
    @property
    def host_offset(self) -> int:
        """Equal to `current_offset`."""
    @property
    def primary_offset(self) -> int:
        """Equal to `current_offset`."""
    @property
    def this_cycle_allocations(self) -> int:
        """Bytes requested in the running cycle."""
    @property
    def last_cycle_allocations(self) -> int:
        """Bytes requested in the last closed cycle."""
    @property
    def max_cycle_allocations(self) -> int:
        """Bytes requested in the largest cycle."""
    @property
    def peak_size(self) -> int:
        """Bytes alive at once in the running cycle; between cycles, in the last one."""
    @property
    def cycles_count(self) -> int:
        """Number of closed cycles."""
    @property
    def step_number(self) -> int:
        """Number of blocks a ring has taken."""
    @property
    def initial_block_size(self) -> int:
        """Bytes of the first arena, or of a ring's first block."""
    @property
    def number_of_external_allocations(self) -> int:
        """Arrays served outside the arena."""
    @property
    def spilled_size(self) -> int:
        """Bytes served outside the arena."""
    @property
    def number_of_pinned_allocations(self) -> int:
        """Arrays of a ring served outside its blocks."""
    @property
    def pinned_size(self) -> int:
        """Bytes of a ring served outside its blocks."""
    @property
    def retired_size(self) -> int:
        """Bytes of retired memory still held by views."""
    @property
    def escaped_count(self) -> int:
        """Arrays whose views outlived their scope."""
    @property
    def lost_scopes(self) -> int:
        """Scopes whose object died without being closed."""
    @property
    def requests_on_plan(self) -> int:
        """Requests served where the learned plan places them."""
    @property
    def requests_dynamic(self) -> int:
        """Requests placed as they came."""
    @property
    def cycles_diverged(self) -> int:
        """Cycles that left the learned plan."""
    @property
    def is_scope_active(self) -> bool:
        """Whether a scope of the workspace is open."""
    @property
    def is_destroyed(self) -> bool:
        """Whether the workspace came to its end."""
    @property
    def parent_workspace(self) -> str | None:
        """Id of what was current at the running full enter."""
    def to_dict(self) -> dict[str, Any]:
        """Return the counters by name."""

@final
class Workspace:
    """Memory that is taken once and used again in every turn of a loop.

    Entering its scope begins a cycle, in which arrays are cut from it; leaving the scope ends them all. It belongs
    to the thread that made it.
    """

    def __new__(cls, configuration: WorkspaceConfiguration | None = None, id: str = ...) -> Self: ...
    def notify_scope_entered(self, *, capture_numpy: bool = False) -> Scope:
        """Enter: begin a cycle, or continue the running one, and make the workspace current.

        With `capture_numpy` the workspace also serves what NumPy allocates by itself inside the scope: data of
        16 KiB (16384 bytes) and more, of any dtype, allocated in this thread and in this context (which tasks made
        inside copy). The arrays are plain ``ndarray`` objects that own their memory and free it when they die, also
        after the scope or the workspace; until then it is nobody else's. They count in the counters, those that
        survive the cycle in `retired_size` and `escaped_count`; `policy_escape` is not about them. `max_size`, and
        under ``policy_spill="FAIL"`` the initial size, bounds what is captured; what is not captured comes from the
        memory handler found at the enter. `scope_out_of_workspaces` suspends the capture.

        Raises `ScopeError` where NumPy's memory handler cannot be set, `WrongThreadError` outside the owner's thread,
        `DestroyedWorkspaceError` after the end of the workspace, `WorkspaceFullError` if the system refuses the
        arena; nothing is entered then.
        """
    def _turn_back(self) -> None:
        """End what is not leased in a ring, whose next cycle gets the first block of it."""
    def _allow_unused(self) -> None:
        """Do not warn about cycles without an allocation: networks open it for layers that may need none."""
    def notify_scope_borrowed(self) -> Scope:
        """Make the open workspace current without a new generation."""
    def notify_scope_left(self) -> None:
        """Leave the innermost open scope of this workspace."""
    def close(self) -> None:
        """Leave the innermost open scope of this workspace."""
    def __enter__(self) -> Workspace: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...
    async def __aenter__(self) -> Workspace: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call the function inside a scope and detach every WorkspaceArray in its result."""
    def cycle(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Decorate the function so that every call is a `run`."""
    def empty(
        self,
        shape: _Shape,
        dtype: DTypeLike | None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: Any = None,
    ) -> WorkspaceArray:
        """Return an array whose contents are arbitrary, in this workspace."""
    def zeros(
        self,
        shape: _Shape,
        dtype: DTypeLike | None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: Any = None,
    ) -> WorkspaceArray:
        """Return an array of zeros, in this workspace."""
    def ones(
        self,
        shape: _Shape,
        dtype: DTypeLike | None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: Any = None,
    ) -> WorkspaceArray:
        """Return an array of ones, in this workspace."""
    def full(
        self,
        shape: _Shape,
        fill_value: ArrayLike,
        dtype: DTypeLike | None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: Any = None,
    ) -> WorkspaceArray:
        """Return an array filled with a value, in this workspace."""
    def array(
        self,
        object: ArrayLike,
        dtype: DTypeLike | None = None,
        *,
        copy: bool | None = True,
        order: _Order = "K",
        subok: bool = False,
        ndmin: int = 0,
        like: Any = None,
    ) -> WorkspaceArray:
        """Return a copy of the values, in this workspace."""
    def asarray(
        self,
        a: ArrayLike,
        dtype: DTypeLike | None = None,
        order: _Order | None = None,
        *,
        device: Literal["cpu"] | None = None,
        copy: bool | None = None,
        like: Any = None,
    ) -> WorkspaceArray:
        """Return the array itself if it lies here with that dtype, else a copy, in this workspace."""
    def empty_like(
        self,
        prototype: ArrayLike,
        dtype: DTypeLike | None = None,
        order: _Order = "K",
        subok: bool = True,
        shape: _Shape | None = None,
        *,
        device: Literal["cpu"] | None = None,
    ) -> WorkspaceArray:
        """Return an array shaped like another, whose contents are arbitrary, in this workspace."""
    def zeros_like(
        self,
        a: ArrayLike,
        dtype: DTypeLike | None = None,
        order: _Order = "K",
        subok: bool = True,
        shape: _Shape | None = None,
        *,
        device: Literal["cpu"] | None = None,
    ) -> WorkspaceArray:
        """Return an array of zeros shaped like another, in this workspace."""
    def ones_like(
        self,
        a: ArrayLike,
        dtype: DTypeLike | None = None,
        order: _Order = "K",
        subok: bool = True,
        shape: _Shape | None = None,
        *,
        device: Literal["cpu"] | None = None,
    ) -> WorkspaceArray:
        """Return an array of ones shaped like another, in this workspace."""
    def full_like(
        self,
        a: ArrayLike,
        fill_value: ArrayLike,
        dtype: DTypeLike | None = None,
        order: _Order = "K",
        subok: bool = True,
        shape: _Shape | None = None,
        *,
        device: Literal["cpu"] | None = None,
    ) -> WorkspaceArray:
        """Return an array filled with a value and shaped like another, in this workspace."""
    def create(self, shape: _Shape, dtype: DTypeLike | None = None, order: _Order = "C") -> WorkspaceArray:
        """Return an array of zeros, in this workspace."""
    def create_uninitialized(
        self, shape: _Shape, dtype: DTypeLike | None = None, order: _Order = "C"
    ) -> WorkspaceArray:
        """Return an array whose contents are arbitrary, in this workspace."""
    def initialize_workspace(self) -> None:
        """Take the memory of the learned size now."""
    def destroy_workspace(self) -> None:
        """End the workspace and all its arrays; its memory goes back to the system."""
    def toggle_workspace_use(self, use_workspace: bool) -> None:
        """Serve requests outside the arena, or from it again."""
    def enable_debug(self, debug: bool) -> None:
        """Poison memory that is released, and remember where arrays were made."""
    def reset(self) -> None:
        """Rewind the arena and forget what was learned in this cycle."""
    def trim(self) -> int:
        """Return memory that no learned cycle needs; how many bytes went back to the system."""
    def stats(self) -> WorkspaceStats:
        """Return all counters at once."""
    def _cycle_log(self) -> list[tuple[Literal["birth", "death"], int]]:
        """Return the running cycle's requests and deaths in their order, for benchmarks.

        ``("birth", bytes)`` of each of the first 4096 requests, ``("death", i)`` where the i-th of them died.
        Empty under ``AT_RESET`` and for circular workspaces. What is alive at the end has no death.
        """
    @property
    def id(self) -> str:
        """Name of the workspace."""
    @property
    def thread_id(self) -> int:
        """Thread that owns it, as `threading.get_ident` names it."""
    @property
    def device_id(self) -> int:
        """Always 0."""
    @property
    def configuration(self) -> WorkspaceConfiguration:
        """What it was asked to do."""
    @property
    def workspace_type(self) -> WorkspaceType:
        """Scoped, circular or dummy."""
    @property
    def generation_id(self) -> int:
        """Number of full enters so far."""
    @property
    def current_size(self) -> int:
        """Bytes of the arena, or of a ring's block."""
    @property
    def current_offset(self) -> int:
        """End of the highest span in use."""
    @property
    def host_offset(self) -> int:
        """Equal to `current_offset`."""
    @property
    def primary_offset(self) -> int:
        """Equal to `current_offset`."""
    @property
    def this_cycle_allocations(self) -> int:
        """Bytes requested in the running cycle."""
    @property
    def last_cycle_allocations(self) -> int:
        """Bytes requested in the last closed cycle."""
    @property
    def max_cycle_allocations(self) -> int:
        """Bytes requested in the largest cycle."""
    @property
    def peak_size(self) -> int:
        """Bytes alive at once in the running cycle; between cycles, in the last one."""
    @property
    def cycles_count(self) -> int:
        """Number of closed cycles."""
    @property
    def step_number(self) -> int:
        """Number of blocks a ring has taken."""
    @property
    def initial_block_size(self) -> int:
        """Bytes of the first arena, or of a ring's first block."""
    @property
    def number_of_external_allocations(self) -> int:
        """Arrays served outside the arena."""
    @property
    def spilled_size(self) -> int:
        """Bytes served outside the arena."""
    @property
    def number_of_pinned_allocations(self) -> int:
        """Arrays of a ring served outside its blocks."""
    @property
    def pinned_size(self) -> int:
        """Bytes of a ring served outside its blocks."""
    @property
    def retired_size(self) -> int:
        """Bytes of retired memory still held by views."""
    @property
    def escaped_count(self) -> int:
        """Arrays whose views outlived their scope."""
    @property
    def is_scope_active(self) -> bool:
        """Whether a scope of it is open."""
    @property
    def is_destroyed(self) -> bool:
        """Whether it came to its end."""
    @property
    def parent_workspace(self) -> Workspace | None:
        """What was current at the running full enter."""

@final
class WorkspaceArray:
    """An array in a workspace: NumPy's surface, checked on every use.

    It is valid until the scope it was made in is left; then every use raises a `StaleArrayError`, while metadata and
    `repr` go on working. `detach` copies it out. Its results go to the current workspace.
    """

    __hash__: None  # type: ignore[assignment]  # as ndarray's: it compares element by element
    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
    @property
    def ndim(self) -> int:
        """Number of dimensions."""
    @property
    def size(self) -> int:
        """Number of elements."""
    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
    @property
    def strides(self) -> tuple[int, ...]:
        """Steps in bytes along each dimension."""
    @property
    def flags(self) -> Any:
        """Layout of the memory."""
    @property
    def workspace(self) -> Workspace:
        """The workspace the memory was cut from."""
    @property
    def generation_id(self) -> int:
        """Generation of the workspace at the array's birth."""
    @property
    def is_attached(self) -> bool:
        """Always true: a detached array is a plain ndarray."""
    @property
    def is_in_scope(self) -> bool:
        """Whether the memory is still the array's; never raises."""
    @property
    def validity(self) -> Validity:
        """Whether the memory is still the array's, and if not, why; never raises."""
    @property
    def T(self) -> WorkspaceArray:
        """The array with its dimensions reversed."""
    @property
    def mT(self) -> WorkspaceArray:
        """The array with its last two dimensions exchanged."""
    @property
    def base(self) -> Any:
        """The array this one is a view of."""
    @property
    def ctypes(self) -> Any:
        """Address and layout for ctypes, with a lease."""
    @property
    def data(self) -> memoryview:
        """The memory, with a lease."""
    @property
    def device(self) -> Literal["cpu"]:
        """Where the array lies."""
    @property
    def flat(self) -> Any:
        """The elements in C order, from a leased view."""
    @property
    def real(self) -> _Result:
        """The real part."""
    @real.setter
    def real(self, value: ArrayLike, /) -> None: ...
    @property
    def imag(self) -> _Result:
        """The imaginary part."""
    @imag.setter
    def imag(self, value: ArrayLike, /) -> None: ...
    def detach(self) -> np.ndarray[Any, Any]:
        """Return an independent ndarray."""
    def leverage(self) -> WorkspaceArray | np.ndarray[Any, Any]:
        """Copy to the parent of the current workspace."""
    def leverage_to(self, id: str, enforce_existence: bool = False) -> WorkspaceArray:
        """Copy to an open workspace."""
    def leverage_or_detach(self, id: str) -> WorkspaceArray | np.ndarray[Any, Any]:
        """Copy to a workspace if it is open, else detach."""
    def migrate(self, detach_on_no_workspace: bool = False) -> WorkspaceArray | np.ndarray[Any, Any]:
        """Copy to the current workspace."""
    def dup(self, order: _Order | None = None) -> _Result:
        """Return a copy in the current workspace."""
    def cast_to(self, dtype: DTypeLike) -> _Result:
        """Return the array in another dtype; itself if it has that one."""
    def astype(
        self,
        dtype: DTypeLike,
        order: _Order = "K",
        casting: Any = "unsafe",
        subok: bool = True,
        copy: bool = True,
    ) -> _Result:
        """Return a copy in another dtype."""
    def close(self) -> None:
        """End this handle; the memory is free when all handles and views of it are gone."""
    def numpy(self) -> np.ndarray[Any, Any]:
        """Return a view that holds the memory: NumPy's own, without a copy."""
    def all(
        self, axis: _Axis = None, out: Any = None, keepdims: bool = False, *, where: Any = ...
    ) -> _Result:
        """Tell whether all elements are true."""
    def any(
        self, axis: _Axis = None, out: Any = None, keepdims: bool = False, *, where: Any = ...
    ) -> _Result:
        """Tell whether any element is true."""
    def argmax(
        self, axis: SupportsIndex | None = None, out: Any = None, *, keepdims: bool = False
    ) -> _Result:
        """Return the index of the largest element."""
    def argmin(
        self, axis: SupportsIndex | None = None, out: Any = None, *, keepdims: bool = False
    ) -> _Result:
        """Return the index of the smallest element."""
    def argpartition(
        self, kth: Any, axis: SupportsIndex | None = -1, kind: Any = "introselect", order: Any = None
    ) -> _Result:
        """Return the indices that partition the array."""
    def argsort(
        self,
        axis: SupportsIndex | None = -1,
        kind: Any = None,
        order: Any = None,
        *,
        stable: bool | None = None,
    ) -> _Result:
        """Return the indices that sort the array."""
    def byteswap(self, inplace: bool = False) -> _Result:
        """Return the bytes of each element in reverse order."""
    def choose(self, choices: Any, out: Any = None, mode: Any = "raise") -> _Result:
        """Return elements chosen from arrays by index."""
    def clip(self, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> _Result:
        """Return the elements limited to an interval."""
    def compress(self, condition: ArrayLike, axis: SupportsIndex | None = None, out: Any = None) -> _Result:
        """Return the slices where a condition holds."""
    def conj(self) -> _Result:
        """Return the complex conjugate."""
    def conjugate(self) -> _Result:
        """Return the complex conjugate."""
    def copy(self, order: _Order | None = None) -> _Result:
        """Return a copy in the current workspace."""
    def cumprod(
        self, axis: SupportsIndex | None = None, dtype: DTypeLike | None = None, out: Any = None
    ) -> _Result:
        """Return the cumulative product."""
    def cumsum(
        self, axis: SupportsIndex | None = None, dtype: DTypeLike | None = None, out: Any = None
    ) -> _Result:
        """Return the cumulative sum."""
    def diagonal(
        self, offset: SupportsIndex = 0, axis1: SupportsIndex = 0, axis2: SupportsIndex = 1
    ) -> _Result:
        """Return a view of a diagonal."""
    def dot(self, b: ArrayLike, out: Any = None) -> _Result:
        """Return the dot product."""
    def dump(self, file: Any) -> None:
        """Pickle the values to a file."""
    def dumps(self) -> bytes:
        """Pickle the values."""
    def fill(self, value: Any) -> None:
        """Write one value everywhere."""
    def flatten(self, order: _Order = "C") -> _Result:
        """Return a copy in one dimension."""
    def getfield(self, dtype: DTypeLike, offset: SupportsIndex = 0) -> _Result:
        """Return a view of a part of each element."""
    def item(self, *args: Any) -> Any:
        """Return one element as a Python scalar."""
    def max(
        self,
        axis: _Axis = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = ...,
        where: Any = ...,
    ) -> _Result:
        """Return the largest element."""
    def mean(
        self,
        axis: _Axis = None,
        dtype: DTypeLike | None = None,
        out: Any = None,
        keepdims: bool = False,
        *,
        where: Any = ...,
    ) -> _Result:
        """Return the mean."""
    def min(
        self,
        axis: _Axis = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = ...,
        where: Any = ...,
    ) -> _Result:
        """Return the smallest element."""
    def nonzero(self) -> tuple[Any, ...]:
        """Return the indices of the elements that are not zero."""
    def partition(
        self, kth: Any, axis: SupportsIndex = -1, kind: Any = "introselect", order: Any = None
    ) -> None:
        """Partition in place."""
    def prod(
        self,
        axis: _Axis = None,
        dtype: DTypeLike | None = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = ...,
        where: Any = ...,
    ) -> _Result:
        """Return the product."""
    def put(self, indices: ArrayLike, values: ArrayLike, mode: Any = "raise") -> None:
        """Write values at flat indices."""
    def ravel(self, order: _Order = "C") -> _Result:
        """Return the array in one dimension; a view where NumPy makes one."""
    def repeat(self, repeats: ArrayLike, axis: SupportsIndex | None = None) -> _Result:
        """Return the elements, repeated."""
    def reshape(self, *shape: Any, order: _Order = "C", copy: bool | None = None) -> _Result:
        """Return the array in another shape; a view where NumPy makes one."""
    def round(self, decimals: SupportsIndex = 0, out: Any = None) -> _Result:
        """Return the elements rounded."""
    def searchsorted(self, v: ArrayLike, side: Any = "left", sorter: Any = None) -> _Result:
        """Return where values would be inserted."""
    def setfield(self, val: ArrayLike, dtype: DTypeLike, offset: SupportsIndex = 0) -> None:
        """Write to a part of each element."""
    def setflags(self, write: bool | None = None, align: bool | None = None, uic: bool | None = None) -> None:
        """Refuse: layout and flags of a workspace array do not change."""
    def sort(
        self, axis: SupportsIndex = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
    ) -> None:
        """Sort in place."""
    def squeeze(self, axis: _Axis = None) -> _Result:
        """Return a view without dimensions of length one."""
    def std(
        self,
        axis: _Axis = None,
        dtype: DTypeLike | None = None,
        out: Any = None,
        ddof: float = 0,
        keepdims: bool = False,
        **kwargs: Any,
    ) -> _Result:
        """Return the standard deviation."""
    def sum(
        self,
        axis: _Axis = None,
        dtype: DTypeLike | None = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = ...,
        where: Any = ...,
    ) -> _Result:
        """Return the sum."""
    def swapaxes(self, axis1: SupportsIndex, axis2: SupportsIndex, /) -> _Result:
        """Return a view with two dimensions exchanged."""
    def take(
        self, indices: ArrayLike, axis: SupportsIndex | None = None, out: Any = None, mode: Any = "raise"
    ) -> _Result:
        """Return elements by index."""
    def to_device(self, device: str, /, *, stream: Any = None) -> WorkspaceArray:
        """Return the array itself: there is one device."""
    def tobytes(self, order: _Order = "C") -> bytes:
        """Return the bytes of the elements."""
    def tofile(self, fid: Any, sep: str = "", format: str = "%s") -> None:
        """Write the elements to a file."""
    def tolist(self) -> Any:
        """Return the elements as nested lists."""
    def trace(
        self,
        offset: SupportsIndex = 0,
        axis1: SupportsIndex = 0,
        axis2: SupportsIndex = 1,
        dtype: DTypeLike | None = None,
        out: Any = None,
    ) -> _Result:
        """Return the sum of a diagonal."""
    def transpose(self, *axes: Any) -> WorkspaceArray:
        """Return a view with its dimensions permuted."""
    def var(
        self,
        axis: _Axis = None,
        dtype: DTypeLike | None = None,
        out: Any = None,
        ddof: float = 0,
        keepdims: bool = False,
        **kwargs: Any,
    ) -> _Result:
        """Return the variance."""
    def view(self, dtype: Any = ...) -> WorkspaceArray:
        """Return a view, with another dtype."""
    def __add__(self, other: Any, /) -> _Result: ...
    def __radd__(self, other: Any, /) -> _Result: ...
    def __sub__(self, other: Any, /) -> _Result: ...
    def __rsub__(self, other: Any, /) -> _Result: ...
    def __mul__(self, other: Any, /) -> _Result: ...
    def __rmul__(self, other: Any, /) -> _Result: ...
    def __truediv__(self, other: Any, /) -> _Result: ...
    def __rtruediv__(self, other: Any, /) -> _Result: ...
    def __floordiv__(self, other: Any, /) -> _Result: ...
    def __rfloordiv__(self, other: Any, /) -> _Result: ...
    def __mod__(self, other: Any, /) -> _Result: ...
    def __rmod__(self, other: Any, /) -> _Result: ...
    def __matmul__(self, other: Any, /) -> _Result: ...
    def __rmatmul__(self, other: Any, /) -> _Result: ...
    def __and__(self, other: Any, /) -> _Result: ...
    def __rand__(self, other: Any, /) -> _Result: ...
    def __or__(self, other: Any, /) -> _Result: ...
    def __ror__(self, other: Any, /) -> _Result: ...
    def __xor__(self, other: Any, /) -> _Result: ...
    def __rxor__(self, other: Any, /) -> _Result: ...
    def __lshift__(self, other: Any, /) -> _Result: ...
    def __rlshift__(self, other: Any, /) -> _Result: ...
    def __rshift__(self, other: Any, /) -> _Result: ...
    def __rrshift__(self, other: Any, /) -> _Result: ...
    def __divmod__(self, other: Any, /) -> _Result: ...
    def __rdivmod__(self, other: Any, /) -> _Result: ...
    def __pow__(self, other: Any, modulus: Any = None, /) -> _Result: ...
    def __rpow__(self, other: Any, modulus: Any = None, /) -> _Result: ...
    def __iadd__(self, other: Any, /) -> Self: ...
    def __isub__(self, other: Any, /) -> Self: ...
    def __imul__(self, other: Any, /) -> Self: ...
    def __itruediv__(self, other: Any, /) -> Self: ...
    def __ifloordiv__(self, other: Any, /) -> Self: ...
    def __imod__(self, other: Any, /) -> Self: ...
    def __imatmul__(self, other: Any, /) -> Self: ...
    def __iand__(self, other: Any, /) -> Self: ...
    def __ior__(self, other: Any, /) -> Self: ...
    def __ixor__(self, other: Any, /) -> Self: ...
    def __ilshift__(self, other: Any, /) -> Self: ...
    def __irshift__(self, other: Any, /) -> Self: ...
    def __ipow__(self, other: Any, /) -> Self: ...  # type: ignore[misc]  # in place there is no modulus
    def __lt__(self, other: Any, /) -> _Result: ...
    def __le__(self, other: Any, /) -> _Result: ...
    def __eq__(self, other: Any, /) -> _Result: ...
    def __ne__(self, other: Any, /) -> _Result: ...
    def __gt__(self, other: Any, /) -> _Result: ...
    def __ge__(self, other: Any, /) -> _Result: ...
    def __neg__(self) -> _Result: ...
    def __pos__(self) -> _Result: ...
    def __abs__(self) -> _Result: ...
    def __invert__(self) -> _Result: ...
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...
    def __complex__(self) -> complex: ...
    def __index__(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __reversed__(self) -> Iterator[Any]: ...
    def __sizeof__(self) -> int: ...
    def __copy__(self) -> _Result: ...
    def __deepcopy__(self, memo: Any, /) -> np.ndarray[Any, Any]: ...
    def __contains__(self, item: Any, /) -> bool: ...
    def __getitem__(self, key: Any, /) -> _Result: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...
    def __array__(
        self, dtype: DTypeLike | None = None, *, copy: bool | None = None
    ) -> np.ndarray[Any, Any]: ...
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, /, *inputs: Any, **kwargs: Any) -> _Result: ...
    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> _Result: ...
    def __array_namespace__(self, *, api_version: str | None = None) -> Any: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...
    def __format__(self, spec: str, /) -> str: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class ArrayType:
    """What an array is to a layer. A member, or its name in any case, says so to a `LayerWorkspaceMgr`."""

    INPUT: ClassVar[ArrayType]
    """Input of a layer, kept for its backward pass."""
    ACTIVATIONS: ClassVar[ArrayType]
    """Output of a layer."""
    ACTIVATION_GRAD: ClassVar[ArrayType]
    """Gradient with respect to the input of a layer."""
    FF_WORKING_MEM: ClassVar[ArrayType]
    """Scratch of a layer's forward pass."""
    BP_WORKING_MEM: ClassVar[ArrayType]
    """Scratch of a layer's backward pass."""
    RNN_FF_LOOP_WORKING_MEM: ClassVar[ArrayType]
    """Scratch of one time step forward."""
    RNN_BP_LOOP_WORKING_MEM: ClassVar[ArrayType]
    """Scratch of one time step backward."""
    UPDATER_WORKING_MEM: ClassVar[ArrayType]
    """Scratch of the updater."""
    FF_CACHE: ClassVar[ArrayType]
    """What the forward pass keeps for the backward pass, the input apart."""
    __members__: ClassVar[Mapping[str, ArrayType]]
    """The members by name."""

    def __new__(cls, value: ArrayType | str) -> Self:
        """Give the member of that name, in any case."""
    @property
    def name(self) -> str:
        """The name in capitals."""
    @property
    def value(self) -> str:
        """The same as `name`."""
    @staticmethod
    def members() -> tuple[ArrayType, ...]:
        """All members, in the order of their declaration."""
    def __int__(self) -> int: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

_Type: TypeAlias = ArrayType | str
_Named: TypeAlias = tuple[str, WorkspaceConfiguration]
_AnyArray: TypeAlias = WorkspaceArray | np.ndarray[Any, Any]

@final
class LayerWorkspaceMgr:
    """Which workspace each kind of array lives in (DL4J: ``LayerWorkspaceMgr``).

    It holds names, not workspaces: it may be used in any thread, and each finds its own. Types that are not
    named get the default, and where that is ``None``, plain arrays.

    Raises, in every method: `ConfigurationError` for a type that is not configured (a plain array still
    passes `leverage_to`, and `cast_to` to its own dtype, as in DL4J), `ScopeError` for a
    workspace that is not open, `TypeError` for a change of an immutable manager. Then nothing has changed.
    """

    def __new__(cls, types: Mapping[_Type, _Named | None], default: _Named | None = None) -> Self: ...
    @staticmethod
    def builder() -> LayerWorkspaceMgrBuilder:
        """Give a builder in which nothing is configured yet."""
    @staticmethod
    def no_workspaces() -> LayerWorkspaceMgr:
        """Give a manager without workspaces: every array is a plain one."""
    @staticmethod
    def no_workspaces_immutable() -> LayerWorkspaceMgr:
        """Give the one manager without workspaces that refuses every change."""
    def create(
        self, t: _Type, shape: _Shape, dtype: DTypeLike | None = ..., order: Literal["C", "F"] = "C"
    ) -> _AnyArray:
        """Give zeros of a type."""
    def create_uninitialized(
        self, t: _Type, shape: _Shape, dtype: DTypeLike | None = ..., order: Literal["C", "F"] = "C"
    ) -> _AnyArray:
        """Give an array of a type whose elements are whatever the memory held."""
    def dup(self, t: _Type, a: _AnyArray, order: _Order | None = None) -> _AnyArray:
        """Give a copy, as an array of that type; in the order of ``a`` unless another one is asked for."""
    def cast_to(
        self, t: _Type, dtype: DTypeLike, a: _AnyArray, dup_if_correct_type: bool = False
    ) -> _AnyArray:
        """Give ``a`` itself if it has that dtype and is plain or lies where the type belongs, else a copy there.

        Always a copy with ``dup_if_correct_type``.
        """
    def leverage_to(self, t: _Type, a: _AnyArray) -> _AnyArray:
        """Give ``a`` itself if it is plain or lies where the type belongs, else a copy there."""
    def validate_array_location(
        self, t: _Type, a: _AnyArray, migrate_if_invalid: bool = False, exception_if_detached: bool = True
    ) -> _AnyArray:
        """Give ``a`` itself if it lies where the type belongs, else `ArrayLocationError`.

        With ``migrate_if_invalid`` a copy in the right place comes back instead. A plain array where one of a
        workspace is expected is wrong only with ``exception_if_detached``.
        """
    def notify_scope_entered(self, *types: _Type) -> Scope:
        """Enter the workspaces of these types in their order, all of them or none.

        The ``with`` target is the last one, ``None`` if it is scoped out.
        """
    def notify_scope_borrowed(self, t: _Type) -> Scope:
        """Make the open workspace of a type current."""
    def is_workspace_open(self, t: _Type) -> bool:
        """Whether the workspace of a type is open; true if it is scoped out."""
    def assert_open(self, t: _Type, msg: str | None = None) -> None:
        """`ScopeError` unless the workspace of a type is open."""
    def assert_not_open(self, t: _Type, msg: str | None = None) -> None:
        """`ScopeError` if the workspace of a type is open."""
    def assert_current_workspace(self, t: _Type, msg: str | None = None) -> None:
        """`ScopeError` unless the workspace of a type is current."""
    def set_workspace(self, t: _Type, name: str, conf: WorkspaceConfiguration) -> None:
        """Put arrays of a type into the workspace of that name, made with that configuration."""
    def get_configuration(self, t: _Type) -> WorkspaceConfiguration | None:
        """Tell what the workspace of a type is made with."""
    def set_configuration(self, t: _Type, conf: WorkspaceConfiguration) -> None:
        """Change the configuration alone; a type that is scoped out stays so."""
    def get_workspace_name(self, t: _Type) -> str | None:
        """Tell the name of the workspace of a type."""
    def set_workspace_name(self, t: _Type, name: str) -> None:
        """Change the name alone; a type that is scoped out stays so."""
    def set_scoped_out_for(self, t: _Type) -> None:
        """Arrays of a type are plain from now on."""
    def is_scoped_out(self, t: _Type) -> bool:
        """Whether arrays of a type are plain."""
    def has_configuration(self, t: _Type) -> bool:
        """Whether a type is scoped out or has the name of a workspace."""
    def set_no_leverage_override(self, name: str) -> None:
        """Arrays in the workspace of that name stay where they are and are right everywhere."""
    def get_helper_workspace(self, key: str) -> Any:
        """Give what a layer put there under a key, or ``None``."""
    def set_helper_workspace(self, key: str, value: Any) -> None:
        """Put a value there for all layers."""
    def __reduce__(self) -> NoReturn: ...

@final
class LayerWorkspaceMgrBuilder:
    """Collects where arrays of each type shall live; of two calls about the same type the last one counts."""

    def default_no_workspace(self) -> Self:
        """Arrays of the types that are not named are plain."""
    def no_workspace_for(self, t: _Type) -> Self:
        """Arrays of this type are plain."""
    def default_workspace(self, name: str, conf: WorkspaceConfiguration) -> Self:
        """Arrays of the types that are not named live in this workspace."""
    def with_(self, t: _Type, name: str, conf: WorkspaceConfiguration) -> Self:
        """Arrays of this type live in this workspace."""
    def build(self) -> LayerWorkspaceMgr:
        """Give the manager; what the builder is told later does not change it."""

@final
class WorkspaceManager:
    """The workspaces of the calling thread, by id."""

    def create_new_workspace(
        self, configuration: WorkspaceConfiguration | None = None, id: str = ...
    ) -> Workspace:
        """Make and register a workspace of this thread, in place of a closed one of that id."""
    def get_workspace_for_current_thread(
        self, configuration: WorkspaceConfiguration | None = None, id: str = ...
    ) -> Workspace:
        """Return this thread's workspace of that id, made if it does not exist."""
    def get_and_activate_workspace(
        self, configuration: WorkspaceConfiguration | None = None, id: str = ...
    ) -> Scope:
        """Get the workspace and enter it."""
    def set_workspace_for_current_thread(self, ws: Workspace, id: str | None = None) -> None:
        """Register a workspace; it is not entered."""
    def check_if_workspace_exists(self, id: str) -> bool:
        """Tell whether this thread has a workspace of that id."""
    def check_if_workspace_exists_and_active(self, id: str) -> bool:
        """Tell whether this thread has a workspace of that id, and it is open."""
    def any_workspace_active_for_current_thread(self) -> bool:
        """Tell whether any workspace is open in this thread."""
    def get_all_workspaces_ids_for_current_thread(self) -> list[str]:
        """Return the ids registered in this thread."""
    def get_all_workspaces_for_current_thread(self) -> list[Workspace]:
        """Return the workspaces registered in this thread."""
    def destroy_workspace(self, ws: Workspace | None = None) -> None:
        """Destroy a workspace, by default the current one."""
    def destroy_all_workspaces_for_current_thread(self) -> None:
        """Destroy every workspace registered in this thread."""
    def print_allocation_statistics_for_current_thread(self) -> None:
        """Print one line per workspace of this thread."""
    def allocation_statistics(self) -> list[WorkspaceStats]:
        """Return the counters of the workspaces of all live threads."""
    def scope_out_of_workspaces(self) -> Scope:
        """Enter a scope in which no workspace is current while all stay open."""
    @property
    def default_workspace_configuration(self) -> WorkspaceConfiguration:
        """What a workspace is asked to do if nothing is said."""
    @default_workspace_configuration.setter
    def default_workspace_configuration(self, value: WorkspaceConfiguration, /) -> None: ...
    @property
    def debug_mode(self) -> DebugMode:
        """Whether workspaces are used, spilled past, or bypassed."""
    @debug_mode.setter
    def debug_mode(self, value: DebugMode | str, /) -> None: ...

@final
class MemoryManager:
    """What is current in the calling thread, what is held in all, and the pace of CPython's cyclic collector."""

    def scope_out_of_workspaces(self) -> Scope:
        """Enter a scope in which no workspace is current while all stay open."""
    def allocated_bytes(self) -> int:
        """Return the bytes held for all workspaces of all threads."""
    def toggle_periodic_gc(self, enabled: bool) -> None:
        """Let CPython's cyclic collector run by itself, or not."""
    def set_auto_gc_window(self, milliseconds: int) -> None:
        """Collect when a thread's outermost scope closes, at most once per window; 0: by CPython's rules."""
    def gc_policy(self, *, auto_gc_window: int) -> AbstractContextManager[None]:
        """Set the window inside a ``with`` block."""
    def invoke_gc(self) -> int:
        """Collect now; return how many objects were unreachable."""
    def set_occasional_gc_frequency(self, n: int) -> None:
        """Collect at every n-th call of `invoke_gc_occasionally`; 0: never."""
    def invoke_gc_occasionally(self) -> None:
        """Collect if it is this call's turn and the window has passed."""
    @property
    def current_workspace(self) -> Workspace | None:
        """Where results go in this thread."""
    @current_workspace.setter
    def current_workspace(self, value: Workspace | None, /) -> None: ...
    @property
    def is_periodic_gc_active(self) -> bool:
        """Whether CPython's cyclic collector runs by itself."""
    @property
    def auto_gc_window(self) -> int:
        """The window in milliseconds."""

def get_workspace_manager() -> WorkspaceManager:
    """Return the manager of workspaces."""

def get_memory_manager() -> MemoryManager:
    """Return the manager of memory."""

def create_new_workspace(configuration: WorkspaceConfiguration | None = None, id: str = ...) -> Workspace:
    """Make and register a workspace of this thread, in place of a closed one of that id."""

def get_workspace_for_current_thread(
    configuration: WorkspaceConfiguration | None = None, id: str = ...
) -> Workspace:
    """Return this thread's workspace of that id, made if it does not exist."""

def get_and_activate_workspace(configuration: WorkspaceConfiguration | None = None, id: str = ...) -> Scope:
    """Get the workspace and enter it."""

def set_workspace_for_current_thread(ws: Workspace, id: str | None = None) -> None:
    """Register a workspace; it is not entered."""

def check_if_workspace_exists(id: str) -> bool:
    """Tell whether this thread has a workspace of that id."""

def check_if_workspace_exists_and_active(id: str) -> bool:
    """Tell whether this thread has a workspace of that id, and it is open."""

def any_workspace_active_for_current_thread() -> bool:
    """Tell whether any workspace is open in this thread."""

def get_all_workspaces_ids_for_current_thread() -> list[str]:
    """Return the ids registered in this thread."""

def get_all_workspaces_for_current_thread() -> list[Workspace]:
    """Return the workspaces registered in this thread."""

def destroy_workspace(ws: Workspace | None = None) -> None:
    """Destroy a workspace, by default the current one."""

def destroy_all_workspaces_for_current_thread() -> None:
    """Destroy every workspace registered in this thread."""

def print_allocation_statistics_for_current_thread() -> None:
    """Print one line per workspace of this thread."""

def allocation_statistics() -> list[WorkspaceStats]:
    """Return the counters of the workspaces of all live threads."""

def scope_out_of_workspaces() -> Scope:
    """Enter a scope in which no workspace is current while all stay open."""

def get_default_workspace_configuration() -> WorkspaceConfiguration:
    """Return what a workspace is asked to do if nothing is said."""

def set_default_workspace_configuration(configuration: WorkspaceConfiguration) -> None:
    """Say what a workspace is asked to do if nothing is said."""

def get_debug_mode() -> DebugMode:
    """Return whether workspaces are used, spilled past, or bypassed."""

def set_debug_mode(mode: DebugMode | str) -> None:
    """Say whether workspaces are used, spilled past, or bypassed."""

def get_current_workspace() -> Workspace | None:
    """Return where results go in this thread."""

def set_current_workspace(ws: Workspace | None) -> None:
    """Say where results go in this thread."""

def allocated_bytes() -> int:
    """Return the bytes held for all workspaces of all threads."""

def toggle_periodic_gc(enabled: bool) -> None:
    """Let CPython's cyclic collector run by itself, or not."""

def set_auto_gc_window(milliseconds: int) -> None:
    """Collect when a thread's outermost scope closes, at most once per window; 0: by CPython's rules."""

def gc_policy(*, auto_gc_window: int) -> AbstractContextManager[None]:
    """Set the window inside a ``with`` block."""

def invoke_gc() -> int:
    """Collect now; return how many objects were unreachable."""

def set_occasional_gc_frequency(n: int) -> None:
    """Collect at every n-th call of `invoke_gc_occasionally`; 0: never."""

def invoke_gc_occasionally() -> None:
    """Collect if it is this call's turn and the window has passed."""

def is_periodic_gc_active() -> bool:
    """Tell whether CPython's cyclic collector runs by itself."""

def get_auto_gc_window() -> int:
    """Return the window in milliseconds."""

def assert_no_workspaces_open(msg: str, allow_scoped_out: bool = False) -> None:
    """Raise a `ScopeError` if any workspace is open in this thread."""

def assert_open_and_active(id: str, msg: str) -> None:
    """Raise a `ScopeError` unless the workspace is open."""

def assert_open_active_and_current(id: str, msg: str) -> None:
    """Raise a `ScopeError` unless the workspace is open and current."""

def assert_valid_array(a: ArrayLike, msg: str) -> None:
    """Raise a `StaleArrayError` unless the array is valid."""

def empty(
    shape: _Shape,
    dtype: DTypeLike | None = None,
    order: _Order = "C",
    *,
    device: Literal["cpu"] | None = None,
    like: Any = None,
) -> _Result:
    """Return an array whose contents are arbitrary, in the current workspace; plain where none is current."""

def zeros(
    shape: _Shape,
    dtype: DTypeLike | None = None,
    order: _Order = "C",
    *,
    device: Literal["cpu"] | None = None,
    like: Any = None,
) -> _Result:
    """Return an array of zeros, in the current workspace; plain where none is current."""

def ones(
    shape: _Shape,
    dtype: DTypeLike | None = None,
    order: _Order = "C",
    *,
    device: Literal["cpu"] | None = None,
    like: Any = None,
) -> _Result:
    """Return an array of ones, in the current workspace; plain where none is current."""

def full(
    shape: _Shape,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    order: _Order = "C",
    *,
    device: Literal["cpu"] | None = None,
    like: Any = None,
) -> _Result:
    """Return an array filled with a value, in the current workspace; plain where none is current."""

def array(
    object: ArrayLike,
    dtype: DTypeLike | None = None,
    *,
    copy: bool | None = True,
    order: _Order = "K",
    subok: bool = False,
    ndmin: int = 0,
    like: Any = None,
) -> _Result:
    """Return a copy of the values, in the current workspace; plain where none is current."""

def asarray(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    order: _Order | None = None,
    *,
    device: Literal["cpu"] | None = None,
    copy: bool | None = None,
    like: Any = None,
) -> _Result:
    """Return the array itself if it lies here with that dtype, else a copy, in the current workspace; plain where none is current."""

def empty_like(
    prototype: ArrayLike,
    dtype: DTypeLike | None = None,
    order: _Order = "K",
    subok: bool = True,
    shape: _Shape | None = None,
    *,
    device: Literal["cpu"] | None = None,
) -> _Result:
    """Return an array shaped like another, whose contents are arbitrary, in the current workspace; plain where none is current."""

def zeros_like(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    order: _Order = "K",
    subok: bool = True,
    shape: _Shape | None = None,
    *,
    device: Literal["cpu"] | None = None,
) -> _Result:
    """Return an array of zeros shaped like another, in the current workspace; plain where none is current."""

def ones_like(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    order: _Order = "K",
    subok: bool = True,
    shape: _Shape | None = None,
    *,
    device: Literal["cpu"] | None = None,
) -> _Result:
    """Return an array of ones shaped like another, in the current workspace; plain where none is current."""

def full_like(
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    order: _Order = "K",
    subok: bool = True,
    shape: _Shape | None = None,
    *,
    device: Literal["cpu"] | None = None,
) -> _Result:
    """Return an array filled with a value and shaped like another, in the current workspace; plain where none is current."""

def arange(
    start: Any,
    stop: Any = None,
    step: Any = None,
    dtype: DTypeLike | None = None,
    *,
    device: Literal["cpu"] | None = None,
    like: Any = None,
) -> _Result:
    """Return evenly spaced values, in the current workspace; plain where none is current."""

def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: SupportsIndex = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: SupportsIndex = 0,
    *,
    device: Literal["cpu"] | None = None,
) -> _Result:
    """Return numbers over an interval, in the current workspace; plain where none is current."""

def eye(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: DTypeLike = ...,
    order: _Order = "C",
    *,
    device: Literal["cpu"] | None = None,
    like: Any = None,
) -> _Result:
    """Return ones on a diagonal, in the current workspace; plain where none is current."""

def identity(n: int, dtype: DTypeLike | None = None, *, like: Any = None) -> _Result:
    """Return the identity matrix, in the current workspace; plain where none is current."""

def detach(array: WorkspaceArray | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an independent ndarray; a plain one as it is."""

def leverage(array: WorkspaceArray | np.ndarray[Any, Any]) -> WorkspaceArray | np.ndarray[Any, Any]:
    """Copy to the parent of the current workspace; a plain array as it is."""

def leverage_to(
    array: WorkspaceArray | np.ndarray[Any, Any], id: str, enforce_existence: bool = False
) -> WorkspaceArray | np.ndarray[Any, Any]:
    """Copy to an open workspace; a plain array as it is."""

def leverage_or_detach(
    array: WorkspaceArray | np.ndarray[Any, Any], id: str
) -> WorkspaceArray | np.ndarray[Any, Any]:
    """Copy to a workspace if it is open, else detach."""

def migrate(
    array: WorkspaceArray | np.ndarray[Any, Any], detach_on_no_workspace: bool = False
) -> WorkspaceArray | np.ndarray[Any, Any]:
    """Copy to the current workspace."""

def dup(
    array: WorkspaceArray | np.ndarray[Any, Any], order: _Order | None = None
) -> WorkspaceArray | np.ndarray[Any, Any]:
    """Return a copy in the current workspace."""

functions: ModuleType
"""NumPy's functions without the way through its override protocols; `ndarena` has them under the same names."""

def _set_fault(point: str, nth: int, exception: BaseException) -> None:
    """Set a fault at the n-th such point; `ndarena.testing` is for users."""

def _clear_fault() -> bool:
    """Take the fault away; whether its point was reached."""

def _add_overlapping(target: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> bool:
    """Do ``target[i] += values[i]`` row by row where elements of the target may be the same; False: nothing was done."""

def _add_bias(
    sums: WorkspaceArray | np.ndarray[Any, Any],
    bias: WorkspaceArray | np.ndarray[Any, Any],
    axis: int,
    rectifies: bool,
) -> bool:
    """Add a number for each element of axis 0 or -1, in place, and put 0 for what is negative; False: nothing was done."""

def _softmax(x: WorkspaceArray | np.ndarray[Any, Any], out: WorkspaceArray | np.ndarray[Any, Any]) -> bool:
    """Set the rows of ``out`` to shares that add up to 1; False: nothing was done."""

def _rectify_back(
    x: WorkspaceArray | np.ndarray[Any, Any],
    epsilon: WorkspaceArray | np.ndarray[Any, Any],
    out: WorkspaceArray | np.ndarray[Any, Any] | None,
) -> Any:
    """Return ``epsilon`` where ``x`` is above 0, elsewhere 0 times it; ``None``: nothing was done."""

def _cross_entropy(
    labels: WorkspaceArray | np.ndarray[Any, Any],
    output: WorkspaceArray | np.ndarray[Any, Any],
    least: float,
    most: float,
) -> float | None:
    """Return the sum of ``-labels * log(output)``, of outputs kept between bounds; ``None``: nothing was done."""

def _cross_entropy_back(
    labels: WorkspaceArray | np.ndarray[Any, Any],
    output: WorkspaceArray | np.ndarray[Any, Any],
    out: WorkspaceArray | np.ndarray[Any, Any] | None,
) -> Any:
    """Return ``output`` times the sum of its row of labels, minus these; ``None``: nothing was done."""

def _add_up_rows(
    rows: WorkspaceArray | np.ndarray[Any, Any], out: WorkspaceArray | np.ndarray[Any, Any]
) -> bool:
    """Set ``out`` to the sum of a few rows; False: nothing was done."""

def _concatenate_here(parts: tuple[np.ndarray[Any, Any], ...]) -> WorkspaceArray | None:
    """Join arrays along axis 0 in the current workspace; ``None``: nothing was done."""

def _multiply(
    left: WorkspaceArray | np.ndarray[Any, Any],
    right: WorkspaceArray | np.ndarray[Any, Any],
    out: WorkspaceArray | np.ndarray[Any, Any],
    turns_left: bool,
    turns_right: bool,
) -> bool:
    """Set ``out`` to ``left @ right``, either transposed if asked for; False: it is to be done in another way."""

def _multiply_in_tiles(
    left: WorkspaceArray | np.ndarray[Any, Any],
    right: WorkspaceArray | np.ndarray[Any, Any],
    out: WorkspaceArray | np.ndarray[Any, Any],
    height: int,
    width: int,
) -> bool:
    """Set ``out`` to ``left @ right``, tile by tile of the result; False: it is to be done in another way."""

def _set_fast_paths(on: bool) -> bool:
    """Take fast paths or leave them; whether they were taken. `NDARENA_FAST=0` is the switch for users."""

def _reused_temporaries() -> int:
    """Count the temporaries that gave their memory to a result since the process began."""

def _fail_allocations(nth: int, *, every: bool = False, system: bool = False) -> tuple[int, int]:
    """Refuse the n-th request and all behind it, or every n-th, in all threads; 0 ends it.

    Refused is what workspaces serve, with ``system`` what they ask of the system. Returns how many requests the last
    call of this kind saw and refused.
    """

def capture_numpy() -> Scope:
    """Enter a private workspace of the calling thread, which serves what NumPy allocates by itself.

    The ``with`` target is that workspace; every call in the thread enters the same one, until it is destroyed. What is
    captured, and what is raised, is said at `Workspace.notify_scope_entered`.
    """

def cast_to(
    array: WorkspaceArray | np.ndarray[Any, Any], dtype: DTypeLike
) -> WorkspaceArray | np.ndarray[Any, Any]:
    """Return the array in another dtype; itself if it has that one."""
