"""What all evaluations have in common (DL4J: ``BaseEvaluation``)."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, Self

import numpy as np

from ndarena.binary import BinaryReader, array_bytes

__all__ = [
    "JsonForm",
    "array_of",
    "at_least",
    "binary_tree_of",
    "class_axis",
    "given_numbers",
    "given_probability",
    "given_row",
    "is_whole",
    "numbers_of",
    "tree_of",
]

Tree = dict[str, Any]
LINE = 76
OLDER = "org.deeplearning4j.eval."  # where the classes were before 1.0.0-beta3


class JsonForm:
    """An evaluation that is written and read as DL4J's JSON."""

    java_class: str
    """DL4J's name of the class."""

    def tree(self) -> Tree:
        """Return the fields as DL4J names them."""
        raise NotImplementedError

    @classmethod
    def of_tree(cls, tree: Tree) -> Self:
        """Return the object that has these fields."""
        raise NotImplementedError

    def stats(self) -> str:
        """Return the report, DL4J's to the character."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the report."""
        return self.stats()

    def to_json(self) -> str:
        """Return settings and counts as DL4J writes them."""
        return json.dumps({"@class": self.java_class, **self.tree()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the evaluation that a JSON text of `to_json`, or of DL4J, describes.

        Raises
        ------
        ValueError
            No such text, or that of another class.
        """
        tree = json.loads(text)
        known = {cls.java_class, OLDER + cls.java_class.rpartition(".")[2]}
        if not isinstance(tree, dict) or tree.get("@class") not in known:
            found = tree.get("@class") if isinstance(tree, dict) else tree
            raise ValueError(f"expected the JSON of {cls.java_class}, not of {found!r:.100}")
        try:
            return cls.of_tree(tree)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the JSON of {cls.java_class} is incomplete: {error!r:.100}") from error

    def _check_mergeable(self, other: object) -> None:
        """Refuse what is no object of this class, or of one derived from it: `TypeError`."""
        if not isinstance(other, JsonForm) or other.java_class != self.java_class:
            expected = self.java_class.rpartition(".")[2]
            raise TypeError(
                f"other must be an object of {expected}, as this one is, not of {type(other).__name__}"
            )


def is_whole(value: Any) -> bool:
    """Tell a whole number, Python's or NumPy's; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def at_least(least: int, value: Any, name: str) -> int:
    """Return a whole number; anything else, or one below the least, is a `ValueError` that names it."""
    if not is_whole(value) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
    return int(value)


def class_axis(value: Any) -> int:
    """Return the axis of classes; what is none, and that of the examples, is a `ValueError`."""
    if not is_whole(value) or value == 0:
        raise ValueError(
            f"axis must be a whole number from 1 on, or below 0 from the end, not {value!r:.100}"
        )
    return int(value)


def given_numbers(value: Any, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what a caller gave as an array of numbers; anything else is a `ValueError` that names it."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, not {value!r:.100}") from error


def given_probability(value: Any, name: str) -> float:
    """Return one number from 0 to 1; anything else is a `ValueError` that names it."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, not {value!r:.100}")
    return float(value)


def given_row(value: Any, name: str, most: float = math.inf) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a copy of finite numbers from 0 to ``most``, ``[n]``; else: `ValueError` that names it."""
    row = given_numbers(value, name).copy()
    fits = np.asarray(value).dtype.kind in "iuf" and row.ndim == 1 and row.size
    if not fits or not np.isfinite(row).all() or row.min() < 0 or row.max() > most:
        end = "on" if most == math.inf else f"to {most}"
        raise ValueError(f"{name} must be a row of finite numbers from 0 {end}, not {value!r:.100}")
    return row


def tree_of(array: np.ndarray[Any, Any]) -> Tree:
    """Return an array as ND4J writes it as text."""
    kind = "LONG" if array.dtype.kind == "i" else "DOUBLE"
    return {"dataType": kind, "shape": list(array.shape), "data": array.ravel().tolist()}


def binary_tree_of(array: np.ndarray[Any, Any]) -> Tree:
    """Return an array as ND4J writes it in base64."""
    text = base64.b64encode(array_bytes(array)).decode("ascii")
    return {"array": "".join(f"{text[i : i + LINE]}\r\n" for i in range(0, len(text), LINE))}


def numbers_of(tree: Tree | list[float] | float | None) -> np.ndarray[Any, Any] | float | None:
    """Return a row of numbers, or a single one, if there is any."""
    return tree if tree is None or isinstance(tree, int | float) else array_of(tree).ravel()


def array_of(tree: Tree | list[float]) -> np.ndarray[Any, Any]:
    """Return what `tree_of` or `binary_tree_of` wrote, or DL4J as a list; what is cut off: `ValueError`."""
    if isinstance(tree, list):
        return np.array(tree, np.float64)
    if "array" in tree:
        return BinaryReader(base64.b64decode(tree["array"])).array()
    dtype = np.int64 if tree["dataType"] in {"LONG", "INT"} else np.float64
    return np.array(tree["data"], dtype).reshape(tree["shape"])
