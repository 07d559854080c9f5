"""Calls of every public callable with nonsense: a program that says how many were made, and with what seed.

Every call may return or raise an `Exception`; a panic, a `SystemError` or a crash is a violation, and so is a
refused call after which scopes or counters are not what they were.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import resource
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from nonsense_support import NAMES, VALUES, Raising, found_callables, stage

LIMIT = 4 << 30
"""Bytes of address space: what asks for more is refused by the system."""


ACTING = (".run", ".__aenter__", ".__aexit__", ".__exit__")
"""What has entered or left a scope by the time it is refused, and is meant to."""


@dataclass(frozen=True)
class Nonsense:
    """A callable by name, with names of its arguments."""

    name: str
    args: tuple[str, ...]
    kwargs: dict[str, str] = field(default_factory=dict)


@dataclass
class Count:
    """What was called, and how it went."""

    calls: int = 0
    refused: int = 0
    names: set[str] = field(default_factory=set)


def nonsense(names: list[str]) -> st.SearchStrategy[Nonsense]:
    """Draw a call."""
    value = st.sampled_from(list(VALUES))
    return st.builds(
        Nonsense,
        st.sampled_from(names),
        st.lists(value, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(NAMES), value, max_size=2) | st.just({}),
    )


def make(call: Nonsense, callables: dict[str, Any], count: Count) -> None:
    """Make a call on a stage of its own, and look at what it left behind."""
    with stage() as s:
        function = callables[call.name](s)
        args = [VALUES[name](s) for name in call.args]
        kwargs = {key: VALUES[name](s) for key, name in call.kwargs.items()}
        before = s.unchanged()
        count.calls += 1
        count.names.add(call.name)
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            assert not isinstance(error, SystemError), f"{error!r}"
            count.refused += 1
            if not any(map(acts, [*args, *kwargs.values()])) and not call.name.endswith(ACTING):
                after = s.unchanged()
                assert after == before, f"{error!r} changed {difference(before, after)}"
        else:
            close(result)


def acts(value: Any) -> bool:
    """Whether a value may do something of its own when it is used."""
    return callable(value) or isinstance(value, Raising) or hasattr(value, "__enter__")


def close(result: Any) -> None:
    """Close what would complain when it is thrown away."""
    if hasattr(result, "cr_frame"):
        with contextlib.suppress(Exception):
            result.close()


def difference(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    """Tell what is not what it was."""
    return "; ".join(f"{b} -> {a}" for b, a in zip(before, after, strict=True) if a != b)


def main() -> int:
    """Make so many calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=int(os.environ.get("NONSENSE_CALLS", "100000")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("NONSENSE_SEED", "1")))
    options = parser.parse_args()
    faulthandler.enable()
    sys.setrecursionlimit(600)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, resource.RLIM_INFINITY))
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    callables, count = found_callables(), Count()
    one = given(nonsense(sorted(callables)))(lambda call: make(call, callables, count))
    one = seed(options.seed)(one)
    one = settings(
        max_examples=options.calls,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(one)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        one()
    told = f"{count.calls} of {len(count.names)} of {len(callables)} callables, {count.refused} refused"
    print(f"nonsense calls: {told}, seed {options.seed}, 0 violations")  # noqa: T201 - it tells a person
    return 0


if __name__ == "__main__":
    sys.exit(main())
