"""Leases and handles across threads."""

from __future__ import annotations

import queue
import sys
import threading

import numpy as np
import pytest
from leases_support import ARENA, CONFIGURATIONS, VALUES, churn

import ndarena


@pytest.fixture(params=CONFIGURATIONS)
def ws(request):
    ws = ndarena.Workspace(CONFIGURATIONS[request.param], "LEASES")
    ws.enable_debug(request.param == "poisoned")
    yield ws
    ws.destroy_workspace()


class TestOtherThreads:
    def test_a_view_handed_to_another_thread_keeps_its_values(self, ws):
        inbox, outbox = queue.Queue(), queue.Queue()

        def hold():
            view = inbox.get(timeout=30)
            inbox.get(timeout=30)
            outbox.put(np.array(view))

        thread = threading.Thread(target=hold)
        thread.start()
        with ws:
            inbox.put(ws.array(VALUES).numpy())
        churn(ws)
        inbox.put("now")
        np.testing.assert_array_equal(outbox.get(timeout=30), VALUES)
        thread.join(30)

    def test_the_last_lease_may_die_in_another_thread(self):
        ws = ndarena.Workspace(ARENA, "FOREIGN")
        box = []
        with ws:
            box.append(ws.array(VALUES).numpy())
        assert ws.retired_size > 0
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join(30)
        assert ws.retired_size == 0
        ws.destroy_workspace()

    def test_a_view_outlives_the_thread_that_made_it(self):
        box = []

        def work():
            ws = ndarena.Workspace(ARENA, "SHORT LIVED")
            with ws:
                box.append(ws.array(VALUES).numpy())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
        churn(ndarena.Workspace(ARENA, "OTHER"))
        np.testing.assert_array_equal(box[0], VALUES)

    def test_a_reader_sees_its_array_or_is_refused(self):
        """While the owner turns its loop as fast as it can, no read is torn."""
        ws = ndarena.Workspace(ARENA, "RACE")
        shared, stop, torn, seen = [None], threading.Event(), [], []
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

        def read():
            while not stop.is_set():
                a = shared[0]
                if a is None:
                    continue
                try:
                    values = a.numpy()
                except ndarena.StaleArrayError:
                    seen.append("refused")
                    continue
                first = values[0]
                if not (values == first).all() or values[0] != first:
                    torn.append(values.copy())
                seen.append("read")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for turn in range(4000):
                with ws:
                    shared[0] = ws.full(500, float(turn))
                    ws.full(500, -1.0)
        finally:
            stop.set()
            thread.join(30)
            sys.setswitchinterval(interval)
        assert torn == []
        assert seen
        shared[0] = None
        assert ws.retired_size == 0
        ws.destroy_workspace()

    def test_results_go_to_the_current_workspace_of_the_thread(self, ws):
        results = []

        def work(a):
            results.append(a + 1)
            own = ndarena.Workspace(ARENA, "OWN")
            with own:
                result = a * 2
                results.append((result.workspace is own, result.tolist()))

        with ws:
            thread = threading.Thread(target=work, args=(ws.ones(2),))
            thread.start()
            thread.join(30)
        assert type(results[0]) is np.ndarray
        assert results[1] == (True, [2.0, 2.0])

    def test_close_may_be_called_in_any_thread(self, ws):
        with ws:
            a = ws.ones(3)
            thread = threading.Thread(target=a.close)
            thread.start()
            thread.join(30)
            assert a.validity is ndarena.Validity.CLOSED

    def test_a_handle_may_die_in_any_thread(self):
        ws = ndarena.Workspace(ARENA, "DROPS")
        with ws:
            for _ in range(50):
                box = [ws.full(1000, 1.0)]
                thread = threading.Thread(target=box.clear)
                thread.start()
                thread.join(30)
            assert ws.number_of_external_allocations == 0
            assert ws.current_offset < 50 * 8000
        ws.destroy_workspace()
