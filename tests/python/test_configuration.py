"""What a configuration accepts, what it refuses, how it is shown, compared, copied and changed."""

import enum
import inspect
import pathlib
import pickle

import numpy as np
import pytest
from configuration_support import DEFAULTS, OTHERS, RING, fields_of, other, refused

from ndarena import (
    AllocationPolicy,
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
SIZE_FIELDS = ["initial_size", "min_size", "max_size"]


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
