"""Preprocessors alone: order of rows, the way back, masks, types, and which is chosen."""

import numpy as np
import pytest

from ndarena import ArrayType, ConfigurationError, LayerWorkspaceMgr, WorkspaceConfiguration, nn

PLAIN = LayerWorkspaceMgr.no_workspaces()
FF, RNN, CNN = nn.InputType.feed_forward, nn.InputType.recurrent, nn.InputType.convolutional
FLAT = nn.InputType.convolutional_flat
N, T = 3, 4
RNG = np.random.default_rng(5)
SERIES = RNG.normal(size=(N, 6, T))
ROWS = np.concatenate([SERIES[:, :, t] for t in range(T)])
IMAGES = RNG.normal(size=(N, 1, 2, 3))
STEPS = ROWS.reshape(N * T, 1, 2, 3)
SIZES = (2, 3, 1)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]], float)
MASK_ROWS = MASK.T.reshape(-1, 1)

CASES = [
    (nn.RnnToFeedForwardPreProcessor(), SERIES, ROWS, RNN(6, 4), FF(6)),
    (nn.FeedForwardToRnnPreProcessor(), ROWS, SERIES, FF(6), RNN(6)),
    (nn.FeedForwardToRnnPreProcessor(), ROWS, SERIES, FLAT(*SIZES), RNN(6)),
    (nn.CnnToFeedForwardPreProcessor(*SIZES), IMAGES, IMAGES.reshape(N, 6), CNN(*SIZES), FF(6)),
    (nn.FeedForwardToCnnPreProcessor(*SIZES), IMAGES.reshape(N, 6), IMAGES, FLAT(*SIZES), CNN(*SIZES)),
    (nn.FeedForwardToCnnPreProcessor(*SIZES), IMAGES.reshape(N, 6), IMAGES, FF(6), CNN(*SIZES)),
    (nn.RnnToCnnPreProcessor(*SIZES), SERIES, STEPS, RNN(6), CNN(*SIZES)),
    (nn.CnnToRnnPreProcessor(*SIZES), STEPS, SERIES, CNN(*SIZES), RNN(6)),
    (
        nn.ComposableInputPreProcessor(
            nn.RnnToCnnPreProcessor(*SIZES), nn.CnnToFeedForwardPreProcessor(*SIZES)
        ),
        SERIES,
        ROWS,
        RNN(6),
        FF(6),
    ),
    (nn.ComposableInputPreProcessor(), SERIES, SERIES, RNN(6), RNN(6)),
]


def name(value):
    return str(value) if isinstance(value, nn.InputPreProcessor) else None


@pytest.mark.parametrize(("preprocessor", "given", "wanted", "kind", "result"), CASES, ids=name)
def test_arrays_there_and_back(preprocessor, given, wanted, kind, result):
    for order in ("C", "F"):
        x, epsilon = np.array(given, order=order), np.array(wanted, order=order)
        np.testing.assert_array_equal(preprocessor.pre_process(x, N, workspace_mgr=PLAIN), wanted)
        np.testing.assert_array_equal(preprocessor.backprop(epsilon, N, workspace_mgr=PLAIN), given)
    assert preprocessor.get_output_type(kind) == result


@pytest.mark.parametrize(("preprocessor", "given", "wanted", "kind", "result"), CASES, ids=name)
def test_results_lie_in_their_place(preprocessor, given, wanted, kind, result):
    builder = LayerWorkspaceMgr.builder()
    conf = WorkspaceConfiguration(initial_size=1 << 14)
    roles = (ArrayType.INPUT, ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD)
    for role in roles:
        builder.with_(role, f"PLACE_{role.name}", conf)
    mgr = builder.build()
    with mgr.notify_scope_entered(*roles):
        x = mgr.dup(ArrayType.INPUT, given)
        out = preprocessor.pre_process(x, N, workspace_mgr=mgr)
        if preprocessor != nn.ComposableInputPreProcessor():
            mgr.validate_array_location(ArrayType.ACTIVATIONS, out)
        np.testing.assert_array_equal(out.numpy(), wanted)
        epsilon = mgr.dup(ArrayType.INPUT, out)
        below = preprocessor.backprop(epsilon, N, workspace_mgr=mgr)
        if preprocessor != nn.ComposableInputPreProcessor():
            mgr.validate_array_location(ArrayType.ACTIVATION_GRAD, below)
        np.testing.assert_array_equal(below.numpy(), given)
        del x, out, epsilon, below


def test_images_that_are_images_already_stay():
    preprocessor = nn.FeedForwardToCnnPreProcessor(*SIZES)
    assert preprocessor.pre_process(IMAGES, N, workspace_mgr=PLAIN) is IMAGES


def test_masks_follow_the_rows():
    for there in (nn.RnnToFeedForwardPreProcessor(), nn.RnnToCnnPreProcessor(*SIZES)):
        np.testing.assert_array_equal(there.feed_forward_mask(MASK, N), MASK_ROWS)
    for back in (nn.FeedForwardToRnnPreProcessor(), nn.CnnToRnnPreProcessor(*SIZES)):
        np.testing.assert_array_equal(back.feed_forward_mask(MASK_ROWS, N), MASK)
        assert back.feed_forward_mask(MASK, N) is MASK
    assert nn.CnnToFeedForwardPreProcessor(*SIZES).feed_forward_mask(MASK, N) is MASK
    both = nn.ComposableInputPreProcessor(
        nn.RnnToFeedForwardPreProcessor(), nn.FeedForwardToRnnPreProcessor()
    )
    np.testing.assert_array_equal(both.feed_forward_mask(MASK, N), MASK)


def test_an_empty_batch_passes():
    rows = nn.RnnToFeedForwardPreProcessor().pre_process(SERIES[:0], 0, workspace_mgr=PLAIN)
    assert rows.shape == (0, 6)
    assert nn.FeedForwardToRnnPreProcessor().pre_process(rows, 0, workspace_mgr=PLAIN).shape == (0, 6, 0)


@pytest.mark.parametrize(
    ("preprocessor", "x", "words"),
    [
        (nn.RnnToFeedForwardPreProcessor(), ROWS, r"\[batch, features, time\]"),
        (nn.FeedForwardToRnnPreProcessor(), SERIES, r"\[batch \* time, features\]"),
        (nn.FeedForwardToRnnPreProcessor(), ROWS[:-1], "11 rows are no series of 3"),
        (nn.CnnToFeedForwardPreProcessor(*SIZES), ROWS, r"\[batch, 1, 2, 3\], not \[12, 6\]"),
        (nn.FeedForwardToCnnPreProcessor(*SIZES), ROWS[:, :5], r"\[batch, 1, 2, 3\], not \[12, 5\]"),
        (nn.RnnToCnnPreProcessor(*SIZES), ROWS, r"\[batch, 6, time\]"),
        (nn.CnnToRnnPreProcessor(*SIZES), SERIES, r"\[batch, 1, 2, 3\]"),
        (nn.CnnToRnnPreProcessor(*SIZES), STEPS[:-1], "11 rows"),
    ],
)
def test_wrong_shapes_are_value_errors(preprocessor, x, words):
    with pytest.raises(ValueError, match=f"{type(preprocessor).__name__}.*{words}"):
        preprocessor.pre_process(x, N, workspace_mgr=PLAIN)


@pytest.mark.parametrize(
    ("preprocessor", "kind", "words"),
    [
        (nn.RnnToFeedForwardPreProcessor(), FF(6), "InputTypeRecurrent"),
        (nn.FeedForwardToRnnPreProcessor(), RNN(6), "InputTypeFeedForward"),
        (nn.CnnToFeedForwardPreProcessor(*SIZES), CNN(3, 2, 1), "1 channels of 2 x 3"),
        (nn.CnnToRnnPreProcessor(*SIZES), FF(6), "InputTypeConvolutional"),
        (nn.FeedForwardToCnnPreProcessor(*SIZES), FF(5), "6 features"),
        (nn.RnnToCnnPreProcessor(*SIZES), RNN(5), "6 features"),
    ],
)
def test_wrong_kinds_are_refused(preprocessor, kind, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        preprocessor.get_output_type(kind)
    assert caught.value.field == "input_type"


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: nn.CnnToRnnPreProcessor(0, 3, 1), "input_height"),
        (lambda: nn.CnnToRnnPreProcessor(3, 2.5, 1), "input_width"),
        (lambda: nn.CnnToRnnPreProcessor(3, 3, num_channels=None), "num_channels"),
        (lambda: nn.ComposableInputPreProcessor("rnn"), "preprocessors"),
        (lambda: RNN(3, 0), "time_series_length"),
        (lambda: CNN(height=3, width=3, channels=0), "channels"),
        (lambda: FLAT(3, 0, 1), "width"),
    ],
)
def test_wrong_fields_are_refused(make, field):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field
