"""Arenas in files and forks: who keeps the lock, and whose bytes are whose."""

import contextlib
import os
import select
import subprocess
import sys
import textwrap
import time

import pytest
from mapped_support import is_locked, mapped, refused
from support import output_of

from ndarena import Workspace


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arena.bin"


PRELUDE = """
import os, sys
import numpy as np
import ndarena as nd

path = sys.argv[1] if len(sys.argv) > 1 else {path!r}
conf = nd.WorkspaceConfiguration(
    policy_location="MMAP", policy_learning="NONE", temp_file_path=path, initial_size=65536
)
ws = nd.get_workspace_for_current_thread(conf, id="W")
scope = ws.notify_scope_entered()
a = ws.full(512, 1.0)
b = ws.full(512, 2.0)
to_child, say = os.pipe()

def is_locked():
    import fcntl
    with open(path, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

def check(condition):
    if not condition:
        raise AssertionError

def fork(body):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        code = 0
    finally:
        if code:
            import traceback
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)

def wait(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_a_forked_child_leaves_the_lock_alone(path):
    """Neither what it drops nor its end unlocks the parent's file."""
    program = """
    def body():
        global a, b, ws, scope
        check(not any(os.path.realpath(f"/proc/self/fd/{fd}") == os.path.realpath(path)
                      for fd in os.listdir("/proc/self/fd")))
        scope.close()
        del a, b, ws, scope
        try:
            nd.Workspace(conf)
        except nd.ConfigurationError as error:
            check(f"process {os.getppid()}" in error.reason)
        else:
            raise AssertionError
        with nd.Workspace(conf.replace(temp_file_path=None)) as mine:
            check(np.all(mine.ones(3) == 1.0))

    wait(fork(body))
    assert is_locked()
    assert np.all(a == 1.0)
    ws.destroy_workspace()
    assert not is_locked()
    """
    output_of(PRELUDE.format(path=str(path)) + textwrap.dedent(program))


@contextlib.contextmanager
def orphaned(path, ending, before=""):
    """Run a parent that ends while its child goes on; in the end the child ends too."""
    program = f"""
    {before}
    pid = fork(lambda: (os.close(1), os.read(0, 1)))
    {ending}
    os.close(1)
    os._exit(0)
    """
    command = [sys.executable, "-c", PRELUDE.format(path=str(path)) + textwrap.dedent(program)]
    (hold, release), (ended, alive) = os.pipe(), os.pipe()
    subprocess.run(command, stdin=hold, pass_fds=[alive], stdout=subprocess.PIPE, check=True, timeout=60)
    os.close(alive)
    try:
        assert not select.select([ended], [], [], 0)[0], "the child goes on"
        yield
    finally:
        os.close(release)
        os.read(ended, 1)
        os.close(hold)
        os.close(ended)


@pytest.mark.parametrize("ending", ["ws.destroy_workspace()", "pass"], ids=["destroy", "exit"])
def test_a_forked_child_does_not_hold_the_file(path, ending):
    """When the parent lets go of it, or ends, the file is free although the child goes on."""
    with orphaned(path, ending):
        assert not is_locked(path)
        Workspace(mapped(path), id="W").destroy_workspace()


def test_a_forked_child_that_looks_holds_the_file(path):
    """A view that was alive at the fork keeps the file from others until the child ends, if need be."""
    with orphaned(path, "pass", before="view = a.numpy()"):
        assert is_locked(path)
        assert "a process forked from" in refused(mapped(path)).reason
    while is_locked(path):  # a process that ends closes one file after the other
        time.sleep(0.01)
    Workspace(mapped(path), id="W").destroy_workspace()


RING = 'conf.replace(policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=3.0)'


@pytest.mark.parametrize("kind", ["conf", RING], ids=["scoped", "ring"])
@pytest.mark.parametrize("forks", [1, 2])
def test_the_last_view_of_a_child_frees_the_file(path, kind, forks):
    """The parent drops everything and cannot map the file again until a child, or its child, lets go."""
    program = f"""
    scope.close()
    del a, b
    ws.destroy_workspace()
    ws = nd.Workspace({kind})
    with ws:
        view = ws.full(512, 7.0).numpy()
    from_child, tell = os.pipe()

    def body(deeper={forks - 1}):
        global view
        if deeper:
            pid = fork(lambda: body(deeper - 1))
            del view
            wait(pid)
            return
        check(os.read(to_child, 1) == b"x")
        check(np.all(view == 7.0))
        del view
        os.write(tell, b"x")
        check(os.read(to_child, 1) == b"x")

    pid = fork(body)
    del view
    ws.destroy_workspace()
    assert is_locked()
    try:
        nd.Workspace(conf)
    except nd.ConfigurationError as error:
        assert "or by one forked from it" in error.reason, error
    else:
        raise AssertionError("mapped although a child looks at it")
    os.write(say, b"x")
    assert os.read(from_child, 1) == b"x"
    assert not is_locked()
    with nd.Workspace(conf) as mine:
        mine.full(512, 666.0)
    os.write(say, b"x")
    wait(pid)
    """
    output_of(PRELUDE.format(path=str(path)) + textwrap.dedent(program))


def test_a_new_workspace_of_the_same_id_and_a_child(path):
    """It is refused while a child may look at the file, and the old one stays."""
    program = """
    scope.close()
    del a, b
    with ws:
        view = ws.full(512, 7.0).numpy()
    pid = fork(lambda: os.read(to_child, 1))
    del view
    try:
        nd.create_new_workspace(conf, id="W")
    except nd.ConfigurationError as error:
        assert "when a process was forked" in error.reason, error
    else:
        raise AssertionError("mapped although a child looks at it")
    assert not ws.is_destroyed
    with ws:
        assert ws.full(4, 1.0).sum() == 4.0
    os.write(say, b"x")
    wait(pid)
    """
    output_of(PRELUDE.format(path=str(path)) + textwrap.dedent(program))


def test_arrays_and_views_in_a_forked_child(path):
    """Arrays of the file are refused there, as the parent goes on writing to it; views keep their bytes."""
    program = """
    view = a.numpy()

    def body():
        for touch in (lambda: a[0], lambda: a + 1, lambda: a.numpy(), lambda: a.fill(0), lambda: b.sum()):
            try:
                touch()
            except nd.DestroyedArrayError:
                continue
            raise AssertionError
        check(a.validity is nd.Validity.DESTROYED and a.shape == (512,))
        check(isinstance(repr(ws), str) and ws.stats().current_size == 65536)
        check(np.all(view == 1.0))
        os.close(say)
        check(os.read(to_child, 1) == b"")
        check(np.all(view == 1.0))

    pid = fork(body)
    del view, a, b
    for _ in range(3):
        scope.close()
        scope = ws.notify_scope_entered()
        c, d = ws.full(512, 8.0), ws.full(512, 9.0)
        assert np.all(c == 8.0) and np.all(d == 9.0)
        assert ws.number_of_external_allocations == 1, "the bytes of the view stay the child's"
        del c, d
    os.close(say)
    wait(pid)
    """
    output_of(PRELUDE.format(path=str(path)) + textwrap.dedent(program))
