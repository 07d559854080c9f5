"""The ancestor's tables: every row has a test whose name carries the row's id."""

import re
from functools import cache
from pathlib import Path

import pytest

TABLES = {"A": 32, "P": 30, "E": 28, "D": 30}
"""Iterators that read ahead, parallel training and inference, evaluation, and the hazards found in all."""


@cache
def names():
    """Return the names of all tests."""
    paths = Path(__file__).parent.glob("test_*.py")
    found = (re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE) for path in paths)
    return sorted({name for those in found for name in those})


def ids_in(name):
    """Return the rows that a name carries: `test_A03_A04_it_is_so` has two, `test_D_03_it_is_so` one."""
    ids = re.match(r"test_((?:[APED]_?\d\d_)*)", name)[1]
    return {(table, int(row)) for table, row in re.findall(r"([APED])_?(\d\d)_", ids)}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_a_table_has_a_test(table):
    found = sorted(row for name in names() for letter, row in ids_in(name) if letter == table)
    rows = set(found)
    print(f"{table}: {len(rows)} of {TABLES[table]} rows, {len(found)} tests")  # noqa: T201 - the sum
    assert rows == set(range(1, TABLES[table] + 1))


def test_names_are_read_as_they_are_meant():
    assert ids_in("test_A03_A04_batches_come_in_order") == {("A", 3), ("A", 4)}
    assert ids_in("test_D_03_nothing_is_stale") == {("D", 3)}
    assert ids_in("test_E01_E02_pieces_give_what_whole_series_give") == {("E", 1), ("E", 2)}
    assert ids_in("test_a_ring_of_A03_is_none") == set()
