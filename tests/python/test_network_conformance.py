"""The numbers of DL4J: every recording gives what is recorded, or the right value where that is wrong."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "conformance" / "networks"
SECTIONS = (
    "activations",
    "losses",
    "schedules",
    "updaters",
    "gradient_pipeline",
    "layers",
    "networks",
    "graphs",
    "layer_errors",
    "models",
    "normalizers",
)


def load_replayer():
    spec = importlib.util.spec_from_file_location("replay_networks", FOLDER / "replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replayer = load_replayer()
CASES = [case for section in SECTIONS for case in replayer.load(FOLDER, section)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['section']}-{case['id']}")
def test_recording(case):
    assert replayer.replay(case) == []
