"""What the tests of iterators share: numbered batches, slow sides, threads that must be gone."""

import threading

import numpy as np
from support import eventually

from ndarena.data import DataSet, DataSetIterator, MultiDataSet

PARTS = {"features": 0.0, "labels": 0.25, "features_mask": 0.5, "labels_mask": 0.75}


class Numbered(DataSetIterator):
    """Batches of which every element tells batch and part, in series of given lengths."""

    def __init__(self, lengths, *, several=False, before=None, batch_size=8):
        """Call ``before(i)`` before the i-th batch; it may raise."""
        self.lengths, self.several, self.before, self.rows = list(lengths), several, before, batch_size
        self.is_closed = False

    def batches(self):
        self.is_closed = False
        try:
            for i, t in enumerate(self.lengths):
                if self.before is not None:
                    self.before(i)
                yield numbered(i, t, self.rows, several=self.several)
        finally:
            self.is_closed = True


def numbered(i, t, rows=8, *, several=False):
    shapes = ((rows, 3, t), (rows, 2, t), (rows, t), (rows, t))
    parts = [np.full(shape, i + shift) for shape, shift in zip(shapes, PARTS.values(), strict=True)]
    return MultiDataSet(*([part] for part in parts)) if several else DataSet(*parts)


def parts_of(data):
    """Return the four arrays of a numbered batch."""
    if isinstance(data, MultiDataSet):
        return [data.features[0], data.labels[0], data.features_masks[0], data.labels_masks[0]]
    return [data.features, data.labels, data.features_mask, data.labels_mask]


def is_whole(data, i):
    """Tell whether every element is still that of the i-th batch."""
    arrays = zip(parts_of(data), PARTS.values(), strict=True)
    return all((np.asarray(part) == i + shift).all() for part, shift in arrays)


def number_of(data):
    return int(parts_of(data)[0][(0,) * 3])


def threads_are_gone(before):
    return eventually(lambda: threading.active_count() <= before)


def random_lengths(count, low=10, high=100, seed=0):
    """Return lengths of which the first is the least."""
    return [low, *np.random.default_rng(seed).integers(low, high, count - 1).tolist()]
