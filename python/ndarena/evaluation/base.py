"""What all evaluations have in common (DL4J: ``BaseEvaluation``)."""

from __future__ import annotations

import json
from typing import Any, Self

import numpy as np

__all__ = ["JsonForm", "array_of", "numbers_of", "tree_of"]

Tree = dict[str, Any]


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
        if not isinstance(tree, dict) or tree.get("@class") != cls.java_class:
            found = tree.get("@class") if isinstance(tree, dict) else tree
            raise ValueError(f"expected the JSON of {cls.java_class}, not of {found!r:.100}")
        try:
            return cls.of_tree(tree)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the JSON of {cls.java_class} is incomplete: {error!r:.100}") from error


def tree_of(array: np.ndarray[Any, Any]) -> Tree:
    """Return an array as ND4J writes it as text."""
    kind = "LONG" if array.dtype.kind == "i" else "DOUBLE"
    return {"dataType": kind, "shape": list(array.shape), "data": array.ravel().tolist()}


def numbers_of(tree: Tree | list[float] | None) -> np.ndarray[Any, Any] | None:
    """Return a row of numbers, if there is one: DL4J has written it as a list, and as an array."""
    if isinstance(tree, dict):
        return array_of(tree).ravel()
    return None if tree is None else np.array(tree, np.float64)


def array_of(tree: Tree) -> np.ndarray[Any, Any]:
    """Return the array that `tree_of` wrote."""
    dtype = np.int64 if tree["dataType"] in {"LONG", "INT"} else np.float64
    return np.array(tree["data"], dtype).reshape(tree["shape"])
