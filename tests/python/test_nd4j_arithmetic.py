"""Random programs under `WorkspaceConfiguration.nd4j`: every counter after every step, against a model."""

import random

import pytest
from nd4j_model import COUNTERS, ROUNDING, Pages

import ndarena
from ndarena import Workspace, WorkspaceConfiguration

pytestmark = pytest.mark.filterwarnings("ignore::ndarena.UnusedWorkspaceWarning")

PROGRAMS = 60
STEPS = 120
LIMITS = {True: [1.0, 2.0, 3.0, 4.0], False: [0.0, 0.1, 0.29, 0.3, 0.5, 1.0, 2.25]}


def configuration(rng, reset):
    """Draw settings that are no contradiction."""
    ring = reset == "ENDOFBUFFER_REACHED"
    spill, allocation = rng.choice(["EXTERNAL", "REALLOCATE", "FAIL"]), rng.choice(["STRICT", "OVERALLOCATE"])
    initial = rng.randint(1, 3000) if spill == "FAIL" or rng.random() < 0.4 else 0
    least = rng.choice([0, 0, rng.randint(1, 5000)])
    return {
        "policy_reset": reset,
        "policy_spill": spill,
        "policy_allocation": allocation,
        "policy_learning": rng.choice(["FIRST_LOOP", "OVER_TIME", "NONE"]),
        "cycles_before_initialization": rng.randint(0, 4),
        "initial_size": initial,
        "min_size": least,
        "max_size": rng.choice([0, 0, max(initial, least, rng.randint(1, 5000))]),
        "overallocation_limit": rng.choice(LIMITS[ring and allocation == "OVERALLOCATE"]),
    }


def draw(rng, *, is_open):
    """Return the next step, and a number that goes with it."""
    if is_open:
        steps = {"allocate": 12, "close": 3, "toggle": 0.4, "debug": 0.3, "initialize": 0.5}
    else:
        steps = {"enter": 6, "initialize": 1, "debug": 0.3}
    (step,) = rng.choices(list(steps), list(steps.values()))
    return step, rng.choice([rng.randint(1, 60), rng.randint(1, 400), rng.randint(1, 2000)])


class Player:
    """Takes the same step in the workspace and in the model."""

    def __init__(self, conf, release):
        self.ws = Workspace(WorkspaceConfiguration.nd4j(release=release, **conf), "W")
        self.model = Pages(conf, ROUNDING[release])
        self.scope = None

    def take(self, step, number):
        getattr(self, f"_{step}")(number)

    def _enter(self, _):
        self.scope = self.ws.notify_scope_entered()
        self.model.enter()

    def _close(self, _):
        self.scope.close()
        self.scope = None
        self.model.close()

    def _allocate(self, number):
        if self.model.allocate(number):
            self.ws.empty(number, dtype="u1")
            return
        with pytest.raises(ndarena.WorkspaceFullError):
            self.ws.empty(number, dtype="u1")

    def _toggle(self, number):
        self.model.in_use = number % 2 == 1
        self.ws.toggle_workspace_use(self.model.in_use)

    def _debug(self, number):
        self.model.spills_everything = number % 2 == 1
        mode = "SPILL_EVERYTHING" if self.model.spills_everything else "DISABLED"
        ndarena.get_workspace_manager().debug_mode = mode

    def _initialize(self, _):
        self.ws.initialize_workspace()
        self.model.initialize()


@pytest.mark.parametrize("release", ROUNDING)
@pytest.mark.parametrize("reset", ["BLOCK_LEFT", "ENDOFBUFFER_REACHED"])
def test_every_counter_is_that_of_nd4j(reset, release):
    for seed in range(PROGRAMS):
        rng = random.Random(seed)
        conf = configuration(rng, reset)
        player, taken = Player(conf, release), []
        try:
            for _ in range(STEPS):
                taken.append(draw(rng, is_open=player.scope is not None))
                player.take(*taken[-1])
                found = {name: getattr(player.ws, name) for name in COUNTERS}
                assert found == player.model.counters(), (seed, conf, taken)
        finally:
            ndarena.get_workspace_manager().debug_mode = "DISABLED"
            player.ws.destroy_workspace()
