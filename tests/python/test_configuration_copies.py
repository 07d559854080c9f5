"""How a configuration is shown, compared, copied and changed; `replace` and `nd4j`."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
from configuration_support import DEFAULTS, RING, fields_of, other, refused

import ndarena
from ndarena import (
    ReusePolicy,
    WorkspaceConfiguration,
)

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
