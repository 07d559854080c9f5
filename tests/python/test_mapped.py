"""Arenas in files (MMAP): contents survive, a file is one workspace's at a time, views keep their bytes."""

import fcntl
import os
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from mapped_support import SIZE, is_locked, is_mapped, mapped, refused
from support import KIB, held_bytes, in_thread, output_of

import ndarena as nd
from ndarena import Workspace


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arena.bin"


# ---------------------------------------------------------------------- contents


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("reuse", nd.ReusePolicy)
@pytest.mark.parametrize("named", [False, True], ids=["temporary", "named"])
def test_contents_survive_the_cycles(path, named, reuse, debug):
    """An uninitialised array at the same offset reads what was written there, in debug too."""
    ws = Workspace(mapped(path if named else None, policy_reuse=reuse), id="W")
    ws.enable_debug(debug)
    for n in range(4):
        with ws:
            a = ws.empty(1000)
            assert np.all(a == float(n))
            a += 1
            del a
    with ws:
        assert np.all(ws.zeros(1000) == 0)
    ws.destroy_workspace()


@pytest.mark.parametrize("prefault", [False, True])
def test_contents_survive_the_workspace(path, prefault):
    """The bytes are those of the file, before, during and after."""
    with Workspace(mapped(path), id="W") as ws:
        ws.asarray(np.arange(1, 101, dtype=np.int64))
        assert np.fromfile(path, np.int64)[:100].tolist() == list(range(1, 101))
    ws.destroy_workspace()
    assert np.fromfile(path, np.int64)[:100].tolist() == list(range(1, 101))
    with Workspace(mapped(path, prefault=prefault), id="W") as ws:
        assert ws.empty(100, np.int64).tolist() == list(range(1, 101))
    ws.destroy_workspace()


def test_contents_survive_the_process(path):
    """What another process left in the file is read here, though it never destroyed its workspace."""
    program = f"""
    import numpy as np, ndarena as nd
    conf = nd.WorkspaceConfiguration(
        policy_location="MMAP", policy_learning="NONE", temp_file_path={str(path)!r}, initial_size={SIZE}
    )
    ws = nd.Workspace(conf)
    with ws:
        ws.array([1.0, 2.0, 3.0])
    """
    output_of(program)
    with Workspace(mapped(path), id="W") as ws:
        assert ws.empty(3).tolist() == [1.0, 2.0, 3.0]
    ws.destroy_workspace()


def test_controls_keep_the_contents():
    """Nothing is trimmed, learned or zeroed."""
    ws = Workspace(mapped(), id="W")
    with ws:
        ws.full(100, 7.0)
    held = held_bytes()
    assert ws.trim() == 0
    ws.initialize_workspace()
    ws.reset()
    assert (ws.current_size, held_bytes()) == (SIZE, held)
    with ws:
        assert np.all(ws.empty(100) == 7.0)
    ws.destroy_workspace()


# ---------------------------------------------------------------------- sizes


def test_a_missing_file_is_made(path):
    """With exactly the size asked for, whatever enlarges or bounds other arenas; its blocks are on disk."""
    fields = {"policy_allocation": "OVERALLOCATE", "overallocation_limit": 1.0, "min_size": 10 * SIZE}
    before = held_bytes()
    ws = Workspace(mapped(path, 1_000_000, **fields), id="W")
    assert ws.current_size == path.stat().st_size == held_bytes() - before == 1_000_000
    assert path.stat().st_blocks * 512 >= 1_000_000
    ws.destroy_workspace()
    assert held_bytes() == before
    assert path.stat().st_size == 1_000_000


def test_an_empty_file_is_filled(path):
    """As if it were missing."""
    path.touch()
    ws = Workspace(mapped(path), id="W")
    assert ws.current_size == path.stat().st_size == SIZE
    ws.destroy_workspace()


def test_an_existing_file_says_its_size(path):
    """With initial_size=0 the arena is the whole file, max_size or not; holes are filled on disk."""
    with path.open("wb") as file:
        file.truncate(123_457)
    ws = Workspace(mapped(path, 0, max_size=1000), id="W")
    assert ws.current_size == path.stat().st_size == 123_457
    assert path.stat().st_blocks * 512 >= 123_457
    with ws:
        a = ws.full(123_392, 5, np.uint8)
        b = ws.full(65, 6, np.uint8)
        assert ws.number_of_external_allocations == 0
    del a, b
    ws.destroy_workspace()
    assert path.read_bytes() == b"\x05" * 123_392 + b"\x06" * 65


def test_a_longer_file_is_used_in_part(path):
    """The rest stays as it is."""
    path.write_bytes(b"\x01" * SIZE + b"\x02" * 1000)
    with Workspace(mapped(path), id="W") as ws:
        assert ws.current_size == SIZE
        ws.zeros(SIZE, np.uint8)
    ws.destroy_workspace()
    assert path.read_bytes() == b"\0" * SIZE + b"\x02" * 1000


def test_a_shorter_file_is_refused(path):
    """Both sizes are named, and not a byte of it changes."""
    path.write_bytes(b"precious")
    error = refused(mapped(path, 1000))
    assert (error.field, error.value) == ("initial_size", "1000")
    assert "has 8 bytes" in error.reason
    assert "1000 are asked for" in error.reason
    assert path.read_bytes() == b"precious"
    ws = Workspace(mapped(path, 8), id="W")
    ws.destroy_workspace()


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
def test_nothing_says_the_size(path, exists):
    """A missing or empty file needs an initial_size, and is not made without."""
    if exists:
        path.touch()
    error = refused(mapped(path, 0))
    assert error.field == "initial_size"
    assert str(path) in error.reason
    assert path.exists() == exists


def test_beyond_the_end():
    """Requests that do not fit spill, or are refused; the file never grows."""
    ws = Workspace(mapped(policy_spill="REALLOCATE"), id="W")
    for _ in range(3):
        with ws:
            a, b = ws.ones(SIZE, np.uint8), ws.ones(SIZE, np.uint8)
            assert (ws.number_of_external_allocations, ws.spilled_size) == (1, SIZE)
            assert int((a + b)[SIZE - 1]) == 2
            del a, b
    assert ws.current_size == SIZE
    ws.destroy_workspace()
    with Workspace(mapped(policy_spill="FAIL"), id="W") as ws, pytest.raises(nd.WorkspaceFullError):
        ws.ones(SIZE + 1, np.uint8)
    ws.destroy_workspace()


# ---------------------------------------------------------------------- files that cannot be used


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.mkdir(), "is a directory"),
        (os.mkfifo, "is a pipe"),
        (lambda p: p.symlink_to("/dev/null"), "device"),
        (lambda p: p.symlink_to(p.parent / "nowhere" / "file"), "cannot be opened"),
        (lambda p: p.symlink_to(p), "cannot be opened"),
    ],
    ids=["directory", "fifo", "device", "dangling", "loop"],
)
def test_what_is_no_file(path, make, reason):
    """Each says why."""
    make(path)
    error = refused(mapped(path))
    assert (error.field, error.value) == ("temp_file_path", str(path))
    assert reason in error.reason
    assert path.is_symlink() or path.exists()


def test_a_folder_that_is_missing(tmp_path, monkeypatch):
    """For the named file and for the temporary one."""
    assert "No such file" in refused(mapped(tmp_path / "nowhere" / "arena.bin")).reason
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    error = refused(mapped())
    assert error.field == "initial_size"
    assert str(tmp_path / "nowhere") in error.reason


def test_a_file_that_may_not_be_written(path):
    """An ordinary user is refused, and the file stays."""
    path.write_bytes(b"\x01" * 100)
    path.chmod(0o444)
    folder = path.parent
    while folder.stat().st_uid == os.getuid() and folder != folder.parent:
        folder.chmod(0o755)
        folder = folder.parent
    program = f"""
    import os, ndarena as nd
    if os.geteuid() == 0:
        os.seteuid(65534)
    conf = nd.WorkspaceConfiguration(
        policy_location="MMAP", policy_learning="NONE", temp_file_path={str(path)!r}
    )
    try:
        nd.Workspace(conf)
    except nd.ConfigurationError as error:
        print(error.field, error.reason)
    """
    assert output_of(program).startswith("temp_file_path cannot be opened for reading and writing")
    assert path.read_bytes() == b"\x01" * 100


def test_the_system_refuses_so_much(path, tmp_path, monkeypatch):
    """What was made for it is removed again; an empty file is empty again."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for location in (path, None):
        error = refused(mapped(location, 2**62))
        assert (error.field, error.value) == ("initial_size", str(2**62))
        assert list(tmp_path.iterdir()) == []
    path.touch()
    assert str(path) in refused(mapped(path, 2**62)).reason
    assert path.stat().st_size == 0


def test_a_limit_on_the_length_of_files(path):
    """A refusal in the middle leaves nothing behind; a smaller file can be made afterwards."""
    program = f"""
    import os, resource, ndarena as nd
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    for size in (200_000, 50_000):
        conf = nd.WorkspaceConfiguration(
            policy_location="MMAP", policy_learning="NONE", temp_file_path={str(path)!r}, initial_size=size
        )
        try:
            print(nd.Workspace(conf).current_size)
        except nd.ConfigurationError as error:
            print(error.field, error.value, os.path.exists({str(path)!r}))
    """
    assert output_of(program) == "initial_size 200000 False\n50000\n"


def test_a_temporary_file_has_no_name(tmp_path, monkeypatch):
    """Nobody finds it, and it ends with the workspace."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ws = Workspace(mapped(), id="W")
    assert list(tmp_path.iterdir()) == []
    assert is_mapped(tmp_path)
    ws.destroy_workspace()
    assert not is_mapped(tmp_path)


# ---------------------------------------------------------------------- one workspace at a time


def test_a_file_is_mapped_once(path):
    """By whatever name and in whatever thread it is asked for: the holder is named."""
    ws = Workspace(mapped(path), id="HOLDER")
    other = path.with_name("other")
    for make in (lambda: other.symlink_to(path), lambda: other.hardlink_to(path)):
        make()
        for name in (path, other):
            for error in (refused(mapped(name)), in_thread(refused, mapped(name, 0))):
                assert error.field == "temp_file_path"
                assert "workspace [HOLDER]" in error.reason
        other.unlink()
    assert ws.current_size == SIZE
    ws.destroy_workspace()
    again = Workspace(mapped(path), id="AGAIN")
    again.destroy_workspace()


def test_a_file_is_mapped_by_one_process(path):
    """The other process is named by its number, and its end frees the file."""
    program = f"""
    import sys, ndarena as nd
    conf = nd.WorkspaceConfiguration(
        policy_location="MMAP", policy_learning="NONE", temp_file_path={str(path)!r}, initial_size={SIZE}
    )
    ws = nd.Workspace(conf)
    print("mapped", flush=True)
    sys.stdin.readline()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "mapped\n"
        error = refused(mapped(path))
        process.communicate("\n")
    assert error.field == "temp_file_path"
    assert f"process {process.pid}" in error.reason
    assert path.stat().st_size == SIZE
    Workspace(mapped(path), id="W").destroy_workspace()


def test_a_file_that_others_lock(path):
    """A lock of another kind of program counts too; a file that was not there before is not removed."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"process {os.getpid()}" in refused(mapped(path)).reason
        assert path.stat().st_size == 0
    Workspace(mapped(path), id="W").destroy_workspace()


def test_reading_the_file_does_not_unlock_it(path):
    """Opening and closing it elsewhere in the process leaves the lock alone."""
    ws = Workspace(mapped(path), id="W")
    path.read_bytes()
    assert is_locked(path)
    ws.destroy_workspace()
    assert not is_locked(path)


def test_a_new_workspace_of_the_same_id(path):
    """It takes over the file of the old one."""
    old = nd.create_new_workspace(mapped(path), id="W")
    new = nd.create_new_workspace(mapped(path, 0), id="W")
    assert (old.is_destroyed, new.current_size) == (True, SIZE)
    new.destroy_workspace()


def test_destroy_lets_go(path):
    """The mapping ends, and the file can be deleted; so does the last reference, and the thread."""
    ws = Workspace(mapped(path), id="W")
    assert is_mapped(path)
    ws.destroy_workspace()
    assert not is_mapped(path)
    ws = Workspace(mapped(path), id="W")
    del ws
    assert not is_mapped(path)

    def leave_open():
        nd.get_workspace_for_current_thread(mapped(path), id="W").notify_scope_entered()
        assert is_mapped(path)

    in_thread(leave_open)
    assert not is_mapped(path)
    assert not is_locked(path)
    path.unlink()


# ---------------------------------------------------------------------- views that outlive their cycle


def test_a_view_keeps_its_bytes():
    """What would touch them spills; all else keeps its place, and so does this once the view is gone."""
    ws = Workspace(mapped(), id="W")
    with ws:
        places = [ws.full(512, float(n)) for n in range(3)]
        view = places[1].numpy()
        addresses = [a.numpy().ctypes.data for a in places]
        del places
    assert (ws.escaped_count, ws.retired_size) == (1, 4 * KIB)
    for external in (1, 1):
        with ws:
            arrays = [ws.full(512, 9.0) for _ in range(3)]
            assert ws.number_of_external_allocations == external
            assert [a.numpy().ctypes.data == b for a, b in zip(arrays, addresses, strict=True)] == [
                True,
                False,
                True,
            ]
            assert np.all(view == 1.0)
            del arrays
    assert ws.escaped_count == 1, "counted in its own cycle only"
    del view
    assert ws.retired_size == 0
    with ws:
        kept = [ws.empty(512) for _ in range(3)]
        assert [float(a[0]) for a in kept] == [9.0, 1.0, 9.0]
        assert ws.number_of_external_allocations == 0
    ws.destroy_workspace()


def test_a_view_where_nothing_may_spill():
    """Under FAIL such a request is refused, and changes nothing."""
    ws = Workspace(mapped(policy_spill="FAIL"), id="W")
    with ws:
        view = ws.full(512, 1.0).numpy()
    with ws:
        before = ws.stats()
        with pytest.raises(nd.WorkspaceFullError, match="still viewed"):
            ws.full(512, 9.0)
        assert ws.stats() == before
        assert np.all(view == 1.0)
        del view
        assert np.all(ws.full(512, 9.0) == 9.0)
    ws.destroy_workspace()


def test_escapes_raise_once():
    """EscapePolicy speaks of the cycle in which the array was made."""
    ws = Workspace(mapped(policy_escape="RAISE"), id="W")
    views = []
    with pytest.raises(nd.EscapedViewError), ws:
        views.append(ws.ones(3).numpy())
    with ws:
        ws.ones(3)
    assert ws.escaped_count == 1
    ws.destroy_workspace()


def test_a_view_outlives_the_workspace(path):
    """The mapping and the lock stay until the view is gone, as another mapping would be the same bytes."""
    before = held_bytes()
    ws = Workspace(mapped(path), id="GONE")
    with ws:
        a = ws.full(512, 1.0)
        view = a.numpy()
    ws.destroy_workspace()
    assert a.validity is nd.Validity.DESTROYED
    assert ws.retired_size == SIZE
    assert "workspace [GONE]" in refused(mapped(path)).reason
    assert np.all(view == 1.0)
    del view
    assert not is_mapped(path)
    assert held_bytes() == before
    Workspace(mapped(path), id="W").destroy_workspace()


@pytest.mark.parametrize("reuse", nd.ReusePolicy)
def test_random_views(reuse):
    """Arrays and views, dropped in any order over many cycles, never see each other's bytes."""
    chance = random.Random(20)
    ws = Workspace(mapped(size=16 * KIB, policy_reuse=reuse), id="W")
    views = []
    value = 0
    for _ in range(300):
        with ws:
            arrays = []
            for _ in range(chance.randrange(8)):
                value += 1
                arrays.append((ws.full(chance.randrange(1, 600), value), value))
                if chance.random() < 0.3:
                    views.append((arrays[-1][0].numpy(), value))
                if chance.random() < 0.3:
                    del arrays[chance.randrange(len(arrays))]
                assert all(np.all(a == n) for a, n in arrays)
                assert all(np.all(v == n) for v, n in views)
            del arrays
        while len(views) > 3 or (views and chance.random() < 0.3):
            del views[chance.randrange(len(views))]
    assert ws.escaped_count > 20
    views.clear()
    assert ws.retired_size == 0
    ws.destroy_workspace()


def test_a_ring_in_a_file(path):
    """Its blocks divide the file; a leased one is stepped over, and what is overwritten says so."""
    fields = {"policy_reset": "ENDOFBUFFER_REACHED", "overallocation_limit": 3.0}
    ws = Workspace(mapped(path, 4 * KIB, **fields), id="W")
    assert (ws.workspace_type, ws.current_size) == (nd.WorkspaceType.CIRCULAR, 4 * KIB)
    turns = []
    for n in range(4):
        with ws:
            turns.append(ws.full(128, float(n)))
    assert np.fromfile(path).tolist() == [float(n) for n in range(4) for _ in range(128)]
    view = turns[1].numpy()
    for n in range(4, 7):
        with ws:
            turns.append(ws.full(128, float(n)))
    assert [a.validity.name for a in turns] == ["OVERWRITTEN", "VALID", "OVERWRITTEN", "OVERWRITTEN"] + [
        "VALID"
    ] * 3
    assert np.all(view == 1.0)
    assert ws.number_of_external_allocations == 0
    ws.destroy_workspace()
