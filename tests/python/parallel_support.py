"""What the tests of training in several threads share: networks of both kinds, batches, who listens."""

import threading

import numpy as np
from nn_support import chain, examples

from ndarena import nn
from ndarena.data import ArrayDataSetIterator, DataSet, DataSetIterator
from ndarena.nn import InputType, TrainingListener
from ndarena.parallel import ParallelWrapper

N, INPUTS, CLASSES = 40, 6, 3


def dense(**fields):
    """Make a chain of dense layers in double precision."""
    return chain(INPUTS, 8, CLASSES, **{"dtype": "float64", "updater": nn.Sgd(0.5), **fields})


def images(**fields):
    """Make a chain that begins with a convolution and pooling, of images of 6 features."""
    conf = nn.MultiLayerConfiguration(
        layers=[
            nn.ConvolutionLayer(n_out=4, kernel_size=2, activation="tanh"),
            nn.SubsamplingLayer(pooling_type="max", kernel_size=(1, 2), stride=(1, 2)),
            nn.DenseLayer(n_out=5, activation="tanh"),
            nn.OutputLayer(n_out=CLASSES),
        ],
        input_type=InputType.convolutional_flat(2, 3, 1),
        **{"dtype": "float64", "updater": nn.Sgd(0.5), "seed": 3, **fields},
    )
    return nn.MultiLayerNetwork(conf)


def graph(**fields):
    """Make a graph of two branches that are added."""
    conf = nn.ComputationGraphConfiguration(
        inputs=["x"],
        input_types=[InputType.feed_forward(INPUTS)],
        vertices={
            "a": (nn.DenseLayer(n_out=4, activation="tanh"), "x"),
            "b": (nn.DenseLayer(n_out=4, activation="sigmoid"), "x"),
            "sum": (nn.ElementWiseVertex(op="add"), "a", "b"),
            "out": (nn.OutputLayer(n_out=CLASSES), "sum"),
        },
        outputs=["out"],
        **{"dtype": "float64", "updater": nn.Sgd(0.5), "seed": 3, **fields},
    )
    return nn.ComputationGraph(conf)


NETWORKS = {"dense": dense, "images": images, "graph": graph}


def rows(n=N, seed=0):
    """Return a data set."""
    return DataSet(*examples(n, INPUTS, CLASSES, "float64", seed))


def batches(n=N, size=10):
    """Return an iterator over batches of a size."""
    data = rows(n)
    return ArrayDataSetIterator(data.features, data.labels, batch_size=size)


def assert_equal_networks(ours, theirs):
    """See that two networks are the same to the bit, and count the same."""
    np.testing.assert_array_equal(ours.params(), theirs.params())
    np.testing.assert_array_equal(ours.updater_state(), theirs.updater_state())
    assert (ours.iteration_count, ours.epoch_count) == (theirs.iteration_count, theirs.epoch_count)


def threads():
    """Return the names of the threads of wrappers and of those that read ahead."""
    names = [thread.name for thread in threading.enumerate()]
    return sorted(name for name in names if name.startswith(("ParallelWrapper", "ADSI", "AMDSI")))


class Heard(TrainingListener):
    """Keeps what it is told: the event, and what else it says."""

    def __init__(self):
        self.events = []

    def on_epoch_start(self, model):
        self.events.append(("epoch starts", model, model.epoch_count))

    def on_epoch_end(self, model):
        self.events.append(("epoch ends", model, model.epoch_count))

    def iteration_done(self, model, iteration, epoch):
        self.events.append(("iteration", model, iteration, epoch))

    def names(self):
        return [event[0] for event in self.events]


class At(TrainingListener):
    """Does something when an iteration of a worker is done, the workers told apart by their threads."""

    def __init__(self, iteration, action, worker=1):
        self._when, self._action = (worker, iteration), action

    def iteration_done(self, model, iteration, epoch):
        worker = int(threading.current_thread().name.rpartition(" ")[2])
        if (worker, iteration) == self._when:
            self._action()


def wrapped(net=None, listener=None, **options):
    wrapper = ParallelWrapper(net or dense(), **{"workers": 2, **options})
    if listener is not None:
        wrapper.set_listeners(listener)
    return wrapper


class Source(DataSetIterator):
    """Gives so many batches and then does something."""

    def __init__(self, count, action, *, async_supported):
        self._count, self._action, self.async_supported = count, action, async_supported

    def batches(self):
        yield from list(batches(400, size=5))[: self._count]
        self._action()
