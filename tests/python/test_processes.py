"""Other processes, other threads and other interpreters: forks of every kind, spawn, pools, tasks."""

import subprocess
import sys

import pytest
from support import output_of

PRELUDE = """
import ctypes, multiprocessing, os, sys, threading, time, warnings
import numpy as np
import ndarena as nd
conf = nd.WorkspaceConfiguration(initial_size=65536, policy_learning="NONE", policy_allocation="STRICT")

def wait(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
"""

FORKS = {
    "by os.fork": "os.fork()",
    "by C code that tells nobody": "ctypes.PyDLL(None).fork()",
    "by C code without the interpreter's lock": "ctypes.CDLL(None).fork()",
}

PLACES = {
    "between scopes": """
with ws:
    pass
pid = {fork}
""",
    "inside a scope": """
scope = ws.notify_scope_entered()
a = ws.full(1000, 7.0)
view = a.numpy()
pid = {fork}
if pid == 0:
    assert float(a.sum()) == 7000.0 and np.all(view == 7.0)
    try:
        ws.ones(3)
    except nd.WrongThreadError:
        pass
    else:
        os._exit(3)
else:
    scope.close()
""",
    "inside a capture": """
scope = ws.notify_scope_entered(capture_numpy=True)
a = np.full(10_000, 7.0)
pid = {fork}
assert np.all(a == 7.0)
b = a + 1
assert np.all(b == 8.0)
del a, b
if pid:
    scope.close()
""",
    "while other threads work": """
stop = threading.Event()
def work():
    while not stop.is_set():
        with nd.get_and_activate_workspace(id="THEIRS") as theirs:
            x = theirs.ones(5000)
            (x * 2 + 1).numpy()
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
time.sleep(0.05)
pid = {fork}
if pid:
    stop.set()
    for thread in threads:
        thread.join()
""",
}

AFTERWARDS = """
if pid == 0:
    code = 1
    try:
        assert nd.get_current_workspace() is None
        assert nd.get_all_workspaces_ids_for_current_thread() == []
        for i in range(20):
            with nd.get_and_activate_workspace(conf, id="MINE") as mine:
                assert float((mine.full(100, float(i)) + 1).sum()) == 100 * (i + 1)
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
wait(pid)
with ws:
    assert float(ws.ones(10).sum()) == 10
"""


# C code forks without a word to CPython: its child waits for ever for threads that it does not have.
CASES = [(f, p) for f in FORKS for p in PLACES if not ("C code" in f and "threads" in p)]


@pytest.mark.parametrize(("fork", "place"), CASES)
def test_a_fork(fork, place):
    """The child works in workspaces of its own; the parent goes on as if nothing had happened."""
    fork, place = FORKS[fork], PLACES[place]
    ws = 'ws = nd.get_workspace_for_current_thread(conf, id="LOOP")'
    turn = "\n".join([ws, place.format(fork=fork), AFTERWARDS, "nd.destroy_workspace(ws)"])
    body = "\n".join("    " + line for line in turn.splitlines())
    program = f"{PRELUDE}\nwarnings.simplefilter('ignore')\nfor turn in range(5):\n{body}\nprint('well')"
    assert output_of(program) == "well\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(tmp_path, method):
    """Arrays go there and back as plain arrays, in whatever way the processes are made."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import multiprocessing, sys, warnings
import numpy as np
import ndarena as nd
from concurrent.futures import ProcessPoolExecutor

def work(x):
    assert type(x) is np.ndarray
    with nd.get_and_activate_workspace(id="LOOP") as mine:
        return (mine.asarray(x) * 2).detach()

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    with nd.Workspace(id="W") as ws:
        arrays = [ws.full(50, float(i)) for i in range(8)]
        context = multiprocessing.get_context({method!r})
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            for i, result in enumerate(pool.map(work, arrays)):
                assert type(result) is np.ndarray and (result == 2 * i).all()
    print("well")
""",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_another_interpreter_is_refused():
    """An ImportError, of NumPy's or of ours; the main interpreter's workspaces go on."""
    program = """
    import sys
    import ndarena
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        import _interpreters as interpreters
    one = interpreters.create()
    source = (
        "try:\\n    import ndarena\\n"
        "except ImportError as error:\\n    assert str(error)\\n"
        "else:\\n    raise SystemExit('was not refused')\\n"
    )
    failed = interpreters.run_string(one, source)
    assert failed is None, failed
    with ndarena.Workspace(id="W") as ws:
        assert ws.ones(3).tolist() == [1, 1, 1]
    print("refused")
    """
    assert output_of(program) == "refused\n"


def test_an_interpreter_without_its_lock_is_refused():
    """Where a free-threaded Python was told to leave the lock off; what says so is played here."""
    program = """
    import sys
    sys._is_gil_enabled = lambda: False
    try:
        import ndarena
    except ImportError as error:
        print(error)
    """
    assert "start Python without -X gil=0 and PYTHON_GIL=0" in output_of(program)


ENDS = {
    "a loop of scopes": "with mine:\n            (mine.ones(1000) + 1).sum()",
    "a loop of views": "with mine:\n            views.append(mine.ones(100).numpy()); del views[:-5]",
    "a loop of captures": "with nd.capture_numpy():\n            np.arange(9000.0).sum()",
    "a network that learns": "net.fit(x, y)",
}


@pytest.mark.parametrize("loop", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("end", ["sys.exit()", "raise SystemExit(0)", "pass"])
def test_the_end_of_the_interpreter_under_daemon_threads(loop, end):
    """With open scopes and views in the main thread, too."""
    program = f"""
{PRELUDE}
from ndarena import nn
started = [threading.Event() for _ in range(2)]
def work(event):
    mine = nd.get_workspace_for_current_thread(id="MINE")
    views = []
    layers = [nn.DenseLayer(n_out=4, activation="tanh"), nn.OutputLayer(n_out=2)]
    net = nn.MultiLayerNetwork(
        nn.MultiLayerConfiguration(layers=layers, input_type=nn.InputType.feed_forward(3), seed=1)
    )
    x, y = np.ones((8, 3), "f4"), np.eye(2, dtype="f4")[[0, 1] * 4]
    while True:
        {loop}
        event.set()
for event in started:
    threading.Thread(target=work, args=(event,), daemon=True).start()
assert all(event.wait(60) for event in started)
ws = nd.Workspace(conf, "OPEN")
scope = ws.notify_scope_entered()
a = ws.ones(10)
view = a.numpy()
print("end", flush=True)
{end}
"""
    assert output_of(program) == "end\n"
