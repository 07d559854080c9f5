"""Programs of several workspaces as in ND4J, recorded ones and random ones, against a model."""

import copy
import random
import threading
import warnings

import pytest
from nd4j_thread import LappedError, ModelThread
from test_conformance import SCENARIOS, replayer

import ndarena

PROGRAMS = 120
STEPS = 150
DTYPES = ["float64", "float32", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool"]
LIMITS = [0.0, 0.1, 0.25, 0.29, 0.3, 0.5, 0.7, 1.0, 2.25]
NOT_MODELLED = {"destroy_arena", "close_ws"}
COMPARED = ("is_attached", "workspace", "generation_id", "validity")


# The model against what ND4J did.


def is_modelled(scenario):
    """Leave out files in the place of memory, refused configurations, and what is not replayed either."""
    steps = scenario["steps"]
    expected = [step.get("expect", {}) for step in steps]
    return not (
        any(step["op"] in NOT_MODELLED or step.get("ancestor_only") for step in steps)
        or any(step.get("config", {}).get("policy_location") for step in steps)
        or any(
            "unchecked" in part or class_of(part.get("error")) == "ConfigurationError" for part in expected
        )
    )


def class_of(error):
    return None if error is None else error["class"]


def differences(thread, wanted):
    found = thread.state()
    for key in ("current", "any_active", "registered"):
        if found[key] != wanted[key]:
            yield key, wanted[key], found[key]
    for name, fields in wanted["workspaces"].items():
        for key, value in fields.items():
            is_over = key == "parent_workspace" and not fields["is_scope_active"]
            if not is_over and found["workspaces"][name][key] != value:
                yield name, key, value, found["workspaces"][name][key]
    for name, fields in wanted["arrays"].items():
        for key in COMPARED:
            value = found["arrays"][name].get(key, fields.get(key))
            is_right = value != "VALID" if fields.get(key) == "INVALID" else fields.get(key) == value
            if not is_right:
                yield name, key, fields.get(key), value


MODELLED = [scenario for scenario in SCENARIOS if is_modelled(scenario)]


def test_nearly_all_that_was_recorded_is_modelled():
    assert len(MODELLED) > 0.9 * len(SCENARIOS)


@pytest.mark.parametrize("scenario", MODELLED, ids=lambda s: s["id"])
def test_the_model_does_what_was_recorded(scenario):
    thread, recorded = ModelThread(scenario["alignment"]), {"workspaces": {}, "arrays": {}}
    for at, step in enumerate(scenario["steps"]):
        expected = step.get("expect", {})
        try:
            refused = thread.play(step)
        except LappedError:  # the recording says nothing about such arrays
            return
        replayer.merge(recorded, step["after"])
        wanted = copy.deepcopy(recorded)
        replayer.merge(wanted, {key: value for key, value in expected.items() if key in wanted})
        error = class_of(expected["error"] if "error" in expected else step.get("error"))
        assert refused in (error if isinstance(error, list) else [error]), at
        if "same" in step and refused is None:
            assert thread.is_same == step["same"], at
        assert list(differences(thread, wanted)) == [], at


# ndarena against the model.


class Program:
    """Draws steps that ND4J and ndarena take alike."""

    def __init__(self, seed, *, rings):
        self.rng, self.rings = random.Random(seed), rings
        self.thread = ModelThread(self.rng.choice([32, 16]))
        self.ids = "ABC"[: self.rng.randint(1, 3)]
        self.made = 0

    def next(self):
        """Return a step, or none if what was drawn makes no sense now."""
        thread = self.thread
        missing = [name for name in self.ids if name not in thread.registry]
        if missing:
            return {"op": "get", "ws": missing[0], "config": self.configuration()}
        kinds = {"scope": 12, "close": 8 * bool(thread.scopes), "array": 24, "copy": 14, "use": 8, "view": 4}
        kinds |= {"drop": 6, "control": 3, "destroy": 1, "claim": 4}
        (kind,) = self.rng.choices(list(kinds), list(kinds.values()))
        return getattr(self, kind)()

    def configuration(self):
        rng, ring = self.rng, self.rng.random() < self.rings
        spill = rng.choice(["EXTERNAL", "EXTERNAL", "REALLOCATE", "REALLOCATE", "FAIL"])
        initial = rng.randint(100, 6000) if spill == "FAIL" or rng.random() < 0.4 else 0
        least = rng.choice([0, 0, 0, rng.randint(100, 9000)])
        return {
            "policy_reset": "ENDOFBUFFER_REACHED" if ring else "BLOCK_LEFT",
            "policy_spill": spill,
            "policy_allocation": rng.choice(["OVERALLOCATE", "OVERALLOCATE", "STRICT"]),
            "policy_learning": rng.choice(["FIRST_LOOP", "FIRST_LOOP", "OVER_TIME", "NONE"]),
            "cycles_before_initialization": rng.randint(0, 4),
            "overallocation_limit": float(rng.randint(1, 6)) if ring else rng.choice(LIMITS),
            "initial_size": initial,
            "min_size": least,
            "max_size": rng.choice([0, 0, 0, max(initial, least, rng.randint(300, 9000))]),
        }

    def name(self):
        self.made += 1
        return f"a{self.made}"

    def workspace(self):
        return self.thread.registry[self.rng.choice(self.ids)]

    def known(self):
        """Return the name of an array of which the rules say everything, if there is one."""
        return self.rng.choice(
            [
                name
                for name, array in self.thread.arrays.items()
                if array.workspace is None or not array.workspace.ring or array.is_of_this_cycle()
            ]
            or [None]
        )

    def scope(self):
        op = self.rng.choice(["enter", "enter", "borrow", "scope_out"])
        if op == "scope_out":
            return {"op": op, "manager": self.rng.choice(["memory", "workspace"])}
        return {"op": op, "ws": self.workspace().id}

    def close(self):
        return {"op": "close"}

    def array(self):
        current = self.thread.current
        if current is not None and current.ring and not current.is_open:
            return None
        small, large = self.rng.choice([8, 60, 400]), 8
        shape = [self.rng.randint(1, small)]
        if self.rng.random() < 0.4:
            shape = [self.rng.randint(1, large) for _ in range(self.rng.randint(2, 3))]
        fill = self.rng.choice(["zeros", "ones"])
        return {
            "op": "array",
            "name": self.name(),
            "shape": shape,
            "dtype": self.rng.choice(DTYPES),
            "fill": fill,
        }

    def copy(self):
        of = self.known()
        if of is None:
            return None
        ops = ["dup", "detach", "cast", "leverage", "leverage_to", "leverage_or_detach", "migrate"]
        step = {"op": self.rng.choice(ops), "name": self.name(), "of": of}
        flag = {"migrate": "detach_on_no_workspace", "leverage_to": "enforce_existence"}.get(step["op"])
        if flag and self.rng.random() < 0.6:
            step[flag] = self.rng.random() < 0.5
        if step["op"] == "cast":
            step["dtype"] = self.rng.choice(DTYPES)
        if step["op"].startswith("leverage_"):
            step["id"] = self.rng.choice([*self.ids, "nowhere"])
        return step

    def use(self):
        name, op = self.known(), self.rng.choice(["iadd", "add", "assign", "read"])
        if name is None or self.thread.arrays[name].dtype == bool:
            return None
        if op == "add":
            return {"op": op, "name": self.name(), "of": name, "value": 1}
        return {"op": op, "name": name, "value": 1}

    def view(self):
        of = self.known()
        shape = () if of is None else self.thread.arrays[of].shape
        if not shape:
            return None
        if len(shape) == 1:
            return {"op": "reshape", "name": self.name(), "of": of, "shape": [1, *shape]}
        if self.thread.arrays[of].dtype == "float64" and self.rng.random() < 0.3:
            return {"op": "sum_axis", "name": self.name(), "of": of, "axis": self.rng.randint(0, 1)}
        return {"op": self.rng.choice(["row", "column"]), "name": self.name(), "of": of, "index": 0}

    def drop(self):
        return {"op": "drop", "names": [name for name in self.thread.arrays if self.rng.random() < 0.4]}

    def control(self):
        workspace, op = (
            self.workspace(),
            self.rng.choice(["initialize", "toggle", "debug_mode", "set_current"]),
        )
        if op == "debug_mode":
            return {"op": op, "mode": self.rng.choice(["DISABLED", "SPILL_EVERYTHING"])}
        if op == "toggle":
            return {"op": op, "ws": workspace.id, "use": self.rng.random() < 0.5}
        if op == "set_current":
            return None if self.thread.scopes else {"op": op, "ws": self.rng.choice([None, workspace.id])}
        outside = any(array.workspace is workspace for array in self.thread.arrays.values())
        return None if workspace.is_open or outside else {"op": op, "ws": workspace.id}

    def destroy(self):
        thread, workspace = self.thread, self.workspace()
        if thread.current is None and not thread.scopes and self.rng.random() < 0.3:
            return {"op": "destroy_all"}
        in_use = [thread.current, *(scope.before for scope in thread.scopes)]
        return None if workspace.is_open or workspace in in_use else {"op": "destroy", "ws": workspace.id}

    def claim(self):
        name, op = (
            self.known(),
            self.rng.choice(["assert_valid", "assert_open", "assert_current", "assert_none_open"]),
        )
        if op == "assert_valid":
            return None if name is None else {"op": op, "name": name}
        if op == "assert_none_open":
            return {"op": op, "allow_scoped_out": self.rng.random() < 0.5}
        return {"op": op, "id": self.rng.choice([*self.ids, "nowhere"])}


def run(seed, rings):
    """Return how many steps a program took, and what differed after the last of them."""
    program = Program(seed, rings=rings)
    player = replayer.Player({"alignment": program.thread.rounding, "steps": []})
    taken = []
    try:
        for step in filter(None, (program.next() for _ in range(STEPS))):
            try:
                refused = program.thread.play(step)
            except LappedError:
                break
            taken.append(step)
            bad = player.step(step, refused and {"class": refused})
            if refused is None and program.thread.is_same is not None:
                bad += player.outcome("same", program.thread.is_same)
            bad += player.compare(program.thread.state(), [])
            if bad:
                return len(taken), [seed, bad, taken]
    finally:
        player.clean_up()
    return len(taken), []


def run_in_a_thread_of_its_own(seed, rings):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(seed, rings)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ndarena.UnusedWorkspaceWarning)
        thread.start()
        thread.join()
    (result,) = results
    return result


@pytest.mark.parametrize("rings", [0.0, 0.3, 1.0])
def test_everything_observable_is_that_of_the_model(rings):
    results = [run_in_a_thread_of_its_own(seed, rings) for seed in range(PROGRAMS)]
    assert [difference for _, difference in results if difference] == []
    assert sum(steps for steps, _ in results) > 10 * PROGRAMS
