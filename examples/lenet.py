"""A LeNet that learns scikit-learn's handwritten digits in workspaces.

Two convolutions with pooling behind each, a dense layer and an output. After every epoch a line tells how far
it is; at the end the workspaces show what the network needed. The program fails if it learned too little, or
if a workspace had no room for something once its size was learned.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import ndarena
from ndarena.data import ArrayDataSetIterator, DataSet
from ndarena.nn import (
    Adam,
    ConvolutionLayer,
    DenseLayer,
    InputType,
    MultiLayerConfiguration,
    MultiLayerNetwork,
    OutputLayer,
    SubsamplingLayer,
)

SEED = 7
CLASSES = 10
BATCH = 64
LEAST_ACCURACY = 0.98

LENET = MultiLayerConfiguration(
    layers=[
        ConvolutionLayer(n_out=20, kernel_size=3, convolution_mode="same"),
        SubsamplingLayer(pooling_type="max", kernel_size=2),
        ConvolutionLayer(n_out=50, kernel_size=3, convolution_mode="same"),
        SubsamplingLayer(pooling_type="max", kernel_size=2),
        DenseLayer(n_out=100, dropout=0.5),
        OutputLayer(n_out=CLASSES, loss="mcxent", activation="softmax"),
    ],
    input_type=InputType.convolutional(height=8, width=8, channels=1),
    activation="relu",
    weight_init="relu",
    updater=Adam(0.002),
    seed=SEED,
)


def load() -> tuple[ArrayDataSetIterator, DataSet]:
    """Return batches of four fifths of the images, and the rest for the test."""
    pixels, digits = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    labels = np.eye(CLASSES, dtype=np.float32)[digits]
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, random_state=SEED, stratify=digits)
    return ArrayDataSetIterator(x, y, batch_size=BATCH, shuffle=True, seed=SEED), DataSet(x_test, y_test)


def main() -> int:
    """Learn, show, and judge."""
    parser = argparse.ArgumentParser(description="Learn handwritten digits with a LeNet.")
    parser.add_argument("--epochs", type=int, default=12, help="turns through the training images")
    epochs = parser.parse_args().epochs
    batches, test = load()
    spilled = 0
    with threadpool_limits(1), MultiLayerNetwork(LENET) as network:
        for epoch in range(epochs):
            began = time.perf_counter()
            network.fit(batches)
            speed = len(batches) * BATCH / (time.perf_counter() - began)
            accuracy = network.evaluate([test]).accuracy()
            print(
                f"epoch {epoch + 1:2}: score {network.score():.4f}, accuracy {accuracy:.4f}, {speed:,.0f}/s"
            )
            workspaces = [ws.stats() for ws in ndarena.get_all_workspaces_for_current_thread()]
            spilled += sum(ws.spilled_size for ws in workspaces) if epoch else 0
    print()
    for ws in workspaces:
        print(f"{ws.id:24}{ws.current_size:>12,} bytes, at most {ws.max_cycle_allocations:>12,} asked for")
    broken = [f"an accuracy of {LEAST_ACCURACY}"] * (accuracy < LEAST_ACCURACY)
    broken += [f"no spills: there were {spilled} bytes"] * (spilled > 0)
    if broken:
        print("\nNot kept: " + "; ".join(broken), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
