"""What the tests of configurations share: a value other than the default for every field, refusals."""

import pytest

from ndarena import (
    AllocationPolicy,
    ConfigurationError,
    EscapePolicy,
    HugePages,
    LearningPolicy,
    LocationPolicy,
    MirroringPolicy,
    ResetPolicy,
    ReusePolicy,
    SpillPolicy,
    WorkspaceConfiguration,
)

DEFAULTS = {
    "policy_allocation": AllocationPolicy.OVERALLOCATE,
    "policy_spill": SpillPolicy.EXTERNAL,
    "policy_mirroring": MirroringPolicy.FULL,
    "policy_learning": LearningPolicy.FIRST_LOOP,
    "policy_reset": ResetPolicy.BLOCK_LEFT,
    "policy_location": LocationPolicy.RAM,
    "temp_file_path": None,
    "initial_size": 0,
    "min_size": 0,
    "max_size": 0,
    "cycles_before_initialization": 0,
    "overallocation_limit": 0.3,
    "steps_number": 2,
    "policy_reuse": ReusePolicy.WITHIN_CYCLE,
    "policy_escape": EscapePolicy.RETIRE,
    "alignment": 64,
    "huge_pages": HugePages.ADVISE,
    "prefault": False,
}
# For every field a valid value other than the default, with what else it needs.
OTHERS = {
    "policy_allocation": (AllocationPolicy.STRICT, {}),
    "policy_spill": (SpillPolicy.REALLOCATE, {}),
    "policy_mirroring": (MirroringPolicy.HOST_ONLY, {}),
    "policy_learning": (LearningPolicy.NONE, {}),
    "policy_reset": (ResetPolicy.ENDOFBUFFER_REACHED, {"overallocation_limit": 2}),
    "policy_location": (LocationPolicy.MMAP, {"policy_learning": "NONE", "initial_size": 1}),
    "temp_file_path": ("arena.bin", {"policy_learning": "NONE", "policy_location": "MMAP"}),
    "initial_size": (1000, {}),
    "min_size": (1000, {}),
    "max_size": (1000, {}),
    "cycles_before_initialization": (3, {}),
    "overallocation_limit": (0.5, {}),
    "steps_number": (5, {}),
    "policy_reuse": (ReusePolicy.AT_RESET, {}),
    "policy_escape": (EscapePolicy.RAISE, {}),
    "alignment": (128, {}),
    "huge_pages": (HugePages.NEVER, {}),
    "prefault": (True, {}),
}
RING = {"policy_reset": "ENDOFBUFFER_REACHED"}


def other(field):
    value, needs = OTHERS[field]
    return {field: value, **needs}


def fields_of(configuration):
    return {field: getattr(configuration, field) for field in DEFAULTS}


def refused(make=WorkspaceConfiguration, **fields):
    with pytest.raises(ConfigurationError) as caught:
        make(**fields)
    error = caught.value
    assert str(error).startswith(f"{error.field}=")
    assert str(error).endswith(error.reason)
    return error
