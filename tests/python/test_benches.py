"""The benchmarks' own arithmetic: what is equal, what holds, what is counted."""

from contextlib import ExitStack
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benches.python import environment, instructions
from benches.python.core import core_row
from benches.python.measure import Effort, measure
from benches.python.model import Bar, Check, Figures, Result, Row, Side, Sides
from benches.python.picture import picture
from benches.python.report import Report, verdict
from benches.python.rows import all_rows

QUICK = Effort(rounds=2, sample_ns=1000)


def row_of(sides, bar=None, needs=None):
    return Row("family", "path", "n", "float32", "peer", bar, lambda _: sides, needs=needs)


def measured(ratio, *, faults=0.0, peer_faults=0.0, held=0):
    ours, peer = Figures(ratio, ratio, faults), Figures(1.0, 1.0, peer_faults)
    return Result("key", ratio=ratio, median_ratio=ratio, ours=ours, peer=peer, held=held)


def test_rows_have_names_of_their_own():
    keys = [row.key for row in all_rows()]
    assert len(keys) == len(set(keys)) > 100


@pytest.mark.parametrize(
    ("code", "check", "message"),
    [
        ("a + 1", Check.BITS, "3 of 3 values"),
        ("a[:2]", Check.BITS, "float64[2] and float64[3]"),
        ("a.astype('f4')", Check.KIND, "float32[3] and float64[3]"),
        ("a + 1e-3", Check.CLOSE, "by up to 0.001"),
    ],
)
def test_sides_that_differ_are_a_failure(code, check, message):
    names = {"a": np.arange(3.0)}
    sides = Sides(Side(code, names), Side("a", names), check=check)
    assert message in measure(row_of(sides), QUICK).failed


def test_a_report_says_which_kernels_were_taken_and_whether_they_were_asked_for(monkeypatch):
    monkeypatch.setattr(environment, "core_name", lambda: "Haswell")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert environment.describe()["NumPy"].endswith("kernels for Haswell (OPENBLAS_CORETYPE=Haswell)")
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert environment.describe()["NumPy"].endswith("kernels for Haswell")


def test_equal_sides_are_measured_in_turns():
    sides = Sides(Side("a + a", {"a": np.ones(3)}), Side("2 * a", {"a": np.ones(3)}))
    result = measure(row_of(sides), QUICK)
    assert result.failed is None
    assert result.ratio == result.ours.least / result.peer.least > 0
    assert Result.from_dict(result.to_dict()) == result


def test_what_ours_takes_beyond_the_base_is_compared():
    slow, fast = Side("sum(range(20000))"), Side("sum(range(10000))")
    result = measure(row_of(Sides(slow, fast, fast, check=Check.NOTHING)), QUICK)
    assert result.ratio < result.ours.least / result.peer.least


def test_a_row_that_lacks_something_is_not_measured():
    assert measure(row_of(None, needs="no_such_function"), QUICK).missing == "not available"


@pytest.mark.parametrize(
    ("bar", "result", "expected"),
    [
        (Bar(1.0), measured(1.0), "hold"),
        (Bar(1.0), measured(1.01), "lost"),
        (Bar(1.0), measured(0.5, faults=1.0), "lost"),
        (Bar(1.0), measured(0.5, held=64), "lost"),
        (Bar(1.3, at_least=True), measured(1.2), "lost"),
        (Bar(0.3, faulting_peer=True), measured(0.9), "do not count: the peer takes no faults"),
        (Bar(0.3, faulting_peer=True), measured(0.9, peer_faults=8.0), "lost"),
        (None, measured(9.0), "published"),
        (Bar(1.0), Result("key", failed="why"), "failed"),
        (Bar(1.0), Result("key", missing="not installed"), "not installed"),
    ],
)
def test_verdicts(bar, result, expected):
    assert verdict(row_of(None, bar), result) == expected


def test_the_report_shows_lost_rows_twice_and_the_picture_is_xml():
    fields = {"path": "request, bump", "bar": 1.0, "ours": [2.0, 2.5], "peer": [1.0, 1.0]}
    row, result = core_row(fields)
    facts = {"processor": "a < b", "NumPy": "2"}
    report = Report([row], [result], facts, ("0", "0"), QUICK)
    assert report.markdown().count("| core: request | bump |") == 2
    drawn = ET.fromstring(picture(report))
    assert drawn.tag.endswith("svg")


def test_instructions_of_callees_and_of_other_objects_are_not_counted():
    ours = f"ob=/somewhere/{instructions.EXTENSION}"
    lines = [ours, "fn=f", "10 5", "calls=1 20", "11 100", "12 7", "ob=/usr/lib/libc.so", "30 1000"]
    assert instructions.inside(lines) == 12


def test_more_instructions_than_kept_are_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(instructions, "KEPT", tmp_path / "kept.toml")
    instructions.keep({"scope": 100.0})
    assert instructions.compare({"scope": 109.0}) == 0
    assert instructions.compare({"scope": 111.0}) == 1
    assert instructions.compare({"scope": 50.0}) == 0
    assert "MORE" in capsys.readouterr().out


def test_every_operation_that_is_counted_can_be_compiled():
    for name in instructions.OPERATIONS:
        with ExitStack() as stack:
            instructions.compiled(instructions.OPERATIONS[name](instructions.Stage(stack)))(1, 2)


def test_a_row_that_learns_says_how_many_examples_a_second():
    row = Row("family", "path", "n", "float32", "peer", None, lambda _: None, examples=32)
    figures = Figures(64_000.0, 64_000.0, 0.0)
    result = Result(row.key, ratio=1.0, median_ratio=1.0, ours=figures, peer=figures)
    text = Report([row], [result], {}, ("0", "0"), QUICK).markdown()
    assert "64 000 (500 000 samples/s)" in text
