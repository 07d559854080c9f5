"""What the tests of leases share: configurations, values, turns that would overwrite them."""

from __future__ import annotations

from array_support import sample

import ndarena

ARENA = ndarena.WorkspaceConfiguration(initial_size="64 KiB", policy_learning="NONE")
CONFIGURATIONS = {
    "arena": ARENA,
    "arena, AT_RESET": ARENA.replace(policy_reuse="AT_RESET"),
    "spilled": ndarena.WorkspaceConfiguration(policy_learning="NONE"),
    "learning": ndarena.WorkspaceConfiguration(),
    "poisoned": ARENA,
}
VALUES = sample("d", (3, 4))


def churn(ws, turns=4):
    """Enters again and writes other values over everything that can be had."""
    made = []
    for _ in range(turns):
        with ws:
            made = [ws.full((3, 4), -7.0) for _ in range(40)]
            del made[::2]
            ws.full(3000, -9.0)
