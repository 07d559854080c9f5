"""The recorded behaviour of ND4J, replayed: every trace gives what the contract says."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "conformance"


def load_replayer():
    spec = importlib.util.spec_from_file_location("replay", FOLDER / "replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replayer = load_replayer()
SCENARIOS = [s for folder in ("workspaces", "workspaces16") for s in replayer.load(FOLDER / folder)]


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
        if path.suffix in {".json", ".npz", ".py", ".md", ".zip"}
    }
    assert found == listed


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s["id"])
def test_trace(scenario):
    """Every observable of every step is as recorded, or as the contract's deviation says."""
    assert replayer.replay(scenario) == []
