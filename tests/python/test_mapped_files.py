"""Arenas in files: every byte of a file, which file a path names, and what a refusal leaves behind."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from mapped_support import SIZE, mapped, refused
from support import held_bytes, output_of

import ndarena as nd
from ndarena import ArrayType, ConfigurationError, LayerWorkspaceMgr, Workspace, WorkspaceConfiguration


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arena.bin"


# ---------------------------------------------------------------------- the last bytes

KINDS = {
    "arena": {},
    "bump": {"policy_reuse": "AT_RESET"},
    "nd4j": {"nd4j": True},
    "packed": {"policy_reset": "ENDOFBUFFER_REACHED", "overallocation_limit": 1.0, "nd4j": True},
}


def of_kind(path, kind, size=0, **more):
    """Describe a file as the arena of that kind."""
    fields = {**KINDS[kind], **more}
    make = WorkspaceConfiguration.nd4j if fields.pop("nd4j", False) else WorkspaceConfiguration
    place = {"policy_location": "MMAP", "policy_learning": "NONE", "temp_file_path": path}
    return make(initial_size=size, **place, **fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 61, 125, 128])
def test_a_whole_file_is_one_array(path, kind, size):
    """Whatever its length is, it is read and written to its last byte."""
    np.arange(size, dtype=np.uint8).tofile(path)
    ws = Workspace(of_kind(path, kind), id="W")
    assert ws.current_size == size
    for n in range(3):
        with ws:
            a = ws.empty(size, np.uint8)
            assert a.tolist() == [(i + n) % 256 for i in range(size)]
            assert ws.number_of_external_allocations == ws.number_of_pinned_allocations == 0
            a += 1
            del a
    ws.destroy_workspace()
    assert path.read_bytes() == bytes((i + 3) % 256 for i in range(size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_beyond_the_end(path, kind):
    """One byte more than the file has is served elsewhere, or refused; the file never grows."""
    path.write_bytes(b"\x01" * 125)
    ws = Workspace(of_kind(path, kind), id="W")
    for n in range(4):
        with ws:
            a = ws.full(126, n, np.uint8)
            assert a.tolist() == [n] * 126
            assert ws.number_of_external_allocations + ws.number_of_pinned_allocations > 0
            del a
    ws.destroy_workspace()
    assert path.read_bytes() == b"\x01" * 125
    with Workspace(of_kind(path, kind, policy_spill="FAIL"), id="W") as ws:
        before = ws.stats()
        with pytest.raises(nd.WorkspaceFullError):
            ws.empty(126, np.uint8)
        assert ws.stats() == before
        assert ws.empty(125, np.uint8).tolist() == [1] * 125
    ws.destroy_workspace()


@pytest.mark.parametrize("kind", ["arena", "bump", "nd4j"])
def test_a_request_that_does_not_fit_takes_no_place(path, kind):
    """What spills at the end leaves the bytes before it to others."""
    path.write_bytes(b"\x01" * 189)
    for lengths in ([64, 126, 125], [64, 125], [64, 128, 61, 3], [189], [190, 189]):
        ws = Workspace(of_kind(path, kind), id="W")
        for _ in range(3):
            with ws:
                arrays = [ws.empty(n, np.uint8) for n in lengths]
                outside = [n for n in lengths if n in {126, 128, 190}]
                assert ws.number_of_external_allocations == len(outside)
                del arrays
        ws.destroy_workspace()


def test_a_plan_does_not_pass_the_end(path):
    """Cycles of the same rounded lengths follow one plan; bytes beyond the end leave it."""
    path.write_bytes(bytes(125))
    ws = Workspace(of_kind(path, "arena"), id="W")
    for n in range(12):
        second = 64 if n % 3 == 2 else 61
        with ws:
            a, b = ws.full(64, 1, np.uint8), ws.full(second, 2, np.uint8)
            assert ws.number_of_external_allocations == (second == 64)
            assert (int(a.sum()), int(b.sum())) == (64, 2 * second)
            del a, b
        assert ws.last_cycle_allocations == 128
    ws.destroy_workspace()
    assert path.read_bytes() == b"\x01" * 64 + b"\x02" * 61


def test_the_last_block_of_a_ring(path):
    """It is shorter by what the file lacks; what it cannot take is served elsewhere in its turn."""
    path.write_bytes(bytes(4 * 128 - 3))
    fields = {"policy_reset": "ENDOFBUFFER_REACHED", "overallocation_limit": 3.0}
    ws = Workspace(mapped(path, 0, **fields), id="W")
    for length in (125, 128):
        turns = []
        for n in range(1, 9):
            with ws:
                turns.append(ws.full(length, n, np.uint8))
            assert [int(a[length - 1]) for a in turns[-4:]] == list(range(max(1, n - 3), n + 1))
        in_file = path.read_bytes()
        assert [in_file[128 * i] for i in range(4)] == [5, 6, 7, 8]
        assert ws.number_of_pinned_allocations == (0 if length == 125 else 2)
    ws.destroy_workspace()


# ---------------------------------------------------------------------- which file


@pytest.mark.parametrize("how", ["same", "relative", "dotted", "symlink", "hardlink"])
def test_a_new_workspace_takes_over_its_file_by_any_name(path, how, monkeypatch):
    """Device and inode say that it is the same file, not how it is spelt."""
    monkeypatch.chdir(path.parent)
    old = nd.create_new_workspace(mapped(path), id="W")
    other = path.with_name("other")
    name = {"same": path, "relative": "arena.bin", "dotted": "./arena.bin"}.get(how, other)
    if how == "symlink":
        other.symlink_to(path)
    elif how == "hardlink":
        other.hardlink_to(path)
    new = nd.create_new_workspace(mapped(name, 0), id="W")
    assert (old.is_destroyed, new.current_size) == (True, SIZE)
    assert "workspace [W]" in refused(mapped(path)).reason
    with new:
        new.full(3, 7.0)
    new.destroy_workspace()
    assert np.fromfile(path)[:3].tolist() == [7.0] * 3
    Workspace(mapped(path), id="X").destroy_workspace()


@pytest.mark.parametrize("why", ["size", "view", "elsewhere"])
def test_a_refused_new_workspace_changes_nothing(path, why):
    """The old one stays as it was: registered, mapped, and of use."""
    old = nd.create_new_workspace(mapped(path), id="W")
    with old:
        view = old.full(3, 7.0).numpy()
    wanted = {"size": mapped(path, 2 * SIZE), "view": mapped(path)}
    if why != "view":
        del view
    before = old.stats(), held_bytes(), path.stat().st_size
    with pytest.raises(ConfigurationError):
        nd.create_new_workspace(wanted.get(why, mapped(path.parent / "nowhere" / "x")), id="W")
    assert (old.stats(), held_bytes(), path.stat().st_size) == before
    assert nd.get_workspace_for_current_thread(id="W") is old
    assert "workspace [W]" in refused(mapped(path)).reason
    with old:
        a = old.full(3, 8.0)
        assert a.sum() == 24.0
        del a
    view = None
    assert nd.create_new_workspace(mapped(path), id="W").current_size == SIZE
    nd.destroy_all_workspaces_for_current_thread()


# ---------------------------------------------------------------------- what a refusal leaves


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
def test_the_free_space_is_looked_at_first(path, exists):
    """What cannot fit takes no blocks on the way; a limit on files keeps the disk safe should it try."""
    disk = os.statvfs(path.parent)
    size = disk.f_bavail * disk.f_frsize + (64 << 30)
    if exists:
        path.touch()
    program = f"""
    import os, resource, ndarena as nd
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    conf = nd.WorkspaceConfiguration(
        policy_location="MMAP", policy_learning="NONE", temp_file_path={str(path)!r}, initial_size={size}
    )
    try:
        nd.Workspace(conf)
    except nd.ConfigurationError as error:
        print(error.field, f"it lacks {size} bytes on the disk" in error.reason)
    """
    assert output_of(program) == "initial_size True\n"
    assert path.exists() == exists
    assert not exists or path.stat().st_size == 0


def test_a_reservation_that_fails_is_given_back(path):
    """An empty file is empty again, as one that was missing is missing."""
    path.touch()
    program = f"""
    import os, resource, ndarena as nd
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    conf = nd.WorkspaceConfiguration(
        policy_location="MMAP", policy_learning="NONE", temp_file_path={str(path)!r}, initial_size=200_000
    )
    try:
        nd.Workspace(conf)
    except nd.ConfigurationError as error:
        print(error.field, os.stat({str(path)!r}).st_size)
    """
    assert output_of(program) == "initial_size 0\n"


@pytest.mark.parametrize("was", ["missing", "empty", "full"])
def test_layers_undo_the_files_of_a_refused_entry(path, was):
    """All of them are entered or none: what was made for the first is unmade, what was there stays."""
    if was != "missing":
        path.write_bytes(b"\x01" * 4096 if was == "full" else b"")
    mgr = LayerWorkspaceMgr(
        {
            ArrayType.INPUT: ("A", mapped(path, 4096)),
            ArrayType.ACTIVATIONS: ("B", mapped(path.parent / "nowhere" / "x", 4096)),
        }
    )
    before = held_bytes()
    with pytest.raises(ConfigurationError):
        mgr.notify_scope_entered(ArrayType.INPUT, ArrayType.ACTIVATIONS)
    assert held_bytes() == before
    assert not nd.check_if_workspace_exists("A")
    assert path.exists() == (was != "missing")
    assert was == "missing" or path.read_bytes() == (b"\x01" * 4096 if was == "full" else b"")
    with mgr.notify_scope_entered(ArrayType.INPUT) as ws:
        ws.full(3, 7.0)
    nd.destroy_all_workspaces_for_current_thread()
    assert path.stat().st_size == 4096


THIEF = """
import os, sys
path, precious = sys.argv[1:]
for line in sys.stdin:
    print("ready", flush=True)
    while not os.path.exists(path):
        pass
    os.rename(precious, path)
    print("replaced", flush=True)
"""


@pytest.fixture
def thief(path):
    """Start a process that moves a file to where another one is being made, once for each line."""
    command = [sys.executable, "-c", textwrap.dedent(THIEF), str(path), str(path.with_name("precious"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_refusal_removes_no_file_of_others(path, thief):
    """While a file is made, another process puts its own in its place: that one is never removed."""
    for _ in range(300):
        path.with_name("precious").write_bytes(b"precious")
        thief.stdin.write("go\n")
        thief.stdin.flush()
        assert thief.stdout.readline() == "ready\n"
        ws = None
        try:
            ws = Workspace(mapped(path, 4096), id="W")
        except ConfigurationError as error:
            assert error.workspace_id == "W"
        path.touch()
        assert thief.stdout.readline() == "replaced\n"
        assert path.read_bytes() == b"precious"
        if ws is not None:
            ws.destroy_workspace()
        path.unlink()


def test_a_name_that_is_no_text(tmp_path):
    """A file whose name is not UTF-8, as `os.listdir` gives it, is a file like others."""
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.bin")
    configuration = mapped(name)
    assert configuration.temp_file_path == name
    Workspace(configuration, id="W").destroy_workspace()
    assert [os.fsencode(found.name) for found in tmp_path.iterdir()] == [b"caf\xe9.bin"]
    Workspace(mapped(next(tmp_path.iterdir())), id="W").destroy_workspace()
