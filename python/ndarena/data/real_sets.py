"""Real data sets (DL4J: ``org.deeplearning4j.datasets.iterator.impl``). Nothing is fetched from a network."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndarena.data.dataset import DataSet
from ndarena.data.idx import find_idx, read_idx
from ndarena.data.iterators import ArrayDataSetIterator, at_least

if TYPE_CHECKING:
    import os

__all__ = ["DigitsDataSetIterator", "IrisDataSetIterator", "MnistDataSetIterator"]

Flat = np.ndarray[Any, np.dtype[Any]]


class _Classes(ArrayDataSetIterator):
    """Features with classes, given as numbers; batches are float32, the labels 1 in one column."""

    scale = 1.0
    """What features are divided by."""

    def __init__(  # noqa: PLR0913 - a source, and what an iterator over arrays takes
        self,
        features: Flat,
        classes: Flat,
        count: int,
        num_examples: int | None,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int | None,
    ) -> None:
        n = len(features) if num_examples is None else at_least(1, num_examples, "num_examples")
        if n > len(features):
            raise ValueError(f"num_examples={n}, but there are {len(features)}")
        super().__init__(features[:n], classes[:n], batch_size=batch_size, shuffle=shuffle, seed=seed)
        self.num_classes = count
        """Columns of the labels."""

    def _batch(self, rows: Any) -> DataSet:
        x, classes = self._whole.features[rows], self._whole.labels[rows]
        features = x.reshape(len(x), -1).astype(np.float32)
        features /= np.float32(self.scale)
        labels = np.zeros((len(x), self.num_classes), np.float32)
        labels[np.arange(len(x)), classes] = 1
        return DataSet(features, labels)


class _Bundled(_Classes):
    """A set that comes with scikit-learn."""

    name: ClassVar[str]
    """What it is called there."""

    def __init__(
        self,
        batch_size: int = 150,
        num_examples: int | None = None,
        *,
        shuffle: bool = False,
        seed: int | None = None,
    ) -> None:
        owner = type(self).__name__
        try:
            sets = import_module("sklearn.datasets")
        except ImportError as error:
            raise ImportError(
                f"{owner} reads data that come with scikit-learn: install ndarena[demo]", name="sklearn"
            ) from error
        found = getattr(sets, f"load_{self.name}")()
        count = len(found.target_names)
        super().__init__(
            found.data, found.target, count, num_examples, batch_size, shuffle=shuffle, seed=seed
        )


class IrisDataSetIterator(_Bundled):
    """Fisher's 150 irises: four lengths in cm, three species (DL4J: ``IrisDataSetIterator``).

    Features are float32 ``[N, 4]``, labels ``[N, 3]``, in the order of the species; shuffle them. They come
    with scikit-learn, an extra (``ndarena[demo]``).

    Parameters
    ----------
    batch_size : int
        Examples of a batch.
    num_examples : int, optional
        How many of them; default: all.
    shuffle, seed
        As in `ArrayDataSetIterator`.

    Raises
    ------
    ImportError
        scikit-learn is not installed.
    ValueError
        A number below 1, or more examples than there are.
    """

    name = "iris"


class DigitsDataSetIterator(_Bundled):
    """1797 handwritten digits of 8 x 8 pixels: float32 ``[N, 64]`` from 0 to 1, labels ``[N, 10]``.

    They come with scikit-learn, an extra (``ndarena[demo]``). Parameters and errors are those of
    `IrisDataSetIterator`.
    """

    name = "digits"
    scale = 16.0


class MnistDataSetIterator(_Classes):
    """Images of ten classes in the files of MNIST (DL4J: ``MnistDataSetIterator``).

    The files are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, or ``t10k-...`` for the test
    set, packed (``.gz``) or not. Fashion-MNIST has the same form; Debian packages its files as
    ``dataset-fashion-mnist``.

    Features are float32 ``[N, height * width]`` from 0 to 1, labels ``[N, 10]``. The pixels stay bytes in
    memory until their batch is made.

    Parameters
    ----------
    folder : path
        Where the files are.
    batch_size : int
        Examples of a batch.
    train : bool
        Whether it is the training set.
    num_examples : int, optional
        How many of them; default: all.
    shuffle, seed
        As in `ArrayDataSetIterator`.

    Raises
    ------
    FileNotFoundError
        A file is not there; the message lists the names.
    ValueError
        A damaged file, files that do not belong together, or a number that does not fit.
    """

    scale = 255.0

    def __init__(  # noqa: PLR0913 - what DL4J's has
        self,
        folder: str | os.PathLike[str],
        batch_size: int = 128,
        *,
        train: bool = True,
        num_examples: int | None = None,
        shuffle: bool = False,
        seed: int | None = None,
    ) -> None:
        images, classes = _mnist(folder, "train" if train else "t10k")
        super().__init__(images, classes, 10, num_examples, batch_size, shuffle=shuffle, seed=seed)


def _mnist(folder: str | os.PathLike[str], part: str) -> tuple[Flat, Flat]:
    """Return images and classes; files that do not fit are a `ValueError`."""
    arrays = []
    for kind, rank in (("images", 3), ("labels", 1)):
        path = find_idx(folder, *(f"{part}-{kind}{dot}idx{rank}-ubyte" for dot in "-."))
        array = read_idx(path)
        if array.dtype != np.uint8 or array.ndim != rank:
            raise ValueError(f"{path} has {array.dtype} of rank {array.ndim}, not uint8 of rank {rank}")
        arrays.append(array)
    images, classes = arrays
    if len(images) != len(classes):
        raise ValueError(f"{folder}: {len(images)} images and {len(classes)} labels in {part}-...")
    if classes.size and classes.max() > 9:
        raise ValueError(f"{folder}: a label {classes.max()} in {part}-..., where classes go from 0 to 9")
    return images, classes
