"""Arenas in files: how the tests describe, refuse and look at them."""

import fcntl
from pathlib import Path

import pytest
from support import KIB, held_bytes

import ndarena as nd
from ndarena import ConfigurationError, WorkspaceConfiguration

PAGE_COUNT = 16
SIZE = PAGE_COUNT * 4 * KIB


def mapped(path=None, size=SIZE, **fields):
    """Describe an arena in a file, under a temporary one without a name."""
    fields = {"policy_location": "MMAP", "policy_learning": "NONE", **fields}
    return WorkspaceConfiguration(temp_file_path=path, initial_size=size, **fields)


def refused(configuration):
    """Give the error with which such a workspace is refused; nothing is held or registered after it."""
    before = held_bytes()
    with pytest.raises(ConfigurationError) as caught:
        nd.create_new_workspace(configuration, id="REFUSED")
    assert held_bytes() == before
    assert not nd.check_if_workspace_exists("REFUSED")
    assert caught.value.workspace_id == "REFUSED"
    return caught.value


def is_mapped(path):
    """Whether this process has the file in its address space."""
    return str(path) in Path("/proc/self/maps").read_text(encoding="utf-8")


def is_locked(path):
    """Whether a stranger who asks for the file's lock is turned away."""
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
