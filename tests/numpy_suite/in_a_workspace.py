"""A pytest plugin: every test runs inside a scope that captures NumPy's allocations, with poisoning on.

`make numpy-tests` runs NumPy's own tests with it. `NDARENA_CAPTURE_FLOOR` decides which arrays are captured;
at 64 it is nearly all of them. `--capture-nothing` runs the same tests without it, for comparison.
"""

import pytest

import ndarena

COUNTS = ("captured_arrays", "captured_bytes")
totals = dict.fromkeys(COUNTS, 0)


def pytest_addoption(parser):
    parser.addoption("--capture-nothing", action="store_true", help="run the tests without a workspace")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Run set-up, test and teardown inside one cycle."""
    if item.config.getoption("--capture-nothing"):
        yield
        return
    ws = ndarena.Workspace(id="NUMPY")
    ws.enable_debug(True)
    with ws.notify_scope_entered(capture_numpy=True):
        yield
    totals["captured_arrays"] += ws.stats().last_cycle_allocations > 0
    totals["captured_bytes"] += ws.last_cycle_allocations


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Add up what a worker of xdist captured."""
    for name in COUNTS:
        totals[name] += getattr(node, "workeroutput", {}).get(name, 0)


def pytest_sessionfinish(session):
    """Tell the one that adds up."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output.update(totals)
    elif session.testscollected and not session.config.getoption("--capture-nothing"):
        session.exitstatus = session.exitstatus or (0 if totals["captured_bytes"] else 1)


def pytest_terminal_summary(terminalreporter):
    tests, mebibytes = totals["captured_arrays"], totals["captured_bytes"] >> 20
    terminalreporter.write_line(f"captured: {mebibytes} MiB in {tests} tests")
