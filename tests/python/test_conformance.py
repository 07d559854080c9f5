"""The recorded behaviour of ND4J, replayed: every trace gives what the contract says."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

import ndarena as nd

FOLDER = Path(__file__).parents[1] / "conformance"

# These need memory-mapped files, which the package does not have yet. All other traces are replayed.
NEED_MMAP = {"B-34", "S-13", "B-34@16", "S-13@16"}


def load_replayer():
    spec = importlib.util.spec_from_file_location("replay", FOLDER / "replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replayer = load_replayer()
SCENARIOS = [s for folder in ("workspaces", "workspaces16") for s in replayer.load(FOLDER / folder)]


def mapped_configurations(scenario):
    """List the MMAP configurations that the ancestor accepted."""
    return [
        (step["ws"], step["config"])
        for step in scenario["steps"]
        if step.get("config", {}).get("policy_location") == "MMAP" and "error" not in step
    ]


def test_every_trace_is_there():
    """275 traces of the release that rounds to 32 bytes, 103 of the one that rounds to 16, no id twice."""
    assert [s["alignment"] for s in SCENARIOS].count(32) == 275
    assert [s["alignment"] for s in SCENARIOS].count(16) == 103
    assert len({s["id"] for s in SCENARIOS}) == 275 + 103


def test_the_copies_are_unchanged():
    """Data, replayer and description are byte for byte those that were recorded; none is missing or added."""
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    found = {
        path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.rglob("*")
        if path.suffix in {".json", ".py", ".md"}
    }
    assert found == listed


def test_only_traces_that_need_mmap_are_not_replayed():
    """The exceptions are exactly the traces in which a mapped arena works: nothing else can hide there."""
    assert {s["id"] for s in SCENARIOS if mapped_configurations(s)} == NEED_MMAP


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s["id"] in NEED_MMAP], ids=lambda s: s["id"])
def test_mmap_is_refused_cleanly(scenario):
    """While mapped arenas are missing, asking for one is a configuration error that leaves nothing behind."""
    for name, fields in mapped_configurations(scenario):
        with pytest.raises(nd.ConfigurationError) as caught:
            nd.get_workspace_for_current_thread(nd.WorkspaceConfiguration.nd4j(**fields), id=name)
        assert caught.value.field == "policy_location"
        assert not nd.check_if_workspace_exists(name)


@pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if s["id"] not in NEED_MMAP], ids=lambda s: s["id"]
)
def test_trace(scenario):
    """Every observable of every step is as recorded, or as the contract's deviation says."""
    assert replayer.replay(scenario) == []
