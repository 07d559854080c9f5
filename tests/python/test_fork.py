"""After a fork: the child has nothing current, reads what it inherited, and works on its own."""

import pytest
from support import output_of

PRELUDE = """
import os, sys, warnings
import numpy as np
import ndarena as nd

def child(body):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0

def refused(error, call, *args):
    try:
        call(*args)
    except error:
        return
    raise AssertionError(f"not refused: {call}")

conf = nd.WorkspaceConfiguration(initial_size=65536, policy_learning="NONE", policy_allocation="STRICT")
ws = nd.get_workspace_for_current_thread(conf, id="LOOP")
outer = nd.get_workspace_for_current_thread(conf, id="OUTER")
outer_scope = outer.notify_scope_entered()
scope = ws.notify_scope_entered()
a = ws.full(1000, 7.0)
view = a.numpy()
"""

EPILOGUE = """
assert nd.get_current_workspace() is ws
assert np.all(a == 7.0) and np.all(view == 7.0)
b = ws.full(1000, 8.0)
assert float(b.sum()) == 8000 and float(a.sum()) == 7000
scope.close()
outer_scope.close()
print("parent is well")
"""

CHILDREN = {
    "nothing is current and the registry is empty": """
        assert nd.get_current_workspace() is None
        assert nd.get_all_workspaces_ids_for_current_thread() == []
        assert not nd.any_workspace_active_for_current_thread()
        assert not nd.check_if_workspace_exists("LOOP")
        assert type(nd.ones(3)) is np.ndarray
    """,
    "inherited arrays stay readable": """
        assert float(a.sum()) == 7000.0
        assert a[3] == 7.0
        assert np.all(view == 7.0)
        assert type(a + 1) is np.ndarray
        assert a.detach().tolist() == [7.0] * 1000
    """,
    "writes stay in the child": """
        a[:] = 1.0
        assert np.all(view == 1.0)
    """,
    "inherited scopes close as no-ops": """
        scope.close()
        outer_scope.close()
        scope.close()
        assert nd.get_current_workspace() is None
    """,
    "inherited scopes leave with as no-ops": """
        scope.__exit__(None, None, None)
        assert nd.get_current_workspace() is None
    """,
    "inherited workspaces refuse to enter and allocate": """
        refused(nd.WrongThreadError, ws.notify_scope_entered)
        refused(nd.WrongThreadError, ws.__enter__)
        refused(nd.WrongThreadError, ws.notify_scope_borrowed)
        refused(nd.WrongThreadError, ws.ones, 3)
        refused(nd.WrongThreadError, nd.set_current_workspace, ws)
        assert ws.id == "LOOP" and isinstance(repr(ws), str)
    """,
    "the child works in workspaces of its own": """
        mine = nd.get_workspace_for_current_thread(conf, id="LOOP")
        assert mine is not ws
        for i in range(50):
            with mine:
                x = mine.full(1000, float(i))
                y = x + a
                assert y.workspace is mine
                assert np.all(y == i + 7.0)
        assert mine.number_of_external_allocations == 0
        assert float(a.sum()) == 7000.0
    """,
    "threads of the child have registries too": """
        import threading
        seen = []
        def work():
            with nd.get_and_activate_workspace(conf, id="LOOP") as mine:
                seen.append(float((mine.ones(10) + a[:10]).sum()))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        assert seen == [80.0], seen
    """,
    "dropping everything inherited is harmless": """
        import gc
        global a, view, ws, outer, scope, outer_scope
        del a, view, ws, outer, scope, outer_scope
        gc.collect()
        with nd.Workspace(conf, "X") as x:
            assert float(x.ones(3).sum()) == 3.0
    """,
    "a child may fork again": """
        mine = nd.get_workspace_for_current_thread(conf, id="LOOP")
        with mine:
            b = mine.full(3, 2.0)
            def grandchild():
                assert nd.get_current_workspace() is None
                assert b.tolist() == [2.0] * 3 and float(a.sum()) == 7000.0
                refused(nd.WrongThreadError, mine.ones, 3)
            child(grandchild)
            assert (b + 1).workspace is mine
    """,
}


@pytest.mark.parametrize("body", CHILDREN.values(), ids=CHILDREN)
def test_fork_inside_a_scope(body):
    """The sentence is the test's id; the parent goes on as if nothing had happened."""
    program = f"{PRELUDE}\ndef body():\n{body}\nchild(body)\n{EPILOGUE}"
    assert output_of(program) == "parent is well\n"


def test_a_child_that_ends_normally():
    """A forked child may leave through the interpreter's own exit with an inherited scope open."""
    program = (
        PRELUDE
        + """
pid = os.fork()
if pid == 0:
    sys.exit(0)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0
"""
        + EPILOGUE
    )
    assert output_of(program) == "parent is well\n"


def test_multiprocessing_by_fork():
    """Arrays cross the process boundary as plain ndarrays, and the workers' own workspaces work."""
    program = """
    import multiprocessing, warnings
    import numpy as np
    import ndarena as nd

    def work(x):
        assert type(x) is np.ndarray
        with nd.get_and_activate_workspace(id="LOOP") as mine:
            return (mine.asarray(x) * 2).detach()

    if __name__ == "__main__":
        warnings.simplefilter("ignore", DeprecationWarning)
        with nd.Workspace(id="W") as ws:
            a = ws.full(3, 2.0)
            with multiprocessing.get_context("fork").Pool(1) as pool:
                print(pool.apply(work, (a,)))
                print(pool.apply(np.square, (a,)))
    """
    assert output_of(program) == "[4. 4. 4.]\n[4. 4. 4.]\n"
