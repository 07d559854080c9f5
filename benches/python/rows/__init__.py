"""The table of bars: every row, by family."""

from benches.python.model import Row

from . import (
    arrays,
    capture,
    collector,
    evaluations,
    expressions,
    functions,
    images,
    inference,
    networks,
    operators,
    prefetch,
    scopes,
    series,
    training,
    updaters,
    wrapper,
)

FAMILIES = (
    scopes,
    arrays,
    operators,
    expressions,
    functions,
    capture,
    collector,
    evaluations,
    networks,
    training,
    series,
    images,
    updaters,
    wrapper,
    inference,
    prefetch,
)


def all_rows() -> list[Row]:
    """Return every row, those of a family together."""
    return [row for family in FAMILIES for row in family.rows()]
