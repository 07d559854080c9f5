"""An LSTM that learns the Zen of Python by heart and recites it, character by character.

It learns in pieces (truncated backpropagation): the state goes on from one piece to the next. Afterwards it
is given the first characters and then its own words, one step at a time. The program fails if what it says is
not the text, or if learning or reciting took memory from the system once the sizes were learned.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import sys

import numpy as np
from threadpoolctl import threadpool_limits

import ndarena
from ndarena.data import DataSet
from ndarena.nn import (
    LSTM,
    Adam,
    ExponentialSchedule,
    InputType,
    MultiLayerConfiguration,
    MultiLayerNetwork,
    RnnOutputLayer,
)

with contextlib.redirect_stdout(io.StringIO()):
    import this

TEXT = codecs.decode(this.s, "rot13")
LETTERS = sorted(set(TEXT))
GIVEN = 20
LEAST_LIKENESS = 0.99

CONFIGURATION = MultiLayerConfiguration(
    layers=[
        LSTM(n_out=96, activation="tanh"),
        RnnOutputLayer(n_out=len(LETTERS), loss="mcxent", activation="softmax"),
    ],
    input_type=InputType.recurrent(len(LETTERS)),
    updater=Adam(ExponentialSchedule("iteration", 0.006, 0.999)),
    backprop_type="truncated_bptt",
    tbptt_fwd_length=100,
    seed=7,
)


def one_hot(text: str) -> np.ndarray:
    """Return ``[1, letters, time]``, 1 where the letter of a step is."""
    series = np.zeros((1, len(LETTERS), len(text)), np.float32)
    series[0, [LETTERS.index(letter) for letter in text], range(len(text))] = 1
    return series


def recite(network: MultiLayerNetwork) -> str:
    """Give the network the beginning, and then what it said last."""
    network.rnn_clear_previous_state()
    said = TEXT[:GIVEN]
    scores = network.rnn_time_step(one_hot(said))[:, :, -1]
    while len(said) < len(TEXT):
        said += LETTERS[int(scores.argmax())]
        scores = network.rnn_time_step(one_hot(said[-1])[:, :, 0])
    return said


def main() -> int:
    """Learn, recite, and judge."""
    parser = argparse.ArgumentParser(description="Learn the Zen of Python with an LSTM.")
    parser.add_argument("--epochs", type=int, default=180, help="turns through the text")
    epochs = parser.parse_args().epochs
    batch = DataSet(one_hot(TEXT[:-1]), one_hot(TEXT[1:]))
    with threadpool_limits(1), MultiLayerNetwork(CONFIGURATION) as network:
        held = 0
        for epoch in range(epochs):
            network.fit(batch)
            if epoch == 1:
                recite(network)
                held = ndarena.allocated_bytes()
            if (epoch + 1) % 20 == 0:
                print(f"epoch {epoch + 1:3}: score {network.score():.4f}")
        said = recite(network)
        taken = ndarena.allocated_bytes() - held
    likeness = sum(a == b for a, b in zip(said, TEXT, strict=True)) / len(TEXT)
    print(
        f"\n{said}\n\n{likeness:.1%} of the letters are right; "
        f"{taken} bytes were taken after the second epoch"
    )
    if likeness < LEAST_LIKENESS or taken:
        print(f"\nNot kept: {LEAST_LIKENESS:.0%} of the letters, and no bytes taken", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
