"""The numbers of DL4J: every recording gives what is recorded, or the right value where that is wrong."""

import pytest
from nn_support import RECORDINGS, replayer

SECTIONS = (
    "activations",
    "losses",
    "schedules",
    "updaters",
    "gradient_pipeline",
    "layers",
    "networks",
    "graphs",
    "events",
    "layer_errors",
    "models",
    "normalizers",
    "evaluation",
)


CASES = [case for section in SECTIONS for case in replayer.load(RECORDINGS, section)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['section']}-{case['id']}")
def test_recording(case):
    assert replayer.replay(case) == []
