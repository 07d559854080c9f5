"""What a ROC keeps of the rows it has seen: every score, or counts at thresholds."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ndarena.evaluation import roc_json
from ndarena.evaluation.curves import Outcome, Points, outcome

__all__ = ["ExactScores", "SavedCurves", "ThresholdedScores"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Kept = np.ndarray[Any, np.dtype[np.bool_]]
Tree = dict[str, Any]


class ExactScores:
    """Every score with its label, as `Points` at 0, at every distinct score, and at 1."""

    exact = True

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._parts: list[tuple[Kept, Floats, Kept | None]] = []

    def add(self, positive: Kept, scores: Floats, keep: Kept) -> None:
        """Keep copies of scores and labels, ``[rows, columns]``."""
        self._parts.append((positive, scores.copy(), None if keep.all() else keep))

    def merge(self, other: ExactScores) -> None:
        """Keep what the other has kept; parts are never changed."""
        self._parts += other._parts

    def column(self, i: int) -> tuple[Kept, Floats]:
        """Return labels and scores of a column."""
        kept = [slice(None) if keep is None else keep[:, i] for _, _, keep in self._parts]
        parts = [(y[rows, i], p[rows, i]) for (y, p, _), rows in zip(self._parts, kept, strict=True)]
        return np.concatenate([y for y, _ in parts]), np.concatenate([p for _, p in parts])

    def points(self, i: int) -> Points:
        """Return the points of a column; equal scores are one point."""
        positive, scores = self.column(i)
        order = scores.argsort()
        scores, positive = scores[order], positive[order]
        starts = np.flatnonzero(np.r_[len(scores) > 0, scores[1:] != scores[:-1]])
        below = np.r_[0, positive.cumsum()]
        total, rows = int(below[-1]), len(scores)
        tp = np.r_[total, total - below[starts], 0]
        said = np.r_[rows, rows - starts, 0]
        return Points(np.r_[0.0, scores[starts], 1.0], tp, said - tp)

    def outcome(self, i: int, *, thinned: bool) -> Outcome:
        """Return areas and curves of a column."""
        return outcome(self.points(i), exact=True, thinned=thinned)

    def tree(self, i: int) -> Tree:
        """Return what a column needs to go on: distinct scores and their counts."""
        points = self.points(i)
        tp, fp = (np.diff(counts[1:]) for counts in points[1:])
        return {
            "counts": {},
            "scores": {
                "score": points.threshold[1:-1].tolist(),
                "positives": (-tp).tolist(),
                "negatives": (-fp).tolist(),
            },
        }

    @classmethod
    def of_trees(cls, trees: list[Tree]) -> ExactScores:
        """Return the scores that were written."""
        columns = [
            [np.repeat(np.array(tree["scores"]["score"], np.float64), tree["scores"][name]) for tree in trees]
            for name in ("positives", "negatives")
        ]
        store = cls(len(trees))
        for positive, of_columns in zip((True, False), columns, strict=True):
            rows = max(map(len, of_columns))
            scores = np.zeros((rows, len(trees)))
            keep = np.zeros(scores.shape, np.bool_)
            for i, values in enumerate(of_columns):
                scores[: len(values), i] = values
                keep[: len(values), i] = True
            store.add(np.full(scores.shape, positive), scores, keep)
        return store


class ThresholdedScores:
    """How many rows reach each of the thresholds ``i / steps``; at 1 none does."""

    exact = False

    def __init__(self, columns: int, steps: int) -> None:
        self.columns = columns
        self._threshold = np.arange(steps + 1) / steps
        self._reached = np.zeros((2, steps + 1, columns), np.int64)  # positive rows, negative rows

    def add(self, positive: Kept, scores: Floats, keep: Kept) -> None:
        """Count scores, ``[rows, columns]``."""
        steps = len(self._threshold) - 1
        place = np.searchsorted(self._threshold[:steps], scores, side="right") - 1
        place = place * self.columns + np.arange(self.columns)
        for reached, rows in zip(self._reached, (positive & keep, ~positive & keep), strict=True):
            counts = np.bincount(place[rows], minlength=steps * self.columns).reshape(steps, -1)
            reached[:steps] += counts[::-1].cumsum(axis=0)[::-1]

    def merge(self, other: ThresholdedScores) -> None:
        """Count what the other has counted."""
        self._reached += other._reached

    def outcome(self, i: int, *, thinned: bool) -> Outcome:
        """Return areas and curves of a column; they are never thinned."""
        del thinned
        points = Points(self._threshold, *self._reached[:, :, i])
        return outcome(points, exact=False, thinned=False)

    def tree(self, i: int) -> Tree:
        """Return the counts of a column."""
        rows = zip(self._threshold.tolist(), *self._reached[:, :, i].tolist(), strict=True)
        return {"counts": roc_json.counts_tree(rows)}

    @classmethod
    def of_trees(cls, trees: list[Tree]) -> ThresholdedScores:
        """Return the counts that were written."""
        store = cls(len(trees), trees[0]["thresholdSteps"])
        for i, tree in enumerate(trees):
            store._reached[:, :, i] = roc_json.counts_of(tree["counts"])
        return store


class SavedCurves:
    """The outcomes that DL4J saves of an exact ROC in place of its scores."""

    exact = True

    def __init__(self, trees: list[Tree]) -> None:
        self.columns = len(trees)
        self._outcomes = [roc_json.outcome_of(tree) for tree in trees]
        self._trees = trees

    def outcome(self, i: int, *, thinned: bool) -> Outcome:
        """Return what was saved of a column."""
        del thinned
        return self._outcomes[i]

    def add(self, *_: Any) -> NoReturn:
        """Refuse: the scores are not there."""
        raise ValueError(
            "this exact ROC was read from DL4J's JSON, which holds no scores: reset() it, or use steps"
        )

    merge = add

    def tree(self, i: int) -> Tree:
        """Return what was saved of a column."""
        return {"counts": self._trees[i]["counts"]}
