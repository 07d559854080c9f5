"""What every test may rely on: a thread without open scopes, an empty registry, default settings."""

import gc
import itertools
import os
import sys

import pytest
from async_support import FORMS
from hypothesis import HealthCheck, settings
from support import assert_no_scope_is_lost, assert_nothing_left

import ndarena

# Fast: the same programs every time, for the gate. Slow: HYPOTHESIS_PROFILE=slow, new programs every time.
settings.register_profile(
    "fast",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("slow", settings.get_profile("fast"), derandomize=False, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_collection_finish():
    """Let the collector leave the tests themselves alone: many of them call it."""
    gc.collect()
    gc.freeze()


finished = itertools.count(1)


def pytest_runtest_logfinish():
    """Let it leave alone, too, what pytest keeps of tests that are over."""
    if next(finished) % 100 == 0:
        gc.collect()
        gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """Tell how many faults were injected, and into how many scenarios."""
    told = {}
    for report in terminalreporter.getreports("passed"):
        for name, n in report.user_properties:
            if name == "faults":
                scenario = report.nodeid.partition("[")[2].removesuffix("]")
                told[scenario] = told.get(scenario, 0) + n
    if told:
        terminalreporter.write_line(f"faults: {sum(told.values())} points of {len(told)} scenarios and kinds")
    if told and terminalreporter.verbosity > 0:
        for scenario, n in sorted(told.items()):
            terminalreporter.write_line(f"{n:6} {scenario}")


@pytest.fixture(autouse=True)
def clean_thread(request):
    """Ask after each test that it left nothing open or alive, and give the next one an untouched thread."""
    configuration = ndarena.get_default_workspace_configuration()
    held, alive = ndarena.allocated_bytes(), len(ndarena.allocation_statistics())
    yield
    try:
        ndarena.assert_no_workspaces_open("after the test")
        assert_no_scope_is_lost()
    finally:
        close_open_scopes()
        ndarena.set_current_workspace(None)
        ndarena.set_debug_mode(ndarena.DebugMode.DISABLED)
        ndarena.set_default_workspace_configuration(configuration)
        ndarena.destroy_all_workspaces_for_current_thread()
        destroy_capturing()
        ndarena.toggle_periodic_gc(True)
        ndarena.set_auto_gc_window(0)
    request.node.funcargs.clear()  # what other fixtures made dies with them
    if not hasattr(sys, "last_value"):  # the traceback of a test that failed keeps what was in it
        assert_nothing_left(held, alive)


@pytest.fixture(params=FORMS)
def enter(request):
    """Give both forms: `async with ws.notify_scope_entered():` and `async with ws:`."""
    return FORMS[request.param]


def destroy_capturing():
    """Destroy the workspace of `capture_numpy`, which is in no registry."""
    if any(stats.id == "capture_numpy" for stats in ndarena.allocation_statistics()):
        with ndarena.capture_numpy() as workspace:
            pass
        workspace.destroy_workspace()


def close_open_scopes():
    """Close whatever a failed test left open, innermost first."""
    while ndarena.any_workspace_active_for_current_thread():
        current = ndarena.get_current_workspace()
        if current is None or not current.is_scope_active:
            break
        current.notify_scope_left()
