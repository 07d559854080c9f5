"""The exception tree: classes, facts, copies. An error pickles whole and holds nothing alive."""

import copy
import gc
import pickle

import pytest

import ndarena
from ndarena import Validity

BASES = {
    "WorkspaceError": (Exception,),
    "StaleArrayError": (ndarena.WorkspaceError, ReferenceError),
    "LeakedArrayError": (ndarena.StaleArrayError,),
    "OutdatedArrayError": (ndarena.StaleArrayError,),
    "OverwrittenArrayError": (ndarena.OutdatedArrayError,),
    "DestroyedArrayError": (ndarena.LeakedArrayError,),
    "ClosedArrayError": (ndarena.StaleArrayError,),
    "WorkspaceFullError": (ndarena.WorkspaceError, MemoryError),
    "ScopeError": (ndarena.WorkspaceError, RuntimeError),
    "WrongThreadError": (ndarena.ScopeError,),
    "EscapedViewError": (ndarena.WorkspaceError, RuntimeError),
    "ArrayLocationError": (ndarena.WorkspaceError, ValueError),
    "UnknownWorkspaceError": (ndarena.WorkspaceError, LookupError),
    "ConfigurationError": (ndarena.WorkspaceError, ValueError),
    "DestroyedWorkspaceError": (ndarena.WorkspaceError, RuntimeError),
}
FACTS = {
    "workspace_id": "LOOP",
    "array_generation": 3,
    "workspace_generation": 4,
    "open_workspaces": ("OUTER", "LOOP"),
    "operation": "add",
    "argument": "left",
    "shape": (2, 3),
    "dtype": "float32",
    "created_at": "train.py:12",
}
OF_CONFIGURATION = {"field": "min_size", "value": 200, "reason": "is above max_size=100"}
VALIDITY = {
    "LeakedArrayError": Validity.LEAKED,
    "OutdatedArrayError": Validity.OUTDATED,
    "OverwrittenArrayError": Validity.OVERWRITTEN,
    "DestroyedArrayError": Validity.DESTROYED,
    "ClosedArrayError": Validity.CLOSED,
}

every_class = pytest.mark.parametrize("cls", [getattr(ndarena, name) for name in BASES], ids=str)


def facts_of(cls):
    return FACTS | (OF_CONFIGURATION if cls is ndarena.ConfigurationError else {})


@pytest.mark.parametrize("name", BASES)
def test_tree(name):
    assert getattr(ndarena, name).__bases__ == BASES[name]


def test_tree_is_complete():
    def below(cls):
        return {cls, *(c for sub in cls.__subclasses__() for c in below(sub))}

    ours = {c.__name__ for c in below(ndarena.WorkspaceError) if c.__module__ == "ndarena.errors"}
    assert ours == {*BASES}


@every_class
def test_facts_are_none_where_unknown(cls):
    error = cls("what happened")
    assert str(error) == "what happened"
    assert all(getattr(error, fact) is None for fact in facts_of(cls))
    assert str(cls()) == ""


@every_class
def test_facts_are_attributes(cls):
    facts = facts_of(cls)
    error = cls("what happened", **facts)
    assert {fact: getattr(error, fact) for fact in facts} == facts


@every_class
def test_unknown_facts_are_type_errors(cls):
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        cls("what happened", colour="red")


def test_facts_of_a_configuration_belong_to_its_error():
    with pytest.raises(TypeError, match="'field'"):
        ndarena.ScopeError("what happened", field="min_size")


def test_sequences_become_tuples():
    error = ndarena.ScopeError(open_workspaces=["A", "B"], shape=[2, 3])
    assert error.open_workspaces == ("A", "B")
    assert error.shape == (2, 3)


def test_facts_of_one_error_are_not_those_of_another():
    ndarena.ScopeError("first", workspace_id="A")
    assert ndarena.ScopeError("second").workspace_id is None


@pytest.mark.parametrize("name", VALIDITY)
def test_validity_is_that_of_the_class(name):
    assert getattr(ndarena, name)("late").validity is VALIDITY[name]


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(cls, protocol):
    facts = facts_of(cls)
    error = cls("what happened", **facts)
    error.add_note("while closing")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert again.args == error.args
    assert again.__notes__ == ["while closing"]
    assert {fact: getattr(again, fact) for fact in facts} == facts
    if cls.__name__ in VALIDITY:
        assert again.validity is VALIDITY[cls.__name__]


@every_class
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_keep_everything(cls, copied):
    again = copied(cls("what happened", **facts_of(cls)))
    assert type(again) is cls
    assert str(again) == "what happened"
    assert {fact: getattr(again, fact) for fact in facts_of(cls)} == facts_of(cls)


def test_errors_of_a_refused_configuration_pickle():
    contradiction, wrong_type, missing = (
        {"min_size": 2, "max_size": 1},
        {"prefault": []},
        {"policy_spill": "FAIL"},
    )
    for fields in (contradiction, wrong_type, missing):
        with pytest.raises(ndarena.ConfigurationError) as caught:
            ndarena.WorkspaceConfiguration(**fields)
        error = caught.value
        again = pickle.loads(pickle.dumps(error))
        assert (again.field, again.value, again.reason) == (error.field, error.value, error.reason)
        assert str(again) == str(error)


def test_an_error_holds_no_reference_to_the_refused_object():
    class Held:
        def __repr__(self):
            return "<held>"

    held = Held()
    with pytest.raises(ndarena.ConfigurationError) as caught:
        ndarena.WorkspaceConfiguration(initial_size=held)
    error = caught.value.with_traceback(None)
    assert error.value == "<held>"
    assert held not in gc.get_referents(error, vars(error))


def test_warnings_have_their_category():
    assert ndarena.EscapedViewWarning.__bases__ == (RuntimeWarning,)
    assert ndarena.UnusedWorkspaceWarning.__bases__ == (UserWarning,)
    assert str(pickle.loads(pickle.dumps(ndarena.EscapedViewWarning("3 views")))) == "3 views"
