"""What a configuration accepts, what it refuses, how it is shown, compared, copied and changed."""

import copy
import enum
import inspect
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import ndarena
from ndarena import (
    AllocationPolicy,
    ConfigurationError,
    DebugMode,
    EscapePolicy,
    HugePages,
    LearningPolicy,
    LocationPolicy,
    MirroringPolicy,
    ResetPolicy,
    ReusePolicy,
    SpillPolicy,
    Validity,
    WorkspaceConfiguration,
    WorkspaceType,
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
MEMBERS = {
    AllocationPolicy: ["STRICT", "OVERALLOCATE"],
    SpillPolicy: ["EXTERNAL", "REALLOCATE", "FAIL"],
    MirroringPolicy: ["FULL", "HOST_ONLY"],
    LearningPolicy: ["FIRST_LOOP", "OVER_TIME", "NONE"],
    ResetPolicy: ["BLOCK_LEFT", "ENDOFBUFFER_REACHED"],
    LocationPolicy: ["RAM", "MMAP"],
    ReusePolicy: ["WITHIN_CYCLE", "AT_RESET"],
    EscapePolicy: ["RETIRE", "WARN", "RAISE"],
    HugePages: ["NEVER", "ADVISE"],
    DebugMode: ["DISABLED", "SPILL_EVERYTHING", "BYPASS_EVERYTHING"],
    WorkspaceType: ["SCOPED", "CIRCULAR", "DUMMY"],
    Validity: ["VALID", "LEAKED", "OUTDATED", "OVERWRITTEN", "DESTROYED", "CLOSED"],
}
POLICY_FIELDS = [name for name, value in DEFAULTS.items() if isinstance(value, enum.Enum)]
MAPPED = {"policy_location": "MMAP", "policy_learning": "NONE"}
RING = {"policy_reset": "ENDOFBUFFER_REACHED"}
SIZE_FIELDS = ["initial_size", "min_size", "max_size"]


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


# ---------------------------------------------------------------- enumerations


@pytest.mark.parametrize("cls", MEMBERS)
def test_members(cls):
    assert [m.name for m in cls] == MEMBERS[cls]
    for member in cls:
        assert member.value == member.name
        assert cls(member.name.lower()) is member
        assert cls(member.name.title()) is member
        assert cls[member.name] is member
        assert repr(member) == f"{cls.__name__}.{member.name}"
        assert pickle.loads(pickle.dumps(member)) is member
    assert cls.__doc__


@pytest.mark.parametrize("cls", MEMBERS)
@pytest.mark.parametrize("value", ["", "other", 0, None, b"STRICT"])
def test_no_such_member(cls, value):
    with pytest.raises(ValueError, match="is not a valid"):
        cls(value)


# ---------------------------------------------------------------- fields


def test_defaults():
    assert fields_of(WorkspaceConfiguration()) == DEFAULTS


@pytest.mark.parametrize("field", DEFAULTS)
def test_fields_hold_what_was_given(field):
    configuration = WorkspaceConfiguration(**other(field))
    value = getattr(configuration, field)
    assert value == OTHERS[field][0]
    assert type(value) is type(DEFAULTS[field]) or field == "temp_file_path"


@pytest.mark.parametrize("field", DEFAULTS)
def test_defaults_may_be_given(field):
    assert WorkspaceConfiguration(**{field: DEFAULTS[field]}) == WorkspaceConfiguration()


@pytest.mark.parametrize("field", POLICY_FIELDS)
def test_policies_by_name_in_any_case(field):
    member, needs = OTHERS[field]
    for name in (member.name, member.name.lower(), member.name.title()):
        assert getattr(WorkspaceConfiguration(**{field: name, **needs}), field) is member


@pytest.mark.parametrize("field", DEFAULTS)
def test_immutable(field):
    configuration = WorkspaceConfiguration()
    with pytest.raises(AttributeError):
        setattr(configuration, field, OTHERS[field][0])
    with pytest.raises(AttributeError):
        delattr(configuration, field)
    with pytest.raises(AttributeError):
        configuration.colour = "red"


def test_unknown_fields_are_type_errors():
    base = WorkspaceConfiguration()
    for make in (WorkspaceConfiguration, WorkspaceConfiguration.nd4j, base.replace):
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            make(colour="red")
    with pytest.raises(TypeError, match="release"):
        WorkspaceConfiguration(release="1.0.0-M2.1")
    with pytest.raises(TypeError, match="nd4j"):
        base.replace(nd4j=True)


def test_fields_are_keyword_only():
    base = WorkspaceConfiguration()
    for make in (WorkspaceConfiguration, WorkspaceConfiguration.nd4j, base.replace):
        with pytest.raises(TypeError, match="positional argument"):
            make("STRICT")


def test_signature_shows_the_defaults():
    parameters = inspect.signature(WorkspaceConfiguration).parameters
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    shown = {name: p.default for name, p in parameters.items()}
    assert [*shown] == [*DEFAULTS]
    assert shown == {n: v.name if isinstance(v, enum.Enum) else v for n, v in DEFAULTS.items()}
    assert WorkspaceConfiguration(**shown) == WorkspaceConfiguration()
    assert inspect.signature(WorkspaceConfiguration.nd4j).parameters["release"].default == "1.0.0-M2.1"


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("field", SIZE_FIELDS)
@pytest.mark.parametrize(
    ("size", "bytes_"),
    [
        (0, 0),
        (1000, 1000),
        (2**62, 2**62),
        (2**63 - 1, 2**63 - 1),
        (np.int8(7), 7),
        (np.uint64(2**62), 2**62),
        (np.int64(1000), 1000),
        ("0 B", 0),
        ("7b", 7),
        ("1_000 B", 1000),
        ("1 KB", 1000),
        ("2mb", 2 * 1000**2),
        ("3 GB", 3 * 1000**3),
        ("4 tB", 4 * 1000**4),
        ("1 KiB", 1024),
        ("10 MiB", 10 * 1024**2),
        ("10MIB", 10 * 1024**2),
        ("2 gib", 2 * 1024**3),
        ("1 TiB", 1024**4),
        ("1.5 KiB", 1536),
        ("0.29 KB", 290),
        ("1_0.2_5 KiB", 10496),
        ("0.0009765625 KiB", 1),
    ],
)
def test_sizes(field, size, bytes_):
    held = getattr(WorkspaceConfiguration(**{field: size}), field)
    assert held == bytes_
    assert type(held) is int


NO_SIZES = [
    *(True, False, np.True_, 1.0, np.float64(8), None, b"1 KB", [1], (1,), object, 1j),
    *("", "KB", "1024", "1 K", "1 PB", "-1 KB", "1e3 B", "1,5 KB", ".5 KB", "1__0 B", "\ud800 KB"),
    *("1  KB", " 1 KB", "1 KB ", "0.5 B", "1.0001 KB", "99999999999999999999 B"),
]


@pytest.mark.parametrize("field", SIZE_FIELDS)
@pytest.mark.parametrize(
    "size",
    NO_SIZES,
    ids=ascii,
)
def test_sizes_that_are_none(field, size):
    error = refused(**{field: size})
    assert error.field == field
    assert "KiB" in error.reason


@pytest.mark.parametrize("field", [*SIZE_FIELDS, "alignment", "cycles_before_initialization", "steps_number"])
@pytest.mark.parametrize("number", [-1, np.int64(-1), -(2**63), -(2**70)])
def test_negative_numbers(field, number):
    error = refused(**{field: number})
    assert (error.field, error.reason) == (field, "must not be negative")


@pytest.mark.parametrize("field", SIZE_FIELDS)
@pytest.mark.parametrize("size", [2**63, 2**64, 2**200])
def test_sizes_that_no_process_can_hold(field, size):
    error = refused(**{field: size})
    assert (error.field, error.value) == (field, size)


def test_sizes_around_the_maximum():
    error = refused(min_size=101, max_size=100)
    assert (error.field, error.value) == ("min_size", 101)
    assert "max_size=100" in error.reason
    error = refused(initial_size="101 B", max_size=100)
    assert (error.field, error.value) == ("initial_size", "101 B")
    assert "max_size=100" in error.reason
    WorkspaceConfiguration(initial_size=100, min_size=100, max_size=100)
    WorkspaceConfiguration(initial_size=100, min_size=200)  # 0: no maximum


# ---------------------------------------------------------------- other fields


@pytest.mark.parametrize("field", ["cycles_before_initialization", "steps_number"])
def test_counts(field):
    for count in (0, 1, np.int32(5), 2**32 - 1):
        assert getattr(WorkspaceConfiguration(**{field: count}), field) == count
    for count in (True, 1.0, "1", "1 B", None, 2**32, 2**70):
        assert refused(**{field: count}).field == field


@pytest.mark.parametrize("limit", [0, 0.0, -0.0, 0.29, 2.5, 10**6, np.float32(0.5), np.int16(3)])
def test_limits(limit):
    held = WorkspaceConfiguration(overallocation_limit=limit).overallocation_limit
    assert held == limit
    assert type(held) is float


@pytest.mark.parametrize(
    "limit",
    [float("nan"), float("inf"), -0.1, -1, 10**400, True, np.False_, "0.3", None, 1j, [0.3]],
    ids=repr,
)
def test_limits_that_are_none(limit):
    assert refused(overallocation_limit=limit).field == "overallocation_limit"


@pytest.mark.parametrize("alignment", [2**n for n in range(4, 13)])
def test_alignments(alignment):
    assert WorkspaceConfiguration(alignment=alignment).alignment == alignment


@pytest.mark.parametrize("alignment", [0, 1, 8, 15, 17, 48, 8192, 2**64, 64.0, True, None])
def test_alignments_that_are_none(alignment):
    assert refused(alignment=alignment).field == "alignment"


def test_alignment_is_a_size():
    assert WorkspaceConfiguration(alignment="4 KiB").alignment == 4096


@pytest.mark.parametrize("flag", [True, False, np.True_, np.False_])
def test_flags(flag):
    assert WorkspaceConfiguration(prefault=flag).prefault is bool(flag)


@pytest.mark.parametrize("flag", [0, 1, "yes", None, 1.0])
def test_flags_that_are_none(flag):
    assert refused(prefault=flag).field == "prefault"


@pytest.mark.parametrize("path", ["arena.bin", "caf\udce9", "na\u00efve"], ids=ascii)
@pytest.mark.parametrize("kind", [str, pathlib.PurePosixPath])
def test_paths(path, kind):
    """Those that are no UTF-8 too, as `os.listdir` gives them."""
    configuration = WorkspaceConfiguration(**MAPPED, temp_file_path=kind(path))
    assert configuration.temp_file_path == path
    assert repr(path) in repr(configuration)
    again = pickle.loads(pickle.dumps(configuration))
    assert (again, hash(again)) == (configuration, hash(configuration))


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", b"arena.bin", 3, ["arena.bin"]], ids=ascii)
def test_paths_that_are_none(path):
    error = refused(**MAPPED, temp_file_path=path)
    assert error.field == "temp_file_path"


@pytest.mark.parametrize("field", POLICY_FIELDS)
@pytest.mark.parametrize("value", ["", "other", "FAIL ", 0, None, True, b"FAIL", Validity.VALID, ["FAIL"]])
def test_policies_that_are_none(field, value):
    error = refused(**{field: value})
    assert error.field == field
    for name in MEMBERS[type(DEFAULTS[field])]:
        assert name in error.reason


def test_a_member_of_another_enumeration_is_refused_even_under_the_same_name():
    class Lookalike(enum.Enum):
        STRICT = "STRICT"

    assert refused(policy_allocation=Lookalike.STRICT).field == "policy_allocation"


def test_the_value_is_kept_as_it_was_given():
    for value in (-1, 1.5, "x", None, Validity.VALID):
        assert refused(initial_size=value).value is value
    assert refused(initial_size=[1, 2]).value == "[1, 2]"


def test_other_exceptions_pass_through():
    class Interrupting:
        def __index__(self):
            raise KeyboardInterrupt

        __float__ = __fspath__ = __index__

    for field in ("initial_size", "steps_number", "overallocation_limit", "temp_file_path"):
        with pytest.raises(KeyboardInterrupt):
            WorkspaceConfiguration(**{field: Interrupting()})


# ---------------------------------------------------------------- contradictions


@pytest.mark.parametrize("learning", ["FIRST_LOOP", "OVER_TIME"])
def test_a_mapped_file_cannot_learn(learning):
    error = refused(policy_location="MMAP", policy_learning=learning, initial_size=1000)
    assert (error.field, error.value) == ("policy_learning", learning)
    assert "policy_location=MMAP" in error.reason


def test_the_value_of_a_field_that_was_not_given_is_its_default():
    error = refused(policy_location="MMAP", initial_size=1000)
    assert (error.field, error.value) == ("policy_learning", LearningPolicy.FIRST_LOOP)


def test_a_mapped_file_needs_a_size():
    error = refused(**MAPPED)
    assert (error.field, error.value) == ("initial_size", 0)
    assert "policy_location=MMAP" in error.reason
    assert "temp_file_path" in error.reason
    WorkspaceConfiguration(**MAPPED, initial_size=1)
    WorkspaceConfiguration(**MAPPED, temp_file_path="arena.bin")


def test_a_path_needs_a_mapped_file():
    error = refused(temp_file_path="arena.bin")
    assert (error.field, error.value) == ("temp_file_path", "arena.bin")
    assert "policy_location=MMAP" in error.reason


@pytest.mark.parametrize("learning", LearningPolicy)
def test_failing_needs_an_arena(learning):
    error = refused(policy_spill="FAIL", policy_learning=learning)
    assert (error.field, error.value) == ("initial_size", 0)
    assert "policy_spill=FAIL" in error.reason
    assert f"policy_learning={learning.name}" in error.reason
    WorkspaceConfiguration(policy_spill="FAIL", policy_learning=learning, initial_size=1)


def test_failing_in_a_file_that_has_its_size():
    WorkspaceConfiguration(**MAPPED, policy_spill="FAIL", temp_file_path="arena.bin")


def test_an_enlarged_ring_needs_whole_blocks():
    error = refused(**RING)
    assert (error.field, error.value) == ("overallocation_limit", 0.3)
    for named in ("policy_reset", "policy_allocation", "0.3"):
        assert named in error.reason
    for limit in (0, 0.5, 1.5, 2.5):
        assert refused(**RING, overallocation_limit=limit).field == "overallocation_limit"
    for limit in (1, 2.0, 25):
        WorkspaceConfiguration(**RING, overallocation_limit=limit)


@pytest.mark.parametrize("limit", [0, 0.3, 2.5])
def test_a_strict_ring_takes_any_limit(limit):
    WorkspaceConfiguration(**RING, policy_allocation="STRICT", overallocation_limit=limit)


def test_over_time_with_no_cycles_is_initialised_by_hand():
    assert WorkspaceConfiguration(policy_learning="OVER_TIME").cycles_before_initialization == 0


# ---------------------------------------------------------------- replace


@pytest.mark.parametrize("field", DEFAULTS)
def test_replace_changes_that_field_only(field):
    base = WorkspaceConfiguration()
    changes = other(field)
    assert fields_of(base.replace(**changes)) == fields_of(WorkspaceConfiguration(**changes))
    assert fields_of(base) == DEFAULTS


def test_replace_is_validated_and_keeps_the_rest():
    base = WorkspaceConfiguration(max_size=100)
    error = refused(base.replace, min_size=200)
    assert (error.field, error.value) == ("min_size", 200)
    error = refused(base.replace(min_size=50).replace, max_size=10)
    assert (error.field, error.value) == ("min_size", 50)
    assert base.replace() == base


# ---------------------------------------------------------------- nd4j


@pytest.mark.parametrize(
    ("release", "alignment"), [("1.0.0-M1", 16), ("1.0.0-M1.1", 16), ("1.0.0-M2", 32), ("1.0.0-M2.1", 32)]
)
def test_releases(release, alignment):
    preset = {"alignment": alignment, "policy_reuse": ReusePolicy.AT_RESET}
    assert fields_of(WorkspaceConfiguration.nd4j(release=release)) == DEFAULTS | preset


def test_the_latest_release_is_the_default():
    assert WorkspaceConfiguration.nd4j() == WorkspaceConfiguration.nd4j(release="1.0.0-M2.1")


@pytest.mark.parametrize("release", ["", "1.0.0", "1.0.0-m2", "1.0.0-M3", "0.9.1", 2, b"1.0.0-M2", [], None])
def test_unknown_releases(release):
    error = refused(WorkspaceConfiguration.nd4j, release=release)
    assert error.field == "release"
    if isinstance(release, str):
        assert error.value == release
        for known in ("1.0.0-M1", "1.0.0-M1.1", "1.0.0-M2", "1.0.0-M2.1"):
            assert known in error.reason.replace(",", " ").split()


def test_nd4j_takes_the_fields():
    nd4j = WorkspaceConfiguration.nd4j
    assert nd4j(alignment=16).alignment == 16
    assert nd4j(alignment=64).alignment == 64
    assert nd4j(release="1.0.0-M1.1", alignment=32).alignment == 32
    assert nd4j(initial_size="1 KiB").initial_size == 1024
    assert nd4j(release="1.0.0-M1.1") == nd4j(alignment=16)
    assert nd4j(policy_reuse="at_reset") == nd4j()


def test_nd4j_is_validated_alike():
    nd4j = WorkspaceConfiguration.nd4j
    assert refused(nd4j, **RING, overallocation_limit=2.5).field == "overallocation_limit"
    assert refused(nd4j, policy_spill="FAIL").field == "initial_size"
    for make in (nd4j, nd4j().replace):
        error = refused(make, policy_reuse="WITHIN_CYCLE")
        assert error.field == "policy_reuse"
        assert "nd4j" in error.reason


def test_nd4j_differs_from_the_same_fields_elsewhere():
    ancestor = WorkspaceConfiguration.nd4j()
    ours = WorkspaceConfiguration(alignment=32, policy_reuse="AT_RESET")
    assert fields_of(ancestor) == fields_of(ours)
    assert ancestor != ours
    assert ancestor.replace(initial_size=5) == WorkspaceConfiguration.nd4j(initial_size=5)


# ---------------------------------------------------------------- repr, equality, copies


def test_repr_shows_what_differs():
    assert repr(WorkspaceConfiguration()) == "WorkspaceConfiguration()"
    shown = repr(WorkspaceConfiguration(policy_spill="fail", initial_size="1 KiB", prefault=True))
    assert shown == "WorkspaceConfiguration(policy_spill=SpillPolicy.FAIL, initial_size=1024, prefault=True)"
    assert repr(WorkspaceConfiguration.nd4j()) == "WorkspaceConfiguration.nd4j()"
    shown = repr(WorkspaceConfiguration.nd4j(release="1.0.0-M1", min_size=5))
    assert shown == "WorkspaceConfiguration.nd4j(min_size=5, alignment=16)"


def every_configuration():
    return [*configurations()]


def configurations():
    yield WorkspaceConfiguration()
    yield WorkspaceConfiguration.nd4j()
    yield WorkspaceConfiguration.nd4j(release="1.0.0-M1.1", **RING, overallocation_limit=3)
    for field in DEFAULTS:
        yield WorkspaceConfiguration(**other(field))


@pytest.mark.parametrize("configuration", every_configuration(), ids=repr)
def test_repr_evaluates_to_an_equal_one(configuration):
    assert eval(repr(configuration), vars(ndarena).copy()) == configuration


@pytest.mark.parametrize("configuration", every_configuration(), ids=repr)
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy]
    + [lambda c, protocol=protocol: pickle.loads(pickle.dumps(c, protocol)) for protocol in range(6)],
)
def test_copies_are_equal(configuration, copied):
    again = copied(configuration)
    assert type(again) is WorkspaceConfiguration
    assert again == configuration
    assert hash(again) == hash(configuration)
    assert repr(again) == repr(configuration)


def test_equality_and_hash():
    all_of_them = every_configuration()
    assert len({*all_of_them}) == len(all_of_them)
    assert {*all_of_them} == {*every_configuration()}
    for i, left in enumerate(all_of_them):
        for j, right in enumerate(all_of_them):
            assert (left == right) == (i == j)
            assert (left != right) == (i != j)


def test_both_zeros_are_equal():
    plus, minus = (WorkspaceConfiguration(overallocation_limit=zero) for zero in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)


@pytest.mark.parametrize("stranger", [None, 0, "WorkspaceConfiguration()", {}, DEFAULTS])
def test_unequal_to_anything_else(stranger):
    assert WorkspaceConfiguration() != stranger
    with pytest.raises(TypeError):
        WorkspaceConfiguration() < stranger  # noqa: B015


def test_a_pickle_crosses_to_another_process():
    configuration = WorkspaceConfiguration.nd4j(initial_size=1000)
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    other_process = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(configuration),
        capture_output=True,
        check=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    assert other_process.stdout.decode().strip() == repr(configuration)
