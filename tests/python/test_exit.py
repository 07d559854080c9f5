"""The end of the interpreter: whatever is alive then, it ends well and says nothing."""

import pytest
from support import output_of, run_program

PRELUDE = """
import atexit, gc, sys, threading
import numpy as np
import ndarena as nd
conf = nd.WorkspaceConfiguration(initial_size=65536, policy_learning="NONE", policy_allocation="STRICT")
ws = nd.get_workspace_for_current_thread(conf, id="LOOP")
"""

ENDS = {
    "nothing open": "ws.run(ws.ones, 3)",
    "a scope left open": "scope = ws.notify_scope_entered(); a = ws.ones(3)",
    "a scope left open without an object": "ws.notify_scope_entered(); a = ws.ones(3)",
    "nested scopes and a borrow left open": """
other = nd.Workspace(conf, "OTHER")
scopes = [ws.notify_scope_entered(), other.notify_scope_entered(), ws.notify_scope_borrowed()]
""",
    "a current workspace never entered": "nd.set_current_workspace(ws); a = ws.ones(3)",
    "scoped out": "scope = ws.notify_scope_entered(); out = nd.scope_out_of_workspaces(); out.__enter__()",
    "a view alive": "scope = ws.notify_scope_entered(); view = ws.ones(3).numpy(); scope.close()",
    "an array in a reference cycle": """
with ws:
    box = []
    box.append((box, ws.ones(3), ws.ones(3).numpy()))
del box
""",
    "a destroyed workspace with views": """
scope = ws.notify_scope_entered()
view = ws.ones(3).numpy()
ws.destroy_workspace()
""",
    "the periodic collector off": "nd.toggle_periodic_gc(False); ws.run(ws.ones, 3)",
    "the collector paced": "nd.set_auto_gc_window(1); scope = ws.notify_scope_entered(); ws.ones(3)",
    "spilling on purpose": """
nd.set_debug_mode("SPILL_EVERYTHING")
scope = ws.notify_scope_entered()
a = ws.ones(3)
""",
    "a ring": """
ring_conf = nd.WorkspaceConfiguration(policy_reset="ENDOFBUFFER_REACHED", overallocation_limit=2)
ring = nd.Workspace(ring_conf, "RING")
batches = []
for i in range(5):
    with ring:
        batches.append(ring.ones(3))
view = batches[-1].numpy()
""",
    "a workspace in a module": """
import types
sys.modules["m"] = module = types.ModuleType("m")
with ws:
    module.ws, module.a, module.view = ws, ws.ones(3), ws.ones(3).numpy()
""",
    "a suspended generator": """
def steps():
    with ws:
        yield ws.ones(3)
generator = steps()
next(generator)
""",
    "a workspace used by a finaliser": """
class Late:
    def __del__(self):
        try:
            with ws:
                ws.ones(3)
        except Exception:
            pass
late = Late()
late.me = late
""",
    "a finished thread's batch": """
batches = []
def work():
    with nd.get_and_activate_workspace(conf, id="MINE") as mine:
        batches.append(mine.ones(3)); batches.append(mine.ones(3).numpy())
thread = threading.Thread(target=work)
thread.start(); thread.join()
""",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_interpreter_ends_well(end):
    """The state is the test's id: exit status 0 and nothing on standard error."""
    assert output_of(f"{PRELUDE}\n{end}\nprint('end')") == "end\n"


def test_atexit_handlers_may_use_workspaces():
    """Handlers run while everything still works."""
    program = (
        PRELUDE
        + """
scope = ws.notify_scope_entered()
a = ws.full(3, 2.0)
def last():
    assert a.tolist() == [2.0] * 3
    assert (a + 1).workspace is ws
    scope.close()
    print("closed", ws.cycles_count)
atexit.register(last)
"""
    )
    assert output_of(program) == "closed 1\n"


def test_exceptions_leave_well():
    """An uncaught exception inside a scope ends the program with its own traceback, and nothing else."""
    done = run_program(PRELUDE + "\nwith ws:\n    ws.ones(3)\n    raise KeyError('mine')\n")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'mine'"
    assert done.stderr.count("Traceback") == 1


def test_sys_exit_inside_a_scope():
    """SystemExit passes through a scope with its status."""
    done = run_program(PRELUDE + "\nwith ws:\n    a = ws.ones(3)\n    sys.exit(7)\n")
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("inside", ["operations", "views", "scopes"])
def test_a_daemon_thread_inside_the_memory(inside):
    """A daemon thread that computes in workspace memory while the interpreter ends does no harm."""
    body = {
        "operations": "np.add(a, 1, out=a); a * a",
        "views": "v = a.numpy(); v += 1",
        "scopes": "\n            with inner:\n                (inner.ones(1000) + a[:1000]).sum()",
    }[inside]
    program = (
        PRELUDE
        + f"""
started = threading.Event()
def work():
    mine = nd.get_workspace_for_current_thread(nd.WorkspaceConfiguration(initial_size="64 MiB"), id="MINE")
    inner = nd.get_workspace_for_current_thread(conf, id="INNER")
    with mine:
        a = mine.ones(100_000)
        while True:
            {body}
            started.set()
threading.Thread(target=work, daemon=True).start()
assert started.wait(60)
scope = ws.notify_scope_entered()
b = ws.ones(3)
print("end")
"""
    )
    for _ in range(3):
        assert output_of(program) == "end\n"


def test_a_thread_that_outlives_main():
    """A normal thread finishes its cycles after the last line of the program."""
    program = (
        PRELUDE
        + """
go = threading.Event()
def work():
    go.wait(60)
    mine = nd.get_workspace_for_current_thread(conf, id="MINE")
    total = 0.0
    for i in range(200):
        with mine:
            total += float(mine.full(10, float(i)).sum())
    print(total)
threading.Thread(target=work).start()
go.set()
"""
    )
    assert output_of(program) == f"{float(10 * sum(range(200)))}\n"


def test_importing_does_not_change_the_process():
    """Importing alone opens nothing, holds nothing and leaves the collector alone."""
    program = """
    import gc
    found = gc.isenabled(), gc.get_threshold(), list(gc.callbacks)
    import ndarena as nd
    assert (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)) == found
    print(nd.allocated_bytes(), nd.get_current_workspace(), nd.get_all_workspaces_ids_for_current_thread())
    """
    assert output_of(program) == "0 None []\n"
