"""What the tests of capture share: whether an array was captured, and memory handlers of others."""

import ctypes

import numpy as np

from ndarena import Workspace, WorkspaceConfiguration

N = 100_000
BYTES = 8 * N  # a multiple of a cache line


def capturing(**fields):
    """Make a workspace that gets no head-room."""
    return Workspace(WorkspaceConfiguration(policy_allocation="STRICT", **fields), "CAPTURE")


def is_captured(ws, make=lambda: np.empty(N)):
    """Whether what the call allocates now is served by the workspace."""
    before = ws.this_cycle_allocations
    array = make()
    return ws.this_cycle_allocations > before and array is not None


def handler_name(array=None):
    """Name of the memory handler of an array, else of the running context."""
    get = np._core.multiarray.get_handler_name  # noqa: SLF001 - the only way to ask
    return get() if array is None else get(array)


def bytes_at(address, n=64):
    return ctypes.string_at(address, n)


def _table():
    capsule = np._core._multiarray_umath._ARRAY_API  # noqa: SLF001
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return (ctypes.c_void_p * 310).from_address(pointer(capsule, None))


def set_handler(handler):
    """Call NumPy's `PyDataMem_SetHandler`; the handler before."""
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_table()[304])(handler)


def get_handler():
    return ctypes.PYFUNCTYPE(ctypes.py_object)(_table()[305])()


class _Allocator(ctypes.Structure):
    _fields_ = (
        ("ctx", ctypes.c_void_p),
        ("malloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("calloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)),
        ("realloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("free", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    )


class _Handler(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator))


class CountingHandler:
    """Somebody else's memory handler: libc, with a note of every call; a context manager."""

    def __init__(self):
        libc = ctypes.CDLL(None)
        libc.malloc.restype = libc.calloc.restype = libc.realloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = [ctypes.c_size_t]
        libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
        self.calls, self.alive, self.libc = [], set(), libc
        kinds = dict(_Allocator._fields_)
        functions = {name: kinds[name](getattr(self, name)) for name in list(kinds)[1:]}
        self.struct = _Handler(b"counting", 1, _Allocator(None, *functions.values()))
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self.capsule = new(ctypes.addressof(self.struct), b"mem_handler", None)

    def malloc(self, _ctx, size):
        self.calls.append(("malloc", size))
        return self.note(self.libc.malloc(size))

    def calloc(self, _ctx, n, size):
        self.calls.append(("calloc", n * size))
        return self.note(self.libc.calloc(n, size))

    def realloc(self, _ctx, old, size):
        self.calls.append(("realloc", size))
        assert old is None or old in self.alive
        self.alive.discard(old)
        return self.note(self.libc.realloc(old, size))

    def free(self, _ctx, old, size):
        self.calls.append(("free", size))
        assert old in self.alive, "not allocated here"
        self.alive.discard(old)
        self.libc.free(old)

    def large(self):
        return [call for call in self.calls if call[1] >= 1 << 14]

    def note(self, address):
        self.alive.add(address)
        return address

    def __enter__(self):
        self.found = set_handler(self.capsule)
        return self

    def __exit__(self, *_):
        set_handler(self.found)
